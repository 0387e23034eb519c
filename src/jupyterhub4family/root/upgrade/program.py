"""Runs as root: the program `upgrade`, called by the command, by Debian's maintainer scripts and at boot."""

from __future__ import annotations

import dataclasses
import os
import sys
import time
from pathlib import Path
from typing import Any, Callable

from jupyterhub4family.common import paths
from jupyterhub4family.common.errors import FamilyError, RefusedError, UsageError
from jupyterhub4family.common.i18n.messages import _
from jupyterhub4family.common.protocol import json_lines
from jupyterhub4family.common.settings import effective
from jupyterhub4family.common.state import upgrade as upgrade_state
from jupyterhub4family.common.state.upgrade import Upgrade
from jupyterhub4family.common.system import accounts, programs
from jupyterhub4family.root.base import sudo_caller, supervisor
from jupyterhub4family.root.upgrade import apt, apt_sources, transaction

#: Where there is no systemd whose journal keeps it.
LOG = Path("/var/log/jupyterhub4family-upgrade.log")
#: Seconds until the process that sees an upgrade through has to be at work.
TIMEOUT = 30


def main() -> int:
    """Program `upgrade WORD…`; `check`, `now`, `rollback` and `settings` answer in lines of JSON."""
    os.umask(0o022)
    args = tuple(sys.argv[1:])
    if args in (("run",), ("run", "--detach")):
        sudo_caller.require_root()
        if len(args) > 1 and not _detached():
            return 0
        transaction.run_to_completion()
        return 0
    if args == ("keep",):
        sudo_caller.require_root()
        transaction.save_previous()
        return 0
    try:
        sudo_caller.require_root()
        if args not in ACTIONS:
            raise UsageError(
                _(
                    "{program} takes one of {words}",
                    program="upgrade",
                    words=", ".join(" ".join(one) for one in ACTIONS),
                )
            )
        json_lines.write_line({"ok": True, **ACTIONS[args]()})
    except FamilyError as error:
        json_lines.write_line(json_lines.error_answer(error))
        return int(error.status)
    return 0


def check() -> dict[str, Any]:
    """What apt says after it has asked its sources. Raises FamilyError."""
    _tell(5, _("Looking for a newer version"))
    apt.refresh()
    known = apt.policy()
    newer = known.newest if known.newest != known.installed else ""
    return {"installed": known.installed, "newer": newer, "source": known.has_source}


def upgrade(again: bool = False) -> dict[str, Any]:
    """Install the newest version and wait until it has taken over. Raises FamilyError, also if it was taken back."""
    _refuse_if_in_progress()
    if again:
        apt.allow_all()
    before = upgrade_state.failed_upgrade()
    found = check()
    if found["newer"]:
        _tell(20, _("Installing version {version}", version=found["newer"]))
        apt.install_newest()
    elif before is not None and again:
        # A release that was taken back without a package: the machine may have been at fault.
        transaction.begin()
        supervisor.start_upgrade()
    _follow(before)
    return {**found, "installed": apt.installed_version()}


def upgrade_again() -> dict[str, Any]:
    """As `upgrade`, with a version that has failed before, too."""
    return upgrade(again=True)


def rollback() -> dict[str, Any]:
    """Go back to the version before, and wait until it serves. Raises FamilyError."""
    _refuse_if_in_progress()
    before, previous = upgrade_state.failed_upgrade(), upgrade_state.previous_edition()
    if previous is None:
        raise RefusedError(
            _("there is no version to go back to"), _("one is kept from the next upgrade of the Debian package on")
        )
    fit = _fit(previous.release)
    if not fit.get("fits") and not fit.get("copy"):
        raise RefusedError(
            _("the JupyterHub of version {version} cannot read the database any more", version=previous.version)
        )
    if fit.get("missing"):
        previous = dataclasses.replace(previous, release="")
    left = apt.installed_version()
    copy = "" if fit.get("fits") else transaction.checked_name(fit.get("copy"))
    upgrade_state.write_state(
        upgrade_state.IN_PROGRESS, Upgrade(previous, left, kept=True, backwards=True, by_hand=True, copy=copy)
    )
    supervisor.start_upgrade()
    _follow(before)
    return {"left": left, "installed": apt.installed_version(), "database": copy}


def _fit(release: str) -> dict[str, Any]:
    args = [*programs.as_account(accounts.SERVICE_ACCOUNT), str(paths.LIBRARY / "change-over")]
    return json_lines.unwrap(programs.call_json(args, {"action": "fit", "release": release}))


def apply_settings() -> dict[str, Any]:
    """Make apt's files what the settings say. Raises FamilyError."""
    apt_sources.ensure_sources(effective.settings_in_use()[0])
    return {}


def _refuse_if_in_progress() -> None:
    if upgrade_state.upgrade_in_progress() is not None:
        raise RefusedError(_("an upgrade is under way already"), "jupyterhub4family status")


def _follow(before: Any) -> None:
    """Tell how far it is until it is over. Raises FamilyError if it failed."""
    told = (0, "")
    while (now := upgrade_state.upgrade_in_progress()) is not None:
        if (now.percent, now.message) != told and now.message:
            told = (now.percent, now.message)
            _tell(*told)
        time.sleep(0.3)
    failed = upgrade_state.failed_upgrade()
    if failed is not None and failed != before:
        raise FamilyError(failed.sentence(), "sudo jupyterhub4family logs hub")


def _tell(percent: int, message: str) -> None:
    json_lines.write_line({"percent": percent, "message": message})


def _detached() -> bool:
    """Go on in a process of its own that no terminal and no dpkg waits for; False in the one that was called."""
    if os.fork():
        return False
    os.setsid()
    log = os.open(LOG, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o644)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.dup2(log, 1)
    os.dup2(log, 2)
    return True


ACTIONS: dict[tuple[str, ...], Callable[[], dict[str, Any]]] = {
    ("check",): check,
    ("now",): upgrade,
    ("now", "--again"): upgrade_again,
    ("rollback",): rollback,
    ("settings",): apply_settings,
}
