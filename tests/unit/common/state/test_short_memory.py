"""common.state.short_memory: what is told of servers that were stopped, whatever stands in the file."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from jupyterhub4family.common.state import short_memory


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(short_memory, "STATE_FILE", tmp_path / "short-memory.json")
    return tmp_path / "short-memory.json"


def test_stops_are_told_for_a_week(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert short_memory.stops() == []
    now = time.time()
    for days in (0, 3, 6):
        monkeypatch.setattr(time, "time", lambda days=days: now + days * 86400)
        short_memory.add_stop()
    assert len(short_memory.stops()) == 3
    monkeypatch.setattr(time, "time", lambda: now + 8 * 86400)
    assert len(short_memory.stops()) == 2
    assert file.stat().st_mode & 0o777 == 0o644


def test_only_the_last_hundred_are_kept(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = time.time()
    for number in range(120):
        monkeypatch.setattr(time, "time", lambda number=number: now + number)
        short_memory.add_stop()
    assert len(json.loads(file.read_text())["stopped"]) == len(short_memory.stops()) == short_memory.KEPT
    assert file.stat().st_size < short_memory.MAXIMUM_SIZE


@pytest.mark.parametrize(
    "text", ["", "x", "[]", '{"stopped": 5}', '{"stopped": ["x", null, {}, [1]]}', '{"stopped": [99999999999, -1]}']
)
def test_nonsense_is_nothing(file: Path, text: str) -> None:
    file.write_text(text, "utf-8")
    assert short_memory.stops() == []
