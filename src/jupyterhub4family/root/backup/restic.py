"""Runs as root: the one place that calls restic, and understands what it says.

The key and the target (which may hold a password) reach restic as files that only root can read: no process list
and no environment shows them. restic runs in a session of its own, so ssh cannot ask anything at root's terminal.
"""

from __future__ import annotations

import datetime
import json
import re
import shutil
import socket
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional

from jupyterhub4family.common import paths
from jupyterhub4family.common.errors import ExitStatus, FamilyError, RefusedError, UsageError
from jupyterhub4family.common.i18n import safe_text
from jupyterhub4family.common.i18n.messages import _
from jupyterhub4family.common.system import disk_space, programs
from jupyterhub4family.common.system.programs import Arg, CompletedProcess
from jupyterhub4family.root.backup.target import Target

#: Marks what is ours in a repository that somebody uses for other things as well.
TAG = "jupyterhub4family"
CACHE = paths.BACKUP / "cache"
#: All of the last two days; then one for each day, week and month.
KEEP = ("--keep-within", "2d", "--keep-daily", "7", "--keep-weekly", "4", "--keep-monthly", "6")
#: Seconds after which a lock that nobody renews is dead; restic renews its locks every five minutes.
DEAD_LOCK = 35 * 60
#: Bytes: a disk with less is full, whatever restic says.
FULL = 16 * 2**20
#: Bytes of what restic prints: a line for each of many files.
MAXIMUM_OUTPUT = 256 * 2**20
#: Bytes of its complaints that are kept: there is a long line for each of as many files as a member likes.
MAXIMUM_ERRORS = 2**20
#: restic has saved all but some files that it could not read.
_INCOMPLETE = 3
_ID = re.compile(r"[0-9a-f]{8,64}")


class NoRepository(FamilyError):
    """The target can be reached, and there is no backup in it."""


class Locked(RefusedError):
    """Somebody else works with the backup, or did when the power went off."""


@dataclass(frozen=True)
class Snapshot:
    """One backup."""

    id: str
    #: Seconds since 1970.
    time: int
    host: str


@dataclass(frozen=True)
class Repository:
    """Where the backups are."""

    target: Target
    target_file: Path = paths.BACKUP_TARGET
    key_file: Path = paths.BACKUP_KEY

    # -- making and asking --------------------------------------------------------------------------

    def exists(self) -> bool:
        """Whether there is a backup that this key opens. Raises FamilyError if that cannot be found out."""
        try:
            self._restic("cat", "config", "--no-lock", timeout=300)
        except NoRepository:
            return False
        return True

    def make(self) -> None:
        """Make an empty one."""
        self._restic("init", timeout=300, makes=True)

    def snapshots(self) -> list[Snapshot]:
        """All backups, the oldest first."""
        listed = json.loads(self._restic("snapshots", "--json", "--no-lock", "--tag", TAG).stdout or "[]") or []
        found = [Snapshot(str(one["id"]), seconds(one["time"]), str(one["hostname"])) for one in listed]
        return sorted(found, key=lambda one: one.time)

    def find(self, untrusted_id: str) -> Snapshot:
        """The backup with this id, or a beginning of it; the newest if it is empty. Raises FamilyError."""
        found = self.snapshots()
        if not found:
            raise FamilyError(
                _("there is no backup in {target} yet", target=self.target.shown), "sudo jupyterhub4family backup now"
            )
        if not untrusted_id:
            return found[-1]
        if not _ID.fullmatch(untrusted_id):
            raise UsageError(_("{id} is not the name of a backup", id=repr(untrusted_id[:40])), _LIST)
        same = [one for one in found if one.id.startswith(untrusted_id)]
        if len(same) != 1:
            raise UsageError(_("there is no backup {id}", id=untrusted_id), _LIST)
        return same[0]

    def read(self, snapshot: Snapshot, path: Path) -> str:
        """A file of a backup, as text."""
        return self._restic("dump", "--no-lock", snapshot.id, str(path)).stdout

    def holds(self, snapshot: Snapshot, path: Path) -> bool:
        """Whether a backup has something at this path."""
        listed = self._restic("ls", "--json", "--no-lock", snapshot.id, str(path)).stdout
        return any(json.loads(line).get("path") == str(path) for line in listed.splitlines() if line.startswith("{"))

    def size(self, snapshot: Snapshot) -> tuple[int, int]:
        """How many files and bytes a backup would become."""
        args = ("stats", "--json", "--no-lock", "--mode", "restore-size", snapshot.id)
        stats = json.loads(self._restic(*args).stdout)
        return int(stats["total_file_count"]), int(stats["total_size"])

    # -- doing ---------------------------------------------------------------------------------------

    def save(self, directory: Path, left_out: list[str]) -> list[str]:
        """Add a backup of `directory`, without what the patterns `left_out` say. Returns what could not be read."""
        args: list[Arg] = ["backup", "--quiet", "--tag", TAG, "--exclude-caches"]
        for pattern in left_out:
            args += ["--exclude", pattern]
        done = self._locking(*args, directory, accepted=(0, _INCOMPLETE))
        lines = [line for line in done.stderr.splitlines() if "error" in line.lower()]
        # What a running notebook has removed in between is not missing.
        return [line for line in lines if not re.search(r"no such file|file does not exist|were \d+ errors", line)]

    def expire(self, prune: bool) -> None:
        """Forget old backups of this machine; with `prune`, free the room they took."""
        args = ["forget", "--quiet", "--tag", TAG, "--host", socket.gethostname(), "--group-by", "host", *KEEP]
        self._locking(*args, *(["--prune"] if prune else []))

    def verify(self) -> None:
        """Read everything that is there and compare its checksums. Raises FamilyError."""
        self._locking("check", "--quiet", "--read-data")

    def restore(self, snapshot: Snapshot, paths: list[Path], target_directory: Path) -> None:
        """Write `paths` of a backup below `target_directory`, of root alone, and read them again to be sure."""
        args: list[Arg] = ["restore", "--no-lock", "--verify", snapshot.id, "--target", target_directory]
        for path in paths:
            args += ["--include", escape_glob(path)]
        try:
            done = self._restic(*args)
            # Before 0.12 (Debian 11 has 0.11) a restore with errors ends with 0.
            if re.search(r"ignoring error for|There were \d+ errors", done.stderr + done.stdout):
                raise self._problem(done)
        except FamilyError:
            # restic does not always say why. What it has written is still there.
            if disk_space.free_bytes(target_directory) < FULL:
                # It lies in a fresh folder, whose name nobody knows.
                raise _full(str(target_directory.parent.parent)) from None
            raise

    # -- underneath ----------------------------------------------------------------------------------

    def _locking(self, *args: Arg, accepted: tuple[int, ...] = (0,)) -> CompletedProcess:
        """Run what takes a lock; one that an interrupted call has left is removed first."""
        try:
            return self._restic(*args, accepted=accepted)
        except Locked:
            self._remove_dead_locks()
            return self._restic(*args, accepted=accepted)

    def _remove_dead_locks(self) -> None:
        """Remove the locks if all of them are dead. Raises Locked if somebody is at work.

        Locks of this machine are: whoever calls us holds our own lock, so no other restic of ours runs. restic's
        `unlock` alone would send a signal to the process that the lock names, and that number may be another's now.
        """
        for name in self._restic("list", "locks", "--no-lock", "--quiet").stdout.split():
            lock = json.loads(self._restic("cat", "lock", name, "--no-lock").stdout)
            host = str(lock.get("hostname", "?"))
            if host != socket.gethostname() and time.time() - seconds(str(lock.get("time"))) < DEAD_LOCK:
                raise Locked(
                    _("the computer {name} is working with this backup now", name=host), _("try again in an hour")
                )
        self._restic("unlock", "--remove-all")

    def _restic(
        self,
        *args: Arg,
        timeout: Optional[float] = None,
        accepted: tuple[int, ...] = (0,),
        makes: bool = False,
    ) -> CompletedProcess:
        """Run restic to its end. Raises FamilyError."""
        ensure_restic()
        CACHE.mkdir(mode=0o700, parents=True, exist_ok=True)
        files: list[Arg] = ["--password-file", self.key_file, "--cache-dir", CACHE]
        # ssh looks for keys and known hosts in root's home.
        environment = {"HOME": "/root"}
        if makes:
            # restic 0.11 (Debian 11) makes a repository only where a variable or an argument says so; of root's
            # processes nobody else can see the variables.
            environment["RESTIC_REPOSITORY"] = self.target.url
        else:
            files += ["--repository-file", self.target_file]
        command: list[Arg] = ["/usr/bin/setsid", "restic", *files, *args]
        done = programs.run(
            command,
            check=False,
            timeout=timeout,
            environment=environment,
            dies_with_us=True,
            maximum=MAXIMUM_OUTPUT,
            cut_errors_at=MAXIMUM_ERRORS,
        )
        if done.returncode not in accepted:
            raise self._problem(done)
        return done

    def _problem(self, done: CompletedProcess) -> FamilyError:
        """The sentence for what restic has said."""
        output_text = done.stderr + done.stdout
        if "wrong password or no key" in output_text:
            return RefusedError(
                _("the recovery key does not open the backup in {target}", target=self.target.shown),
                _("use the key that was shown when this backup was set up"),
            )
        if disk_space.says_full(output_text):
            return _full(self.target.shown)
        if "already locked" in output_text:
            return Locked(_("another program is working with this backup now"), _("try again in an hour"))
        if re.search(r"unsupported repository version|config version", output_text):
            return FamilyError(
                _("this backup was made by a newer restic than this Debian has"), _("use a Debian that is as new")
            )
        return self._missing(output_text, done.returncode)

    def _missing(self, output_text: str, status: int) -> FamilyError:
        """The sentence for a target that is not there, or for what we do not know."""
        detail = programs.last_lines(output_text.replace(self.target.url, self.target.shown), 3)[-600:]
        remote = self.target.local_directory is None
        if remote and re.search(
            r"ssh|sftp session|dial tcp|no such host|x509|tls:|refused|timeout|401|403", output_text
        ):
            return FamilyError(
                _("{target} cannot be reached: {detail}", target=self.target.shown, detail=detail),
                _("check that root can log in there without a password; see docs/howto/backup.md"),
                ExitStatus.NETWORK,
            )
        if re.search(r"Is there a repository|repository does not exist|unable to open config", output_text):
            return NoRepository(
                _("there is no backup in {target}", target=self.target.shown),
                _("plug the disk in (or mount it), then try again"),
            )
        return FamilyError(
            _(
                "{program} ended with status {status}: {output}",
                program="restic",
                status=status,
                output=detail or _("it printed nothing"),
            )
        )


def _full(directory: str) -> FamilyError:
    return FamilyError(
        _("the disk with {directory} is full: {detail}", directory=directory, detail=_("no space was left")),
        _("free some space there, or use a bigger disk"),
        ExitStatus.DISK_FULL,
    )


_LIST = "sudo jupyterhub4family backup list"


def ensure_restic() -> None:
    """Raise FamilyError, with the command to install it, if restic is missing."""
    if shutil.which("restic", path=programs.SAFE_PATH) is None:
        raise FamilyError(_("restic, which makes the backups, is not installed"), _("sudo apt-get install restic"))


def seconds(time_of_restic: str) -> int:
    """A time as restic writes it (RFC 3339, down to nanoseconds), in seconds since 1970."""
    found = re.fullmatch(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.\d+)?(Z|[+-]\d\d:\d\d)", time_of_restic)
    if not found:
        return 0
    zone = "+00:00" if found[2] == "Z" else found[2]
    return int(datetime.datetime.fromisoformat(found[1] + zone).timestamp())


def escape_glob(path: Path) -> str:
    """A pattern that matches this path and nothing else."""
    return re.sub(r"([\\*?\[\]])", r"\\\1", str(path))


def printable(value: Any) -> str:
    """One line of text for people, from what is not ours."""
    return safe_text.one_line(str(value))
