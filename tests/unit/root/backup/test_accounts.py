"""root.backup_accounts: what a backup keeps of people, and how they are made again."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Any

import pytest

from jupyterhub4family.common.errors import FamilyError, RefusedError
from jupyterhub4family.common.system.programs import CompletedProcess
from jupyterhub4family.root.backup import accounts as backup_accounts
from jupyterhub4family.root.backup.accounts import (
    AccountRecord,
    account_records,
    ensure_account,
    ensure_delegate,
    from_json,
    to_json,
)
from jupyterhub4family.root.base import safe_paths
from tests.unit.fakes import Call, FakePrograms
from tests.unit.helpers import People

ANNA = AccountRecord("anna", 1001, "Anna Müller", "/home/anna", "/bin/zsh", True, False, "$y$j9T$salt$hash")


class Machine:
    """Remembers programs; `useradd` really adds, to the test's database."""

    def __init__(self, database: People, monkeypatch: pytest.MonkeyPatch, directory: Path) -> None:
        self.database, self.lines, self.inputs = database, list[str](), list[str]()
        self.shadow = {"anna": "$y$j9T$salt$hash", "ben": "!", "mum": "*"}
        FakePrograms(monkeypatch).answer("*", self._run)
        monkeypatch.setattr(backup_accounts, "SHELLS", directory / "shells")
        monkeypatch.setattr(backup_accounts, "HOMES", directory / "home")
        monkeypatch.setattr(safe_paths, "safe_directory", lambda place: place)
        monkeypatch.setattr(os, "chown", lambda *_args, **_more: None)
        (directory / "home").mkdir()

    def _run(self, call: Call) -> CompletedProcess:
        arguments = call.args
        self.lines.append(" ".join(map(str, arguments)))
        self.inputs.append(call.stdin or "")
        if arguments[0] == "getent":
            return CompletedProcess(0, f"{arguments[2]}:{self.shadow[arguments[2]]}:1:0:99999:7:::\n", "")
        if arguments[0].endswith("useradd"):
            home = Path(arguments[arguments.index("--home-dir") + 1])
            self.database.add(arguments[-1], 2000, home=home)
        return CompletedProcess(0, "", "")


@pytest.fixture
def machine(people: People, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Machine:
    return Machine(people, monkeypatch, tmp_path)


def test_members_and_delegates_and_nobody_else(machine: Machine) -> None:
    add = machine.database.add
    add("anna", 1001, "jupyterhub", gecos="Anna Müller", shell="/bin/zsh", home=Path("/home/anna"))
    add("ben", 1002, "jupyterhub")
    add("mum", 1003, "jupyterhub_adm")
    add("carla", 1004)
    add("daemon", 1, "jupyterhub_adm")
    found = account_records()
    assert [(one.name, one.member, one.delegate) for one in found] == [
        ("anna", True, False),
        ("ben", True, False),
        ("mum", False, True),
    ]
    assert found[0] == ANNA and found[1].password == found[2].password == "", "a lock is no password"
    assert from_json(to_json(found)) == found
    assert "hash" not in repr(found)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("name", "root;id"),
        ("name", "-x"),
        ("uid", 0),
        ("uid", True),
        ("uid", "1001"),
        ("gecos", "a:b"),
        ("gecos", "a\nb"),
        ("home", "home/anna"),
        ("password", "plain"),
        ("password", "$y$x\nroot:$y$x"),
        ("password", "$y$x:y"),
        ("shell", "/bin/sh\0"),
        ("member", 1),
        ("more", 1),
    ],
)
def test_a_spoilt_list_is_refused(key: str, value: Any) -> None:
    with pytest.raises(FamilyError):
        from_json([{**dataclasses.asdict(ANNA), key: value}])
    listed: list[Any] = [None, {}, [1], [{}], [[]]]
    for wrong in listed:
        with pytest.raises(FamilyError):
            from_json(wrong)


def test_a_missing_account_is_made_as_it_was(machine: Machine, tmp_path: Path) -> None:
    (tmp_path / "shells").write_text("/bin/bash\n/bin/zsh\n")
    person = dataclasses.replace(ANNA, home=str(tmp_path / "home" / "anna"))
    assert ensure_account(person) is True
    useradd, chpasswd = machine.lines
    assert "--uid 1001" in useradd and "--shell /bin/zsh" in useradd and "Anna Müller" in useradd
    assert "hash" not in useradd + chpasswd, "no hash on a command line"
    assert machine.inputs[1] == "anna:$y$j9T$salt$hash\n"
    assert (tmp_path / "home/anna").stat().st_mode & 0o777 == 0o700
    assert ensure_account(person) is False, "the second time there is nothing to do"


def test_a_number_and_a_shell_and_a_place_that_are_not_to_be_had(machine: Machine, tmp_path: Path) -> None:
    machine.database.add("somebody", 1001)
    machine.database.group("anna", 3000)
    person = dataclasses.replace(ANNA, home="/srv/not/there/anna", password="")
    assert ensure_account(person)
    (useradd,) = machine.lines
    assert "--uid" not in useradd and "--shell /bin/bash" in useradd and "--gid anna" in useradd
    assert f"--home-dir {tmp_path}/home/anna" in useradd


def test_an_account_that_is_there_stays_as_it_is_and_a_systems_is_refused(machine: Machine) -> None:
    machine.database.add("anna", 1234)
    assert ensure_account(ANNA) is False and machine.lines == []
    machine.database.add("backup", 34)
    with pytest.raises(RefusedError):
        ensure_account(dataclasses.replace(ANNA, name="backup"))


def test_a_delegate_is_one_again(machine: Machine) -> None:
    machine.database.add("mum", 1003)
    mum = dataclasses.replace(ANNA, name="mum", member=False, delegate=True)
    ensure_delegate(mum)
    assert machine.lines == ["/usr/bin/gpasswd --add mum jupyterhub_adm"]
    machine.database.groups["jupyterhub_adm"][1].append("mum")
    ensure_delegate(mum)
    ensure_delegate(dataclasses.replace(mum, delegate=False))
    assert len(machine.lines) == 1
