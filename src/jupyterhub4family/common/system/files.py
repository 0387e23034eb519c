"""Any identity: writing files so that a power cut leaves the old or the new content, never half of one.

And the one way to read files that somebody else could have put there: `open_untrusted`, and what rests on it. Root's
code opens nothing of the service's or of a member's otherwise (tests/unit/test_openings.py).
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Optional

from jupyterhub4family.common import patterns

#: Digits of the largest number in a note of ours: times in nanoseconds have 19.
_DIGITS = 20
#: What releases and templates are called (service/releases/builds.py), and whatever else a link may name.
_LINK_NAME = patterns.compiled(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


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


# -- what somebody else could have put there ---------------------------------------------------------


def open_untrusted(path: Path, *, top: Optional[Path] = None, owner: Optional[int] = None) -> Optional[int]:
    """A descriptor of a plain file that another account can write, for reading; None if there is no such file.

    No link is followed in its last part, nor below the directory `top`, nothing is waited for, and what is no regular
    file (a pipe, a device) is not opened for longer than it takes to see that. `owner`: only a file of this uid.
    """
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
    directory: Optional[int] = None
    try:
        *between, name = path.parts if top is None else path.relative_to(top).parts
        if top is not None:
            if ".." in (*between, name):
                return None
            directory = os.open(top, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
            for part in between:
                inner = os.open(part, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)
                os.close(directory)
                directory = inner
        # Looked at first: to open a device may already do something.
        looked = os.stat(path if directory is None else name, dir_fd=directory, follow_symlinks=False)
        if not _is_wanted(looked, owner):
            return None
        descriptor = os.open(path if directory is None else name, flags, dir_fd=directory)
    except (OSError, ValueError):
        return None
    finally:
        if directory is not None:
            os.close(directory)
    if _is_wanted(os.fstat(descriptor), owner):
        return descriptor
    os.close(descriptor)
    return None


def _is_wanted(status: os.stat_result, owner: Optional[int]) -> bool:
    return stat.S_ISREG(status.st_mode) and owner in (None, status.st_uid)


def read_untrusted(
    path: Path, maximum: int, *, top: Optional[Path] = None, owner: Optional[int] = None
) -> Optional[bytes]:
    """The content of a plain file that another account can write; None if there is none.

    As `open_untrusted` opens it; one of more than `maximum` bytes is none.
    """
    descriptor = open_untrusted(path, top=top, owner=owner)
    if descriptor is None:
        return None
    try:
        with open(descriptor, "rb") as file:
            data = file.read(maximum + 1)
    except OSError:
        return None
    return data if len(data) <= maximum else None


def read_json(path: Path, maximum: int) -> Any:
    """What a note of JSON says that another account could have written; None if there is none, or nothing of sense.

    As `read_untrusted` reads it. Numbers that nothing of ours writes (NaN, infinity, hundreds of digits) are no sense.
    """
    data = read_untrusted(path, maximum)
    try:
        return None if data is None else json.loads(data.decode("utf-8"), parse_constant=_none, parse_int=_short)
    except (ValueError, RecursionError):
        return None


def _short(digits: str) -> int:
    if len(digits) > _DIGITS:
        raise ValueError("more digits than any number of ours has")
    return int(digits)


def _none(word: str) -> Any:
    raise ValueError(f"{word} is no JSON")


def link_name(link: Path) -> str:
    """The name to which `link` points in its own directory; empty if it is no such link. Nothing is followed."""
    try:
        target = os.readlink(link)
    except OSError:
        return ""
    return target if _LINK_NAME.fullmatch(target) else ""


def is_marked(link: Path, marker: str) -> bool:
    """Whether the directory beside `link` that this names has a file `marker`; no link but this one is followed."""
    name = link_name(link)
    descriptor = open_untrusted(link.parent / name / marker, top=link.parent) if name else None
    if descriptor is not None:
        os.close(descriptor)
    return descriptor is not None


# -- what is ours ------------------------------------------------------------------------------------


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


def take_lock_within(path: Path, seconds: float) -> Optional[int]:
    """As `take_lock`, waiting for so long: whoever has it may have been stopped by somebody (cgroup.freeze)."""
    deadline = time.monotonic() + seconds
    while (descriptor := take_lock(path, wait=False)) is None and time.monotonic() < deadline:
        time.sleep(0.005)
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
