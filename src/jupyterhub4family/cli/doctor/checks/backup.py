"""Runs as the caller: whether there is a backup, how old the last good one is, and that the next one will be made."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

from jupyterhub4family.cli.doctor.finding import CheckContext, Finding, fine, problem, warning
from jupyterhub4family.common.i18n.messages import _
from jupyterhub4family.common.state import backup, supervision
from jupyterhub4family.common.state.backup import BackupState
from jupyterhub4family.common.system import programs


def check_backup(context: CheckContext) -> Iterator[Finding]:
    """There is a backup, a good one is not old, and the next one will be made by itself."""
    note = backup.read_state()
    if note.restoring:
        yield problem(_("A restore of everything has begun and not finished"), "sudo jupyterhub4family backup restore")
    if not note.target:
        yield warning(
            _("No backup is set up: if the disk fails, everybody's notebooks are lost"),
            "sudo jupyterhub4family backup setup TARGET",
        )
        return
    well = True
    for finding in (*_readiness(context), *_last_one(note), *_left_out(note)):
        well = False
        yield finding
    if well:
        yield fine(_("The last good backup is {age} old", age=backup.age_text(note)))


def _readiness(context: CheckContext) -> Iterator[Finding]:
    if shutil.which("restic", path=programs.SAFE_PATH) is None:
        yield problem(_("restic, which makes the backups, is not installed"), _("sudo apt-get install restic"))
    if context.supervisor == supervision.SYSTEMD:
        state = programs.run(["systemctl", "is-active", supervision.BACKUP_TIMER], check=False).output.strip()
        if state != "active":
            yield warning(
                _(
                    "Nobody makes a backup at night: {unit} is not running (it is {state})",
                    unit=supervision.BACKUP_TIMER,
                    state=state,
                ),
                _("sudo systemctl enable --now {unit}", unit=supervision.BACKUP_TIMER),
            )


def _last_one(note: BackupState) -> Iterator[Finding]:
    if note.waiting:
        yield warning(
            _(
                "The backup in {target} was connected, but nothing has been restored from it or saved to it",
                target=note.target,
            ),
            _("sudo jupyterhub4family backup restore, or, to go on from here: sudo jupyterhub4family backup now"),
        )
    elif not note.last_good:
        yield warning(_("No backup has been made yet") + _problem_in_brackets(note), backup.BACKUP_NOW)
    elif note.age() >= backup.OLD:
        yield warning(
            _("The last good backup is {age} old", age=backup.age_text(note)) + _problem_in_brackets(note),
            backup.BACKUP_NOW,
        )
    elif note.problem:
        yield warning(
            _(
                "The last backup failed: {reason}. The one before is {age} old",
                reason=note.problem_text(),
                age=backup.age_text(note),
            ),
            backup.BACKUP_NOW,
        )


def _left_out(note: BackupState) -> Iterator[Finding]:
    if note.left_out:
        yield warning(_("The last backup is incomplete: {reason}", reason=note.incomplete()), backup.BACKUP_NOW)


def _problem_in_brackets(note: BackupState) -> str:
    return f" ({note.problem_text()})" if note.problem else ""
