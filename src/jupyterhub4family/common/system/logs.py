"""Any identity: the ends of logs, which their owners write: plain files only, and never more than so much of one.

In place of tail(1), which waits for a pipe, follows links, and prints a line of five gigabytes.
"""

from __future__ import annotations

import os
import select
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Callable, Optional

from jupyterhub4family.common import records
from jupyterhub4family.common.system import files

#: Bytes of the end of a file that are looked at, and of a line that are shown.
LONGEST, LONGEST_LINE = 4 * 2**20, 16 * 1024
#: Bytes that are read at a time.
PIECE = 64 * 1024
#: Seconds between two looks at files that may grow.
PAUSE = 0.3


@records.dataclass(frozen=True)
class Log:
    """Where a log lies: below the directory `top` no link is followed, and only a file of the uid `owner` is read."""

    path: Path
    top: Path
    owner: Optional[int] = None

    def open(self) -> Optional[int]:
        """A descriptor of it, for reading; None if there is no such plain file."""
        return files.open_untrusted(self.path, top=self.top, owner=self.owner)


def end_of(log: Log, lines: int, longest: int = LONGEST) -> Optional[str]:
    """The last lines of a log; None if there is no such file."""
    descriptor = log.open()
    if descriptor is None:
        return None
    try:
        return _end(descriptor, lines, longest)[0]
    finally:
        os.close(descriptor)


def show(logs: Sequence[Log], lines: int, follow: bool, write: Callable[[str], None]) -> None:
    """Write the ends of logs; with `follow` also what is added to them, until somebody ends that (Ctrl-C) or nobody
    reads it any more.

    Where there are several, each is named, as tail(1) does.
    """
    last: list[Path] = []

    def tell(log: Log, text: str) -> None:
        if len(logs) > 1 and last[-1:] != [log.path]:
            write(f"==> {log.path} <==\n")
        last[:] = [log.path]
        write(text)

    where = {}
    for log in logs:
        descriptor = log.open()
        if descriptor is not None:
            text, position = _end(descriptor, lines, LONGEST)
            where[log] = (os.fstat(descriptor).st_ino, position)
            os.close(descriptor)
            tell(log, text)
    while follow and not _nobody_reads():
        time.sleep(PAUSE)
        for log in logs:
            text = _news(log, where)
            if text:
                tell(log, text)


def _nobody_reads() -> bool:
    """Whether the terminal or the program that got our stdout has gone: else this would go on without anybody."""
    poll = select.poll()
    poll.register(1, 0)
    return any(events & (select.POLLERR | select.POLLHUP) for _descriptor, events in poll.poll(0))


def _end(descriptor: int, lines: int, longest: int) -> tuple[str, int]:
    """The last lines of an open file, and how far it was read."""
    size = os.fstat(descriptor).st_size
    start = max(0, size - longest)
    data = b"".join(_read(descriptor, start, longest))
    found = data.splitlines(keepends=True)[-lines:] if lines > 0 else []
    return _text(found), start + len(data)


def _news(log: Log, where: dict[Log, tuple[int, int]]) -> str:
    """The lines that were added since a log was looked at; from the beginning, if it was put aside and begun anew."""
    descriptor = log.open()
    if descriptor is None:
        return ""
    try:
        status = os.fstat(descriptor)
        inode, position = where.get(log, (status.st_ino, 0))
        if inode != status.st_ino or status.st_size < position:
            position = 0
        start = max(position, status.st_size - LONGEST)
        data = b"".join(_read(descriptor, start, LONGEST))
    finally:
        os.close(descriptor)
    # The rest of a line that is being written comes the next time, unless it is none.
    whole = data if len(data) > PIECE else data[: data.rfind(b"\n") + 1]
    where[log] = (status.st_ino, start + len(whole))
    return _text(whole.splitlines(keepends=True))


def _text(lines: Iterable[bytes]) -> str:
    """Lines as text, without the ends of endless ones."""
    shown = (line if len(line) <= LONGEST_LINE else line[:LONGEST_LINE] + b" (...)\n" for line in lines)
    return b"".join(shown).decode("utf-8", "replace")


def _read(descriptor: int, start: int, most: int) -> Iterable[bytes]:
    """An open file from `start` on, in pieces."""
    while most > 0 and (piece := os.pread(descriptor, min(PIECE, most), start)):
        yield piece
        start, most = start + len(piece), most - len(piece)
