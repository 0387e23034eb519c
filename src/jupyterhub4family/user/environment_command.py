"""Runs as the member (root comes here through runuser): shows and renews the member's own environment.

Speaks JSON lines like the mediator: progress first, the answer last. Notebooks and everything else in the home
are never touched; a renewed environment leaves the old one beside it.
"""

from __future__ import annotations

import argparse
import os
import pwd
from typing import Any, Callable

from jupyterhub4family.common.errors import FamilyError, PermissionRefused
from jupyterhub4family.common.i18n.messages import _
from jupyterhub4family.common.protocol import json_lines
from jupyterhub4family.common.system import accounts
from jupyterhub4family.user import environment, installed_packages

#: Packages whose versions people ask for first.
MAIN_PACKAGES = ("jupyterhub", "jupyterlab", "notebook", "ipykernel", "pip")


def main() -> int:
    """Program `own-environment status|examine|upgrade|repair|reset`."""
    parser = argparse.ArgumentParser(prog="own-environment", description="Look after one's own environment.")
    parser.add_argument("action", choices=sorted(_ACTIONS))
    action = parser.parse_args().action
    os.umask(0o022)
    try:
        member = pwd.getpwuid(os.getuid())
        if not accounts.is_member(member):
            raise PermissionRefused(_("{name} is not a member and has no environment", name=member.pw_name))
        answer = _ACTIONS[action](member)
    except FamilyError as error:
        json_lines.write_line(json_lines.error_answer(error))
        return int(error.status)
    json_lines.write_line({"ok": True, **answer})
    return 0


def _tell(percent: int, message: str) -> None:
    json_lines.write_line({"percent": percent, "message": message})


def _examine(member: pwd.struct_passwd) -> dict[str, Any]:
    """As `status`, but imports all that a server needs: a file may be missing where everything looks complete."""
    return _status(member, thorough=True)


def _status(member: pwd.struct_passwd, thorough: bool = False) -> dict[str, Any]:
    place = environment.home_environment(member)
    condition = environment.examine(place, thorough)
    installed = installed_packages.installed(place)
    return {
        "place": str(place),
        "exists": condition.exists,
        "missing": condition.missing,
        "changed": condition.changed,
        "outdated": condition.outdated,
        "made_by": environment.how_made(place),
        "versions": {name: installed[name] for name in MAIN_PACKAGES if name in installed},
        "extras": environment.extra_packages(place) if condition.exists else {},
    }


def _upgrade(member: pwd.struct_passwd) -> dict[str, Any]:
    with environment.changing(member):
        place = environment.home_environment(member)
        condition = environment.examine(place)
        if condition.exists and not condition.outdated and not condition.missing:
            return {"done": "nothing", "lost": []}
        return {"done": "upgraded", "lost": environment.rebuild(place, _tell)}


def _repair(member: pwd.struct_passwd) -> dict[str, Any]:
    with environment.changing(member):
        place = environment.home_environment(member)
        condition = environment.examine(place, thorough=True)
        if condition.exists and not condition.missing:
            return {"done": "nothing", "lost": []}
        return {"done": "mended", "lost": environment.rebuild(place, _tell)}


def _reset(member: pwd.struct_passwd) -> dict[str, Any]:
    with environment.changing(member):
        place = environment.home_environment(member)
        return {"done": "reset", "lost": environment.rebuild(place, _tell, with_extras=False)}


_ACTIONS: dict[str, Callable[[pwd.struct_passwd], dict[str, Any]]] = {
    "status": _status,
    "examine": _examine,
    "upgrade": _upgrade,
    "repair": _repair,
    "reset": _reset,
}
