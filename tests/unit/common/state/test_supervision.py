"""common.supervision: who keeps hub and proxy running."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from jupyterhub4family.common.errors import ConfigurationError
from jupyterhub4family.common.settings import effective
from jupyterhub4family.common.settings.model import Settings
from jupyterhub4family.common.state import supervision


@pytest.fixture
def systemd_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    directory = tmp_path / "systemd"
    monkeypatch.setattr(supervision, "SYSTEMD_RUNS", directory)
    return directory


@pytest.mark.parametrize(
    ("wanted", "systemd_is_there", "chosen"),
    [
        ("auto", True, "systemd"),
        ("auto", False, "cron"),
        ("systemd", True, "systemd"),
        ("systemd", False, "systemd"),
        ("cron", True, "cron"),
        ("cron", False, "cron"),
    ],
)
def test_the_settings_choose(systemd_directory: Path, wanted: str, systemd_is_there: bool, chosen: str) -> None:
    if systemd_is_there:
        systemd_directory.mkdir()
    assert supervision.chosen_supervisor(Settings(supervisor=wanted)) == chosen


def test_the_unit_is_skipped_exactly_where_cron_supervises(
    systemd_directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def exit_status(*args: str) -> int:
        monkeypatch.setattr(sys, "argv", ["supervised-by", *args])
        return supervision.main()

    monkeypatch.setattr(effective, "settings_in_use", lambda: (Settings(), None))
    assert (exit_status("cron"), exit_status("systemd"), exit_status(), exit_status("cron", "systemd")) == (0, 1, 1, 1)
    systemd_directory.mkdir()
    assert (exit_status("cron"), exit_status("systemd"), exit_status("")) == (1, 0, 1)


def test_a_bad_settings_file_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    last_good = Settings(supervisor="cron")
    monkeypatch.setattr(effective, "settings_in_use", lambda: (last_good, ConfigurationError("bad")))
    assert supervision.chosen_supervisor() == "cron"
