"""service.hub_state.connection: what may be lost by a power cut does not wait for the disk, everything else does."""

from __future__ import annotations

import contextlib
import errno
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from jupyterhub4family.service.hub_state.connection import CHECKPOINT, LOG_SIZE, Connection, index_of, log_of

TABLES = (
    "users (id, name, admin, cookie_id, last_activity)",
    "servers (id, port)",
    "spawners (id, state, server_id)",
    "api_tokens (id, user_id, scopes, last_activity)",
    "oauth_codes (id, code)",
    "oauth_clients (identifier, secret)",
    "user_role_map (user_id, role_id)",
)


class Syncs:
    """Of which files the connection had the contents written to the disk; `error`: and how that went."""

    def __init__(self) -> None:
        self.files: list[str] = []
        self.error: OSError | None = None

    def fsync(self, descriptor: int) -> None:
        self.files.append(Path(os.readlink(f"/proc/self/fd/{descriptor}")).name)
        if self.error is not None:
            raise self.error


@pytest.fixture
def syncs(monkeypatch: pytest.MonkeyPatch) -> Syncs:
    found = Syncs()
    monkeypatch.setattr(os, "fsync", found.fsync)
    return found


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    with contextlib.closing(sqlite3.connect(tmp_path / "hub.sqlite", factory=Connection)) as opened:
        for table in TABLES:
            opened.execute(f"CREATE TABLE {table}")
        opened.execute("INSERT INTO users VALUES (1, 'anna', 0, 'c', 0)")
        opened.commit()
        yield opened


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT * FROM users",
        "INSERT INTO servers (port) VALUES (8000)",
        "INSERT INTO api_tokens (user_id) VALUES (1)",
        "INSERT INTO users (name) VALUES ('ben')",
        "UPDATE servers SET port=8000 WHERE servers.id = 1",
        "UPDATE spawners SET state='{}', server_id=NULL WHERE spawners.id = 1",
        "UPDATE users SET last_activity='2026-11-30' WHERE users.id = 1",
        "UPDATE api_tokens SET last_activity=? WHERE api_tokens.id = 1",
        "DELETE FROM oauth_codes WHERE oauth_codes.id = 1",
    ],
)
def test_what_a_start_writes_waits_for_no_disk(hub: sqlite3.Connection, syncs: Syncs, statement: str) -> None:
    hub.execute(statement, (1,) if "?" in statement else ())
    hub.commit()
    assert syncs.files == []


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM users WHERE users.id = 1",
        "DELETE FROM api_tokens WHERE api_tokens.id = 1",
        "DELETE FROM user_role_map WHERE user_id = 1",
        "DELETE FROM servers WHERE servers.id = 1",
        "delete from users",
        "  DELETE FROM users",
        "WITH gone AS (SELECT 1 AS id) DELETE FROM users WHERE id IN (SELECT id FROM gone)",
        "REPLACE INTO users (id, admin) VALUES (1, 0)",
        "INSERT OR REPLACE INTO users (id, admin) VALUES (1, 0)",
        "UPDATE users SET admin=0 WHERE users.id = 1",
        "UPDATE users SET cookie_id='new' WHERE users.id = 1",
        "UPDATE users SET last_activity=0, cookie_id='new' WHERE users.id = 1",
        "UPDATE users SET last_activity=0,admin=0 WHERE users.id = 1",
        "UPDATE users SET cookie_id='n', last_activity=0 WHERE users.id = 1",
        "UPDATE api_tokens SET scopes='[]' WHERE api_tokens.id = 1",
        "UPDATE oauth_clients SET secret='x'",
        "DROP TABLE users",
    ],
)
def test_what_takes_something_away_is_on_the_disk_before_anybody_is_told(
    hub: sqlite3.Connection, syncs: Syncs, statement: str
) -> None:
    hub.execute("INSERT INTO servers (port) VALUES (1)")
    hub.execute(statement)
    hub.execute("SELECT * FROM servers")
    hub.commit()
    assert syncs.files == ["hub.sqlite-wal"]
    hub.execute("INSERT INTO servers (port) VALUES (1)")
    hub.commit()
    assert len(syncs.files) == 1, "the next transaction is another one"


def test_cursors_many_at_once_and_what_was_taken_back(hub: sqlite3.Connection, syncs: Syncs) -> None:
    """As SQLAlchemy asks."""
    cursor = hub.cursor()
    cursor.executemany("DELETE FROM users WHERE id = ?", [(1,), (2,)])
    hub.rollback()
    hub.execute("INSERT INTO servers (port) VALUES (1)")
    hub.commit()
    assert syncs.files == []
    cursor.executemany("DELETE FROM users WHERE id = ?", [(1,), (2,)])
    hub.commit()
    assert syncs.files == ["hub.sqlite-wal"]


def test_who_asked_hears_of_a_disk_that_does_not_take_it(hub: sqlite3.Connection, syncs: Syncs) -> None:
    syncs.error = OSError(errno.EIO, "Input/output error")
    hub.execute("DELETE FROM users")
    with pytest.raises(sqlite3.OperationalError, match="cannot be synced"):
        hub.commit()


def test_the_log_is_private_and_has_bounds(hub: sqlite3.Connection, tmp_path: Path) -> None:
    file = tmp_path / "hub.sqlite"
    assert hub.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert hub.execute("PRAGMA synchronous").fetchone() == (1,), "NORMAL"
    for beside in (log_of(file), index_of(file)):
        assert beside.stat().st_mode & 0o077 == file.stat().st_mode & 0o077
    for number in range(2000):
        hub.execute("INSERT INTO users (name) VALUES (?)", (f"{number}" * 500,))
        hub.commit()
    assert log_of(file).stat().st_size < LOG_SIZE and CHECKPOINT * 4096 < LOG_SIZE


def test_a_log_that_cannot_be_had_is_done_without(tmp_path: Path) -> None:
    """Somebody reads a database of before 0.2: the hub works, each of its changes waits for the disk, as it did."""
    file = tmp_path / "hub.sqlite"
    with contextlib.closing(sqlite3.connect(file)) as older:
        older.execute("CREATE TABLE users (name)")
        older.execute("INSERT INTO users VALUES ('anna')")
        older.commit()
        reader = older.execute("SELECT * FROM users")
        reader.fetchone()
        older.execute("BEGIN IMMEDIATE")
        with contextlib.closing(sqlite3.connect(file, factory=Connection, timeout=0)) as opened:
            assert opened.execute("PRAGMA journal_mode").fetchone() != ("wal",)
            assert opened.execute("PRAGMA synchronous").fetchone() == (2,), "FULL"
            older.rollback()
            reader.close()
            opened.execute("DELETE FROM users")
            opened.commit()
    with contextlib.closing(sqlite3.connect(file, factory=Connection)) as opened:
        assert opened.execute("PRAGMA journal_mode").fetchone() == ("wal",), "the next start"


@pytest.mark.parametrize(
    ("statement", "takes_away"),
    [
        ("INSERT INTO users (name) VALUES ('ben')", False),
        ("UPDATE users SET last_activity='2026-11-30' WHERE users.id = 1", False),
        ("UPDATE users SET name='anne' WHERE users.id = 1", True),
        ("DELETE FROM api_tokens WHERE api_tokens.id = 1", True),
        ("DROP TABLE users", True),
    ],
)
def test_it_is_known_whether_something_was_taken_away(
    hub: sqlite3.Connection, statement: str, takes_away: bool
) -> None:
    before = Connection.as_of()
    assert Connection.as_of() == before
    hub.execute(statement)
    assert (Connection.as_of() != before) is takes_away
    hub.commit()
    assert (Connection.as_of() != before) is takes_away


def test_nor_is_what_was_undone_or_another_process_has_done(hub: sqlite3.Connection, tmp_path: Path) -> None:
    before = Connection.as_of()
    hub.rollback()
    assert Connection.as_of() == before, "nothing was begun"
    hub.execute("INSERT INTO users (name) VALUES ('ben')")
    hub.rollback()
    assert (undone := Connection.as_of()) != before
    with contextlib.closing(sqlite3.connect(tmp_path / "hub.sqlite")) as other:
        other.execute("DELETE FROM users")
        other.commit()
    assert (by_another := Connection.as_of()) != undone
    hub.close()
    assert (closed := Connection.as_of()) != by_another and Connection.as_of() == closed
