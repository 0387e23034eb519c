"""Runs as jupyterhub: room for the hub's database, so that people can log in when the disk is full.

sqlite lets the database grow, and the log beside it (connection.py), and makes log and index anew for whoever opens a
database that nobody has open. None of that works on a full disk. So the database has free pages in advance, and log and
index have a second name each: they keep their blocks when sqlite removes them, and are there when it opens them.
Writing over blocks that a file has takes no new ones.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from pathlib import Path

from jupyterhub4family.common.system import files
from jupyterhub4family.service.hub_state import connection
from jupyterhub4family.service.hub_state.connection import Connection

#: Bytes that the database has in advance; a login writes some ten thousand.
RESERVE = 1024 * 1024
#: Bytes of the index: good for a log of 16 MB.
INDEX_SIZE = 32 * 1024
#: Where the log's header begins and ends. Without it sqlite takes what follows for nothing, and writes over it.
_HEADER = bytes(32)


def ensure_reserve(database: Path) -> None:
    """Make room in `database`, which is made if it is missing; for `run-hub`, before the hub opens it.

    Never raises: on a disk that is full already, or with a database that is broken, the hub has to say so.
    """
    try:
        _lend(database)
        with contextlib.closing(sqlite3.connect(database, factory=Connection, isolation_level=None)) as opened:
            _ensure(opened)
        # By another hub, of before 0.2; or what one that was killed has left, if there was no log.
        database.with_name(f"{database.name}-journal").unlink(missing_ok=True)
        # Whoever closes it as the last removes both.
        _lend(database)
    except (OSError, sqlite3.Error) as error:
        print(f"no spare room in the database: {error}", flush=True)


def lend_reserve(database: Path) -> None:
    """Have the database's log and index where sqlite looks for them; before anybody opens it. Never raises."""
    try:
        _lend(database)
    except OSError as error:
        print(f"no spare room beside the database: {error}", flush=True)


def reserve_of(file: Path) -> Path:
    """The second name of the log or the index."""
    return file.with_name(f".{file.name}.reserve")


def _lend(database: Path) -> None:
    """Have log and index there with their blocks, unless they are there: then they may still count.

    A database that has no log yet would be taken for one that has, and be none, if it found one.
    """
    if not _has_log(database):
        return
    for file, size in ((connection.log_of(database), connection.LOG_SIZE), (connection.index_of(database), INDEX_SIZE)):
        if os.path.lexists(file):
            continue
        reserve = reserve_of(file)
        if not _is_ours_alone(reserve, size):
            _make(reserve, size)
        _empty(reserve)
        os.link(reserve, file)


def _has_log(database: Path) -> bool:
    """Whether the database's header says so (https://sqlite.org/fileformat.html, 1.3.3)."""
    try:
        with open(database, "rb") as file:
            return file.read(20)[18:] == b"\2\2"
    except FileNotFoundError:
        return False


def _is_ours_alone(reserve: Path, size: int) -> bool:
    """Whether it has its blocks, and no other name: as a log that was kept with its database, it must stay as it is."""
    try:
        status = reserve.stat()
    except FileNotFoundError:
        return False
    return status.st_nlink == 1 and status.st_blocks * 512 >= size // 2


def _make(reserve: Path, size: int) -> None:
    staging = reserve.with_name(f"{reserve.name}.{os.getpid()}")
    staging.unlink(missing_ok=True)
    try:
        with open(os.open(staging, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600), "wb") as file:
            # Written, since blocks that are only promised are filled in by taking others, on some file systems.
            file.write(bytes(size))
            file.flush()
            os.fsync(file.fileno())
        staging.replace(reserve)
    finally:
        staging.unlink(missing_ok=True)
    files.sync_directory(reserve.parent)


def _empty(reserve: Path) -> None:
    """Take the header away, for good, before the file may be a log again: what was in it is in the database."""
    with open(reserve, "r+b") as file:
        if file.read(len(_HEADER)) == _HEADER:
            return
        file.seek(0)
        file.write(_HEADER)
        file.flush()
        os.fsync(file.fileno())


def _ensure(opened: sqlite3.Connection) -> None:
    (page,), (free,) = (opened.execute(f"PRAGMA {name}").fetchone() for name in ("page_size", "freelist_count"))
    if free * page >= RESERVE // 2:
        return
    opened.execute("CREATE TABLE IF NOT EXISTS jupyterhub4family_spare_room (room BLOB)")
    opened.execute("INSERT INTO jupyterhub4family_spare_room VALUES (zeroblob(?))", (RESERVE,))
    # Its pages are then free for others.
    opened.execute("DROP TABLE jupyterhub4family_spare_room")
