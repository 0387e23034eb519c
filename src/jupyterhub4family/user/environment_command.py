"""Runs as the member (root comes here through runuser): shows and repairs the member's own environment.

Speaks JSON lines like the mediator: progress first, the answer last. Notebooks and everything else in the home
are never touched; a renewed environment leaves the old one beside it.
"""

from __future__ import annotations

import argparse
import os
import pwd
from typing import Callable, Union

from jupyterhub4family.common.errors import PermissionRefused
from jupyterhub4family.common.i18n.messages import _
from jupyterhub4family.common.protocol import serving
from jupyterhub4family.common.protocol.service_programs import EnvironmentChange, EnvironmentStatus
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
    return serving.answer(lambda: _ACTIONS[action](_member()))


def _member() -> pwd.struct_passwd:
    """Whose environment it is. Raises PermissionRefused for who is no member."""
    member = pwd.getpwuid(os.getuid())
    if not accounts.is_member(member):
        raise PermissionRefused(_("{name} is not a member and has no environment", name=member.pw_name))
    return member


def _examine(member: pwd.struct_passwd) -> EnvironmentStatus:
    """As `status`, but imports all that a server needs: a file may be missing where everything looks complete."""
    return _status(member, thorough=True)


def _status(member: pwd.struct_passwd, thorough: bool = False) -> EnvironmentStatus:
    place = environment.home_environment(member)
    condition = environment.examine(place, thorough)
    installed = installed_packages.installed(place)
    return EnvironmentStatus(
        place=str(place),
        exists=condition.exists,
        missing=condition.missing,
        changed=condition.changed,
        outdated=condition.outdated,
        made_by=environment.how_made(place),
        versions={name: installed[name] for name in MAIN_PACKAGES if name in installed},
        extras=environment.extra_packages(place) if condition.exists else {},
    )


def _upgrade(member: pwd.struct_passwd) -> EnvironmentChange:
    with environment.changing(member):
        place = environment.home_environment(member)
        condition = environment.examine(place)
        if condition.exists and not condition.outdated and not condition.missing:
            return EnvironmentChange("nothing")
        return EnvironmentChange("upgraded", environment.rebuild(place, serving.report))


def _repair(member: pwd.struct_passwd) -> EnvironmentChange:
    with environment.changing(member):
        place = environment.home_environment(member)
        condition = environment.examine(place, thorough=True)
        if condition.exists and not condition.missing:
            return EnvironmentChange("nothing")
        return EnvironmentChange("mended", environment.rebuild(place, serving.report))


def _reset(member: pwd.struct_passwd) -> EnvironmentChange:
    with environment.changing(member):
        place = environment.home_environment(member)
        return EnvironmentChange("reset", environment.rebuild(place, serving.report, with_extras=False))


_ACTIONS: dict[str, Callable[[pwd.struct_passwd], Union[EnvironmentStatus, EnvironmentChange]]] = {
    "status": _status,
    "examine": _examine,
    "upgrade": _upgrade,
    "repair": _repair,
    "reset": _reset,
}
