"""service.disk_reserve: database, log and index have room in advance, and nothing of the database is lost by that."""

from __future__ import annotations

import contextlib
import errno
import os
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from jupyterhub4family.service.hub_state import disk_reserve
from jupyterhub4family.service.hub_state.connection import LOG_SIZE, Connection, index_of, log_of
from jupyterhub4family.service.hub_state.disk_reserve import (
    INDEX_SIZE,
    RESERVE,
    ensure_reserve,
    lend_reserve,
    reserve_of,
)


def ask(database: Path, question: str, factory: Any = sqlite3.Connection) -> list[Any]:
    with contextlib.closing(sqlite3.connect(database, factory=factory)) as connection:
        return list(connection.execute(question))


def free(database: Path) -> int:
    ((page,),), ((pages,),) = ask(database, "PRAGMA page_size"), ask(database, "PRAGMA freelist_count")
    return int(page * pages)


@pytest.fixture
def database(tmp_path: Path) -> Path:
    file = tmp_path / "jupyterhub.sqlite"
    with contextlib.closing(sqlite3.connect(file)) as connection, connection:
        connection.execute("CREATE TABLE users (name TEXT)")
        connection.execute("INSERT INTO users VALUES ('anna')")
    return file


def mode(database: Path) -> tuple[int, int]:
    """What the database's header says of who wrote it: 1 without a log, 2 with one."""
    header = database.read_bytes()[:20]
    return header[18], header[19]


def opened_by_hub(database: Path) -> sqlite3.Connection:
    """As JupyterHub opens it, and reads in it."""
    connection = sqlite3.connect(database, factory=Connection)
    connection.execute("SELECT * FROM sqlite_master").fetchall()
    return connection


def test_all_files_have_room_and_nothing_is_lost(database: Path) -> None:
    ensure_reserve(database)
    assert free_in_main(database) >= RESERVE * 9 // 10
    for file, size in ((log_of(database), LOG_SIZE), (index_of(database), INDEX_SIZE)):
        assert file.samefile(reserve_of(file)) and file.stat().st_mode & 0o777 == 0o600
        assert file.stat().st_blocks * 512 >= size, "real blocks, no holes"
    assert ask(database, "SELECT * FROM users") == [("anna",)]
    assert ask(database, "SELECT name FROM sqlite_master") == [("users",)]
    assert ask(database, "PRAGMA integrity_check") == [("ok",)]
    assert mode(database) == (2, 2)


def free_in_main(database: Path) -> int:
    """As `free`; by a copy, since whoever closes the database as the last takes log and index away."""
    copy = database.with_name("copy.sqlite")
    copy.write_bytes(database.read_bytes())
    found = free(copy)
    for file in (copy, log_of(copy), index_of(copy)):
        file.unlink(missing_ok=True)
    return found


def test_a_second_time_changes_nothing(database: Path) -> None:
    ensure_reserve(database)

    def found() -> dict[str, tuple[bytes, int]]:
        """The index is made anew by each who opens the database as the first, and says nothing more."""
        return {
            file.name: (b"" if "-shm" in file.name else file.read_bytes(), file.stat().st_ino)
            for file in database.parent.iterdir()
        }

    before = found()
    ensure_reserve(database)
    assert found() == before and len(before) == 5


def test_the_hub_writes_over_the_blocks_that_were_kept_for_it(database: Path) -> None:
    for _hub in range(3):
        ensure_reserve(database)
        blocks = [reserve_of(file).stat().st_ino for file in (log_of(database), index_of(database))]
        hub = opened_by_hub(database)
        hub.execute("INSERT INTO users VALUES ('ben')")
        hub.commit()
        assert [file.stat().st_ino for file in (log_of(database), index_of(database))] == blocks
        hub.close()
        assert not log_of(database).exists(), "sqlite removes it"
        assert [reserve_of(file).stat().st_ino for file in (log_of(database), index_of(database))] == blocks
    assert ask(database, "SELECT name FROM users") == [("anna",), ("ben",), ("ben",), ("ben",)]


def test_who_looks_at_the_database_before_finds_them_too(database: Path) -> None:
    """`run-hub` looks whether it is whole; on a full disk it would leave half an index, and the hub nothing else."""
    lend_reserve(database)
    assert not log_of(database).exists(), "a database of before 0.2"
    ensure_reserve(database)
    opened_by_hub(database).close()
    assert not log_of(database).exists() and not index_of(database).exists()
    lend_reserve(database)
    assert all(file.samefile(reserve_of(file)) for file in (log_of(database), index_of(database)))
    assert ask(database, "SELECT * FROM users") == [("anna",)]


def test_a_log_of_before_is_not_played_back_twice(database: Path) -> None:
    """The blocks still hold the transactions of the hub before; what came later without a log must stay."""
    ensure_reserve(database)
    hub = opened_by_hub(database)
    hub.execute("INSERT INTO users VALUES ('ben')")
    hub.commit()
    hub.close()
    assert b"ben" in reserve_of(log_of(database)).read_bytes()
    # 0.1.0, after a rollback.
    with contextlib.closing(sqlite3.connect(database)) as older:
        assert older.execute("PRAGMA journal_mode = PERSIST").fetchone() == ("persist",)
        older.execute("DELETE FROM users")
        older.commit()
    assert mode(database) == (1, 1)
    ensure_reserve(database)
    assert ask(database, "SELECT * FROM users") == [] and mode(database) == (2, 2)


def test_a_log_that_is_kept_elsewhere_stays_as_it_is(database: Path) -> None:
    """As `import_state` keeps the one of a hub that was killed, with its database."""
    ensure_reserve(database)
    kept = database.with_name("kept-wal")
    os.link(reserve_of(log_of(database)), kept)
    log_of(database).unlink()
    kept.write_bytes(b"transactions" * 1000)
    ensure_reserve(database)
    assert kept.read_bytes() == b"transactions" * 1000
    assert not kept.samefile(log_of(database)) and log_of(database).samefile(reserve_of(log_of(database)))


def test_room_that_was_lost_is_made_again(database: Path) -> None:
    ensure_reserve(database)
    log_of(database).unlink()
    os.truncate(reserve_of(log_of(database)), 0)
    ensure_reserve(database)
    assert log_of(database).stat().st_blocks * 512 >= LOG_SIZE


def test_a_disk_that_is_full_before_there_is_room_is_told(
    database: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(_reserve: Path, _size: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(disk_reserve, "_make", full)
    ensure_reserve(database)
    assert "No space left" in capsys.readouterr().out
    assert ask(database, "SELECT * FROM users") == [("anna",)]


def test_of_what_0_1_0_kept_beside_it_nothing_is_left(database: Path) -> None:
    with contextlib.closing(sqlite3.connect(database)) as older:
        older.execute("PRAGMA journal_mode = PERSIST")
        older.execute("INSERT INTO users VALUES ('ben')")
        older.commit()
    journal = database.with_name(f"{database.name}-journal")
    assert journal.exists()
    ensure_reserve(database)
    assert not journal.exists() and ask(database, "SELECT * FROM users") == [("anna",), ("ben",)]


def test_a_database_that_is_not_there_yet_has_no_tables(tmp_path: Path) -> None:
    """JupyterHub then makes its own."""
    ensure_reserve(tmp_path / "new.sqlite")
    assert ask(tmp_path / "new.sqlite", "SELECT * FROM sqlite_master") == []
    assert free(tmp_path / "new.sqlite") >= RESERVE * 9 // 10


def test_used_room_is_made_again(database: Path) -> None:
    ensure_reserve(database)
    with contextlib.closing(sqlite3.connect(database)) as connection, connection:
        connection.execute("INSERT INTO users VALUES (zeroblob(700000))")
    assert free(database) < RESERVE // 2
    ensure_reserve(database)
    assert free(database) >= RESERVE // 2


def test_writing_as_the_hub_does_lets_no_file_grow_or_shrink(database: Path) -> None:
    ensure_reserve(database)
    files = (database, log_of(database), index_of(database))
    sizes = [file.stat().st_size for file in files]
    with contextlib.closing(opened_by_hub(database)) as connection:
        for number in range(1000):
            connection.execute("INSERT INTO users VALUES (?)", ("x" * 200 + str(number),))
            connection.commit()
            assert [file.stat().st_size for file in files] == sizes
        assert [file.stat().st_blocks * 512 >= size for file, size in zip(files, sizes)] == [True] * 3
    assert ask(database, "SELECT count(*) FROM users") == [(1001,)]


def in_a_child_that_is_killed(work: Callable[[], None]) -> None:
    """Do it in a process that then ends without closing anything."""
    child = os.fork()
    if child == 0:
        try:
            work()
            os._exit(0)
        finally:
            os._exit(1)
    assert os.waitpid(child, 0)[1] == 0


@pytest.mark.parametrize("with_log", [True, False])
def test_what_a_killed_hub_left_is_played_back_first(database: Path, with_log: bool) -> None:
    """A log or a journal that still counts must not be written over."""
    if with_log:
        ensure_reserve(database)

    def work() -> None:
        # The cache holds next to nothing, so files are changed before the transaction ends.
        connection = sqlite3.connect(database, factory=Connection if with_log else sqlite3.Connection)
        connection.execute("PRAGMA cache_size = 1")
        connection.execute("INSERT INTO users VALUES ('ben')")
        connection.commit()
        connection.execute("UPDATE users SET name = 'nobody'")
        connection.execute("INSERT INTO users VALUES (randomblob(200000))")

    in_a_child_that_is_killed(work)
    ensure_reserve(database)
    assert ask(database, "SELECT * FROM users") == [("anna",), ("ben",)]
    assert ask(database, "PRAGMA integrity_check") == [("ok",)]


@pytest.mark.parametrize("what", ["nonsense", "a folder", "no folder"])
def test_what_is_broken_is_told_and_left_to_the_hub(
    tmp_path: Path, what: str, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "there" / "jupyterhub.sqlite"
    if what != "no folder":
        file.parent.mkdir()
    if what == "nonsense":
        file.write_bytes(b"nonsense" * 1000)
    elif what == "a folder":
        file.mkdir()
    ensure_reserve(file)
    assert "no spare room in the database: " in capsys.readouterr().out
    if what == "nonsense":
        assert file.read_bytes() == b"nonsense" * 1000
