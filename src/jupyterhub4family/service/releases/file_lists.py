"""Runs as jupyterhub: lists of files with their SHA-256, as packages bring them (RECORD, PEP 376), and ours.

The proxy comes without such a list: it gets one of ours when a release is built, at its top.
"""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import os
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path

from jupyterhub4family.common.system import files

#: Ours has the name that it has in a package.
NAME = "RECORD"
#: Bytes of a list; the longest has some hundred kilobytes. Root waits for whoever reads it.
MAXIMUM = 16 * 2**20
_ALGORITHM = "sha256="
#: What files are read into: memory of its own for each of twenty thousand took a third of the kernel's time.
_BUFFER = memoryview(bytearray(2**18))


def write(build: Path, directories: Iterable[str]) -> None:
    """List all regular files below these directories of a build that is finished but for this. Raises OSError."""
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    for directory in directories:
        for file in sorted((build / directory).rglob("*")):
            if file.is_file() and not file.is_symlink():
                rows.writerow([file.relative_to(build), f"{_ALGORITHM}{digest(str(file))}", file.stat().st_size])
    files.write_atomically(build / NAME, text.getvalue())


def entries(record: Path, base: Path) -> Iterator[tuple[str, str]]:
    """Name and SHA-256 of every file in a list that has one: compiled files have none. Names are as seen from `base`.

    Of a list that is empty or cannot be read, as a power cut leaves it, that list with a sum that nothing has.
    """
    try:
        rows = list(csv.reader((files.read_untrusted(record, MAXIMUM) or b"").decode("utf-8").splitlines()))
    except (UnicodeDecodeError, csv.Error):
        rows = []
    if not rows:
        yield str(record.relative_to(base)), "?"
    for row in rows:
        if len(row) >= 2 and row[1].startswith(_ALGORITHM):
            yield row[0], row[1][len(_ALGORITHM) :]


def digest(path: str) -> str:
    """The SHA-256 of a regular file as a list writes it; empty if there is no such file, or the disk cannot read it."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW)
    except OSError:
        return ""
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            return ""
        length = os.readv(descriptor, [_BUFFER])
        found = hashlib.sha256(_BUFFER[:length])
        # Most are read whole by then: that no more comes is not asked of each of twenty thousand.
        if length != status.st_size:
            while length := os.readv(descriptor, [_BUFFER]):
                found.update(_BUFFER[:length])
    except OSError:
        return ""
    finally:
        os.close(descriptor)
    return base64.urlsafe_b64encode(found.digest()).rstrip(b"=").decode("ascii")
