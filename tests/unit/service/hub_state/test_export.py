"""service.hub_state: a copy of the hub's state that is of one moment, and taking it back, all or nothing."""

from __future__ import annotations

import contextlib
import io
import json
import os
import sqlite3
import sys
from pathlib import Path
from typing import Any

import pytest

from jupyterhub4family.common import paths
from jupyterhub4family.common.errors import FamilyError
from jupyterhub4family.service.hub_state import export
from jupyterhub4family.service.hub_state.connection import Connection, log_of
from jupyterhub4family.service.hub_state.disk_reserve import ensure_reserve
from jupyterhub4family.service.hub_state.export import DATABASE, exported, import_state


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    directory = tmp_path / "state"
    (directory / "tls").mkdir(parents=True)
    monkeypatch.setattr(paths, "STATE", directory)
    return directory


def fill(state: Path, name: str) -> None:
    with contextlib.closing(sqlite3.connect(state / DATABASE)) as database, database:
        database.execute("create table if not exists users (name)")
        database.execute("insert into users values (?)", (name,))
    (state / "cookie_secret").write_text(name)
    (state / "tls/ca.key").write_text(name)


def users(path: Path) -> list[str]:
    with contextlib.closing(sqlite3.connect(path)) as database:
        return [name for (name,) in database.execute("select name from users")]


def test_the_database_is_copied_while_somebody_writes(state: Path, tmp_path: Path) -> None:
    fill(state, "anna")
    writing = sqlite3.connect(state / DATABASE)
    writing.execute("insert into users values ('half')")
    files = exported()
    writing.rollback()
    writing.close()
    (tmp_path / "copy").write_bytes(files[DATABASE])
    assert users(tmp_path / "copy") == ["anna"]
    assert set(files) == {DATABASE, "cookie_secret", "tls/ca.key"} and files["cookie_secret"] == b"anna"
    assert not list(state.glob(".*")), "nothing is left beside it"


def test_what_was_exported_is_taken_back_and_the_old_is_kept(state: Path) -> None:
    fill(state, "anna")
    files = exported()
    fill(state, "ben")
    # It belongs to the old database, and would spoil the new one.
    (state / f"{DATABASE}-journal").write_text("old")
    kept = import_state(files)
    # Looked at first: sqlite itself removes it when it opens that database.
    assert not (state / f"{DATABASE}-journal").exists() and (kept / f"{DATABASE}-journal").exists()
    assert users(state / DATABASE) == ["anna"] and users(kept / DATABASE) == ["anna", "ben"]
    assert (state / "cookie_secret").read_text() == "anna" and (kept / "tls/ca.key").read_text() == "ben"
    assert (state / "tls/ca.key").stat().st_mode & 0o777 == 0o600
    assert not (state / ".restoring").exists()


def test_a_backup_has_what_is_only_in_the_log_yet(state: Path, tmp_path: Path) -> None:
    """And the log of another hub, which is kept with its database, does not come over what is taken back."""
    fill(state, "anna")
    hub = sqlite3.connect(state / DATABASE, factory=Connection)
    hub.execute("insert into users values ('ben')")
    hub.commit()
    assert b"ben" not in (state / DATABASE).read_bytes()
    files = exported()
    assert files[DATABASE][18:20] == b"\1\1" and b"ben" in files[DATABASE]
    hub.execute("insert into users values ('clara')")
    hub.commit()
    # As of a hub that was killed.
    log = log_of(state / DATABASE).read_bytes()
    hub.close()
    log_of(state / DATABASE).write_bytes(log)
    kept = import_state(files)
    assert users(state / DATABASE) == ["anna", "ben"] and log_of(kept / DATABASE).read_bytes() == log
    ensure_reserve(state / DATABASE)
    assert users(state / DATABASE) == ["anna", "ben"]


def test_interrupted_at_any_moment_no_log_comes_over_another_database(
    state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(state, "anna")
    files = exported()
    log_of(state / DATABASE).write_bytes(b"of the old one")
    exchange, steps = export._exchange, 0

    def step(restored: Path, target: Path, kept: Path) -> None:
        nonlocal steps
        exchange(restored, target, kept)
        steps += 1
        is_new = (state / DATABASE).exists() and not (state / ".restoring" / DATABASE).exists()
        assert not (is_new and log_of(state / DATABASE).exists()), target.name

    monkeypatch.setattr(export, "_exchange", step)
    kept = import_state(files)
    assert steps >= len(files) + 3 and log_of(kept / DATABASE).read_bytes() == b"of the old one"


def test_a_damaged_database_changes_nothing(state: Path) -> None:
    fill(state, "anna")
    files = {**exported(), DATABASE: b"no database" * 100}
    before = (state / DATABASE).read_bytes()
    with pytest.raises(FamilyError, match="damaged"):
        import_state(files)
    assert (state / DATABASE).read_bytes() == before and not (state / ".restoring").exists()
    (state / DATABASE).write_bytes(b"no database" * 100)
    with pytest.raises(FamilyError, match="cannot be copied"):
        exported()


def test_without_any_state_there_is_nothing_and_that_is_no_error(state: Path) -> None:
    assert exported() == {}


@pytest.mark.parametrize(
    "request_",
    ["", "{", "[]", "{}", '{"files": 1}', '{"files": {"cookie_secret": "?"}}', '{"files": {"cookie_secret": 1}}'],
)
def test_other_requests_are_refused(
    state: Path, request_: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    mask = os.umask(0o077)
    monkeypatch.setattr(sys, "argv", ["hub-state", "import"])
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(request_.encode())))
    assert export.main() == 2
    os.umask(mask)
    answer: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert answer["ok"] is False


def test_names_that_are_not_ours_are_left_out(
    state: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    mask = os.umask(0o077)
    monkeypatch.setattr(sys, "argv", ["hub-state", "import"])
    files = {"files": {"../../evil": "eA==", "cookie_secret": "eA=="}}
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(json.dumps(files).encode())))
    assert export.main() == 0
    os.umask(mask)
    assert (state / "cookie_secret").read_text() == "x" and sorted(os.listdir(state)) == ["cookie_secret", "tls"]
    capsys.readouterr()
