"""cli.members: what the command asks the door, and what it makes of the answer."""

from __future__ import annotations

import json
import os
from typing import Any

import pytest

from jupyterhub4family.cli import members
from jupyterhub4family.cli.base import terminal
from jupyterhub4family.cli.main import main
from jupyterhub4family.common.errors import FamilyError, PermissionRefused
from jupyterhub4family.common.protocol import doors
from jupyterhub4family.common.system.programs import CompletedProcess
from tests.unit.fakes import Call, FakePrograms

ANNA = {
    "name": "anna",
    "display_name": "Anna Müller",
    "uid": 1001,
    "delegate": False,
    "administrator": False,
    "refused": False,
    "reasons": [],
}


class Door:
    """The door `members`, seen from outside."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.asked: list[tuple[list[str], dict[str, Any]]] = []
        self.output = '{"ok": true, "members": []}\n'
        self.errors = ""
        FakePrograms(monkeypatch).answer("*", self._run)
        monkeypatch.setattr(os, "geteuid", lambda: 0)

    def answers(self, **answer: Any) -> None:
        self.output = json.dumps({"ok": True, **answer}) + "\n"

    def _run(self, call: Call) -> CompletedProcess:
        arguments = call.args
        self.asked.append((arguments, json.loads(call.stdin or "")))
        return CompletedProcess(1 if self.errors else 0, self.output, self.errors)


@pytest.fixture
def door(monkeypatch: pytest.MonkeyPatch) -> Door:
    return Door(monkeypatch)


@pytest.mark.parametrize(
    ("arguments", "request_"),
    [
        ("list", {"action": "list"}),
        ("show", {"action": "list"}),
        ("add anna ben", {"action": "add", "names": ["anna", "ben"], "allow_administrator": False}),
        ("add --allow-administrator dad", {"action": "add", "names": ["dad"], "allow_administrator": True}),
        ("remove anna", {"action": "remove", "names": ["anna"]}),
    ],
)
def test_what_the_door_is_asked(door: Door, arguments: str, request_: dict[str, Any]) -> None:
    door.answers(members=[], results=[])
    assert main(["members", *arguments.split()]) == 0
    assert door.asked == [(["/usr/lib/jupyterhub4family/members"], request_)]


def test_others_than_root_go_through_sudo(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1001)
    main(["members", "list"])
    assert door.asked[0][0] == ["/usr/bin/sudo", "-n", "/usr/lib/jupyterhub4family/members"]


def test_who_may_not_is_told_how_to_be_allowed(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1001)
    door.output, door.errors = "", "sudo: a password is required\n"
    with pytest.raises(PermissionRefused, match="you may not manage members") as caught:
        main(["members", "list"])
    assert "jupyterhub_adm" in caught.value.hint


@pytest.mark.parametrize("output", ["", "Traceback (most recent call last):\n", '{"ok": tr'])
def test_a_door_that_says_nonsense_is_told(door: Door, output: str) -> None:
    door.output, door.errors = output, "NameError: x\n"
    with pytest.raises(FamilyError, match=r"members gave no answer \(status 1\): NameError: x"):
        main(["members", "list"])


def test_a_refusal_keeps_its_sentence_hint_and_status(door: Door) -> None:
    door.output = '{"ok": false, "error": "root cannot be a member", "hint": "sudo adduser NAME", "status": 3}\n'
    with pytest.raises(FamilyError, match="root cannot be a member") as caught:
        main(["members", "add", "root"])
    assert (caught.value.hint, caught.value.status) == ("sudo adduser NAME", 3)


@pytest.mark.parametrize("done", ["added", "already a member", "removed", "no member"])
def test_every_result_has_a_sentence(door: Door, done: str, capsys: pytest.CaptureFixture[str]) -> None:
    door.answers(results=[{"name": "anna", "done": done, "note": ""}, {"name": "ben", "done": done, "note": "psst"}])
    main(["members", "remove", "anna", "ben"])
    first, second, note = capsys.readouterr().out.splitlines()
    assert first.startswith("anna ") and second.startswith("ben ") and note == "  note: psst"


def test_json_is_the_doors_own(door: Door, capsys: pytest.CaptureFixture[str]) -> None:
    door.answers(members=[ANNA])
    main(["members", "list", "--json"])
    assert json.loads(capsys.readouterr().out) == {"ok": True, "members": [ANNA]}


def test_the_table(capsys: pytest.CaptureFixture[str]) -> None:
    anna = doors.Member("anna", "Anna Müller", 1001, delegate=False, administrator=False)
    dad = doors.Member("d", "", 1002, delegate=True, administrator=True)
    ben = doors.Member("benjamin", "", 1003, delegate=True, administrator=False)
    members._print_table([anna, ben, dad])
    assert capsys.readouterr().out.splitlines() == [
        "anna      Anna Müller",
        "benjamin    (delegate)",
        "d           (delegate, administrator)",
    ]


def test_who_is_refused_is_named_with_the_reason(capsys: pytest.CaptureFixture[str]) -> None:
    reasons: list[Any] = ["in the group sudo", "/etc/doas.conf lets it be root"]
    dad = doors.Member("dad", "", 1002, delegate=False, administrator=True, refused=True, reasons=reasons)
    members._print_table([dad])
    first, empty, last = capsys.readouterr().out.splitlines()
    assert first == "dad    (administrator, refused)" and empty == ""
    assert "in the group sudo, /etc/doas.conf lets it be root" in last and "--allow-administrator dad" in last


def test_an_empty_table_says_how_to_fill_it(capsys: pytest.CaptureFixture[str]) -> None:
    members._print_table([])
    assert "jupyterhub4family members add NAME" in capsys.readouterr().out


def test_a_dry_run_of_remove_removes_nobody(door: Door, capsys: pytest.CaptureFixture[str]) -> None:
    door.answers(members=[ANNA])
    assert main(["members", "remove", "anna", "ben", "--dry-run"]) == 0
    assert [request for _args, request in door.asked] == [{"action": "list"}]
    response = capsys.readouterr().out.splitlines()
    assert response[0].startswith("anna would no longer be a member") and response[1] == "ben is not a member"


def test_who_says_no_removes_nobody(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(terminal, "confirm", lambda _arguments, question: "Remove anna, ben?" not in question)
    with pytest.raises(FamilyError, match="nothing was done"):
        main(["members", "remove", "anna", "ben"])
    assert door.asked == []


def test_quiet_still_warns(door: Door, capsys: pytest.CaptureFixture[str]) -> None:
    door.answers(results=[{"name": "dad", "done": "added", "note": "dad can become root"}])
    assert main(["members", "add", "dad", "--quiet"]) == 0
    assert capsys.readouterr().out == "  note: dad can become root\n"
