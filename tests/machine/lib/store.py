"""A small cache of directories that are expensive to make: built once, shared, pruned.

Every entry is `CACHE/kind/name-key/`. It appears by one rename, so it is complete or absent. A
process that uses an entry holds a shared lock on it until the process ends; pruning takes the
exclusive lock and so never removes what a test run in another terminal stands on.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable
from pathlib import Path

from tests.machine.lib.places import CACHE, locked, remove_tree

_pins: dict[Path, int] = {}


def get(kind: str, name: str, key: str, build: Callable[[Path], None], keep: int = 3) -> Path:
    """Return the entry, after building it with `build(directory)` when it is not there yet.

    `keep` older keys of the same name stay: developers switch branches, several share a machine.
    """
    final = CACHE / kind / f"{name}-{key}"
    if _pin(final):
        return final
    with locked(CACHE / "locks" / f"{kind}-{name}.lock"):
        if not _pin(final):
            staging = final.with_name(f".{final.name}.building")
            remove_tree(staging)
            staging.mkdir(parents=True)
            try:
                build(staging)
                staging.rename(final)
            finally:
                remove_tree(staging)
            if not _pin(final):
                raise RuntimeError(f"{final} vanished while it was being made")
            _prune(kind, name, keep)
    return final


def hold(entry: Path) -> None:
    """Keep an entry that another process got from being pruned while this one needs it."""
    if not _pin(entry):
        raise FileNotFoundError(entry)


def _pin(entry: Path) -> bool:
    """Hold the entry for the rest of this process; False when it does not exist."""
    if entry in _pins:
        return True
    try:
        handle = os.open(entry, os.O_RDONLY | os.O_DIRECTORY)
    except FileNotFoundError:
        return False
    fcntl.flock(handle, fcntl.LOCK_SH)
    # Between opening and locking somebody may have pruned it.
    if not entry.exists() or entry.stat().st_ino != os.fstat(handle).st_ino:
        os.close(handle)
        return False
    os.utime(entry)
    _pins[entry] = handle
    return True


def _prune(kind: str, name: str, keep: int) -> None:
    """Remove the entries of this name that were not used for longest, unless somebody holds them."""
    entries = [entry for entry in (CACHE / kind).glob(f"{name}-*") if entry.name.rpartition("-")[0] == name]
    entries.sort(key=lambda entry: entry.stat().st_mtime, reverse=True)
    for entry in entries[keep:]:
        handle = os.open(entry, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            remove_tree(entry)
        except BlockingIOError:
            pass
        finally:
            os.close(handle)
