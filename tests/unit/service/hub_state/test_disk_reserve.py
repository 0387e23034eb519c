"""service.spare_room: database and journal have room in advance, and nothing of the database is lost by that."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from jupyterhub4family.service.hub_state.disk_reserve import RESERVE, Connection, ensure_reserve


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


def journal(database: Path) -> Path:
    return database.with_name(database.name + "-journal")


def test_both_files_have_room_and_nothing_is_lost(database: Path) -> None:
    ensure_reserve(database)
    assert free(database) >= RESERVE * 9 // 10
    assert journal(database).stat().st_blocks * 512 >= RESERVE * 9 // 10, "real blocks, no holes"
    assert ask(database, "SELECT * FROM users") == [("anna",)]
    assert ask(database, "SELECT name FROM sqlite_master") == [("users",)]
    assert ask(database, "PRAGMA integrity_check") == [("ok",)]


def test_a_second_time_changes_nothing(database: Path) -> None:
    ensure_reserve(database)
    before = database.read_bytes(), journal(database).read_bytes()
    ensure_reserve(database)
    assert (database.read_bytes(), journal(database).read_bytes()) == before


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
    sizes = database.stat().st_size, journal(database).stat().st_size
    with contextlib.closing(sqlite3.connect(database, factory=Connection)) as connection:
        for number in range(50):
            with connection:
                connection.execute("INSERT INTO users VALUES (?)", ("x" * 2000 + str(number),))
    assert (database.stat().st_size, journal(database).stat().st_size) == sizes
    assert ask(database, "SELECT count(*) FROM users") == [(51,)]


def test_what_a_killed_hub_left_is_played_back_first(database: Path, tmp_path: Path) -> None:
    """A journal that still counts must not be written over."""
    ensure_reserve(database)
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        # The cache holds next to nothing, so the database itself is changed before the transaction ends.
        connection = sqlite3.connect(database, factory=Connection, isolation_level=None)
        connection.execute("PRAGMA cache_size = 1")
        connection.execute("BEGIN")
        connection.execute("UPDATE users SET name = 'nobody'")
        connection.execute("INSERT INTO users VALUES (randomblob(200000))")
        os.write(writer, b"x")
        os._exit(0)
    os.waitpid(child, 0)
    assert os.read(reader, 1) == b"x"
    os.close(reader)
    os.close(writer)
    ensure_reserve(database)
    assert ask(database, "SELECT * FROM users") == [("anna",)]
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
