"""Runs as root, inside `upgrade`: sees an upgrade through, from the moment its files are there.

The release that it wants is built aside while the old hub serves. Then the database is copied, hub and proxy change
over, and a throw-away member goes through the portal as everybody does. If that fails, package, release and database
go back, and the failure is remembered. Members' servers know nothing of all this. What is going on stands in a file,
so that a power cut in the middle is followed by the rest at the next boot.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import pwd
import re
import signal
import sys
import time
from datetime import datetime, timezone
from typing import Any

from jupyterhub4family.common import paths
from jupyterhub4family.common.errors import ExitStatus, FamilyError
from jupyterhub4family.common.i18n.messages import N_, _
from jupyterhub4family.common.protocol import calling, service_programs
from jupyterhub4family.common.protocol.actions import Action, AnswerT, Nothing, RequestT
from jupyterhub4family.common.settings import effective
from jupyterhub4family.common.state import supervision, upgrade
from jupyterhub4family.common.state.upgrade import Edition, Failure, Upgrade
from jupyterhub4family.common.system import accounts, files, programs
from jupyterhub4family.root.base import run_dir, servers, supervisor
from jupyterhub4family.root.upgrade import apt

#: Seconds that the portal gets to answer after a change-over: an old laptop, a database to be brought up to date.
PORTAL_TIMEOUT = 180
#: A hub that systemd has started so often within that time will not come up.
RESTARTS = 6
#: Seconds between two tries to fetch a release.
FIRST_PAUSE, LONGEST_PAUSE = 30, 1800
#: Seconds between two looks at members' kernels; how long they are waited for at most.
KERNEL_PAUSE, KERNEL_TIMEOUT = 5, 6 * 3600
#: How often a trial login is tried before it counts; how often if it is refused, as while `doctor` makes one.
TRIES, REFUSALS = 2, 12
#: Seconds between two tries.
TRIAL_PAUSE = 3
#: Bytes of what `status --json` prints, as the service account.
MAXIMUM_STATUS = 2**20
#: Reasons for which waiting is better than going back.
PASSING = (ExitStatus.NETWORK, ExitStatus.DISK_FULL)
#: In root's folder in /run; holds the pid of whoever has it.
LOCK_NAME = "upgrade.lock"
_NAME = re.compile(r"[\w.-]{0,60}")

DATABASE_UNCHANGED = N_("The database stayed as it was.")
DATABASE_RESTORED = N_("The database is the previous one.")


# -- the beginning -----------------------------------------------------------------------------------


def save_previous() -> None:
    """Before the files of another version are unpacked: keep what runs now, unless it has not proved itself yet."""
    if upgrade.upgrade_in_progress() is not None:
        return
    for left in (upgrade.PENDING, upgrade.PREVIOUS):
        left.unlink(missing_ok=True)
    # First, so that the new version is tried out even where the old package cannot be kept (a full disk).
    upgrade.write_state(upgrade.PENDING, Edition(apt.installed_version(), _current_release()))
    apt.save_installed()


def can_begin() -> bool:
    """Whether there is something that an upgrade could take the place of: else the service starts, or sets itself up.

    A package that was removed and comes back, or is configured once more, takes nobody's place.
    """
    replaces = (
        upgrade.pending_edition() is not None
        or upgrade.upgrade_in_progress() is not None
        or not apt.installed_version()
    )
    made_for = _current_release().partition("-")[0]
    complete = files.is_marked(paths.CURRENT_RELEASE, paths.COMPLETE_MARKER)
    return replaces and complete and made_for == f"py{paths.SYSTEM_PYTHON.resolve().name[len('python') :]}"


def begin() -> None:
    """Note that the installed version is to take over. Nothing is started yet."""
    kept, resuming = upgrade.pending_edition(), upgrade.upgrade_in_progress()
    if resuming is not None:
        # One version came right after another: the way back still leads to the last that had proved itself.
        origin, is_saved = resuming.origin, resuming.kept
    else:
        origin = kept or Edition(apt.installed_version(), _current_release())
        is_saved = kept is not None and upgrade.PREVIOUS_PACKAGE.is_file()
    upgrade.write_state(upgrade.IN_PROGRESS, Upgrade(origin, apt.installed_version(), kept=is_saved))
    upgrade.PENDING.unlink(missing_ok=True)


def _current_release() -> str:
    """The id of the release in use; empty if the service's link to it names none."""
    return files.link_name(paths.CURRENT_RELEASE)


# -- seeing it through -------------------------------------------------------------------------------


def run_to_completion() -> None:
    """Do what is left of an upgrade or of a way back, until nothing is."""
    run_dir.ensure_run_dir()
    lock = files.take_lock(run_dir.RUN_DIR / LOCK_NAME, wait=True)
    assert lock is not None
    try:
        os.ftruncate(lock, 0)
        os.write(lock, str(os.getpid()).encode())
        while (now := upgrade.upgrade_in_progress()) is not None:
            try:
                if now.backwards:
                    _rollback(now)
                else:
                    _upgrade(now)
            except _Superseded:
                _log("yet another version has come")
            except OSError as error:
                # A disk that is full or read-only: nothing can be noted, so nothing is decided.
                _log(f"{error}; trying again in {FIRST_PAUSE} seconds")
                time.sleep(FIRST_PAUSE)
    finally:
        os.close(lock)


def end() -> None:
    """End the process that sees an upgrade through, and forget the upgrade: the package is about to be removed."""
    supervisor.stop_upgrade()
    _end_detached()
    for note in (upgrade.IN_PROGRESS, upgrade.PENDING):
        note.unlink(missing_ok=True)


def _end_detached() -> None:
    lock_file = run_dir.RUN_DIR / LOCK_NAME
    if not lock_file.exists():
        return
    lock = files.take_lock(lock_file, wait=False)
    if lock is not None:
        os.close(lock)
        return
    with contextlib.suppress(OSError, ValueError):
        os.kill(int(lock_file.read_text("ascii")), signal.SIGTERM)


def _upgrade(now: Upgrade) -> None:
    try:
        _wait_for_kernels(now)
        if not cutover(service_programs.RELEASE_READY, Nothing()).ready:
            # Fetching takes minutes, or days without internet: meanwhile the new version runs on the old release.
            supervisor.restart(with_proxy=False)
        now = _copied(dataclasses.replace(now, release=_built(now)))
        _report(now, 40, _("Switching over"))
        cutover(service_programs.SWITCH_RELEASE, service_programs.Switch(now.release))
        # The hub is ended and started; the service has ended a proxy of another release by itself.
        supervisor.restart(with_proxy=False)
        _run_smoke_test(now)
    except FamilyError as error:
        _log(f"{error}")
        _write_progress(dataclasses.replace(now, backwards=True, reason=error.message))
        return
    _still_ours(now)
    if now.kept:
        upgrade.write_state(upgrade.PREVIOUS, now.origin)
    _forget_failure()
    upgrade.IN_PROGRESS.unlink()
    _log(f"{now.target} has taken over")


def _built(now: Upgrade) -> str:
    """The id of the release that the package wants, fetched if need be. Raises FamilyError if that can never be."""
    pause = FIRST_PAUSE
    while True:
        _report(now, 5, _("Fetching what the new version needs"))
        try:
            return checked_name(cutover(service_programs.WANTED_RELEASE, Nothing(), now).release)
        except FamilyError as error:
            if error.status not in PASSING:
                raise
            _report(now, 5, _("Waiting: {reason}", reason=error.message))
        time.sleep(pause)
        pause = min(2 * pause, LONGEST_PAUSE)


def _copied(now: Upgrade) -> Upgrade:
    """The database copied and, where the new release does not know its form, one that fits asked for."""
    if now.copy:
        # Interrupted after this step: the database may be the new release's by now.
        return now
    _report(now, 30, _("Copying the database"))
    now = dataclasses.replace(now, copy=checked_name(cutover(service_programs.COPY_DATABASE, Nothing()).copy))
    _write_progress(now)
    fit = cutover(service_programs.DATABASE_FITS, service_programs.Release(now.release))
    if fit.fits:
        return now
    if not fit.copy:
        raise FamilyError(
            _("the database was written by a newer JupyterHub than the one of version {version}", version=now.target)
        )
    cutover(service_programs.RESTORE_DATABASE, service_programs.DatabaseCopy(checked_name(fit.copy)))
    return now


def _run_smoke_test(now: Upgrade) -> None:
    """Go through the portal as a member does. Raises FamilyError with what did not work."""
    _report(now, 50, _("Waiting for the portal"))
    _wait_for_portal()
    left = {ExitStatus.REFUSED: REFUSALS}
    while True:
        try:
            calling.call(
                service_programs.SMOKE_TEST,
                Nothing(),
                on_progress=lambda percent, message: _report(now, 60 + percent // 3, message),
            )
            return
        except FamilyError as error:
            left[error.status] = left.get(error.status, TRIES) - 1
            if left[error.status] <= 0:
                raise FamilyError(_("a trial login failed: {reason}", reason=error.message)) from error
            _log(f"trial login: {error}; once more")
            time.sleep(TRIAL_PAUSE)


def _wait_for_portal() -> None:
    """Return when people can log in. Raises FamilyError if that takes too long, or the hub keeps ending."""
    deadline = time.monotonic() + PORTAL_TIMEOUT
    # Asked as the service account: root speaks no HTTP.
    args = [*programs.as_account(accounts.SERVICE_ACCOUNT), "/usr/bin/jupyterhub4family", "status", "--json"]
    while True:
        answers = False
        with contextlib.suppress(FamilyError, ValueError, RecursionError):
            status = json.loads(programs.run(args, check=False, maximum=MAXIMUM_STATUS).stdout)
            answers = isinstance(status, dict) and status.get("portal") == "running"
        if answers:
            return
        if time.monotonic() > deadline:
            raise FamilyError(_("the portal did not answer within {seconds} seconds", seconds=PORTAL_TIMEOUT))
        if _restarts() >= RESTARTS:
            raise FamilyError(_("the hub kept crashing"))
        time.sleep(1)


def _restarts() -> int:
    """How often systemd has started the hub anew since it was started by hand; 0 without systemd."""
    if supervision.chosen_supervisor() != supervision.SYSTEMD:
        return 0
    shown = programs.run(
        ["systemctl", "show", "--property=NRestarts", "--value", supervision.HUB_UNIT], check=False
    ).stdout.strip()
    return int(shown) if shown.isdigit() else 0


# -- the way back ------------------------------------------------------------------------------------


def _rollback(now: Upgrade) -> None:
    """Package, release and database as they were; what did not work is remembered."""
    _report(now, 10, _("Going back to the previous version"))
    problems: list[str] = []
    if now.kept:
        problems += _tried(apt.install_saved)
    _report(now, 50, _("Switching back"))
    if now.origin.release:
        back = service_programs.Switch(now.origin.release, keep_old=now.by_hand)
        problems += _tried(lambda: cutover(service_programs.SWITCH_RELEASE, back))
    if now.copy:
        copy = service_programs.DatabaseCopy(now.copy)
        problems += _tried(lambda: cutover(service_programs.RESTORE_DATABASE, copy))
    problems += _tried(lambda: supervisor.restart(with_proxy=False))
    works = _tried(lambda: _run_smoke_test(now))
    if now.target and now.target != now.origin.version:
        apt.pin_away(now.target)
    if now.by_hand and not problems and not works:
        upgrade.FAILED.unlink(missing_ok=True)
    else:
        _remember(now, [*problems, *works])
    # What was gone back to is installed now, and nothing older is kept. The note goes first: whoever found it after a
    # power cut would look for the package.
    for left in (upgrade.IN_PROGRESS, upgrade.PREVIOUS, upgrade.PREVIOUS_PACKAGE, upgrade.PENDING):
        left.unlink(missing_ok=True)
    _log(f"back from {now.target} to {now.origin.version or now.origin.release}")


def _tried(step: Any) -> list[str]:
    """Do `step`; what is in its way is returned, so that the steps after it are done all the same."""
    try:
        step()
    except FamilyError as error:
        _log(f"{error}")
        return [error.message]
    return []


def _remember(now: Upgrade, problems: list[str]) -> None:
    back = now.origin.version or now.origin.release
    if problems:
        outcome = _("{version} is back, but: {problem}", version=back, problem=problems[0])
    else:
        database = _(DATABASE_RESTORED) if now.copy else _(DATABASE_UNCHANGED)
        outcome = _("{version} is back in service. {database}", version=back, database=database)
    at = datetime.now(timezone.utc).isoformat(timespec="seconds")
    reason = now.reason or _("a rollback was requested")
    upgrade.write_state(upgrade.FAILED, Failure(now.origin.version, now.target, now.release, at, reason, outcome))


def _forget_failure() -> None:
    upgrade.FAILED.unlink(missing_ok=True)
    apt.allow_all()


# -- waiting for members -----------------------------------------------------------------------------


def _wait_for_kernels(now: Upgrade) -> None:
    """If the family wants that, return when nobody's kernel calculates, or after some hours."""
    deadline = time.monotonic() + KERNEL_TIMEOUT
    while effective.settings_in_use()[0].upgrade_waits_for_kernels and time.monotonic() < deadline:
        names = [account.pw_name for account in pwd.getpwall() if _is_busy(account)]
        if not names:
            return
        _report(now, 25, _("Waiting for the notebook of {name} to finish", name=names[0]))
        time.sleep(KERNEL_PAUSE)


def _is_busy(account: pwd.struct_passwd) -> bool:
    if (
        accounts.never_a_member(account)
        or accounts.MEMBER_GROUP not in accounts.group_names(account)
        or not servers.has_server(account.pw_uid)
    ):
        return False
    try:
        become = programs.as_account(account.pw_name)
        kernels = calling.call(service_programs.COUNT_BUSY_KERNELS, Nothing(), become=become)
    except FamilyError as error:
        _log(f"kernels of {account.pw_name}: {error}")
        return False
    return kernels.busy != 0


# -- what is done by others --------------------------------------------------------------------------


def cutover(action: Action[RequestT, AnswerT], request: RequestT, now: Upgrade | None = None) -> AnswerT:
    """Have the service do something in its own folders. Raises FamilyError."""

    def report(percent: int, message: str) -> None:
        if now is not None:
            _report(now, 5 + percent // 5, message)

    return calling.call(action, request, become=programs.as_account(accounts.SERVICE_ACCOUNT), on_progress=report)


def checked_name(untrusted: str) -> str:
    """The name of a release or of a copy, as the service gave it: a word, so that it can be noted."""
    if not _NAME.fullmatch(untrusted):
        raise FamilyError(_("the service gave an answer that makes no sense"))
    return untrusted


def _report(now: Upgrade, percent: int, message: str) -> None:
    """Note how far it is, for `status` and whoever waits; and in the log."""
    _log(f"{message} ({percent} %)")
    # A full disk must not turn the telling into a failure of its own.
    with contextlib.suppress(OSError):
        _write_progress(dataclasses.replace(now, percent=percent, message=message))


class _Superseded(Exception):
    """Another version was installed while this one was being tried out: it is noted, and this one is not."""


def _write_progress(now: Upgrade) -> None:
    """Keep what is known of this upgrade for whoever looks, and for after a power cut."""
    _still_ours(now)
    upgrade.write_state(upgrade.IN_PROGRESS, now)


def _still_ours(now: Upgrade) -> None:
    noted = upgrade.upgrade_in_progress()
    if noted is not None and noted.began != now.began:
        raise _Superseded


def _log(line: str) -> None:
    """For whoever looks later: the journal, or upgrade.LOG. English, as all logs."""
    with contextlib.suppress(OSError):
        sys.stdout.write(f"upgrade: {line}\n")
        sys.stdout.flush()
