"""common.backups: the note that everybody reads, and when it is time for the next backup."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from jupyterhub4family.common.i18n.messages import _, to_json
from jupyterhub4family.common.state.backup import DAY, HOUR, BackupState, is_due, read_state


def test_a_note_is_read_as_it_was_written(tmp_path: Path) -> None:
    file = tmp_path / "note"
    written = {"target": "/srv/x", "last_good": 7, "problem": to_json(_("the disk is full")), "waiting": True, "new": 1}
    file.write_text(json.dumps(written), "utf-8")
    note = read_state(file)
    assert (note.target, note.last_good, note.waiting, note.problem_text()) == ("/srv/x", 7, True, "the disk is full")
    assert note.age() == pytest.approx(time.time() - 7, abs=5)


@pytest.mark.parametrize(
    "text", ["", "[]", "{", '{"last_good": "x"}', '{"waiting": 1}', '{"target": null}', "9" * 70000]
)
def test_what_is_no_note_is_taken_for_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "note").write_text(text, "utf-8")
    assert read_state(tmp_path / "note") == read_state(tmp_path / "nothing") == BackupState()


@pytest.mark.parametrize(
    ("hours_ago", "hour", "due"),
    [
        (1, 3, False),
        (17, 3, False),
        (18, 3, True),
        (20, 12, False),
        (20, 0, False),
        (24, 6, False),
        (29, 12, False),
        (30, 12, True),
        (500, 23, True),
        (-48, 12, True),  # the clock was set back
    ],
)
def test_the_next_backup_is_in_the_night_or_when_it_is_late(hours_ago: int, hour: int, due: bool) -> None:
    note = BackupState(target="/srv/x", last_good=1000 * DAY)
    assert is_due(note, note.last_good + hours_ago * HOUR, hour) is due


def test_nothing_is_made_where_nothing_is_set_up_or_somebody_is_expected_to_decide() -> None:
    now = 1000.0 * DAY
    assert is_due(BackupState(target="/srv/x"), now, 12), "the first one comes at once"
    for note in (BackupState(), BackupState(target="x", waiting=True), BackupState(target="x", restoring=5)):
        assert not is_due(note, now, 3)
