"""A machine's disk: overlayfs over its layers, on the host's disk or in an image of its own.

The disk is mounted only in a mount namespace that belongs to the machine. Were it mounted on the
host, each machine that boots meanwhile would copy the mount, and may hold that copy as long as it
runs: the file system of a machine that is off would live on, and mounting it again would give the
old, possibly dead one. As it is, everything vanishes with the machine's last process.
"""

from __future__ import annotations

import fcntl
import os
import shlex
import struct
import time
from collections.abc import Sequence
from pathlib import Path

from tests.machine.lib.places import host

# EXT4_IOC_SHUTDOWN with "no log flush": what xfstests calls "godown".
_EXT4_SHUTDOWN, _NO_LOG_FLUSH = 0x8004587D, 2


class Disk:
    """The disk of one machine, kept in `directory`."""

    def __init__(self, directory: Path, lower: Sequence[Path], megabytes: int | None) -> None:
        """Take the layers lowest first; `megabytes` makes it an image of that size."""
        self.directory, self.lower, self.megabytes = directory, tuple(lower), megabytes
        self.root, self.upper = directory / "root", directory / "disk/upper"
        self._image = directory / "disk.img"

    def create(self) -> None:
        """Make what is missing on the host."""
        self.root.mkdir(exist_ok=True)
        self.upper.parent.mkdir(exist_ok=True)
        if self.megabytes and not self._image.exists():
            with self._image.open("wb") as file:
                file.truncate(self.megabytes << 20)
            lazily = "lazy_itable_init=1,lazy_journal_init=1"
            host("mkfs.ext4", "-q", "-m0", "-E", lazily, self._image)

    def mounted(self, command: Sequence[str]) -> list[str]:
        """Return a command that runs `command` with the disk mounted at `root`, for it alone."""
        disk = self.upper.parent
        layers = ":".join(str(layer) for layer in reversed(self.lower))
        # metacopy: a hard link to a file of a lower layer needs no copy of its contents, so
        # members' hard-linked environments are nearly as quick here as on a plain disk.
        options = f"lowerdir={layers},upperdir={disk}/upper,workdir={disk}/work,metacopy=on"
        # Pages of an image wait in memory, long enough for a power cut to lose them.
        image = ["mount", "-o", "loop,commit=300", str(self._image), str(disk)]
        steps = [
            "set -e",
            shlex.join(image) if self.megabytes else ":",
            shlex.join(["mkdir", "-p", f"{disk}/upper", f"{disk}/work"]),
            shlex.join(["mount", "-t", "overlay", "overlay", "-o", options, str(self.root)]),
            'exec "$@"',
        ]
        return ["unshare", "--mount", "sh", "-c", "\n".join(steps), "sh", *command]

    def cut_off(self, pid: int) -> None:
        """Let nothing reach the image any more; `pid` is a process that sees it mounted."""
        if not self.megabytes:
            raise ValueError("lose_unsynced needs a machine with a disk of its own: disk_mb=...")
        handle = os.open(f"/proc/{pid}/root{self.upper.parent}", os.O_RDONLY)
        try:
            fcntl.ioctl(handle, _EXT4_SHUTDOWN, struct.pack("I", _NO_LOG_FLUSH))
        finally:
            os.close(handle)

    def wait_released(self) -> None:
        """Wait until the kernel has let go of the image, a moment after the last process."""
        end = time.monotonic() + 20
        while self.megabytes and self._attached():
            if time.monotonic() > end:
                raise RuntimeError(f"somebody still holds {self._image}")
            time.sleep(0.02)

    def _attached(self) -> bool:
        for backing in Path("/sys/block").glob("loop*/loop/backing_file"):
            try:
                if backing.read_text().strip() == str(self._image):
                    return True
            except OSError:
                pass  # detached at this moment
        return False
