"""A control group for each machine.

`systemd-nspawn --keep-unit` leaves a container in its caller's group. Machines that share one see
and end each other's processes, so each is started in a group of its own, in every hierarchy the
host has: only version 2, or the older mixture.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

from tests.machine.lib.places import host

_ROOT = Path("/sys/fs/cgroup")
_MEMORY_V1 = _ROOT / "memory"
#: With the memory's limit comes that of processes.
_LIMITING_V1 = (_MEMORY_V1, _ROOT / "pids")


def needs_memory_v1() -> bool:
    """Say whether memory limits of a machine need version 1's controller on this host."""
    return _MEMORY_V1.is_dir()


def create(name: str, memory: bool) -> list[Path]:
    """Make the machine's groups and return them."""
    groups = _groups(name)
    if not memory:
        groups = [group for group in groups if group.parent not in _LIMITING_V1]
    for group in groups:
        group.mkdir(exist_ok=True)
    return groups


def enter(groups: list[Path]) -> None:
    """Move the calling process into these groups."""
    for group in groups:
        (group / "cgroup.procs").write_text("0")


def own_limits(pid: int) -> None:
    """Let the machine's systemd manage its share: nspawn binds version 1 controllers read-only."""
    for hierarchy in filter(Path.is_dir, _LIMITING_V1):
        host("nsenter", "-t", str(pid), "-m", "mount", "-o", "remount,bind,rw", hierarchy)


def remove(name: str) -> None:
    """Remove the machine's groups with everything below, once the last dead process has left."""
    end = time.monotonic() + 5
    while not all(_removed(group) for group in _groups(name)):
        if time.monotonic() > end:
            return  # an empty group costs nothing, and the next machine of this name takes it over
        time.sleep(0.05)


def _removed(group: Path) -> bool:
    for directory, _, _ in os.walk(group, topdown=False):
        try:
            Path(directory).rmdir()
        except OSError:
            return False
    return True


def _groups(name: str) -> list[Path]:
    if (_ROOT / "cgroup.controllers").exists():
        return [_ROOT / name]
    hierarchies = [_ROOT / "unified", _ROOT / "systemd", *_LIMITING_V1]
    return [hierarchy / name for hierarchy in hierarchies if hierarchy.is_dir()]
