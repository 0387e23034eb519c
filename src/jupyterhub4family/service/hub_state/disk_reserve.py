"""Runs as jupyterhub: room inside the hub's database, so that people can log in when the disk is full.

sqlite writes what a transaction replaces into a journal beside the database, which it makes anew and removes each time,
and lets the database grow. Neither works on a full disk. So the journal is kept and overwritten instead
(`journal_mode=PERSIST`), and journal and database are made somewhat larger in advance: writing over blocks that a file
has takes no new ones.
"""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path
from typing import Any

#: Bytes that database and journal have in advance; a login writes some ten thousand.
RESERVE = 1024 * 1024


class Connection(sqlite3.Connection):
    """A connection whose journal stays; for JupyterHub, too, since sqlite remembers that with no database."""

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self.execute("PRAGMA journal_mode = PERSIST")


def ensure_reserve(database: Path) -> None:
    """Make room in `database`, which is made if it is missing; for `run-hub`, before the hub opens it.

    Never raises: on a disk that is full already, or with a database that is broken, the hub has to say so.
    """
    try:
        with contextlib.closing(sqlite3.connect(database, factory=Connection, isolation_level=None)) as connection:
            _ensure(connection, database)
    except (OSError, sqlite3.Error) as error:
        print(f"no spare room in the database: {error}", flush=True)


def _ensure(connection: sqlite3.Connection, database: Path) -> None:
    (page,), (free,) = (connection.execute(f"PRAGMA {name}").fetchone() for name in ("page_size", "freelist_count"))
    journal = database.with_name(f"{database.name}-journal")
    if free * page >= RESERVE // 2 and journal.exists() and journal.stat().st_size >= RESERVE // 2:
        return
    connection.execute("CREATE TABLE IF NOT EXISTS jupyterhub4family_spare_room (room BLOB)")
    connection.execute("INSERT INTO jupyterhub4family_spare_room VALUES (zeroblob(?))", (RESERVE,))
    # What is replaced goes into the journal.
    connection.execute("UPDATE jupyterhub4family_spare_room SET room = randomblob(?)", (RESERVE,))
    # Its pages are then free for others.
    connection.execute("DROP TABLE jupyterhub4family_spare_room")
