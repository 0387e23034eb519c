"""Runs as the caller: what is running now, asked of the portal as a browser would, so that it is what people see."""

from __future__ import annotations

import http.client
import json
import socket
import ssl
import threading
import time
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Optional

from jupyterhub4family import __version__
from jupyterhub4family.cli.base import accounts as membership
from jupyterhub4family.cli.base import servers
from jupyterhub4family.cli.base.servers import Server
from jupyterhub4family.common import paths
from jupyterhub4family.common import portal as common_portal
from jupyterhub4family.common.i18n import safe_text
from jupyterhub4family.common.i18n.messages import _, process_language
from jupyterhub4family.common.settings import effective
from jupyterhub4family.common.settings.model import Settings
from jupyterhub4family.common.state import allowed_administrators, backup, certificates, database, supervision, upgrade
from jupyterhub4family.common.system import disk_space, files, sockets

#: Seconds to wait for each answer, all of it; bytes that are read of it.
TIMEOUT, LONGEST_ANSWER = 5, 65536
#: Characters of what the setup tells.
LONGEST_TEXT = 500
#: Seconds after which somebody who serves a port has taken up a connection, however busy.
TAKEN_UP = 2
HOMES = Path("/home")


@dataclass(frozen=True)
class Status:
    """What is running, and where it is to be found."""

    version: str
    supervisor: str
    #: `running`, `setting up`, `starting`, `not running`, or `taken` (another program has the port).
    portal: str
    hub_running: bool
    #: The best one first; the last one works on this computer only.
    addresses: list[str] = field(default_factory=list)
    release: str = ""
    template: str = ""
    setup: dict[str, Any] = field(default_factory=dict)
    #: Where a new device learns to trust the family's certificates; empty without HTTPS, or for this computer only.
    trust: str = ""
    #: SHA-256 of the family's certificate authority, to be compared with what a device shows.
    fingerprint: str = ""
    members: int = 0
    servers: list[Server] = field(default_factory=list)
    #: Megabytes left where the service and the members save; empty unless they run out.
    disk: dict[str, int] = field(default_factory=dict)
    #: Of a backup that is set up: where it goes and when the last good one was (seconds since 1970); else empty.
    backup: dict[str, Any] = field(default_factory=dict)
    #: What is wrong with the settings file and the experts' files, if anything is.
    troubles: list[str] = field(default_factory=list)
    #: How far an upgrade is, as a sentence; empty if none is under way.
    upgrade: str = ""
    #: The last upgrade, if it failed, as a sentence.
    failed_upgrade: str = ""
    #: What was done about a damaged database lately, as a sentence.
    mended_database: str = ""
    #: Members who can become root and whom root has let in nevertheless.
    allowed_administrators: list[str] = field(default_factory=list)
    #: What to do next, as a sentence; empty if nothing is to be done.
    next: str = ""


def take_snapshot(settings: Settings) -> Status:
    """Ask hub and portal."""
    hub_code = _code(settings.hub_port, f"http://127.0.0.1:{settings.hub_port}/hub/health")
    portal_url = f"{'https' if settings.https else 'http'}://127.0.0.1:{settings.port}"
    portal_code = _code(settings.port, f"{portal_url}/hub/health")
    setup: dict[str, Any] = {}
    if portal_code == 200 and hub_code == 200:
        portal = "running"
    elif portal_code is None:
        portal = "not running"
    else:
        progress = _object(f"{portal_url}/setup-progress.json")
        if portal_code == 503 and progress is not None:
            portal, setup = "setting up", _setup_progress(progress)
        else:
            portal = "starting" if portal_code in (200, 503) else "taken"
    count = len(membership.members())
    authority = certificates.read_authority() if settings.https else None
    return Status(
        version=__version__,
        supervisor=supervision.chosen_supervisor(settings),
        portal=portal,
        hub_running=hub_code == 200,
        addresses=common_portal.portal_urls(settings),
        release=files.link_name(paths.CURRENT_RELEASE),
        template=files.link_name(paths.CURRENT_TEMPLATE),
        setup=setup,
        trust=common_portal.trust_url(settings),
        fingerprint=certificates.fingerprint(authority) if authority else "",
        members=count,
        servers=servers.running_servers(),
        disk={
            str(space.path): space.megabytes
            for space in disk_space.disk_spaces((paths.SERVICE_HOME, HOMES))
            if space.is_short
        },
        backup=_backup(),
        troubles=[str(one.message) for one in effective.configuration_problems()],
        upgrade=_upgrade(),
        failed_upgrade=str(failed.message()) if (failed := upgrade.failed_upgrade()) else "",
        mended_database=str(repaired.message()) if (repaired := database.repaired_database()) else "",
        allowed_administrators=[
            account.pw_name for account in membership.members() if allowed_administrators.is_allowed(account)
        ],
        next=_next(portal, count),
    )


def _upgrade() -> str:
    now = upgrade.upgrade_in_progress()
    if now is None:
        return ""
    if now.backwards:
        return str(_("Going back to version {version}: {message}", version=now.origin.version, message=now.message))
    return str(_("Upgrading to version {version}: {message}", version=now.target, message=now.message))


def _backup() -> dict[str, Any]:
    state = backup.read_state()
    if not state.target:
        return {}
    return {"target": state.target, "last_good": state.last_good, "problem": state.problem_text()}


def _next(portal: str, count: int) -> str:
    if portal == "not running":
        return _("sudo jupyterhub4family start")
    if portal == "taken":
        return _("sudo ss -ltnp   shows which program it is")
    if count == 0:
        return _("let somebody log in: sudo jupyterhub4family members add NAME")
    return ""


def _setup_progress(untrusted: dict[str, Any]) -> dict[str, Any]:
    """What the page of the setup tells, as far as it is what it should be."""
    percent, failed = untrusted.get("percent"), untrusted.get("failed")
    found: dict[str, Any] = {
        key: safe_text.one_line(untrusted[key], LONGEST_TEXT)
        for key in ("message", "hint")
        if isinstance(untrusted.get(key), str)
    }
    if type(percent) is int:
        found["percent"] = max(0, min(100, percent))
    return {**found, "failed": True} if failed is True else found


def _object(url: str) -> Optional[dict[str, Any]]:
    """The JSON object at an address; None if there is none."""
    code, body = _get(url)
    try:
        found = json.loads(body) if code == 200 else None
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _code(port: int, url: str) -> Optional[int]:
    """Status code of an address, as `_get`; None without asking if its port is only held open, and nobody serves it."""
    connection = socket.socket()
    connection.settimeout(TIMEOUT)
    try:
        with connection:
            connection.connect(("127.0.0.1", port))
            until = time.monotonic() + TAKEN_UP
            while not sockets.is_taken_up(connection):
                if time.monotonic() > until:
                    return None
                time.sleep(0.01)
    except OSError:
        return None
    return _get(url)[0]


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """Whoever answers on our ports leads nobody elsewhere."""

    def redirect_request(self, *_arguments: Any) -> None:
        """Nowhere: the code itself is the answer."""


def _get(url: str) -> tuple[Optional[int], str]:
    """Status code and text of an address; None if nobody answers in time, 0 if what answers is no web server."""
    found: list[tuple[Optional[int], str]] = []
    # A limit of each read does not limit their sum: whoever has the port could send a byte every few seconds.
    asking = threading.Thread(target=lambda: found.append(_ask(url)), daemon=True)
    asking.start()
    asking.join(TIMEOUT)
    return found[0] if found else (None, "")


def _ask(url: str) -> tuple[Optional[int], str]:
    # Whether the certificate is good is another question (`doctor`), and nothing secret is sent here. So the machine's
    # authorities are not read, which would take most of the time.
    anybody = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    anybody.check_hostname, anybody.verify_mode = False, ssl.CERT_NONE
    secure = urllib.request.HTTPSHandler(context=anybody)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), secure, _NoRedirects)
    # The progress of the setup is told in the language of whoever asks.
    request = urllib.request.Request(url, headers={"Accept-Language": process_language()})  # noqa: S310 (127.0.0.1)
    try:
        with opener.open(request, timeout=TIMEOUT) as answer:
            return answer.status, answer.read(LONGEST_ANSWER).decode("utf-8", "replace")
    except urllib.error.HTTPError as error:
        return error.code, ""
    except urllib.error.URLError as error:
        # Something that does not speak TLS; who only hangs up is about to end or to start.
        no_tls = isinstance(error.reason, ssl.SSLError) and not isinstance(error.reason, ssl.SSLEOFError)
        return (0 if no_tls else None), ""
    except (OSError, ValueError):
        return None, ""
    except http.client.HTTPException:
        return 0, ""
