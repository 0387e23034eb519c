"""Runs inside JupyterHub's process, as `jupyterhub`: what our pages know beyond what JupyterHub tells them.

The pages themselves are templates that extend JupyterHub's (/usr/share/jupyterhub4family/templates).
"""

from __future__ import annotations

import contextlib
import hashlib
import pwd
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Optional

import jupyterhub
from jupyterhub import orm
from jupyterhub.apihandlers.base import APIHandler
from jupyterhub.handlers.base import BaseHandler
from jupyterhub.handlers.static import CacheControlStaticFilesHandler
from jupyterhub.utils import url_escape_path

from jupyterhub4family.common import paths
from jupyterhub4family.common.i18n.messages import translated
from jupyterhub4family.common.settings.model import Settings
from jupyterhub4family.common.state import database, upgrade
from jupyterhub4family.common.system import disk_space
from jupyterhub4family.hub import (
    authenticator,
    documents,
    first_page,
    gate,
    kept_tokens,
    language,
    membership,
    memory,
    origins,
    short_memory,
    trust,
    waiting_servers,
)
from jupyterhub4family.hub.language import Sentences

STATIC = paths.SHARE / "static"


@dataclass(frozen=True)
class ServerCard:
    """A member's server, as the start page shows it."""

    #: Empty for the default server.
    name: str
    title: str
    #: `running`, `starting`, `stopping` or `stopped`.
    state: str
    url: str
    spawn_url: str
    pending_url: str
    #: When it was started (ISO 8601, UTC); empty if it does not run.
    since: str
    #: What it holds at most; None if that cannot be seen.
    megabytes: Optional[int]
    #: What it may hold at most; None if there is no limit.
    limit_megabytes: Optional[int]
    #: How many programs in it were ended because they wanted more.
    killed: int
    #: Whether its environment was made from the template in use; None if it does not run or that is not known.
    up_to_date: Optional[bool]
    #: It was stopped because memory was short.
    stopped_for_memory: bool


@dataclass(frozen=True)
class MemberCards:
    """A member and their servers, as a delegate's page shows them."""

    name: str
    display_name: str
    cards: list[ServerCard]


def configure_pages(config: Any, settings: Settings) -> None:
    """Put our pages, their style and their languages into JupyterHub's configuration."""
    # Pages of ours extend JupyterHub's of the same name. Those of a new version come with its hub, not before.
    config.JupyterHub.template_paths = [str(paths.SHARE / "templates")]
    config.JupyterHub.jinja_environment_options = {"extensions": [Sentences], "auto_reload": False}
    config.JupyterHub.template_vars = {
        "family_name": settings.family_name,
        "login_help": settings.login_help,
        "language_is_set": settings.language in language.OWN_NAMES,
        "languages": language.OWN_NAMES,
        "family_version": static_version(),
        "has_trust_page": settings.https,
        "display_name": display_name,
        "news_for_delegates": lambda user: news_for_delegates,
        "disk_left": disk_left,
        "stopped_for_memory": lambda user: short_memory.watcher.was_stopped,
        "server_cards": lambda user: server_cards,
        "everybodys_servers": lambda user: everybodys_servers,
        "server_title": lambda user: server_title,
        # Before version 6 a server had a name only.
        "servers_have_titles": jupyterhub.version_info[0] >= 6,
    }
    config.JupyterHub.extra_handlers = [
        # Not below /static, which tornado serves before it asks anybody. Over plain HTTP the proxy passes /hub/trust*.
        (r"/trust/static/(.*)", CacheControlStaticFilesHandler, {"path": str(STATIC)}),
        *membership.handlers(),
        *trust.handlers(settings),
        *gate.configure_gate(settings),
    ]
    documents.keep_from_scripts()
    kept_tokens.bound()
    waiting_servers.watch_pages()
    _extend_every_page(settings.language)


def _extend_every_page(language_setting: str) -> None:
    """Let every page know the viewer's language, and tell browsers to load nothing from elsewhere.

    JupyterHub has no hook for what depends on the request, so three properties of its base handler are extended.
    """
    names = BaseHandler.template_namespace.fget
    if getattr(names, "is_ours", False):
        return  # the configuration is read more than once in one process

    def template_namespace(handler: Any) -> dict[str, Any]:
        return {
            **names(handler),
            "first_page_files": lambda spawner: first_page.first_page_files(handler.current_user, spawner),
            "language": language.handler_language(handler, language_setting),
            "was_removed": bool(handler.get_cookie(authenticator.REMOVED_COOKIE, "")),
        }

    policy = BaseHandler.content_security_policy.fget

    def content_security_policy(handler: Any) -> str:
        theirs = str(policy(handler))
        return theirs if isinstance(handler, APIHandler) else f"{origins.page_policy(handler.request.host)}; {theirs}"

    template_namespace.is_ours = True  # type: ignore[attr-defined]
    BaseHandler.template_namespace = property(template_namespace)
    BaseHandler.content_security_policy = property(content_security_policy)


def news_for_delegates(language: str) -> list[str]:
    """What delegates have to know of the last upgrade and of the database, in their language; empty as a rule."""
    return [
        translated(one.message(), language)
        for one in (upgrade.failed_upgrade(), database.repaired_database())
        if one is not None
    ]


def static_version() -> str:
    """Changes with our style sheet and script, so that browsers fetch them anew after an upgrade."""
    digest = hashlib.sha256()
    for file in sorted(STATIC.glob("*")):
        digest.update(file.read_bytes())
    return digest.hexdigest()[:12]


def display_name(user: Any) -> str:
    """What a person is called: the full name of their account (GECOS), else its name; empty for nobody."""
    if user is None:
        return ""
    try:
        full = pwd.getpwnam(user.name).pw_gecos.partition(",")[0].strip()
    except KeyError:
        full = ""
    return full or str(user.name)


def disk_left(user: Any) -> Optional[int]:
    """How many megabytes are left for a member and for the hub, if that is little; else, and for nobody, None."""
    if user is None:
        return None
    directories = [paths.SERVICE_HOME]
    with contextlib.suppress(KeyError):
        directories.append(Path(pwd.getpwnam(user.name).pw_dir))
    short = [space.megabytes for space in disk_space.disk_spaces(directories) if space.is_short]
    return min(short) if short else None


def server_title(spawner: Any) -> str:
    """What a named server is called on pages."""
    return str(getattr(spawner, "display_name", "") or spawner.name)


def server_cards(user: Any) -> list[ServerCard]:
    """A member's servers, the default one first."""
    everybody = memory.snapshot() if any(spawner.ready for spawner in _spawners(user)) else None
    return [_card(user, spawner, everybody) for spawner in _spawners(user)]


def everybodys_servers(viewer: Any) -> list[MemberCards]:
    """All whom the hub knows, by name, with their servers. For pages that only delegates are shown."""
    known = viewer.settings["users"]
    users = [known[row] for row in viewer.db.query(orm.User).order_by(orm.User.name)]
    everybody = memory.snapshot()
    return [
        MemberCards(user.name, display_name(user), [_card(user, spawner, everybody) for spawner in _spawners(user)])
        for user in users
    ]


def _spawners(user: Any) -> list[Any]:
    return [user.spawner, *user.all_spawners(include_default=False)]


def _card(user: Any, spawner: Any, everybody: Optional[memory.Processes]) -> ServerCard:
    # A server that has not run since the hub started is a row of the database only.
    pid, row = getattr(spawner, "pid", 0), getattr(spawner, "orm_spawner", None)
    made_from = getattr(spawner, "made_from", "")
    states = {"spawn": "starting", "check": "starting", "stop": "stopping"}
    state = states.get(spawner.pending or "", "running" if spawner.ready else "stopped")
    usage = memory.memory_use(pid, everybody) if state == "running" and pid else memory.MemoryUse(None)
    started: Optional[datetime] = row.started if row is not None and spawner.active else None
    hub = user.settings["hub"].base_url
    where = "/".join(filter(None, (user.escaped_name, url_escape_path(spawner.name))))
    return ServerCard(
        name=spawner.name,
        title=server_title(spawner),
        state=state,
        url=user.server_url(spawner.name),
        spawn_url=f"{hub}spawn/{where}",
        pending_url=f"{hub}spawn-pending/{where}",
        since=started.replace(tzinfo=timezone.utc).isoformat(timespec="seconds") if started else "",
        megabytes=None if usage.used is None else round(usage.used / 2**20),
        limit_megabytes=None if usage.limit is None else round(usage.limit / 2**20),
        killed=usage.killed,
        up_to_date=made_from == paths.CURRENT_TEMPLATE.resolve().name if state == "running" and made_from else None,
        stopped_for_memory=state == "stopped" and short_memory.watcher.was_stopped(user, spawner.name),
    )
