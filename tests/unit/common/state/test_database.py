"""common.mended: a note that is told for two weeks, and that cannot hurt whoever reads it."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from jupyterhub4family.common.state import database
from jupyterhub4family.common.state.database import repaired_database, write_repaired


@pytest.fixture(autouse=True)
def note(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(database, "STATE_FILE", tmp_path / "note.json")
    return tmp_path / "note.json"


def test_what_was_done_is_told() -> None:
    assert repaired_database() is None
    write_repaired("2026-11-22T043000Z-daily.sqlite")
    found = repaired_database()
    assert found is not None and "replaced by the copy of 2026-11-22" in found.message()
    write_repaired("")
    found = repaired_database()
    assert found is not None and "start empty" in found.message()


@pytest.mark.parametrize("days", [-1, 15, 4000])
def test_not_for_ever_and_not_before_it_happened(note: Path, days: int) -> None:
    note.write_text(json.dumps({"at": time.time() - days * 86400, "copy": "x"}))
    assert repaired_database() is None


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "1", '{"at": "x", "copy": ""}', '{"at": 1}', "[" * 4000, "ä", "x" * 5000]
)
def test_nonsense_of_a_service_that_was_taken_over_does_no_harm(note: Path, text: str) -> None:
    note.write_text(text, "utf-8")
    assert repaired_database() is None


def test_a_link_is_not_followed(note: Path, tmp_path: Path) -> None:
    (tmp_path / "other").write_text(json.dumps({"at": time.time(), "copy": ""}))
    note.symlink_to(tmp_path / "other")
    assert repaired_database() is None
