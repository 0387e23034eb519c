"""root.probe: the throw-away member is gone afterwards, however it ends, and no stranger is touched."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any, Optional, Union

import pytest

from jupyterhub4family.common.errors import FamilyError, RefusedError
from jupyterhub4family.common.protocol import doors
from jupyterhub4family.common.system.programs import CompletedProcess, as_account
from jupyterhub4family.root.base import servers
from jupyterhub4family.root.doors import members
from jupyterhub4family.root.upgrade import smoke_test
from tests.unit.fakes import Call, FakePrograms
from tests.unit.helpers import People


class Machine:
    """Makes and removes accounts in the test's own database."""

    def __init__(self, people: People, fake: FakePrograms, monkeypatch: pytest.MonkeyPatch) -> None:
        self.people, self.lines, self.inputs, self.actions = people, [""][:0], [""][:0], [""][:0]
        self.fake, self.removes, self.failing = fake, True, ""
        for name in ("useradd", "userdel", "chpasswd"):
            fake.answer(name, self._run)
        monkeypatch.setattr(servers, "end_servers", lambda uid: self.lines.append(f"end {uid}"))
        monkeypatch.setattr(members, "add_members", lambda by_root, request: self._change("add", by_root, request))
        monkeypatch.setattr(
            members, "remove_members", lambda by_root, request: self._change("remove", by_root, request)
        )
        monkeypatch.setattr(signal, "signal", lambda *_args: None)

    def _run(self, call: Call) -> CompletedProcess:
        arguments = call.args
        line = " ".join(map(str, arguments))
        self.lines.append(line)
        self.inputs.append(call.stdin or "")
        if self.failing and self.failing in line:
            raise FamilyError("the disk is full")
        if "useradd" in line:
            self.people.add(smoke_test.NAME, 1009, home=smoke_test.HOME, gecos=smoke_test.COMMENT)
        if "userdel" in line and self.removes:
            del self.people.accounts[smoke_test.NAME]
        return CompletedProcess(0, "", "")

    def _change(
        self, action: str, by_root: bool, request: Union[doors.AddMembers, doors.RemoveMembers]
    ) -> doors.MemberResults:
        wanted = {"add": doors.AddMembers, "remove": doors.RemoveMembers}[action]
        assert by_root is True and request == wanted([smoke_test.NAME]), "and no administrator"
        self.actions.append(action)
        return doors.MemberResults([])


@pytest.fixture
def machine(people: People, programs_run: FakePrograms, monkeypatch: pytest.MonkeyPatch) -> Machine:
    return Machine(people, programs_run, monkeypatch)


def conversation(machine: Machine, answer: dict[str, Any], error: Optional[Exception] = None) -> list[Any]:
    asked: list[Any] = []

    def converse(call: Call) -> dict[str, Any]:
        arguments = call.args
        request = call.request
        asked.append((arguments, request))
        if error:
            raise error
        return answer

    machine.fake.answer("probe-portal", converse)
    return asked


def test_a_round(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = conversation(machine, {"ok": True})
    assert smoke_test.run_smoke_test().seconds >= 0
    ((arguments, request),) = asked
    assert arguments[:6] == as_account("jupyterhub")
    password = request["password"]
    assert len(password) >= 20 and not any(password in line for line in machine.lines), "on stdin only"
    assert f"{smoke_test.NAME}:{password}\n" in machine.inputs
    assert machine.actions == ["add", "remove"] and smoke_test.NAME not in machine.people.accounts
    smoke_test.run_smoke_test()
    assert asked[1][1]["password"] != password


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        ({"ok": False, "error": "the portal is away"}, None),
        ({}, FamilyError("no answer")),
        ({}, KeyboardInterrupt()),
    ],
)
def test_it_is_removed_however_it_ends(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, answer: dict[str, Any], error: Optional[Exception]
) -> None:
    conversation(machine, answer, error)
    with pytest.raises((FamilyError, KeyboardInterrupt)):
        smoke_test.run_smoke_test()
    assert smoke_test.NAME not in machine.people.accounts and "end 1009" in machine.lines


@pytest.mark.parametrize("failing", ["useradd", "chpasswd"])
def test_it_is_removed_when_it_could_not_even_be_made(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    conversation(machine, {"ok": True})
    machine.failing = failing
    with pytest.raises(FamilyError, match="disk is full"):
        smoke_test.run_smoke_test()
    assert smoke_test.NAME not in machine.people.accounts


def test_what_an_interrupted_one_left_is_removed_first(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    conversation(machine, {"ok": True})
    machine.people.add(smoke_test.NAME, 1009, "jupyterhub", home=smoke_test.HOME, gecos=smoke_test.COMMENT)
    smoke_test.run_smoke_test()
    assert machine.actions == ["remove", "add", "remove"]


@pytest.mark.parametrize(("home", "comment"), [(smoke_test.HOME, "Uncle Ben"), (Path("/home/ben"), smoke_test.COMMENT)])
def test_a_stranger_of_that_name_is_left_alone(machine: Machine, home: Path, comment: str) -> None:
    machine.people.add(smoke_test.NAME, 1009, home=home, gecos=comment)
    with pytest.raises(RefusedError):
        smoke_test.run_smoke_test()
    assert machine.lines == [] and machine.actions == []


def test_an_account_that_stays_is_told(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    conversation(machine, {"ok": True})
    machine.removes = False
    with pytest.raises(FamilyError, match="could not be removed"):
        smoke_test.run_smoke_test()
