"""cli.env: one's own environment, or for root a member's, with that member's rights."""

from __future__ import annotations

import json
import os
from typing import Any

import pytest

from jupyterhub4family.cli.base import terminal
from jupyterhub4family.cli.main import main
from jupyterhub4family.common.errors import FamilyError, PermissionRefused, RefusedError, UsageError
from jupyterhub4family.common.system.programs import as_account
from tests.unit.fakes import Call, FakePrograms
from tests.unit.helpers import People

PROGRAM = "/usr/lib/jupyterhub4family/own-environment"
STATUS: dict[str, Any] = {
    "ok": True,
    "place": "/home/anna/.local/share/jupyterhub4family/env",
    "exists": True,
    "missing": [],
    "changed": False,
    "outdated": False,
    "made_by": "hard links",
    "versions": {"jupyterlab": "4.6.6"},
    "extras": {},
}


class Program:
    """The program own-environment, seen from outside."""

    def __init__(self, people: People, monkeypatch: pytest.MonkeyPatch) -> None:
        self.calls: list[list[str]] = []
        self.answer: dict[str, Any] = {"ok": True, "done": "nothing", "lost": []}
        self._monkeypatch = monkeypatch
        people.add("anna", 1001, "jupyterhub")
        people.add("ben", 1002, "jupyterhub")
        FakePrograms(monkeypatch).answer("own-environment", self._converse)
        self.as_whom(1001)

    def as_whom(self, uid: int) -> None:
        self._monkeypatch.setattr(os, "geteuid", lambda: uid)

    def _converse(self, call: Call) -> dict[str, Any]:
        arguments = call.args
        request = call.request
        assert request == {}
        self.calls.append(arguments)
        call.progress(50, "Copying")
        return self.answer


@pytest.fixture
def program(people: People, monkeypatch: pytest.MonkeyPatch) -> Program:
    return Program(people, monkeypatch)


@pytest.mark.parametrize("arguments", ["upgrade", "upgrade anna"])
def test_ones_own(program: Program, arguments: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["env", *arguments.split()]) == 0
    assert program.calls == [[PROGRAM, "upgrade"]]
    printed = capsys.readouterr()
    assert printed.out == "Nothing to do: it is in order.\n" and printed.err == "50 %: Copying\n"


def test_root_acts_with_the_members_rights(program: Program) -> None:
    program.as_whom(0)
    main(["env", "repair", "anna"])
    assert program.calls == [[*as_account("anna"), PROGRAM, "repair"]]


def test_root_has_none(program: Program) -> None:
    program.as_whom(0)
    with pytest.raises(UsageError):
        main(["env", "status"])
    assert program.calls == []


def test_nobody_else_may(program: Program) -> None:
    program.as_whom(1002)
    with pytest.raises(PermissionRefused, match="only anna and root"):
        main(["env", "reset", "anna"])
    with pytest.raises(RefusedError):
        main(["env", "reset", "../anna"])
    assert program.calls == []


@pytest.mark.parametrize("done", ["upgraded", "mended", "reset"])
def test_what_was_done_and_what_was_lost(program: Program, done: str, capsys: pytest.CaptureFixture[str]) -> None:
    program.answer = {"ok": True, "done": done, "lost": ["numpy", "six"]}
    main(["env", "upgrade"])
    output = capsys.readouterr().out
    assert "Could not be kept: numpy, six" in output and "stop and start them" in output


def test_a_refusal_keeps_its_status(program: Program) -> None:
    program.answer = {"ok": False, "error": "the disk is full", "hint": "delete something", "status": 10}
    with pytest.raises(FamilyError, match="the disk is full") as caught:
        main(["env", "upgrade"])
    assert (caught.value.hint, caught.value.status) == ("delete something", 10)


@pytest.mark.parametrize(
    ("difference", "wanted"),
    [
        ({}, "up to date"),
        ({"changed": True}, "up to date, with changes of your own"),
        ({"outdated": True}, "It is installed at the server's next start"),
        ({"outdated": True, "changed": True}, "Try: jupyterhub4family env upgrade"),
        ({"missing": ["notebook"], "outdated": True}, "broken: notebook"),
        ({"extras": {"six": "1.0", "numpy": "2.0"}}, "own packages: numpy 2.0, six 1.0"),
        ({"exists": False}, "There is no environment yet"),
    ],
)
def test_status(program: Program, difference: dict[str, Any], wanted: str, capsys: pytest.CaptureFixture[str]) -> None:
    program.answer = {**STATUS, **difference}
    assert main(["env", "status"]) == 0
    assert wanted in capsys.readouterr().out


def test_json(program: Program, capsys: pytest.CaptureFixture[str]) -> None:
    program.answer = STATUS
    main(["env", "status", "--json"])
    printed = capsys.readouterr()
    assert json.loads(printed.out) == STATUS and printed.err == ""


def test_a_dry_run_of_reset_says_what_would_go(program: Program, capsys: pytest.CaptureFixture[str]) -> None:
    program.answer = {**STATUS, "extras": {"numpy": "2.0", "arrow": "1.0"}}
    assert main(["env", "reset", "--dry-run"]) == 0
    assert program.calls == [[PROGRAM, "status"]], "nothing is reset"
    output = capsys.readouterr().out
    assert "would be rebuilt" in output and "arrow, numpy" in output
    program.answer = {**STATUS, "exists": False}
    assert main(["env", "reset", "--dry-run"]) == 0
    assert "no environment yet" in capsys.readouterr().out


def test_who_says_no_keeps_it(program: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def no(_arguments: Any, question: str) -> bool:
        asked.append(question)
        return False

    monkeypatch.setattr(terminal, "confirm", no)
    with pytest.raises(FamilyError, match="nothing was done"):
        main(["env", "reset"])
    assert len(asked) == 1 and program.calls == []
    # What can be taken back is not asked for.
    assert main(["env", "upgrade"]) == 0
    assert len(asked) == 1


def test_quiet_says_only_what_was_lost(program: Program, capsys: pytest.CaptureFixture[str]) -> None:
    program.answer = {"ok": True, "done": "upgraded", "lost": ["numpy"]}
    assert main(["env", "upgrade", "--quiet"]) == 0
    output = capsys.readouterr()
    assert output.out == "Could not be kept: numpy\n" and output.err == ""
