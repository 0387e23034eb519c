"""Runs as jupyterhub, inside JupyterHub's process and in `run-hub`: how the hub's database is written (docs/adr/0032).

What a transaction changes goes to the end of a log beside the database (`journal_mode=WAL`) and reaches the disk when
the kernel finds the time: a start has 14 transactions, and each would otherwise wait for the disk four times, in the
only thread that answers everybody. A power cut can so take the last half minute back, as if it had not been; the
database is whole. Nobody's rights may come back that way, so what takes something away waits for the disk all the same.
"""

from __future__ import annotations

import contextlib
import os
import re
import sqlite3
import weakref
from pathlib import Path
from typing import Any, ClassVar

#: Frames of the log (pages of 4 KiB) after which the database itself is brought up to date.
CHECKPOINT = 512
#: Bytes: to so many the log is cut when it was longer; so much room it has in advance (disk_reserve.py).
LOG_SIZE = 4 * 1024 * 1024
#: What a start, a login and each click write: that something exists, or when it was used last. The code with which a
#: server asks once who has come is used up by being deleted; it is good for minutes, for a server that knows the secret
#: it was started with, and a power cut ends all servers. Anything else is taken for something that must not come back.
_MAY_BE_LOST = re.compile(
    r"(SELECT|PRAGMA|INSERT INTO|UPDATE (servers|spawners)|DELETE FROM oauth_codes)\b"
    # One column and no other.
    r"|UPDATE \w+ SET last_activity=[^,\s]+ WHERE \w+\.id = [^,\s]+$"
)


class Cursor(sqlite3.Cursor):
    """Tells its connection what the transaction does."""

    def execute(self, statement: str, parameters: Any = (), /) -> Cursor:
        """As sqlite3 does."""
        _note(self.connection, statement)
        return super().execute(statement, parameters)

    def executemany(self, statement: str, parameters: Any, /) -> Cursor:
        """As sqlite3 does."""
        _note(self.connection, statement)
        return super().executemany(statement, parameters)


class Connection(sqlite3.Connection):
    """A connection with a log; for JupyterHub, too, since sqlite remembers only half of that with the database."""

    #: How often something was taken away, or undone, by this process.
    _taken_away: ClassVar[int] = 0
    _open: ClassVar[weakref.WeakSet[Connection]] = weakref.WeakSet()

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self._open.add(self)
        self._must_last = False
        self._log = ""
        if _mode(self, "WAL") == "wal":
            self.execute("PRAGMA synchronous = NORMAL")
            self.execute(f"PRAGMA wal_autocheckpoint = {CHECKPOINT}")
            self.execute(f"PRAGMA journal_size_limit = {LOG_SIZE}")
            self._log = f"{self.execute('PRAGMA database_list').fetchone()[2]}-wal"
        else:
            # Another process reads it just now, or the disk is full: as it was before 0.2, each change waits.
            _mode(self, "PERSIST")

    def cursor(self, factory: Any = Cursor) -> Any:
        """As sqlite3 does, with a class of ours."""
        return super().cursor(factory)

    def execute(self, statement: str, parameters: Any = (), /) -> sqlite3.Cursor:
        """As sqlite3 does, by a cursor of ours."""
        opened: sqlite3.Cursor = self.cursor().execute(statement, parameters)
        return opened

    def note(self, statement: str) -> None:
        """Remember whether the transaction that this belongs to may be lost."""
        if not _MAY_BE_LOST.match(statement):
            self._must_last = True
            Connection._taken_away += 1

    @classmethod
    def as_of(cls) -> object:
        """Another value as soon as something may have been taken away, by this process or by any other.

        What was found in the database before, and is what somebody is or may, is to be found as long as this is equal.
        """
        versions: list[object] = [cls._taken_away]
        for connection in list(cls._open):
            try:
                # Another number when another connection has written (a PRAGMA of sqlite's), in some microseconds.
                versions.append(sqlite3.Connection.execute(connection, "PRAGMA data_version").fetchone())
            except sqlite3.Error:
                # Closed, so that what it might have noticed is not known.
                cls._open.discard(connection)
                cls._taken_away += 1
                versions[0] = cls._taken_away
        return versions

    def commit(self) -> None:
        """Return when the transaction may be told of: if it takes something away, when it is on the disk."""
        super().commit()
        if self._must_last:
            self._must_last = False
            self._sync()

    def rollback(self) -> None:
        """As sqlite3 does."""
        if self.in_transaction:
            Connection._taken_away += 1
        super().rollback()
        self._must_last = False

    def _sync(self) -> None:
        """Have the log written to the disk; whoever asked hears of it if that fails."""
        if not self._log:
            return
        try:
            descriptor = os.open(self._log, os.O_RDONLY | os.O_CLOEXEC)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        except OSError as error:
            raise sqlite3.OperationalError(f"the database's log cannot be synced: {error}") from error


def _note(connection: sqlite3.Connection, statement: str) -> None:
    if isinstance(connection, Connection):
        connection.note(statement)


def _mode(connection: sqlite3.Connection, mode: str) -> str:
    """Which mode it is in after it was asked for this one."""
    with contextlib.suppress(sqlite3.OperationalError):
        return str(connection.execute(f"PRAGMA journal_mode = {mode}").fetchone()[0])
    return ""


def log_of(database: Path) -> Path:
    """Where sqlite keeps the log of a database."""
    return database.with_name(f"{database.name}-wal")


def index_of(database: Path) -> Path:
    """Where sqlite keeps what processes share to find something in the log."""
    return database.with_name(f"{database.name}-shm")
