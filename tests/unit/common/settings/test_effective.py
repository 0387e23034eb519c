"""common.settings_in_use: a bad settings file never stops anything; the notes of the service are not trusted."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from jupyterhub4family.common import paths
from jupyterhub4family.common.settings.effective import (
    configuration_problems,
    last_good_settings,
    settings_in_use,
    settings_of_service,
    skipped_files,
)
from jupyterhub4family.common.settings.model import Settings
from jupyterhub4family.common.settings.types import NetworkName


class Place:
    """A settings file and the notes of the service."""

    def __init__(self, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.file = directory / "config.yaml"
        self.note = directory / "last-good.json"
        self.skipped = directory / "skipped.json"
        monkeypatch.setattr(paths, "SETTINGS_FILE", self.file)
        monkeypatch.setattr(paths, "LAST_GOOD_SETTINGS", self.note)
        monkeypatch.setattr(paths, "SKIPPED_EXPERT_FILES", self.skipped)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    return Place(tmp_path, monkeypatch)


def test_a_good_file_counts_and_is_noted_by_the_service_only(place: Place) -> None:
    place.file.write_text("port: 9000\nextra_names: [nas]\n", "utf-8")
    assert settings_in_use() == (Settings(port=9000, extra_names=(NetworkName("nas"),)), None)
    assert not place.note.exists()
    assert settings_of_service("hub") == Settings(port=9000, extra_names=(NetworkName("nas"),))
    assert last_good_settings() == Settings(port=9000, extra_names=(NetworkName("nas"),))
    assert place.note.stat().st_mode & 0o777 == 0o644
    before = place.note.stat()
    settings_of_service("proxy")
    assert place.note.stat() == before, "written only when something is new"


def test_a_bad_file_leaves_the_last_good_settings_in_use(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    place.file.write_text("port: 9000\n", "utf-8")
    settings_of_service("hub")
    place.file.write_text("port: 9001\nlisten: everywhere\n", "utf-8")
    settings, problem = settings_in_use()
    assert settings == Settings(port=9000)
    assert problem is not None and f"{place.file}:2: listen must be one of" in problem.message
    assert settings_of_service("hub") == Settings(port=9000)
    assert last_good_settings() == Settings(port=9000)
    output = capsys.readouterr().out
    assert output.startswith("hub: ") and "config.yaml:2" in output and "last good settings stay in use" in output
    (reported,) = configuration_problems()
    assert "config.yaml:2" in reported.message and reported.status == 8 and reported.hint
    place.file.write_text("port: 9001\n", "utf-8")
    assert settings_in_use() == (Settings(port=9001), None)
    assert configuration_problems() == []


def test_a_file_that_is_gone_means_the_defaults(place: Place) -> None:
    place.file.write_text("port: 9000\n", "utf-8")
    settings_of_service("hub")
    place.file.unlink()
    assert settings_in_use() == (Settings(), None)


BAD_NOTES = [
    "",
    "{",
    "[]",
    "null",
    "8000",
    '"x"',
    '{"port": "9000"}',
    '{"port": 80}',
    '{"port": true}',
    '{"prot": 9000}',
    '{"supervisor": "/bin/sh"}',
    '{"https": false}',
    '{"port": 9000, "hub_port": 9000}',
    "[" * 100_000,
    '{"family_name": "' + "x" * 70_000 + '"}',
    '{"family_name": "\\u001b[31m"}',
]


@pytest.mark.parametrize("note", BAD_NOTES, ids=range(len(BAD_NOTES)))
def test_a_note_that_was_tampered_with_is_not_believed(place: Place, note: str) -> None:
    place.file.write_text("port: x\n", "utf-8")
    place.note.write_text(note, "utf-8")
    settings, problem = settings_in_use()
    # The defaults, but nobody else's computer can reach it.
    assert settings == Settings(listen="local") and problem is not None


def test_a_note_is_no_link_and_no_pipe(place: Place, tmp_path: Path) -> None:
    (tmp_path / "other.json").write_text('{"port": 9000}', "utf-8")
    place.note.symlink_to(tmp_path / "other.json")
    assert last_good_settings() is None
    place.note.unlink()
    os.mkfifo(place.note)
    assert last_good_settings() is None
    place.note.unlink()
    place.note.mkdir()
    assert last_good_settings() is None


def test_a_note_that_cannot_be_written_stops_nothing(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paths, "LAST_GOOD_SETTINGS", place.file.parent / "missing" / "note.json")
    assert settings_of_service("hub") == Settings()


@pytest.mark.parametrize(
    "note",
    [
        {"name": "a.py", "line": 1, "problem": "NameError"},
        [1],
        [{"name": "a.py"}],
        [{"name": "a.py", "line": "1", "problem": "NameError"}],
        [{"name": "a.py", "line": True, "problem": "NameError"}],
        [{"name": "a\x1b[31m.py", "line": 1, "problem": "NameError"}],
        [{"name": "a.py", "line": 1, "problem": "see http://example.org"}],
        [{"name": "a.py", "line": 1, "problem": "NameError", "more": 1}],
    ],
)
def test_odd_notes_about_experts_files_are_not_shown(place: Place, note: object) -> None:
    place.skipped.write_text(json.dumps(note), "utf-8")
    assert skipped_files() == []
