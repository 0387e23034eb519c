"""root.confine: who may have what confined, and that nothing the caller says changes the limits.

systemd and foreign processes are met on real machines only (tests/machine/test_limits.py).
"""

from __future__ import annotations

import io
import json
import os
import pwd
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from jupyterhub4family.common import paths
from jupyterhub4family.common.errors import FamilyError, PermissionRefused
from jupyterhub4family.common.settings import model as settings_module
from jupyterhub4family.common.settings.model import Settings, load_settings, parse_settings
from jupyterhub4family.common.settings.types import Amount
from jupyterhub4family.common.system import cgroups, programs
from jupyterhub4family.common.system.programs import CompletedProcess, ProgramError
from jupyterhub4family.root.base import run_dir
from jupyterhub4family.root.doors import administrators
from jupyterhub4family.root.doors import limit_server as door
from tests.unit.helpers import People, must_not_be_called

GIGABYTE = 2**30
SCOPE = "jupyterhub4family-1001-50-777.scope"


class Machine:
    """A /proc of the test's own, and a systemd that notes what it is asked and does it."""

    def __init__(self, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.proc, self.config = directory / "proc", directory / "config.yaml"
        self.asked: list[list[str]] = []
        self.refuses = ""
        self.scope = ""
        self._monkeypatch = monkeypatch
        systemd = directory / "systemd"
        systemd.mkdir()
        self.proc.mkdir()
        monkeypatch.setattr("jupyterhub4family.common.system.processes.PROC", self.proc)
        monkeypatch.setattr(paths, "SYSTEMD_RUNS", systemd)
        monkeypatch.setattr(programs, "run", self._run)
        monkeypatch.setattr(cgroups, "total_memory", lambda: 8 * GIGABYTE)
        monkeypatch.setattr(cgroups, "scope_of", lambda _pid: self.scope)
        monkeypatch.setattr(settings_module, "load_settings", lambda: load_settings(self.config))
        monkeypatch.setattr(door, "TIMEOUT", 0.05)
        self.run_dir, self.systems_own = directory / "run", directory / "system.control"
        self.run_dir.mkdir()
        monkeypatch.setattr(run_dir, "RUN_DIR", self.run_dir)
        monkeypatch.setattr(run_dir, "ensure_run_dir", lambda: None)
        monkeypatch.setattr(door, "SYSTEMS_OWN", self.systems_own)
        #: Door, sudo, server, hub.
        self.process(70, parent=60, uid="0")
        self.process(60, parent=50, uid="0")
        self.process(50, parent=40, uid="1001")
        self.process(40, parent=1, uid="998")
        self.process(1, parent=0, uid="0")
        monkeypatch.setattr(os, "getppid", lambda: 60)
        self.group(50)

    def group(self, leader: int) -> None:
        self._monkeypatch.setattr(os, "getpgrp", lambda: leader)

    def process(
        self, pid: int, parent: int, uid: str, group: str = "/system.slice/jupyterhub4family-hub.service"
    ) -> None:
        directory = self.proc / str(pid)
        directory.mkdir(exist_ok=True)
        fields = ["S", str(parent), *["0"] * 17, "777", *["0"] * 20]
        (directory / "stat").write_text(f"{pid} (python3) {' '.join(fields)}\n", "ascii")
        uids = "\t".join(uid.split() if " " in uid else [uid] * 4)
        (directory / "status").write_text(f"Name:\tx\nUid:\t{uids}\nGid:\t0\t0\t0\t0\n", "ascii")
        (directory / "cgroup").write_text(f"0::{group}\n", "ascii")

    def reported(self, method: str) -> list[str]:
        """The words of the calls of this method, all in one list."""
        return [word for call in self.asked if method in call for word in call]

    def set_property(self, unit: str) -> None:
        """systemd writes down what it was told of a unit, each property by renaming a new file."""
        directory = self.systems_own / f"{unit}.d"
        directory.mkdir(parents=True, exist_ok=True)
        (directory / ".new").write_text("[Slice]\n")
        (directory / ".new").replace(directory / "50-MemoryMax.conf")

    def units_set(self) -> list[str]:
        """The units whose limits systemd was told, since this was asked last."""
        units = [call[call.index("SetUnitProperties") + 2] for call in self.asked if "SetUnitProperties" in call]
        self.asked.clear()
        return units

    def _run(self, args: list[Any], **_more: Any) -> CompletedProcess:
        self.asked.append([str(word) for word in args])
        if self.refuses:
            raise ProgramError(self.refuses)
        if "SetUnitProperties" in args:
            self.set_property(str(args[args.index("SetUnitProperties") + 2]))
        if "StartTransientUnit" in args:
            self.scope = args[args.index("StartTransientUnit") + 2]
        return CompletedProcess(0, "", "")


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    return Machine(tmp_path, monkeypatch)


@pytest.fixture
def anna(people: People) -> pwd.struct_passwd:
    return people.add("anna", 1001, "jupyterhub")


def after(args: list[str], name: str) -> str:
    """The value of a property in the words of busctl."""
    return args[args.index(name) + 2]


# -- which process ---------------------------------------------------------------------------------


def test_the_process_is_the_leader_of_the_doors_group(machine: Machine, anna: pwd.struct_passwd) -> None:
    assert door.callers_process(anna) == 50


@pytest.mark.parametrize(
    "change",
    [
        lambda machine: machine.process(50, 40, "1002"),
        lambda machine: machine.process(50, 40, "0"),
        # Partly another's: a program with the setuid bit.
        lambda machine: machine.process(50, 40, "1001 0 0 0"),
        lambda machine: machine.process(50, 40, "1001 1001 0 1001"),
        lambda machine: machine.process(50, 40, "1001 1001 1001 1002"),
        lambda machine: (machine.proc / "50" / "status").unlink(),
        lambda machine: (machine.proc / "50" / "status").write_text("Name:\tUid:\t1001\t1001\n"),
        # No ancestor of the door's, though the caller's.
        lambda machine: (machine.process(51, 40, "1001"), machine.group(51)),
        # A chain that is too long, and one that goes in a circle.
        lambda machine: machine.process(60, 60, "0"),
        lambda machine: machine.group(1),
        lambda machine: machine.group(0),
        lambda machine: machine.group(60),
        lambda machine: machine.group(40),
        lambda machine: machine.process(50, 40, "1001", "/user.slice/user-1001.slice/session-3.scope"),
        lambda machine: machine.process(50, 40, "1001", "/user.slice/user-1001.slice"),
    ],
)
def test_any_other_process_is_refused(
    machine: Machine, anna: pwd.struct_passwd, change: Callable[[Machine], object]
) -> None:
    change(machine)
    with pytest.raises(PermissionRefused):
        door.callers_process(anna)
    assert machine.asked == []


def test_a_hub_in_a_session_of_its_own_account_is_no_login_of_the_member(
    machine: Machine, anna: pwd.struct_passwd
) -> None:
    """Where cron supervises, the hub is in such a session."""
    machine.process(50, 40, "1001", "/user.slice/user-998.slice/session-c1.scope")
    assert door.callers_process(anna) == 50


# -- limits ----------------------------------------------------------------------------------------


def test_scope_and_slices(machine: Machine, anna: pwd.struct_passwd) -> None:
    assert door.confine(anna, 50) == SCOPE
    total, own, start = machine.asked
    assert total[total.index("sba(sv)") + 1] == "jupyterhub4family.slice"
    assert after(total, "MemoryMax") == str(6 * GIGABYTE)
    assert own[own.index("sba(sv)") + 1] == "jupyterhub4family-1001.slice"
    for args in (own, start):
        assert after(args, "MemoryMax") == str(4 * GIGABYTE)
        assert after(args, "MemorySwapMax") == str(GIGABYTE)
        assert after(args, "CPUWeight") == "100" and after(args, "TasksMax") == "1000"
    assert start[start.index("PIDs") :][:4] == ["PIDs", "au", "1", "50"]
    assert after(start, "Slice") == "jupyterhub4family-1001.slice"
    assert after(start, "MemoryAccounting") == "false", "with it systemd 250 to 252 ends the server, too"
    assert start[-1] == "0"
    # The count of properties is what busctl goes by.
    for args in (total, own, start):
        signature = next(place for place, word in enumerate(args) if "a(sv)" in word)
        count = int(args[signature + 3])
        given = [word for word in args[signature + 4 :] if word[:1].isupper() and word.isalpha()]
        assert count == len(given), args


def test_what_the_settings_say(machine: Machine, anna: pwd.struct_passwd) -> None:
    machine.config.write_text(
        "memory_limit: 1G\nmemory_limit_total: 50%\ncpu_weight: 50\nprocess_limit: 300\n"
        "member_limits: [anna.memory=25%, anna.cpu=200, ben.memory=7G]\n"
    )
    door.confine(anna, 50)
    start = machine.reported("StartTransientUnit")
    assert after(start, "MemoryMax") == str(2 * GIGABYTE)
    assert after(start, "CPUWeight") == "200" and after(start, "TasksMax") == "300"
    assert after(machine.asked[0], "MemoryMax") == str(4 * GIGABYTE)


BOTH = ["jupyterhub4family.slice", "jupyterhub4family-1001.slice"]


def confined_again(machine: Machine, anna: pwd.struct_passwd) -> list[str]:
    """The slices whose limits systemd was told for one more server."""
    machine.scope = ""
    assert door.confine(anna, 50) == SCOPE
    return machine.units_set()


def test_systemd_is_told_the_limits_of_slices_once(machine: Machine, anna: pwd.struct_passwd) -> None:
    assert confined_again(machine, anna) == BOTH
    assert confined_again(machine, anna) == [] and confined_again(machine, anna) == []
    machine.config.write_text("memory_limit: 1G\n")
    assert confined_again(machine, anna) == BOTH[1:], "what the settings say now"
    assert confined_again(machine, anna) == []
    assert {path.stat().st_mode & 0o777 for path in machine.run_dir.iterdir()} == {0o600}


def test_it_is_told_again_if_it_may_have_forgotten(machine: Machine, anna: pwd.struct_passwd) -> None:
    assert confined_again(machine, anna) == BOTH
    machine.set_property(BOTH[1])
    assert confined_again(machine, anna) == BOTH[1:], "somebody else has told it something"
    shutil.rmtree(machine.systems_own / f"{BOTH[0]}.d")
    assert confined_again(machine, anna) == BOTH[:1], "systemctl revert"
    for note in machine.run_dir.iterdir():
        note.unlink()
    assert confined_again(machine, anna) == BOTH, "a reboot"


def test_what_it_refused_is_not_taken_for_told(machine: Machine, anna: pwd.struct_passwd) -> None:
    machine.refuses = "no"
    with pytest.raises(FamilyError):
        door.confine(anna, 50)
    machine.refuses = ""
    machine.units_set()
    assert confined_again(machine, anna) == BOTH


def test_it_is_told_each_time_if_it_keeps_that_elsewhere(
    machine: Machine, anna: pwd.struct_passwd, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "set_property", lambda _unit: None)
    assert confined_again(machine, anna) == BOTH and confined_again(machine, anna) == BOTH


def test_a_server_can_start_on_the_smallest_computer(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cgroups, "total_memory", lambda: 300 * 2**20)
    assert door.limits_of("anna", Settings(memory_limit=Amount(5, "%"))).memory == 256 * 2**20


def test_with_a_bad_file_the_defaults_hold(machine: Machine, anna: pwd.struct_passwd) -> None:
    """And not what the service remembers: it can write there what it likes."""
    machine.config.write_text("memory_limit: everything\n")
    door.confine(anna, 50)
    assert after(machine.reported("StartTransientUnit"), "MemoryMax") == str(4 * GIGABYTE)


def test_who_is_in_a_scope_stays_there(machine: Machine, anna: pwd.struct_passwd) -> None:
    machine.scope = "jupyterhub4family-1001-9-9.scope"
    assert door.confine(anna, 50) == "jupyterhub4family-1001-9-9.scope"
    assert machine.asked == []


def test_systemd_refuses(machine: Machine, anna: pwd.struct_passwd) -> None:
    machine.refuses = "no such bus"
    with pytest.raises(FamilyError, match="did not limit the server: no such bus"):
        door.confine(anna, 50)


def test_systemd_says_yes_and_does_nothing(
    machine: Machine, anna: pwd.struct_passwd, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cgroups, "scope_of", lambda _pid: "")
    with pytest.raises(FamilyError, match="did not create the scope"):
        door.confine(anna, 50)


def test_without_systemd(machine: Machine, anna: pwd.struct_passwd, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paths, "SYSTEMD_RUNS", machine.proc / "none")
    with pytest.raises(FamilyError, match="systemd is not running here"):
        door.confine(anna, 50)
    assert machine.asked == []


def test_a_process_that_has_ended(machine: Machine, anna: pwd.struct_passwd) -> None:
    (machine.proc / "50" / "stat").unlink()
    with pytest.raises(PermissionRefused):
        door.confine(anna, 50)


# -- the door --------------------------------------------------------------------------------------


class Door:
    """The door as sudo opens it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self._monkeypatch, self._capsys = monkeypatch, capsys
        monkeypatch.setattr(os, "geteuid", lambda: 0)
        monkeypatch.setattr(administrators, "check", self._check)
        #: Who can become root, and must not have a server.
        self.administrators: set[str] = set()
        self.called_by("1001")

    def _check(self, account: pwd.struct_passwd) -> None:
        if account.pw_name in self.administrators:
            raise PermissionRefused(f"{account.pw_name} can become root (in the group docker)")

    def called_by(self, uid: str) -> None:
        self._monkeypatch.setenv("SUDO_UID", uid)

    def send(self, request: bytes = b"{}") -> tuple[int, dict[str, Any]]:
        self._monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(request)))
        mask = os.umask(0o022)
        try:
            status = door.main()
        finally:
            os.umask(mask)
        (line,) = self._capsys.readouterr().out.splitlines()
        answer = json.loads(line)
        assert isinstance(answer, dict)
        return status, answer


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Door:
    return Door(monkeypatch, capsys)


def test_an_answer(machine: Machine, anna: pwd.struct_passwd, opened: Door) -> None:
    assert opened.send() == (0, {"ok": True, "scope": SCOPE, "problem": ""})


def test_a_check_moves_nothing(machine: Machine, anna: pwd.struct_passwd, opened: Door) -> None:
    assert opened.send(b'{"only_check": true}') == (0, {"ok": True, "scope": "", "problem": ""})
    assert machine.asked == []


def test_without_limits_a_server_may_start_all_the_same(
    machine: Machine, anna: pwd.struct_passwd, opened: Door
) -> None:
    machine.refuses = "Access denied"
    status, answer = opened.send()
    assert (status, answer["ok"], answer["scope"]) == (0, True, "") and "Access denied" in str(answer["problem"])


@pytest.mark.parametrize("request_text", [b"{}", b'{"only_check": true}'])
def test_who_can_become_root_starts_none(
    machine: Machine, anna: pwd.struct_passwd, people: People, opened: Door, request_text: bytes
) -> None:
    opened.administrators.add("anna")
    status, answer = opened.send(request_text)
    assert status == 4 and "anna can become root" in str(answer["error"])
    assert machine.asked == [], "and nothing is moved"


@pytest.mark.parametrize("uid", ["0", "1002", "998", "4242", "-1", "", "x", "99999999999999999999"])
def test_who_is_no_member_is_refused(machine: Machine, people: People, opened: Door, uid: str) -> None:
    people.add("root", 0, "jupyterhub")
    people.add("jupyterhub", 998, "jupyterhub")
    people.add("ben", 1002)
    opened.called_by(uid)
    status, answer = opened.send()
    assert status == 4 and answer["ok"] is False
    assert machine.asked == []


def test_root_itself_has_no_server(machine: Machine, opened: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SUDO_UID")
    assert opened.send()[0] == 4


def test_only_as_root(machine: Machine, anna: pwd.struct_passwd, opened: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1001)
    monkeypatch.setattr(door, "confine", must_not_be_called)
    assert opened.send()[0] == 4


@pytest.mark.parametrize(
    "request_text",
    [
        b"",
        b"[]",
        b"null",
        b'{"pid": 1}',
        b'{"only_check": 1}',
        b'{"pid": 50, "MemoryMax": 1}',
        b'{"memory": "100%"}',
        b'{"slice": "system.slice"}',
        b'{"scope": "../x"}',
        b"{} {}",
        b'{"":""}',
        b"\xff",
        b"{" * 100_000,
        b" " * 300_000,
    ],
)
def test_nothing_can_be_asked_for(machine: Machine, anna: pwd.struct_passwd, opened: Door, request_text: bytes) -> None:
    """Neither another process nor other limits, a slice or a name."""
    status, answer = opened.send(request_text)
    assert status == 2 and answer["ok"] is False
    assert machine.asked == []


def test_every_member_limit_is_one_that_the_door_can_set() -> None:
    given = parse_settings({"member_limits": ["anna.memory=1G", "anna.cpu=1", "anna.processes=100"]}, "test")
    limits = door.limits_of("anna", given)
    assert (limits.memory, limits.processor, limits.processes) == (GIGABYTE, 1, 100)
