"""service.progress: how far a build has come; telling it never disturbs the build."""

from __future__ import annotations

import errno
import json
import time
from pathlib import Path
from typing import Any

import pytest

from jupyterhub4family.common.system import files
from jupyterhub4family.service.releases.progress import Reporter, read_progress


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "progress.json"


def test_what_is_told_can_be_read_and_is_said(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    reporter = Reporter(file)
    reporter.report(15, "Fetching JupyterHub")
    event = read_progress(file)
    assert (event["percent"], event["message"]) == (15, "Fetching JupyterHub")
    assert abs(event["at"] - time.time()) < 5
    assert "failed" not in event
    reporter.report(50, "Fetching the engine")
    assert read_progress(file)["percent"] == 50
    assert capsys.readouterr().out == "setup: Fetching JupyterHub (15 %)\nsetup: Fetching the engine (50 %)\n"


def test_a_failure_says_what_helps(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Reporter(file).fail("no network", "plug the cable in")
    event = read_progress(file)
    assert event["failed"] is True
    assert (event["message"], event["hint"]) == ("no network", "plug the cable in")
    assert capsys.readouterr().out == "setup: no network (0 %) Try: plug the cable in\n"


def test_the_next_step_forgets_the_failure(file: Path) -> None:
    reporter = Reporter(file)
    reporter.fail("no network", "plug the cable in")
    reporter.report(3, "Fetching the installer")
    assert not {"failed", "hint"} & set(read_progress(file))


def test_done_means_nothing_to_wait_for(file: Path) -> None:
    reporter = Reporter(file)
    reporter.report(95, "Trying")
    reporter.done()
    assert read_progress(file) == {} and not file.exists()
    reporter.done()


def test_who_listens_hears_the_same(file: Path) -> None:
    heard: list[dict[str, Any]] = []
    reporter = Reporter(file, heard.append)
    reporter.report(1, "one")
    reporter.fail("two", "three")
    assert heard == [
        {"percent": 1, "message": "one"},
        {"percent": 0, "message": "two", "hint": "three", "failed": True},
    ]


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '"x"', "\0\0\0\0"])
def test_what_a_power_cut_left_counts_as_nothing(file: Path, text: str) -> None:
    file.write_text(text, "utf-8")
    assert read_progress(file) == {}


def test_odd_bytes_and_no_file_count_as_nothing(file: Path) -> None:
    assert read_progress(file) == {}
    file.write_bytes(b"\xff\xfe")
    assert read_progress(file) == {}


def test_a_full_disk_is_not_the_reporters_business(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def write(*_args: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(files, "write_atomically", write)
    heard: list[dict[str, Any]] = []
    Reporter(file, heard.append).report(1, "one")
    assert len(heard) == 1


def test_a_reader_never_meets_half_an_event(file: Path) -> None:
    reporter = Reporter(file, lambda _event: None)
    for number in range(20):
        reporter.report(number, "x" * 10_000)
        assert json.loads(file.read_text("utf-8"))["percent"] == number
    assert [path.name for path in file.parent.iterdir()] == [file.name]
