"""Who has which machine number; and sweeping up after test runs that were killed.

A number is a locked file in `/run`. The lock ends with the process that holds it, so a record
without a lock belongs to nobody any more: the next taker removes the machine it describes.
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tests.machine.lib import cgroups, network
from tests.machine.lib.places import HOST_STATE, locked, remove_tree

FIRST, LAST = 2, 250
_RECORDS = HOST_STATE / "machines"
_HOST_LOCK = HOST_STATE / "lock"


@dataclass
class Lease:
    """A number on this host, from which name, address and interfaces follow."""

    number: int
    handle: int

    @property
    def name(self) -> str:
        """Unique on the host and short: an interface name has 15 letters at most."""
        return f"j4ft{self.number}"

    def record(self, directory: Path) -> None:
        """Write down what has to be cleaned up should this process be killed."""
        text = json.dumps({"name": self.name, "directory": str(directory)})
        os.ftruncate(self.handle, 0)
        os.pwrite(self.handle, text.encode(), 0)

    def release(self) -> None:
        """Give the number back; the last one out turns off the light."""
        with locked(_HOST_LOCK):
            os.ftruncate(self.handle, 0)
            os.close(self.handle)
            if all(free for _, free in _survey()):
                network.remove()


def take() -> Lease:
    """Take a free number, with the network standing and stale machines gone."""
    with locked(_HOST_LOCK):
        _sweep()
        network.ensure()
        for number in range(FIRST, LAST):
            handle = _try_lock(_record_file(number))
            if handle is not None:
                return Lease(number, handle)
    raise RuntimeError("no machine number is free on this host")


def kill_machine(name: str) -> None:
    """Kill a machine's processes, wherever they are: nspawn and the init below it; return when all are gone."""
    every_init: list[int] = []
    for pid in _nspawn_pids(name):
        children = Path(f"/proc/{pid}/task/{pid}/children")
        try:
            inits = [int(word) for word in children.read_text().split()]
        except OSError:
            inits = []
        every_init += inits
        for victim in (*inits, pid):
            with suppress(ProcessLookupError):
                os.kill(victim, signal.SIGKILL)
    end = time.monotonic() + 10
    while (_nspawn_pids(name) or any(map(_lives, every_init))) and time.monotonic() < end:
        time.sleep(0.05)


def _lives(init: int) -> bool:
    """Whether a machine's init is more than a zombie; it becomes one only after every process of the machine."""
    try:
        return (Path("/proc") / str(init) / "stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def _nspawn_pids(name: str) -> list[int]:
    """Find systemd-nspawn, or what is about to become it; a machine's name is unique on the host."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            args = (entry / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if f"--machine={name}".encode() in args:
            found.append(int(entry.name))
    return found


def _sweep() -> None:
    """Remove every machine whose owner is gone."""
    for path, free in _survey():
        text = path.read_text() if free else ""
        if not text:
            continue
        handle = _try_lock(path)
        if handle is None:
            continue
        try:
            stale = json.loads(text)
            _remove_machine(stale["name"], Path(stale["directory"]))
            os.ftruncate(handle, 0)
        finally:
            os.close(handle)


def _remove_machine(name: str, directory: Path) -> None:
    kill_machine(name)
    remove_tree(directory)
    network.drop_namespace(name)
    cgroups.remove(name)


def _survey() -> Iterator[tuple[Path, bool]]:
    """Yield every record file and whether it is free."""
    for path in sorted(_RECORDS.glob("*")):
        handle = _try_lock(path)
        if handle is not None:
            os.close(handle)
        yield path, handle is not None


def _record_file(number: int) -> Path:
    return _RECORDS / str(number)


def _try_lock(path: Path) -> int | None:
    path.parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(path, os.O_RDWR | os.O_CREAT)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        return None
    return handle
