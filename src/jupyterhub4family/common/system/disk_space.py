"""Any identity: how much room is left on the disks that matter, and from when on people should know."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from jupyterhub4family.common import patterns, records
from jupyterhub4family.common.errors import ExitStatus

MEBIBYTE = 2**20
#: Bytes. A release and a template need about 1.2 GB while the next ones are built; with less than the second nothing
#: works.
WANTED, NEEDED = 1536 * MEBIBYTE, 200 * MEBIBYTE
#: How the kernel (strerror(3)), sqlite, uv, npm and restic say that nothing more can be written.
_FULL = patterns.compiled(r"no space left|quota exceeded|disk is full|os error 28|ENOSPC|EDQUOT", re.IGNORECASE)


@records.dataclass(frozen=True)
class DiskSpace:
    """What is left on the disk on which `path` is, in bytes, for those who are not root."""

    path: Path
    free: int

    @property
    def is_short(self) -> bool:
        """Time to make room."""
        return self.free < WANTED

    @property
    def is_gone(self) -> bool:
        """Nobody can save anything soon."""
        return self.free < NEEDED

    @property
    def megabytes(self) -> int:
        """For people."""
        return self.free // MEBIBYTE


def disk_spaces(directories: Iterable[Path]) -> Iterator[DiskSpace]:
    """The room at each of these folders, each disk once; without those that cannot be looked at."""
    seen = set()
    for directory in directories:
        try:
            device, status = os.stat(directory).st_dev, os.statvfs(directory)
        except OSError:
            continue
        if device not in seen and status.f_blocks:
            seen.add(device)
            yield DiskSpace(directory, _free(status))


def free_bytes(directory: Path) -> int:
    """What is left on the disk with `directory`, in bytes, for those who are not root. Raises OSError."""
    return _free(os.statvfs(directory))


def _free(status: os.statvfs_result) -> int:
    return status.f_bavail * status.f_frsize


def is_full(error: BaseException) -> bool:
    """Whether `error` says that a disk, or what an account may use of it, is full."""
    return getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT) or says_full(str(error))


def exit_status(error: OSError) -> ExitStatus:
    """The exit status of a program that could not write something."""
    return ExitStatus.DISK_FULL if is_full(error) else ExitStatus.FAILURE


def says_full(text: str) -> bool:
    """Whether a program that wrote `text` found a disk full."""
    return _FULL.search(text) is not None
