"""Any identity: how much room is left on the disks that matter, and from when on people should know."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

MEBIBYTE = 2**20
#: Bytes. A release and a template need about 1.2 GB while the next ones are built; with less than the second nothing
#: works.
WANTED, NEEDED = 1536 * MEBIBYTE, 200 * MEBIBYTE


@dataclass(frozen=True)
class DiskSpace:
    """What is left on the disk on which `folder` is, in bytes, for those who are not root."""

    folder: Path
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
            device, usage = os.stat(directory).st_dev, shutil.disk_usage(directory)
        except OSError:
            continue
        if device not in seen and usage.total:
            seen.add(device)
            yield DiskSpace(directory, usage.free)
