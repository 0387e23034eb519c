"""Any identity: writing files so that a power cut leaves the old or the new content, never half of one.

And reading files that somebody else could have put there.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Optional


def write_atomically(path: Path, text: str, mode: int = 0o644, owner: Optional[tuple[int, int]] = None) -> None:
    """Replace the content of `path`: written aside, synced, then renamed. Raises OSError.

    `owner`: uid and gid, for root; without, it is the caller's.
    """
    staging = path.with_name(f".{path.name}.{os.getpid()}")
    # A power cut may have left one of a process that had our pid.
    with contextlib.suppress(FileNotFoundError):
        staging.unlink()
    descriptor = os.open(staging, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, mode)
    try:
        with open(descriptor, "w", encoding="utf-8") as file:
            if owner is not None:
                os.fchown(file.fileno(), *owner)
            os.fchmod(file.fileno(), mode)
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        staging.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            staging.unlink()
        raise
    sync_directory(path.parent)


def read_untrusted(path: Path, maximum: int) -> Optional[bytes]:
    """The content of a plain file in a folder that another account can write; None if there is no such file.

    Follows no link, waits for no pipe, and reads no file of more than `maximum` bytes.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with open(descriptor, "rb") as file:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                return None
            data = file.read(maximum + 1)
    except OSError:
        return None
    return data if len(data) <= maximum else None


def sync_directory(path: Path) -> None:
    """Make names created or renamed in the directory `path` survive a power cut. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def point_link(link: Path, target_name: str) -> None:
    """Make `link` a symbolic link to `target_name` in the same directory, with one rename. Raises OSError."""
    staging = link.with_name(f".{link.name}.{os.getpid()}")
    with contextlib.suppress(FileNotFoundError):
        staging.unlink()
    staging.symlink_to(target_name)
    staging.replace(link)
    sync_directory(link.parent)


def take_lock(path: Path, wait: bool) -> Optional[int]:
    """Take the lock file `path`; returns its descriptor, to be kept open, or None if it is taken and not `wait`.

    The lock ends with the last process that holds the descriptor, so it can never be left behind.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock file `path`, waiting for it as long as it takes."""
    descriptor = take_lock(path, wait=True)
    assert descriptor is not None  # with wait, the lock is always had
    try:
        yield
    finally:
        os.close(descriptor)
