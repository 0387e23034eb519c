"""Where the test machinery keeps its things, and the two primitives everything else rests on.

Runs as root on the developer's machine. Four places:

* the cache (`J4F_CACHE`): roots, layers and built packages; big, worth keeping between runs;
* the run directory (`J4F_RUN`): disks of living machines and what failing tests leave behind;
* memory (`/dev/shm`), where there is enough: disks of living machines that no test fills or cuts off;
* the host's state (`/run/...`): which machine numbers are taken. It is *not* configurable, because
  bridge, addresses and interface names belong to the whole host, whatever the other two say.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[3]
CACHE = Path(os.environ.get("J4F_CACHE") or "/var/cache/jupyterhub4family-test")
RUN = Path(os.environ.get("J4F_RUN") or "/var/tmp/jupyterhub4family-test")
MEMORY = Path("/dev/shm/jupyterhub4family-test")
#: Available memory (MB) from which on a machine's disk may be in it: a release that is built takes one thousand.
ENOUGH_MEMORY = 8000
#: Files that must be left there as well: a machine has a template and some members with 24,000 each.
ENOUGH_FILES = 1_000_000
FAILURES = RUN / "failures"
#: In the environment of a run that tries again what has failed in another.
SECOND_TRY = "J4F_SECOND_TRY"
HOST_STATE = Path("/run/jupyterhub4family-test")

DEBIANS = ("bullseye", "bookworm", "trixie")

# A version manager's Python in the developer's PATH must not find its way into packages or roots.
PLAIN_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class HostError(RuntimeError):
    """A command on the host failed; the message carries what it said."""


def host(
    *command: str | Path, check: bool = True, input: str | None = None, **more: Any
) -> subprocess.CompletedProcess[str]:
    """Run a command on the host, with its output captured and shown when it fails."""
    args = [str(word) for word in command]
    done = subprocess.run(args, capture_output=True, text=True, input=input, check=False, **more)
    if check and done.returncode:
        raise HostError(f"{' '.join(args)} -> {done.returncode}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}")
    return done


def directory_for_disks(in_memory: bool) -> Path:
    """Where to make a machine's disk. A member's environment is 24,000 links: a tenth of the time in memory."""
    if in_memory and os.path.ismount(MEMORY.parent):
        available = re.search(r"(?m)^MemAvailable: +(\d+)", Path("/proc/meminfo").read_text())
        free = os.statvfs(MEMORY.parent)
        least = min(int(available[1]) >> 10 if available else 0, (free.f_bavail * free.f_frsize) >> 20)
        # A hard link counts as a file there.
        if least > ENOUGH_MEMORY and free.f_favail > ENOUGH_FILES:
            MEMORY.mkdir(mode=0o755, exist_ok=True)
            return MEMORY
    RUN.mkdir(parents=True, exist_ok=True)
    return RUN


def digest(*parts: str | bytes) -> str:
    """Return a short, stable name for these contents."""
    sha = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        sha.update(len(data).to_bytes(8, "big"))
        sha.update(data)
    return sha.hexdigest()[:12]


def failures_of(test: str) -> Path:
    """Where what explains a test's failure is kept: of its second try, beside that of the first."""
    directory = FAILURES / re.sub(r"[^\w.=-]+", "_", test)[-150:]
    return directory / "second-try" if os.environ.get(SECOND_TRY) else directory


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold an exclusive lock; it ends with the process, however that ends."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def mounts_below(path: Path) -> list[Path]:
    """Return the mount points at or below `path`, innermost first."""
    found = []
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        where = Path(line.split()[4].replace("\\040", " "))
        if where == path or path in where.parents:
            found.append(where)
    return sorted(found, key=lambda where: len(where.parts), reverse=True)


def unmount_below(path: Path) -> None:
    """Unmount everything at or below `path`."""
    for where in mounts_below(path):
        host("umount", where, check=False)


def remove_tree(path: Path) -> None:
    """Delete a directory, but never through a mount: below one may lie the host itself."""
    unmount_below(path)
    left = mounts_below(path)
    if left:
        raise HostError(f"will not delete {path}: still mounted: {', '.join(map(str, left))}")
    if path.is_symlink() or path.is_file():
        path.unlink()
    elif path.exists():
        shutil.rmtree(path)


def move_tree(source: Path, destination: Path) -> None:
    """Move a directory with everything overlayfs keeps in it (whiteouts, extended attributes)."""
    try:
        source.rename(destination)
    except OSError:  # another file system; shutil.move would lose the attributes
        host("cp", "-a", source, destination)
        remove_tree(source)


def last_lines(text: str, count: int) -> str:
    """Return the last `count` lines of a text."""
    return "\n".join(text.splitlines()[-count:])


def read_tail(path: Path, count: int = 60) -> str:
    """Return the last lines of a file, or nothing when there is none."""
    try:
        return last_lines(path.read_text(errors="replace"), count)
    except OSError:
        return ""
