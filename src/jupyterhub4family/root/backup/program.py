"""Runs as root, called by the command `backup` and every hour by systemd or cron: makes backups and brings them back.

One at a time, guarded by a lock. What can go wrong has a sentence, which is also kept in the note that `status` and
`doctor` read.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, Optional

from jupyterhub4family.common import paths
from jupyterhub4family.common.errors import FamilyError, RefusedError, UsageError
from jupyterhub4family.common.i18n.messages import Message, _, to_json
from jupyterhub4family.common.protocol import service_programs, serving
from jupyterhub4family.common.protocol.actions import Nothing
from jupyterhub4family.common.protocol.responses import ProgressCallback
from jupyterhub4family.common.protocol.service_programs import (
    BackedUp,
    BackupEntry,
    BackupList,
    BackupOff,
    BackupSetUp,
    BackupsVerified,
    Restore,
    RestoreReport,
    SetUpBackup,
)
from jupyterhub4family.common.state import backup, supervision
from jupyterhub4family.common.state.backup import BackupState
from jupyterhub4family.common.system import files, programs
from jupyterhub4family.root.backup import hollow as backup_hollow
from jupyterhub4family.root.backup import restic, restore
from jupyterhub4family.root.backup import target as backup_target
from jupyterhub4family.root.backup import tree as backup_tree
from jupyterhub4family.root.backup.restic import Repository
from jupyterhub4family.root.backup.target import Target
from jupyterhub4family.root.base import run_dir, sudo_caller

#: Seconds between two times of removing what is no longer needed.
PRUNE_EVERY = 7 * backup.DAY
#: How people and machines ask a program to end.
ENDS = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)
#: More paths than anybody types.
MAXIMUM_PATHS = 100


def main() -> int:
    """Program `backup setup|now|list|verify|restore|off|nightly`: a request on stdin, lines of JSON on stdout.

    `nightly` reads nothing, and does nothing unless it is time.
    """
    parser = argparse.ArgumentParser(prog="backup", description="Backups of the hub and its members.")
    parser.add_argument("action", choices=[*HANDLERS, "nightly"])
    action = parser.parse_args().action
    os.umask(0o022)
    if action == "nightly":
        return nightly()
    with ExitStack() as stack:

        def admit() -> None:
            sudo_caller.require_root()
            stack.enter_context(_exclusive())

        return serving.serve(admit, [HANDLERS[action]])


def nightly() -> int:
    """The backup of the night, if it is time. Raises FamilyError, for the log."""
    sudo_caller.require_root()
    if not backup.is_due(backup.read_state(), time.time(), time.localtime().tm_hour):
        return 0
    with _exclusive():
        for note in make_backup(_silently).notes:
            print(note, flush=True)
    return 0


@contextmanager
def _exclusive() -> Iterator[None]:
    """Hold the lock of all backups; an end from outside (Ctrl-c, a shutdown) becomes an error: so all is tidied."""
    run_dir.ensure_run_dir()
    lock = files.take_lock(run_dir.RUN_DIR / "backup.lock", wait=False)
    if lock is None:
        raise RefusedError(_("another backup or restore is under way"), _("try again when it has finished"))
    for number in ENDS:
        signal.signal(number, _interrupted)
    try:
        yield
    finally:
        os.close(lock)


def _interrupted(_number: int, _frame: Optional[FrameType]) -> None:
    raise FamilyError(_("interrupted"))


def _not_now(_number: int, _frame: Optional[FrameType]) -> None:
    """Nothing: what is half done is worse than what takes a moment longer."""


def _silently(_percent: int, _message: str) -> None:
    pass


def change_state(**changes: Any) -> BackupState:
    """Change what everybody may know about backups."""
    state = dataclasses.replace(backup.read_state(), **changes)
    paths.BACKUP.mkdir(mode=0o755, exist_ok=True)
    files.write_atomically(paths.BACKUP_STATE, json.dumps(dataclasses.asdict(state)) + "\n", 0o644)
    return state


def _repository() -> Repository:
    """Where backups go. Raises FamilyError if they go nowhere, or cannot go there now."""
    target = backup_target.configured_target()
    if target is None:
        raise FamilyError(_("no backup is set up"), "sudo jupyterhub4family backup setup TARGET")
    restic.ensure_restic()
    backup_target.ready_directory(target)
    return Repository(target)


# -- setup -------------------------------------------------------------------------------------------


def set_up(_caller: None, request: SetUpBackup) -> BackupSetUp:
    """Begin a backup in a target, or go on with the one that is there, if the key fits.

    The answer has `key` if a new one was made, or `needs_key` if one is needed that was not given.
    """
    target = backup_target.parse_target(request.target)
    restic.ensure_restic()
    backup_target.make_directory(target)
    given = backup_target.check_key(request.key) if request.key else ""
    key, made = _open(target, given)
    if not key:
        return BackupSetUp(target.shown, needs_key=True)
    backup_target.write_target(target, key)
    count = 0 if made else len(Repository(target).snapshots())
    change_state(
        target=target.shown, last_good=0, last_try=0, pruned=0, problem="", left_out="", waiting=count > 0, restoring=0
    )
    if supervision.SYSTEMD_RUNS.is_dir():
        programs.run(["systemctl", "enable", "--quiet", "--now", supervision.BACKUP_TIMER])
    same_disk = backup_target.on_the_same_disk(target, (Path("/home"), paths.SERVICE_HOME))
    return BackupSetUp(target.shown, key=key if made else "", backups=count, same_disk=same_disk)


def _open(target: Target, given: str) -> tuple[str, bool]:
    """The key of the backup in `target`, and whether both were made now; no key if there is a backup for which we
    have none. Raises FamilyError, also for a given key that does not fit."""
    url, file = run_dir.RUN_DIR / "backup.target", run_dir.RUN_DIR / "backup.key"
    repository = Repository(target, url, file)
    new = backup_target.new_key()
    try:
        files.write_atomically(url, target.url + "\n", 0o600)
        for key in [given] if given else [*_known_key(), new]:
            files.write_atomically(file, key + "\n", 0o600)
            try:
                if repository.exists():
                    return key, False
            except RefusedError:
                if given:
                    raise
                continue
            if given:
                raise FamilyError(
                    _("there is no backup in {target}", target=target.shown),
                    _("to begin a new one, leave the recovery key out"),
                )
            # Each backup has a key of its own.
            files.write_atomically(file, new + "\n", 0o600)
            repository.make()
            return new, True
        return "", False
    finally:
        url.unlink(missing_ok=True)
        file.unlink(missing_ok=True)


def _known_key() -> list[str]:
    """The key in use, if there is one: whoever calls `setup` a second time need not type it."""
    try:
        return [paths.BACKUP_KEY.read_text("ascii").strip()]
    except OSError:
        return []


def switch_off(_caller: None, _request: Nothing) -> BackupOff:
    """Make no backups any more; those that there are stay where they are."""
    if backup_target.configured_target() is None:
        return BackupOff("nothing")
    if supervision.SYSTEMD_RUNS.is_dir():
        programs.run(["systemctl", "disable", "--quiet", "--now", supervision.BACKUP_TIMER])
    backup_target.remove_target()
    paths.BACKUP_STATE.unlink(missing_ok=True)
    return BackupOff("off")


# -- backups -----------------------------------------------------------------------------------------


def now(_caller: None, _request: Nothing) -> BackedUp:
    """Make a backup, and report how far it is."""
    return make_backup(serving.report)


def make_backup(on_progress: ProgressCallback) -> BackedUp:
    """Make a backup. The state file says how it went. Raises FamilyError."""
    begun = int(time.time())
    try:
        repository = _repository()
        notes = backup_tree.build_tree(on_progress)
        on_progress(10, _("Saving what has changed"))
        homes = backup_tree.TREE / "homes"
        hollow = backup_hollow.too_large(homes)
        notes += [
            _("left out, for it is larger than the disk: {file}", file=restic.printable(one)) for one in hollow[:20]
        ]
        left_out = [*backup_tree.patterns_left_out(), *map(restic.escape_glob, hollow)]
        unread = repository.save(backup_tree.TREE, left_out)
        state = change_state(last_good=begun, last_try=begun, problem="", waiting=False, left_out=_first(notes))
        on_progress(90, _("Forgetting old backups"))
        prune = abs(begun - state.pruned) >= PRUNE_EVERY
        repository.expire(prune)
        if prune:
            change_state(pruned=begun)
    except FamilyError as error:
        if backup_target.configured_target() is not None:
            change_state(last_try=begun, problem=to_json(error.message))
        raise
    notes += [_("could not be read: {detail}", detail=line[:300]) for line in unread[:20]]
    return BackedUp(repository.target.shown, list(notes))


def _first(notes: list[Message]) -> Any:
    """The first of these sentences for the note; nothing if there is none."""
    return to_json(notes[0]) if notes else ""


def list_backups(_caller: None, _request: Nothing) -> BackupList:
    """All backups in the target, the oldest first."""
    repository = _repository()
    backups = [BackupEntry(one.id[:8], one.time, one.host) for one in repository.snapshots()]
    return BackupList(repository.target.shown, backups)


def verify(_caller: None, _request: Nothing) -> BackupsVerified:
    """Read everything in the target and compare its checksums. Raises FamilyError if something is damaged."""
    repository = _repository()
    serving.report(5, _("Reading and checking every backup"))
    repository.verify()
    return BackupsVerified(repository.target.shown, len(repository.snapshots()))


# -- bringing back -----------------------------------------------------------------------------------


def restore_request(_caller: None, request: Restore) -> RestoreReport:
    """Restore everything, a member's home, or paths in it; in place, or as a new directory."""
    if len(request.paths) > MAXIMUM_PATHS:
        raise UsageError(_("paths must be a list of at most {count} texts", count=MAXIMUM_PATHS))
    to = restore.check_to(Path(request.to)) if request.to else None
    repository = _repository()
    serving.report(2, _("Looking into the backup"))
    contents = restore.read_manifest(repository, request.id)
    name = request.member or (restore.owner_of(contents, request.paths) if request.paths else "")
    report = RestoreReport(contents.snapshot.id[:8], contents.snapshot.time, contents.snapshot.host)
    if not name:
        if request.dry_run:
            return _what_everything_is(report, repository, contents)
        return _everything(report, repository, contents, to)
    record = contents.record(name)
    paths = [restore.below_home(record, path) for path in request.paths]
    if request.dry_run:
        for path in paths or [Path()]:
            restore.require(repository, contents, record, path)
        return dataclasses.replace(report, members=[record.name], paths=[str(path) for path in paths])
    done = restore.restore_member(repository, contents, record, paths, to=to, on_progress=serving.report)
    if isinstance(done, Path):
        return dataclasses.replace(report, homes=[], place=str(done), notes=[])
    return dataclasses.replace(report, homes=[done], place="", notes=[])


def _what_everything_is(report: RestoreReport, repository: Repository, contents: restore.Contents) -> RestoreReport:
    files, size = repository.size(contents.snapshot)
    names = [record.name for record in contents.account_records if record.member]
    delegates = [record.name for record in contents.account_records if record.delegate]
    return dataclasses.replace(report, members=names, delegates=delegates, files=files, bytes=size)


def _everything(
    report: RestoreReport, repository: Repository, contents: restore.Contents, to: Optional[Path]
) -> RestoreReport:
    """Restore everything; while it is not complete, `doctor` says so."""
    if to is not None:
        restore.lay_out_everything(repository, contents, to, serving.report)
        return dataclasses.replace(report, place=str(to), homes=[], notes=[])

    def begin() -> None:
        change_state(restoring=int(time.time()))
        # A handler, and not SIG_IGN: programs that are started from here must not inherit it.
        for number in ENDS:
            signal.signal(number, _not_now)

    done = restore.restore_everything(repository, contents, serving.report, begin)
    # From now on the backups of this machine go on where those of the old one ended.
    change_state(restoring=0, waiting=False)
    return dataclasses.replace(report, made=done.made, homes=done.homes, place="", notes=list(done.notes))


HANDLERS = {
    "setup": serving.on(service_programs.SET_UP_BACKUP, set_up),
    "now": serving.on(service_programs.BACK_UP_NOW, now),
    "list": serving.on(service_programs.LIST_BACKUPS, list_backups),
    "verify": serving.on(service_programs.VERIFY_BACKUPS, verify),
    "restore": serving.on(service_programs.RESTORE_BACKUP, restore_request),
    "off": serving.on(service_programs.SWITCH_OFF_BACKUPS, switch_off),
}
