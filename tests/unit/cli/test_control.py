"""cli.control: root's commands, handed to root's program."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from jupyterhub4family.cli import control
from jupyterhub4family.cli.base import terminal
from jupyterhub4family.cli.main import main
from jupyterhub4family.common.errors import ExitStatus, FamilyError, PermissionRefused
from jupyterhub4family.common.protocol import json_lines
from jupyterhub4family.common.state import supervision
from tests.unit.fakes import Call, FakePrograms


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    made: list[str] = []

    def run(call: Call) -> dict[str, Any]:
        made.append(call.line)
        return {"ok": True}

    FakePrograms(monkeypatch).answer("*", run)
    monkeypatch.setattr(supervision, "chosen_supervisor", lambda: "systemd")
    monkeypatch.setattr(control, "CRON_PID", tmp_path / "crond.pid")
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    return made


@pytest.mark.parametrize("arguments", ["start", "stop", "stop --servers", "restart", "restart --all"])
def test_words_are_handed_on(calls: list[str], arguments: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments.split()) == 0
    assert calls == [f"/usr/lib/jupyterhub4family/control {arguments}"]
    output = capsys.readouterr().out
    assert output and ("servers" in output) is ("--servers" in arguments) and "Note" not in output


def test_its_refusal_is_told_as_it_is(calls: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    error = json_lines.error_answer(FamilyError("port 8000 is unavailable", "", ExitStatus.PORT_TAKEN))
    FakePrograms(monkeypatch).answer("control", error)
    with pytest.raises(FamilyError, match=r"^port 8000 is unavailable$") as caught:
        main(["start"])
    assert caught.value.status == ExitStatus.PORT_TAKEN


@pytest.mark.parametrize("arguments", ["start", "stop --servers", "restart --all"])
def test_only_root_may(calls: list[str], monkeypatch: pytest.MonkeyPatch, arguments: str) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1001)
    with pytest.raises(PermissionRefused) as caught:
        main(arguments.split())
    assert caught.value.hint == f"sudo jupyterhub4family {arguments}" and calls == []


@pytest.mark.parametrize(("pid", "warned"), [(None, True), ("", True), ("x", True), ("4194305", True), ("own", False)])
def test_where_nobody_supervises_that_is_said(
    calls: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    pid: str | None,
    warned: bool,
) -> None:
    monkeypatch.setattr(supervision, "chosen_supervisor", lambda: "cron")
    monkeypatch.setattr(shutil, "which", lambda _name, **_more: "/usr/sbin/cron")
    if pid is not None:
        control.CRON_PID.write_text(str(os.getpid()) if pid == "own" else pid, "ascii")
    main(["start"])
    assert ("nobody restarts JupyterHub" in capsys.readouterr().out) is warned


def test_a_dry_run_stops_nothing(calls: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["stop", "--servers", "--dry-run"]) == 0
    assert calls == [] and "servers of all members would be stopped" in capsys.readouterr().out


def test_servers_are_stopped_only_after_a_yes(calls: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(terminal, "confirm", lambda _arguments, _question: False)
    with pytest.raises(FamilyError, match="nothing was done"):
        main(["stop", "--servers"])
    assert calls == []
    assert main(["stop"]) == 0
    assert calls == ["/usr/lib/jupyterhub4family/control stop"], "servers go on, so nothing is asked"


@pytest.mark.parametrize("arguments", ["start", "stop", "restart"])
def test_quiet(calls: list[str], arguments: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([arguments, "--quiet"]) == 0
    assert capsys.readouterr().out == "" and len(calls) == 1
