"""cli.checks.supervision: hub and proxy run, are kept running, and will be after a reboot."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from jupyterhub4family.cli.base import snapshot
from jupyterhub4family.cli.base.snapshot import Status
from jupyterhub4family.cli.doctor.base.finding import OK, PROBLEM, UNKNOWN, WARNING, CheckContext, Finding
from jupyterhub4family.cli.doctor.checks import supervision
from jupyterhub4family.common import paths
from jupyterhub4family.common.state import supervision as supervision_state
from jupyterhub4family.common.system import processes
from jupyterhub4family.common.system.programs import CompletedProcess
from tests.unit.fakes import FakePrograms
from tests.unit.helpers import DATA, People

GOOD = {"LoadState": "loaded", "ActiveState": "active", "UnitFileState": "enabled", "NRestarts": "0"}


def units(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, **different: str) -> list[Finding]:
    output = "".join(f"{key}={value}\n" for key, value in {**GOOD, **different}.items())
    FakePrograms(monkeypatch).answer("*", lambda _call: CompletedProcess(0, output, ""))
    monkeypatch.setattr(supervision_state, "SYSTEMD_RUNS", tmp_path)
    return list(supervision.check_supervisor(CheckContext(supervisor="systemd")))


def test_units_that_run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert [one.state for one in units(monkeypatch, tmp_path)] == [OK]


@pytest.mark.parametrize(
    ("different", "state", "repair"),
    [
        ({"ActiveState": "inactive"}, PROBLEM, "start"),
        ({"ActiveState": "activating"}, PROBLEM, "start"),
        ({"UnitFileState": "disabled"}, PROBLEM, "supervision"),
        ({"UnitFileState": "masked", "LoadState": "masked"}, PROBLEM, ""),
        ({"LoadState": "not-found"}, PROBLEM, ""),
        ({"NRestarts": "25"}, WARNING, ""),
    ],
)
def test_units_that_do_not(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, different: dict[str, str], state: str, repair: str
) -> None:
    found = units(monkeypatch, tmp_path, **different)
    assert [(one.state, one.repair) for one in found] == [(state, repair)] * 2, "one for each unit"


def test_systemd_is_wanted_where_it_does_not_run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(supervision_state, "SYSTEMD_RUNS", tmp_path / "no")
    (found,) = supervision.check_supervisor(CheckContext(supervisor="systemd"))
    assert found.state == PROBLEM and "supervisor: auto" in found.hint


class Cron:
    """A machine where cron supervises."""

    def __init__(self, people: People, monkeypatch: pytest.MonkeyPatch, directory: Path) -> None:
        people.group("nogroup", 65534)
        people.add("jupyterhub", os.getuid(), gid=65534)
        self.proc, self.stopped = directory / "proc", directory / "stopped"
        for pid, args in (
            (7, b"cron"),
            (8, b"SCREEN\0-dmS\0hub\0/usr/lib/x/supervise\0hub"),
            (9, b"/x/supervise\0proxy"),
        ):
            (self.proc / str(pid)).mkdir(parents=True)
            (self.proc / str(pid) / "cmdline").write_bytes(args)
        self.crontab = (DATA / "usr/share/jupyterhub4family/crontab").read_text("utf-8")
        (directory / "crontab").write_text(self.crontab)
        (directory / "crond.pid").write_text("7\n")
        monkeypatch.setattr(processes, "PROC", self.proc)
        monkeypatch.setattr(paths, "SHARE", directory)
        monkeypatch.setattr(supervision, "CRONTAB", directory / "crontab")
        monkeypatch.setattr(supervision, "CRON_PID", directory / "crond.pid")
        monkeypatch.setattr(supervision, "STOPPED", self.stopped)
        FakePrograms(monkeypatch).answer("*", lambda _call: CompletedProcess(0, self.crontab, ""))

    def look(self, by_root: bool = True) -> list[tuple[str, str]]:
        context = CheckContext(supervisor="cron", by_root=by_root)
        return [(one.state, one.repair) for one in supervision.check_supervisor(context)]


@pytest.fixture
def cron(people: People, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Cron:
    return Cron(people, monkeypatch, tmp_path)


def test_cron_that_works(cron: Cron) -> None:
    assert cron.look() == [(OK, "")]
    assert cron.look(by_root=False) == [(UNKNOWN, ""), (OK, "")]


def test_cron_that_does_not(cron: Cron) -> None:
    cron.crontab = "0 4 * * * backup\n"
    assert cron.look() == [(PROBLEM, "supervision")]
    (cron.proc / "8" / "cmdline").write_bytes(b"bash")
    assert (PROBLEM, "start") in cron.look()
    (cron.proc / "7" / "cmdline").unlink()
    (cron.proc / "7").rmdir()
    assert cron.look() == [(PROBLEM, ""), (PROBLEM, "supervision"), (PROBLEM, "start")]


def test_stopped_by_hand(cron: Cron) -> None:
    cron.stopped.touch()
    assert cron.look() == [(PROBLEM, "start")]


@pytest.mark.parametrize(
    ("portal", "hub", "state", "repair"),
    [
        ("running", True, OK, ""),
        ("setting up", False, WARNING, ""),
        ("starting", False, PROBLEM, "start"),
        ("taken", False, PROBLEM, ""),
        ("not running", False, PROBLEM, "start"),
        ("not running", True, PROBLEM, "start"),
    ],
)
def test_the_portal(monkeypatch: pytest.MonkeyPatch, portal: str, hub: bool, state: str, repair: str) -> None:
    now = Status(version="1", supervisor="cron", portal=portal, hub_running=hub, addresses=["http://box:8000/"])
    monkeypatch.setattr(snapshot, "take_snapshot", lambda _settings: now)
    (found,) = supervision.check_portal(CheckContext())
    assert (found.state, found.repair) == (state, repair)


def test_a_crontab_beside_systemd(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "crontab").touch()
    monkeypatch.setattr(supervision, "CRONTAB", tmp_path / "crontab")
    monkeypatch.setattr(os, "geteuid", lambda: 0)

    def look(text: str) -> list[Any]:
        FakePrograms(monkeypatch).answer("*", lambda _call: CompletedProcess(0, text, ""))
        return [one.repair for one in supervision.check_other_supervisor(CheckContext(supervisor="systemd"))]

    assert look("* * * * * /usr/lib/jupyterhub4family/ensure\n") == ["supervision"]
    assert look("") == []
