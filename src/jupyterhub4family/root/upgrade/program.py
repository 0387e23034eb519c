"""Runs as root: the program `upgrade`, called by the command, by Debian's maintainer scripts and at boot."""

from __future__ import annotations

import dataclasses
import os
import sys
import time
from pathlib import Path
from typing import Any, Callable, Union

from jupyterhub4family.common.errors import FamilyError, RefusedError, UsageError
from jupyterhub4family.common.i18n.messages import _
from jupyterhub4family.common.protocol import service_programs, serving
from jupyterhub4family.common.protocol.actions import Nothing
from jupyterhub4family.common.protocol.service_programs import Available, RolledBack
from jupyterhub4family.common.settings import effective
from jupyterhub4family.common.state import upgrade as upgrade_state
from jupyterhub4family.common.state.upgrade import Upgrade
from jupyterhub4family.root.base import sudo_caller, supervisor
from jupyterhub4family.root.upgrade import apt, apt_sources, transaction

#: Where there is no systemd whose journal keeps it.
LOG = Path("/var/log/jupyterhub4family-upgrade.log")
#: Seconds until the process that sees an upgrade through has to be at work.
TIMEOUT = 30

Answer = Union[Available, RolledBack, Nothing]


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
    return serving.answer(lambda: _act(args))


def _act(args: tuple[str, ...]) -> Answer:
    sudo_caller.require_root()
    if args not in ACTIONS:
        raise UsageError(
            _("{program} takes one of {args}", program="upgrade", args=", ".join(" ".join(one) for one in ACTIONS))
        )
    return ACTIONS[args]()


def check() -> Available:
    """What apt says after it has asked its sources. Raises FamilyError."""
    serving.report(5, _("Looking for a newer version"))
    apt.refresh()
    known = apt.policy()
    newer = known.newest if known.newest != known.installed else ""
    return Available(known.installed, newer, known.has_source)


def upgrade(again: bool = False) -> Available:
    """Install the newest version and wait until it has taken over. Raises FamilyError, also if it was taken back."""
    _refuse_if_in_progress()
    if again:
        apt.allow_all()
    before = upgrade_state.failed_upgrade()
    found = check()
    if found.newer:
        serving.report(20, _("Installing version {version}", version=found.newer))
        apt.install_newest()
    elif before is not None and again:
        # A release that was taken back without a package: the machine may have been at fault.
        transaction.begin()
        supervisor.start_upgrade()
    _follow(before)
    return dataclasses.replace(found, installed=apt.installed_version())


def upgrade_again() -> Available:
    """As `upgrade`, with a version that has failed before, too."""
    return upgrade(again=True)


def rollback() -> RolledBack:
    """Go back to the version before, and wait until it serves. Raises FamilyError."""
    _refuse_if_in_progress()
    before, previous = upgrade_state.failed_upgrade(), upgrade_state.previous_edition()
    if previous is None:
        raise RefusedError(
            _("there is no version to go back to"), _("the next upgrade of the Debian package keeps one")
        )
    fit = transaction.cutover(service_programs.DATABASE_FITS, service_programs.Release(previous.release))
    if not fit.fits and not fit.copy:
        raise RefusedError(
            _("the JupyterHub of version {version} cannot read the database any more", version=previous.version)
        )
    if fit.missing:
        previous = dataclasses.replace(previous, release="")
    left = apt.installed_version()
    copy = "" if fit.fits else transaction.checked_name(fit.copy)
    upgrade_state.write_state(
        upgrade_state.IN_PROGRESS, Upgrade(previous, left, kept=True, backwards=True, by_hand=True, copy=copy)
    )
    supervisor.start_upgrade()
    _follow(before)
    return RolledBack(left, apt.installed_version(), copy)


def apply_settings() -> Nothing:
    """Make apt's files what the settings say. Raises FamilyError."""
    apt_sources.ensure_sources(effective.settings_in_use()[0])
    return Nothing()


def _refuse_if_in_progress() -> None:
    if upgrade_state.upgrade_in_progress() is not None:
        raise RefusedError(_("an upgrade is already in progress"), "jupyterhub4family status")


def _follow(before: Any) -> None:
    """Tell how far it is until it is over. Raises FamilyError if it failed."""
    reported = (0, "")
    while (now := upgrade_state.upgrade_in_progress()) is not None:
        if (now.percent, now.message) != reported and now.message:
            reported = (now.percent, now.message)
            serving.report(*reported)
        time.sleep(0.3)
    failed = upgrade_state.failed_upgrade()
    if failed is not None and failed != before:
        raise FamilyError(failed.message(), "sudo jupyterhub4family logs hub")


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


ACTIONS: dict[tuple[str, ...], Callable[[], Answer]] = {
    ("check",): check,
    ("now",): upgrade,
    ("now", "--again"): upgrade_again,
    ("rollback",): rollback,
    ("settings",): apply_settings,
}
