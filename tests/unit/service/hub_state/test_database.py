"""service.database: copies are whole and private, the newest few are kept, and one can be put back."""

from __future__ import annotations

import os
import sqlite3
import stat
from pathlib import Path

import pytest

from jupyterhub4family.common import paths
from jupyterhub4family.common.errors import FamilyError
from jupyterhub4family.common.state import database
from jupyterhub4family.service.hub_state import database as hub_state_database
from jupyterhub4family.service.hub_state.connection import Connection, log_of

OLD, NEW = "111111111111", "222222222222"


class Hub:
    """A state folder with a database, and a clock that never shows the same second twice."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.state = paths.STATE
        self.database, self.copies = hub_state_database.DATABASE, hub_state_database.COPIES
        self.seconds = 0
        monkeypatch.setattr(hub_state_database, "_now", self._now)

    def _now(self) -> str:
        self.seconds += 1
        return f"2026-11-23T0430{self.seconds:02d}Z"

    def write(self, *members: str, revision: str = OLD) -> None:
        with sqlite3.connect(self.database) as connection:
            connection.executescript(
                "CREATE TABLE IF NOT EXISTS users (name); CREATE TABLE IF NOT EXISTS alembic_version (version_num);"
                "DELETE FROM users; DELETE FROM alembic_version;"
            )
            connection.executemany("INSERT INTO users VALUES (?)", [(name,) for name in members])
            connection.execute("INSERT INTO alembic_version VALUES (?)", (revision,))
        connection.close()

    def members(self) -> list[str]:
        connection = sqlite3.connect(self.database)
        names = [str(row[0]) for row in connection.execute("SELECT name FROM users")]
        connection.close()
        return names


@pytest.fixture
def hub(machine_root: Path, monkeypatch: pytest.MonkeyPatch) -> Hub:
    return Hub(monkeypatch)


def release(directory: Path, *revisions: str) -> Path:
    versions = directory / "release/venv/lib/python3.11/site-packages/jupyterhub/alembic/versions"
    versions.mkdir(parents=True, exist_ok=True)
    for one in revisions:
        (versions / f"{one}_what_it_does.py").touch()
    (versions / "__pycache__").mkdir(exist_ok=True)
    return directory / "release"


def test_without_a_database_there_is_nothing_to_copy(hub: Hub) -> None:
    assert hub_state_database.copy_database() == "" and not hub.copies.exists()


def test_a_copy_is_whole_and_private_while_somebody_writes(hub: Hub) -> None:
    hub.write("anna")
    writer = sqlite3.connect(hub.database)
    writer.execute("INSERT INTO users VALUES ('half')")  # not committed
    name = hub_state_database.copy_database()
    writer.close()
    copy = hub.copies / name
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600 and stat.S_IMODE(hub.copies.stat().st_mode) == 0o700
    connection = sqlite3.connect(copy)
    assert connection.execute("SELECT name FROM users").fetchall() == [("anna",)]
    connection.close()
    assert os.listdir(hub.copies) == [name]


def killed_hub(database: Path, name: str) -> None:
    """A hub with a log writes that there is `name`, and is killed: the database itself does not have it yet."""
    child = os.fork()
    if child == 0:
        try:
            connection = sqlite3.connect(database, factory=Connection)
            connection.execute("INSERT INTO users VALUES (?)", (name,))
            connection.commit()
            os._exit(0)
        finally:
            os._exit(1)
    assert os.waitpid(child, 0)[1] == 0
    assert name.encode() not in database.read_bytes() and name.encode() in log_of(database).read_bytes()


def in_one_file(file: Path) -> list[str]:
    """The users in a copy that is one file, which says so itself."""
    assert file.read_bytes()[18:20] == b"\1\1" and not log_of(file).exists()
    connection = sqlite3.connect(f"file:{file}?mode=ro&immutable=1", uri=True)
    names = [str(row[0]) for row in connection.execute("SELECT name FROM users")]
    connection.close()
    return names


def test_a_copy_has_what_is_only_in_the_log_yet(hub: Hub) -> None:
    """With the hub running, after it was killed, and after it has ended; a copy needs no log, wherever it goes."""
    hub.write("anna")
    killed_hub(hub.database, "ben")
    assert in_one_file(hub.copies / hub_state_database.copy_database()) == ["anna", "ben"]
    running = sqlite3.connect(hub.database, factory=Connection)
    running.execute("INSERT INTO users VALUES ('clara')")
    running.commit()
    running.execute("INSERT INTO users VALUES ('half')")
    assert b"clara" not in hub.database.read_bytes()
    copies = [hub_state_database.copy_database()]
    assert log_of(hub.database).exists(), "it is the hub's"
    running.rollback()
    running.close()
    copies.append(hub_state_database.copy_database())
    assert [in_one_file(hub.copies / copy) for copy in copies] == [["anna", "ben", "clara"]] * 2
    assert sorted(os.listdir(hub.copies))[1:] == copies, "nothing else is left there"


def test_what_a_copy_replaces_is_kept_with_what_was_only_in_the_log(hub: Hub) -> None:
    hub.write("anna")
    name = hub_state_database.copy_database()
    killed_hub(hub.database, "ben")
    hub_state_database.choose_copy(name)
    hub_state_database.restore_wanted_copy()
    assert hub.members() == ["anna"]
    (replaced,) = hub.copies.glob("*-replaced.sqlite")
    connection = sqlite3.connect(replaced)
    assert connection.execute("SELECT name FROM users").fetchall() == [("anna",), ("ben",)]
    connection.close()


def test_a_log_of_a_damaged_database_does_not_come_over_the_copy(hub: Hub) -> None:
    hub.write("anna")
    hub_state_database.copy_database()
    killed_hub(hub.database, "ben")
    hub.database.write_bytes(b"nonsense" * 2000)
    log_of(hub.database).write_bytes(log_of(hub.database).read_bytes()[:100])
    hub_state_database.repair_database()
    assert hub.members() == ["anna"]


def test_only_the_newest_are_kept(hub: Hub) -> None:
    hub.write("anna")
    names = [hub_state_database.copy_database() for _ in range(hub_state_database.COPIES_KEPT + 3)]
    (hub.copies / "mine.txt").touch()
    hub_state_database.copy_database()
    kept = sorted(os.listdir(hub.copies))
    assert (
        len(kept) == hub_state_database.COPIES_KEPT + 1
        and names[0] not in kept
        and names[-1] in kept
        and "mine.txt" in kept
    )


def test_a_damaged_database_is_no_copy(hub: Hub) -> None:
    hub.database.write_bytes(b"this is no database" * 1000)
    with pytest.raises(FamilyError, match="could not be copied"):
        hub_state_database.copy_database()
    assert os.listdir(hub.copies) == []


def test_the_hub_puts_back_what_was_wanted_once(hub: Hub, capsys: pytest.CaptureFixture[str]) -> None:
    hub.write("anna")
    name = hub_state_database.copy_database()
    hub.write("anna", "ben", revision=NEW)
    hub_state_database.restore_wanted_copy()
    assert hub.members() == ["anna", "ben"], "nobody asked"
    hub_state_database.choose_copy(name)
    (hub.state / "jupyterhub.sqlite-journal").write_bytes(b"of the other one")
    hub_state_database.restore_wanted_copy()
    assert hub.members() == ["anna"] and hub_state_database.revision(hub.database) == OLD
    assert not (hub.state / "jupyterhub.sqlite-journal").exists()
    assert stat.S_IMODE(hub.database.stat().st_mode) == 0o600
    (replaced,) = hub.copies.glob("*-replaced.sqlite")
    assert hub_state_database.revision(replaced) == NEW, "what was replaced is kept"
    hub.write("clara")
    hub_state_database.restore_wanted_copy()
    assert hub.members() == ["clara"]


def test_a_copy_that_has_gone_leaves_the_database(hub: Hub, capsys: pytest.CaptureFixture[str]) -> None:
    hub.write("anna")
    name = hub_state_database.copy_database()
    hub_state_database.choose_copy(name)
    (hub.copies / name).unlink()
    hub_state_database.restore_wanted_copy()
    assert hub.members() == ["anna"] and "no copy" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["", "../jupyterhub.sqlite", "/etc/passwd", "2026-11-23T043000Z.sqlite", "x.sqlite"])
def test_only_copies_can_be_wanted(hub: Hub, name: str) -> None:
    hub.write("anna")
    with pytest.raises(FamilyError, match="no copy"):
        hub_state_database.choose_copy(name)


def test_which_database_a_release_can_read(hub: Hub, tmp_path: Path) -> None:
    older, newer = release(tmp_path / "a", OLD), release(tmp_path / "b", OLD, NEW)
    hub.write("anna")
    fitting = hub_state_database.copy_database()
    assert hub_state_database.fits(older) and hub_state_database.fits(newer)
    hub.write("anna", revision=NEW)
    hub_state_database.copy_database()
    assert not hub_state_database.fits(older) and hub_state_database.fits(newer)
    assert hub_state_database.newest_fitting_copy(older) == fitting
    assert hub_state_database.newest_fitting_copy(release(tmp_path / "c", "333333333333")) == ""


# -- a damaged database ----------------------------------------------------------------------------


def damage(file: Path, how: str) -> None:
    """As a failing disk does it."""
    if how == "no database at all":
        file.write_bytes(b"\0" * 8192)
    elif how == "a page of zeros":
        with open(file, "r+b") as opened:
            opened.seek(4096)
            opened.write(b"\0" * 4096)
    else:
        os.truncate(file, file.stat().st_size // 2)


@pytest.mark.parametrize("how", ["no database at all", "a page of zeros", "cut off"])
def test_a_damaged_database_is_the_newest_whole_copy_again(hub: Hub, how: str) -> None:
    hub.write("anna")
    hub_state_database.copy_database()
    hub.write("anna", "ben")
    newest = hub_state_database.copy_database(hub_state_database.DAILY)
    hub.write("anna", "ben", "cleo")
    damage(hub.copies / hub_state_database.copy_database(), how)
    damage(hub.database, how)
    before = hub.database.read_bytes()
    (hub.state / "jupyterhub.sqlite-journal").write_bytes(b"of another database")
    hub_state_database.repair_database()
    assert hub.members() == ["anna", "ben"]
    assert (hub_state_database.BROKEN).read_bytes() == before, "nothing is thrown away"
    assert not (hub.state / "jupyterhub.sqlite-journal").exists()
    found = database.repaired_database()
    assert found is not None and found.copy == newest


def test_without_a_copy_the_hub_begins_anew(hub: Hub) -> None:
    hub.write("anna")
    damage(hub.database, "no database at all")
    hub_state_database.repair_database()
    assert not hub.database.exists() and (hub_state_database.BROKEN).exists()
    found = database.repaired_database()
    assert found is not None and found.copy == ""


def test_a_whole_database_is_left_alone(hub: Hub) -> None:
    hub_state_database.repair_database()  # none yet
    hub.write("anna")
    hub_state_database.copy_database()
    before = hub.database.stat()
    hub_state_database.repair_database()
    after = hub.database.stat()
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)
    assert database.repaired_database() is None


def test_a_database_that_cannot_be_opened_is_not_called_damaged(
    hub: Hub, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    hub.write("anna")
    hub_state_database.copy_database()

    def full(_database: Path) -> sqlite3.Connection:
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr(hub_state_database, "opened", full)
    hub_state_database.repair_database()
    assert hub.members() == ["anna"] and "disk is full" in capsys.readouterr().out


def test_one_copy_a_day_and_those_of_upgrades_stay(hub: Hub) -> None:
    hub.write("anna")
    before_an_upgrade = hub_state_database.copy_database()
    for _day in range(hub_state_database.DAILY_COPIES_KEPT + 2):
        assert hub_state_database.copy_of_the_day(), "due"
        assert hub_state_database.copy_of_the_day() == "", "once is enough"
        for copy in hub.copies.iterdir():
            os.utime(copy, (0, 0))
    names = sorted(copy.name for copy in hub.copies.iterdir())
    assert names[0] == before_an_upgrade and len(names) == 1 + hub_state_database.DAILY_COPIES_KEPT
