"""Runs as the caller: whether there is a backup, how old the last good one is, and that the next one will be made."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

from jupyterhub4family.cli.doctor.base.finding import Check, CheckContext, Finding, fine, problem, warning
from jupyterhub4family.common.i18n.messages import N_, _
from jupyterhub4family.common.state import backup, supervision
from jupyterhub4family.common.state.backup import BackupState
from jupyterhub4family.common.system import programs


def check_backup(context: CheckContext) -> Iterator[Finding]:
    """There is a backup, a good one is not old, and the next one will be made by itself."""
    current = backup.read_state()
    if current.restoring:
        yield problem(_("A restore of everything has begun and not finished"), "sudo jupyterhub4family backup restore")
    if not current.target:
        yield warning(
            _("No backup is set up: if the disk fails, everybody's notebooks are lost"),
            "sudo jupyterhub4family backup setup TARGET",
        )
        return
    well = True
    for finding in (*_readiness(context), *_last_one(current), *_left_out(current)):
        well = False
        yield finding
    if well:
        yield fine(_("The last good backup is {age} old", age=backup.age_text(current)))


def _readiness(context: CheckContext) -> Iterator[Finding]:
    if shutil.which("restic", path=programs.SAFE_PATH) is None:
        yield problem(_("restic, which makes the backups, is not installed"), _("sudo apt-get install restic"))
    if context.supervisor == supervision.SYSTEMD:
        state = programs.run(["systemctl", "is-active", supervision.BACKUP_TIMER], check=False).stdout.strip()
        if state != "active":
            yield warning(
                _(
                    "Nobody makes a backup at night: {unit} is not running (it is {state})",
                    unit=supervision.BACKUP_TIMER,
                    state=state,
                ),
                _("sudo systemctl enable --now {unit}", unit=supervision.BACKUP_TIMER),
            )


def _last_one(current: BackupState) -> Iterator[Finding]:
    if current.waiting:
        yield warning(
            _(
                "The backup in {target} was connected, but nothing has been restored from it or saved to it",
                target=current.target,
            ),
            _("sudo jupyterhub4family backup restore, or, to continue from here: sudo jupyterhub4family backup now"),
        )
    elif not current.last_good:
        yield warning(_("No backup has been made yet") + _problem_in_brackets(current), backup.BACKUP_NOW)
    elif current.age() >= backup.OLD:
        yield warning(
            _("The last good backup is {age} old", age=backup.age_text(current)) + _problem_in_brackets(current),
            backup.BACKUP_NOW,
        )
    elif current.problem:
        yield warning(
            _(
                "The last backup failed: {reason}. The one before is {age} old",
                reason=current.problem_text(),
                age=backup.age_text(current),
            ),
            backup.BACKUP_NOW,
        )


def _left_out(current: BackupState) -> Iterator[Finding]:
    if current.left_out:
        yield warning(_("The last backup is incomplete: {reason}", reason=current.incomplete()), backup.BACKUP_NOW)


def _problem_in_brackets(current: BackupState) -> str:
    return f" ({current.problem_text()})" if current.problem else ""


#: By the names that the JSON has, which are never changed.
CHECKS = {
    "backup": Check(N_("backups"), check_backup),
}
