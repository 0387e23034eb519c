"""cli.upgrade: what is asked of root's program, and what people are told."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from jupyterhub4family.cli.main import main
from jupyterhub4family.common.errors import FamilyError, PermissionRefused, UsageError
from jupyterhub4family.common.state import upgrade as upgrade_state
from jupyterhub4family.common.state.upgrade import Edition, Failure
from tests.unit.fakes import Call, FakePrograms


class Program:
    """Root's program, which answers as the test says."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.asked: list[tuple[str, ...]] = []
        self.answer: dict[str, Any] = {"ok": True, "installed": "1.0", "newer": "", "source": True}
        FakePrograms(monkeypatch).answer("upgrade", self._converse)
        monkeypatch.setattr(os, "geteuid", lambda: 0)

    def fail(self) -> None:
        at = "2026-11-23T04:30:00+00:00"
        upgrade_state.write_state(
            upgrade_state.FAILED, Failure("1.0", "1.1", "r", at, "nobody answered", "1.0 is back in service.")
        )

    def _converse(self, call: Call) -> dict[str, Any]:
        arguments = call.args
        assert Path(arguments[0]).name == "upgrade"
        self.asked.append(tuple(map(str, arguments[1:])))
        call.progress(50, "half of it")
        return self.answer


@pytest.fixture
def program(machine_root: Path, monkeypatch: pytest.MonkeyPatch) -> Program:
    return Program(monkeypatch)


@pytest.mark.parametrize(
    ("arguments", "asked"),
    [
        (["upgrade"], ("now",)),
        (["upgrade", "--again"], ("now", "--again")),
        (["upgrade", "--check"], ("check",)),
    ],
)
def test_there_is_nothing_newer(
    program: Program, capsys: pytest.CaptureFixture[str], arguments: list[str], asked: tuple[str, ...]
) -> None:
    assert main(arguments) == 0
    shown = capsys.readouterr()
    assert program.asked == [asked] and "no newer version than 1.0" in shown.out and "half of it" in shown.err
    program.answer["source"] = False
    assert main(arguments) == 0
    assert "no source" in capsys.readouterr().out
    program.fail()
    assert main(arguments) == 0
    assert "nobody answered" in (output := capsys.readouterr().out) and "--again" in output


def test_a_newer_version(program: Program, capsys: pytest.CaptureFixture[str]) -> None:
    program.answer["newer"] = "1.1"
    assert main(["upgrade", "--check"]) == 0
    assert "1.1 can be installed" in capsys.readouterr().out
    assert main(["upgrade", "--check", "--json"]) == 0
    shown = capsys.readouterr()
    assert json.loads(shown.out) == {"installed": "1.0", "newer": "1.1", "source": True, "failed": ""}
    assert shown.err == ""
    program.answer["installed"] = "1.1"
    assert main(["upgrade", "--quiet"]) == 0
    assert capsys.readouterr() == ("", "")


def test_a_refusal_is_told(program: Program) -> None:
    program.answer = {"ok": False, "error": "an upgrade is under way already", "hint": "", "status": 3}
    with pytest.raises(FamilyError, match="under way") as caught:
        main(["upgrade"])
    assert caught.value.status == 3


def test_back(program: Program, capsys: pytest.CaptureFixture[str]) -> None:
    program.answer = {"ok": True, "left": "1.1", "installed": "1.0", "database": "c.sqlite"}
    assert main(["rollback", "--dry-run"]) == 0
    assert "no version to go back to" in capsys.readouterr().out
    upgrade_state.write_state(upgrade_state.PREVIOUS, Edition("1.0", "r"))
    upgrade_state.PREVIOUS_PACKAGE.touch()
    assert main(["rollback", "--dry-run"]) == 0
    assert "1.0 would be" in capsys.readouterr().out and program.asked == []
    assert main(["rollback", "--yes"]) == 0
    output = capsys.readouterr().out
    assert (
        program.asked == [("rollback",)]
        and "1.0 is back in service" in output
        and "c.sqlite" in output
        and "1.1" in output
    )


@pytest.mark.parametrize("arguments", [["upgrade"], ["upgrade", "--check"], ["rollback"]])
def test_only_root_may(program: Program, monkeypatch: pytest.MonkeyPatch, arguments: list[str]) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1001)
    with pytest.raises(PermissionRefused):
        main(arguments)
    assert program.asked == []


def test_json_is_for_check_only(program: Program) -> None:
    with pytest.raises(UsageError):
        main(["upgrade", "--json"])
