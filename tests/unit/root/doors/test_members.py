"""root.members: the door to membership. Nothing changes unless everything in the request is acceptable."""

from __future__ import annotations

import io
import json
import os
import pwd
import sys
from pathlib import Path
from typing import Any

import pytest

from jupyterhub4family.common import paths
from jupyterhub4family.common.errors import (
    FamilyError,
    PermissionRefused,
    RefusedError,
    UnknownAccountError,
    UsageError,
)
from jupyterhub4family.common.paths import COMPLETE_MARKER
from jupyterhub4family.common.protocol import doors, serving, shapes
from jupyterhub4family.common.system import accounts
from jupyterhub4family.common.system.programs import CompletedProcess, ProgramError, as_account
from jupyterhub4family.root.base import run_dir, servers
from jupyterhub4family.root.doors import administrators, hub_users, members
from tests.unit.fakes import Answer, Call, FakePrograms
from tests.unit.helpers import People, account


class Door:
    """The door with everything that changes the machine replaced, and remembered in order."""

    def __init__(self, people: People, monkeypatch: pytest.MonkeyPatch, runtime: Path) -> None:
        self.people = people
        self.done: list[tuple[str, ...]] = []
        self.rights: dict[str, list[str]] = {}
        self.note = ""
        self.preparing_fails = False
        monkeypatch.setattr(run_dir, "RUN_DIR", runtime)
        monkeypatch.setattr(run_dir, "ensure_run_dir", lambda: None)
        FakePrograms(monkeypatch).answer("*", self._run)
        monkeypatch.setattr(paths, "CURRENT_TEMPLATE", runtime / "template")
        monkeypatch.setattr(hub_users, "add", lambda name: self._update_hub("add", name))
        monkeypatch.setattr(hub_users, "remove", lambda name: self._update_hub("remove", name))
        monkeypatch.setattr(servers, "end_servers", self._end_servers)
        monkeypatch.setattr(administrators, "ways_to_root", self._ways)
        monkeypatch.setattr(paths, "ALLOWED_ADMINISTRATORS", runtime / "allowed")
        self.allowed = runtime / "allowed"
        people.add("root", 0)
        people.add("jupyterhub", 998, gid=200)
        people.add("anna", 1001, "jupyterhub", gecos="Anna Müller,,,")
        people.add("ben", 1002)
        people.add("clara", 1003)
        people.add("dad", 1004, "sudo")
        people.add("nobody", 65534)

    def ask(self, by_root: bool = True, **request: Any) -> dict[str, Any]:
        handler, known = serving.choose(members.HANDLERS, request)
        answer: dict[str, Any] = shapes.encode(handler.function(by_root, known))
        return answer

    def _ways(self, account: pwd.struct_passwd) -> list[str]:
        return [f"in the group {name}" for name in accounts.administrator_groups(account)] + (
            self.rights.get(account.pw_name, [])
        )

    def _run(self, call: Call) -> Answer:
        if "/usr/sbin/runuser" in call.args:
            name = call.args[4]
            assert call.args == [*as_account(name), str(doors.MEDIATOR.path)]
            assert call.timeout == members.PREPARE_TIMEOUT
            self.done.append(("prepare", name))
            assert call.request == {"action": "prepare", "thorough": False}
            if self.preparing_fails:
                raise ProgramError("mediator did not end within 120 seconds")
            return {"ok": True, "done": "made"}
        program, action, name, group = call.args
        assert (program, group) == ("/usr/bin/gpasswd", "jupyterhub")
        self.done.append(("group", action, name))
        names = self.people.groups[group][1]
        names.append(name) if action == "--add" else names.remove(name)
        return CompletedProcess(0, "", "")

    def _update_hub(self, action: str, name: str) -> str:
        self.done.append(("hub", action, name))
        return self.note

    def _end_servers(self, uid: int) -> int:
        self.done.append(("servers", str(uid)))
        return 0


@pytest.fixture
def door(people: People, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Door:
    return Door(people, monkeypatch, tmp_path)


def test_add(door: Door) -> None:
    results = door.ask(action="add", names=["ben", "clara"])["results"]
    assert [(result["name"], result["done"]) for result in results] == [("ben", "added"), ("clara", "added")]
    assert door.done == [
        ("group", "--add", "ben"),
        ("hub", "add", "ben"),
        ("group", "--add", "clara"),
        ("hub", "add", "clara"),
    ]


@pytest.mark.parametrize("fails", [False, True])
def test_the_environment_is_made_in_advance_with_the_members_rights(door: Door, tmp_path: Path, fails: bool) -> None:
    (tmp_path / "py3.11-abc").mkdir()
    (tmp_path / "py3.11-abc" / COMPLETE_MARKER).touch()
    (tmp_path / "template").symlink_to("py3.11-abc")
    door.preparing_fails = fails
    assert door.ask(action="add", names=["ben"])["results"][0]["done"] == "added"
    assert door.done[-1] == ("prepare", "ben")


@pytest.mark.parametrize("names", [["anna"], ["anna", "anna"]])
def test_adding_a_member_changes_nothing(door: Door, names: list[str]) -> None:
    assert {result["done"] for result in door.ask(action="add", names=names)["results"]} == {"already a member"}
    assert door.done == []


def test_a_name_that_stands_twice_is_added_once(door: Door) -> None:
    assert [r["done"] for r in door.ask(action="add", names=["ben", "ben"])["results"]] == ["added", "already a member"]
    assert len(door.done) == 2


def test_remove_ends_what_is_left_after_the_rights_are_gone(door: Door) -> None:
    assert door.ask(action="remove", names=["anna"])["results"][0]["done"] == "removed"
    assert door.done == [
        ("hub", "remove", "anna"),
        ("group", "--delete", "anna"),
        ("hub", "remove", "anna"),
        ("servers", "1001"),
    ]


def test_removing_somebody_else_changes_nothing(door: Door) -> None:
    assert door.ask(action="remove", names=["ben"])["results"] == [{"name": "ben", "done": "no member", "note": ""}]
    assert door.done == []


def test_a_hub_that_cannot_be_told_stops_nothing_and_is_mentioned(door: Door) -> None:
    door.note = "the hub could not be told"
    assert door.ask(action="add", names=["ben"])["results"][0]["note"] == door.note
    assert door.ask(action="remove", names=["ben"])["results"][0]["note"] == door.note


BAD_NAMES: dict[str, type[FamilyError]] = {
    "root": RefusedError,
    "jupyterhub": RefusedError,
    "nobody": RefusedError,
    "Ben": RefusedError,
    "--add": RefusedError,
    "ben clara": RefusedError,
    "ben,root": RefusedError,
    "../ben": RefusedError,
    "ben\0": RefusedError,
    "": RefusedError,
    "\ud800": RefusedError,
    "x" * 10_000: RefusedError,
    "nosuch": UnknownAccountError,
}


@pytest.mark.parametrize("action", ["add", "remove"])
@pytest.mark.parametrize("bad", BAD_NAMES, ids=[repr(name[:20]) for name in BAD_NAMES])
@pytest.mark.parametrize("place", [0, 1, 2])
def test_one_bad_name_among_several_and_nothing_is_changed(door: Door, action: str, bad: str, place: int) -> None:
    good = ["ben", "clara"] if action == "add" else ["anna", "anna"]
    names = [*good[:place], bad, *good[place:]]
    with pytest.raises(BAD_NAMES[bad]):
        door.ask(action=action, names=names)
    assert door.done == []


@pytest.mark.parametrize(
    ("refused", "message"),
    [
        ({}, "must be one of add, list, remove"),
        ({"action": "ADD", "names": ["ben"]}, "must be one of add, list, remove"),
        ({"action": "", "names": ["ben"]}, "must be one of add, list, remove"),
        ({"action": ["add"], "names": ["ben"]}, "must be one of add, list, remove"),
        ({"action": "add"}, "'names' is missing"),
        ({"action": "remove"}, "'names' is missing"),
        ({"action": "add", "names": []}, "no name was given"),
        ({"action": "remove", "names": []}, "no name was given"),
        ({"action": "add", "names": "ben"}, "'names' must be of type list of str"),
        ({"action": "add", "names": {"ben": 1}}, "'names' must be of type list of str"),
        ({"action": "add", "names": ["ben", 1]}, "'names' must be of type str"),
        ({"action": "add", "names": ["ben", None]}, "'names' must be of type str"),
        ({"action": "add", "names": [["ben"]]}, "'names' must be of type str"),
        ({"action": "add", "names": ["ben"] * 101}, "a list of at most 100 texts"),
        ({"action": "remove", "names": ["ben"] * 101}, "a list of at most 100 texts"),
        ({"action": "list", "names": [1]}, "unknown key 'names'"),
        ({"action": "remove", "names": ["anna"], "allow_administrator": True}, "unknown key 'allow_administrator'"),
        ({"action": "add", "names": ["ben"], "group": "sudo"}, "unknown key 'group'"),
        ({"action": "add", "names": ["ben"], "allow_administrator": 1}, "'allow_administrator' must be of type bool"),
    ],
)
def test_requests_that_are_off(door: Door, refused: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        door.ask(**refused)
    assert door.done == []


def test_an_administrator_is_refused_and_nobody_beside_them_is_added(door: Door) -> None:
    with pytest.raises(RefusedError, match=r"dad can become root \(in the group sudo\)") as caught:
        door.ask(action="add", names=["ben", "dad"])
    assert "--allow-administrator dad" in caught.value.hint
    assert door.done == []


def test_who_sudo_lets_become_root_is_refused(door: Door) -> None:
    door.rights["ben"] = ["sudo allows /usr/bin/apt"]
    with pytest.raises(RefusedError, match=r"ben can become root \(sudo allows /usr/bin/apt\)"):
        door.ask(action="add", names=["ben"])
    assert door.done == []


def test_root_may_add_an_administrator_on_purpose(door: Door) -> None:
    door.rights["ben"] = ["sudo allows ALL"]
    assert door.ask(action="add", names=["dad", "ben"], allow_administrator=True)["results"][0]["done"] == "added"
    assert ("group", "--add", "dad") in door.done and ("group", "--add", "ben") in door.done
    assert door.allowed.read_text("utf-8").splitlines()[2:] == ["ben 1002", "dad 1004"]
    found = {one["name"]: one for one in door.ask(action="list")["members"]}
    assert found["dad"]["administrator"] and not found["dad"]["refused"]


def test_what_root_has_allowed_ends_with_the_membership(door: Door) -> None:
    door.ask(action="add", names=["dad"], allow_administrator=True)
    door.ask(action="remove", names=["dad"])
    assert "dad" not in door.allowed.read_text("utf-8").split()
    with pytest.raises(RefusedError):
        door.ask(action="add", names=["dad"])


def test_root_may_allow_who_is_a_member_already(door: Door) -> None:
    """And has come to be able to become root since: their logins are refused until then."""
    door.rights["anna"] = ["sudo allows ALL"]
    (anna,) = door.ask(action="list")["members"]
    assert anna["refused"] and anna["reasons"] == ["sudo allows ALL"]
    assert door.ask(action="add", names=["anna"], allow_administrator=True)["results"][0]["done"] == "already a member"
    (anna,) = door.ask(action="list")["members"]
    assert anna["administrator"] and not anna["refused"]


def test_an_account_that_was_made_anew_was_not_allowed(door: Door) -> None:
    door.ask(action="add", names=["dad"], allow_administrator=True)
    door.people.accounts["dad"] = account("dad", 1044)
    found = {one["name"]: one for one in door.ask(action="list")["members"]}
    assert found["dad"]["refused"]


@pytest.mark.parametrize("name", ["root", "jupyterhub", "nobody"])
def test_not_even_root_may_add_these(door: Door, name: str) -> None:
    with pytest.raises(RefusedError):
        door.ask(action="add", names=[name], allow_administrator=True)
    assert door.done == []


@pytest.mark.parametrize("name", ["dad", "ben"])
def test_a_delegate_may_not_even_ask_for_an_administrator(door: Door, name: str) -> None:
    with pytest.raises(PermissionRefused, match="only root"):
        door.ask(by_root=False, action="add", names=[name], allow_administrator=True)
    assert door.done == []


def test_a_primary_group_cannot_be_taken_away(door: Door) -> None:
    door.people.add("emil", 1005, gid=200)
    with pytest.raises(RefusedError, match="primary group of emil"):
        door.ask(action="remove", names=["anna", "emil"])
    assert door.done == []


def test_list(door: Door) -> None:
    door.people.add("emil", 1005, gid=200)
    for group in ("jupyterhub", "jupyterhub_adm"):
        door.people.groups[group][1].append("dad")
    # In the group's list, and no member all the same.
    door.people.groups["jupyterhub"][1].extend(["root", "nobody", "gone"])
    found = door.ask(action="list")["members"]
    assert [member["name"] for member in found] == ["anna", "dad", "emil"]
    assert found[0] == {
        "name": "anna",
        "display_name": "Anna Müller",
        "uid": 1001,
        "delegate": False,
        "administrator": False,
        "refused": False,
        "reasons": [],
    }
    assert found[1]["delegate"] is True and found[1]["administrator"] is True
    assert door.done == []


# -- the program ---------------------------------------------------------------------------------


def call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], request: bytes) -> tuple[int, Any]:
    """Exit status and answer of the whole program, as root."""
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(request)))
    mask = os.umask(0o022)
    try:
        status = members.main()
    finally:
        os.umask(mask)
    return status, json.loads(capsys.readouterr().out)


@pytest.mark.parametrize(
    ("uid", "status"), [(None, 0), ("0", 0), ("1001", 4), ("1004", 4), ("998", 4), ("1006", 0), ("4711", 4), ("x", 4)]
)
def test_only_root_and_delegates_pass(
    door: Door, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], uid: str | None, status: int
) -> None:
    door.people.add("grandma", 1006, "jupyterhub_adm")
    monkeypatch.delenv("SUDO_UID", raising=False)
    if uid is not None:
        monkeypatch.setenv("SUDO_UID", uid)
    got, answer = call(monkeypatch, capsys, b'{"action": "list"}')
    assert got == status == answer.get("status", 0)
    assert answer["ok"] is (status == 0)
    assert ("members" in answer) is (status == 0)


def test_the_program_answers_nonsense_with_a_sentence(
    door: Door, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("SUDO_UID", raising=False)
    assert call(monkeypatch, capsys, b"[" * 1000)[0] == 2
    status, answer = call(monkeypatch, capsys, b'{"action": "add", "names": ["root"]}')
    assert (status, answer["ok"], answer["status"]) == (3, False, 3)
    assert answer["error"] and answer["hint"]


def test_without_roots_rights_nothing_is_read(
    door: Door, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1001)
    monkeypatch.setattr(sys, "stdin", None)
    assert members.main() == 4
    assert json.loads(capsys.readouterr().out)["ok"] is False
