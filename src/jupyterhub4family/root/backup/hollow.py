"""Runs as root: finds files that say they are large while nothing of them is on the disk, or nothing more.

What is not there takes as long to be read as what is, and so does one file under thousands of names (hard links). In a
second a member makes thousands of terabytes of it, and nobody would be saved any more. Disks of virtual machines are
like that, too: as long as a home's would fit on the disk together, they are saved.
"""

from __future__ import annotations

import contextlib
import heapq
import os
import stat
from pathlib import Path
from typing import Optional

#: Bytes of a file from which on it is looked at. Smaller ones come to little before the disk has no inodes left.
SMALLEST = 2**20
#: Files of a home that are left out one by one; somebody with more of them is left out.
MAXIMUM_FILES = 100
#: Bytes of a block, whatever the file system (stat(2)).
_BLOCK = 512


def too_large(homes: Path) -> list[Path]:
    """What below `homes` has to be left out: the largest hollow files of a home, or all of it if that is not enough."""
    found: list[Path] = []
    for home in sorted(homes.iterdir()):
        total, largest = _hollow_files(home)
        allowed = size_of_disk(home)
        left_out = []
        while total > allowed and largest:
            size, path = largest.pop(0)
            total -= size
            left_out.append(path)
        found += left_out if total <= allowed else [home]
    return found


def size_of_disk(place: Path) -> int:
    """Bytes of the disk on which this is; 0 if that cannot be told."""
    try:
        disk = os.statvfs(place)
    except OSError:
        return 0
    return disk.f_blocks * disk.f_frsize


def _hollow_files(home: Path) -> tuple[int, list[tuple[int, Path]]]:
    """Bytes of all hollow files of a home, and the largest of these, the largest first."""
    total, waiting = 0, [home]
    largest: list[tuple[int, Path]] = []
    seen: set[tuple[int, int]] = set()
    while waiting:
        # By paths: on the mounts below no link is followed. What changes meanwhile is looked at the next time.
        with contextlib.suppress(OSError), os.scandir(waiting.pop()) as entries:
            for entry in entries:
                status = _status(entry)
                if status is None:
                    continue
                if stat.S_ISDIR(status.st_mode):
                    waiting.append(Path(entry.path))
                elif _is_hollow(status) or _is_another_name(status, seen):
                    total += status.st_size
                    keep = heapq.heappush if len(largest) < MAXIMUM_FILES else heapq.heappushpop
                    keep(largest, (status.st_size, Path(entry.path)))
    return total, sorted(largest, reverse=True)


def _status(entry: os.DirEntry[str]) -> Optional[os.stat_result]:
    """What it is; None if it has gone: one that comes and goes keeps nobody from looking at the others."""
    try:
        return entry.stat(follow_symlinks=False)
    except OSError:
        return None


def _is_another_name(status: os.stat_result, seen: set[tuple[int, int]]) -> bool:
    """Whether it is a file that was seen under another name: it would be read once more."""
    if not stat.S_ISREG(status.st_mode) or status.st_nlink < 2:
        return False
    which = (status.st_dev, status.st_ino)
    if which in seen:
        return True
    seen.add(which)
    return False


def _is_hollow(status: os.stat_result) -> bool:
    """Whether it is a file of some size, less than half of which is on the disk."""
    if not stat.S_ISREG(status.st_mode) or status.st_size < SMALLEST:
        return False
    return status.st_blocks * _BLOCK < status.st_size // 2
