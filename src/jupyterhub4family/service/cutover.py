"""Runs as jupyterhub, called by root's `upgrade`: what an upgrade and the way back do in the service's own folders.

Root decides and starts; it writes nothing here itself, because these folders belong to the account.
"""

from __future__ import annotations

import os
import sys
from typing import Any, Callable

from jupyterhub4family.common import paths
from jupyterhub4family.common.errors import ExitStatus, FamilyError, UsageError
from jupyterhub4family.common.i18n.messages import _
from jupyterhub4family.common.protocol import json_lines
from jupyterhub4family.service.hub_state import database
from jupyterhub4family.service.releases import builds, contents
from jupyterhub4family.service.run import proxy


def main() -> int:
    """Answer one request; progress comes as lines of JSON before the answer."""
    os.umask(0o077)
    try:
        untrusted = json_lines.read_request(sys.stdin.buffer)
        json_lines.only_keys(untrusted, {"action": str, "release": str, "copy": str, "keep_old": bool}, ("action",))
        if untrusted["action"] not in ACTIONS:
            raise UsageError(_("the action must be one of {actions}", actions=", ".join(ACTIONS)))
        json_lines.write_line({"ok": True, **ACTIONS[untrusted["action"]](untrusted)})
    except FamilyError as error:
        json_lines.write_line(json_lines.error_answer(error))
        return int(error.status)
    except OSError as error:
        full = ExitStatus.DISK_FULL if error.errno == 28 else ExitStatus.FAILURE
        json_lines.write_line(
            json_lines.error_answer(FamilyError(_("the service: {reason}", reason=error.strerror), status=full))
        )
        return int(full)
    return 0


def _ready(_untrusted: dict[str, Any]) -> dict[str, Any]:
    """Whether the release that the package asks for is there already."""
    tree = contents.release_tree(_tell)
    return {"ready": builds.is_complete(tree.parent / tree.wanted_id())}


def _build(_untrusted: dict[str, Any]) -> dict[str, Any]:
    """Make sure that the release which the package asks for is there, beside the one in use."""
    return {"release": builds.build(contents.release_tree(_tell))}


def _copy(_untrusted: dict[str, Any]) -> dict[str, Any]:
    return {"copy": database.copy_database()}


def _fit(untrusted: dict[str, Any]) -> dict[str, Any]:
    """Whether the release knows the database's form; if not, the newest copy whose form it knows.

    Of one that is not there any more nobody can tell: the hub then goes on with another one, or builds it anew.
    """
    release = paths.RELEASES / _release(untrusted)
    if not builds.is_complete(release):
        return {"fits": True, "copy": "", "missing": True}
    return (
        {"fits": True, "copy": ""}
        if database.fits(release)
        else {"fits": False, "copy": database.newest_fitting_copy(release)}
    )


def _switch(untrusted: dict[str, Any]) -> dict[str, Any]:
    """Use this release from the next start of hub and proxy on."""
    changed = builds.switch(contents.release_tree(_tell), _release(untrusted), keep_old=untrusted.get("keep_old", True))
    if changed:
        proxy.end_proxy()
    return {"changed": changed}


def _restore(untrusted: dict[str, Any]) -> dict[str, Any]:
    """Have the next start of the hub put a copy in the database's place."""
    database.choose_copy(str(untrusted.get("copy", "")))
    return {}


def _release(untrusted: dict[str, Any]) -> str:
    name = str(untrusted.get("release", ""))
    if not name or not builds.is_id(name):
        raise UsageError(_("key {key} is missing in the request", key=repr("release")))
    return name


def _tell(percent: int, message: str) -> None:
    json_lines.write_line({"percent": percent, "message": message})


ACTIONS: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "ready": _ready,
    "build": _build,
    "copy": _copy,
    "fit": _fit,
    "switch": _switch,
    "restore": _restore,
}
