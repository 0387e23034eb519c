"""root.tree: what goes into a backup, from whom, and what is said of what cannot. The mounts are real on machines."""

from __future__ import annotations

import gc
import json
import os
import stat
from pathlib import Path
from typing import Any

import pytest

from jupyterhub4family import __version__
from jupyterhub4family.common import paths
from jupyterhub4family.common.errors import FamilyError, RefusedError
from jupyterhub4family.common.system.programs import CompletedProcess, ProgramError
from jupyterhub4family.root.backup import accounts as backup_accounts
from jupyterhub4family.root.backup import mounts
from jupyterhub4family.root.backup import tree as backup_tree
from jupyterhub4family.root.backup.accounts import AccountRecord
from jupyterhub4family.root.base import safe_paths
from tests.unit.fakes import Call, FakePrograms
from tests.unit.helpers import People

ANNA = AccountRecord("anna", os.getuid(), "", "/home/anna", "/bin/bash", True, False)
MUM = AccountRecord("mum", 1003, "", "/home/mum", "/bin/bash", False, True)


class Machine:
    """Members with homes and packages, a hub with a state; mounts are noted in place of being made."""

    def __init__(self, directory: Path, people: People, monkeypatch: pytest.MonkeyPatch) -> None:
        self.tree, self.homes = directory / "tree", directory / "homes"
        #: What is shown where, by its path; what happened, in order.
        self.shown: dict[str, str] = {}
        self.done: list[str] = []
        self.reported: list[tuple[int, str]] = []
        self.hub = json.dumps({"ok": True, "files": {"hub.sqlite": "eA=="}})
        self.extras: Any = {"iniconfig": "2.0"}
        (self.homes / "anna").mkdir(parents=True)
        people.add("anna", os.getuid(), "jupyterhub", home=self.homes / "anna")
        people.add("mum", 1003, "jupyterhub_adm")
        monkeypatch.setattr(backup_tree, "TREE", self.tree)
        monkeypatch.setattr(paths, "CONFIGURATION", directory / "none")
        monkeypatch.setattr(backup_accounts, "account_records", lambda: [ANNA, MUM])
        monkeypatch.setattr(safe_paths, "safe_directory", lambda place: place)
        monkeypatch.setattr(mounts, "enter_own_mounts", lambda: self.done.append("own mounts"))
        monkeypatch.setattr(mounts, "mount_memory", lambda place: self.done.append(f"memory {place.name}"))
        monkeypatch.setattr(mounts, "mount_without_links", self._mount)
        FakePrograms(monkeypatch).answer("*", self._run)

    def _mount(self, descriptor: int, place: Path) -> None:
        self.shown[str(place.relative_to(self.tree))] = os.readlink(f"/proc/self/fd/{descriptor}")

    def _run(self, call: Call) -> CompletedProcess:
        account = call.args[call.args.index("-u") + 1]
        self.done.append(" ".join([account, *(Path(word).name for word in call.program)]))
        if account == "jupyterhub":
            return CompletedProcess(0, f"{self.hub}\n", "")
        if isinstance(self.extras, Exception):
            raise self.extras
        return CompletedProcess(
            0, json.dumps({"ok": True, "place": "x", "exists": True, "extras": self.extras}) + "\n", ""
        )

    def build(self) -> list[str]:
        notes = backup_tree.build_tree(lambda percent, message: self.reported.append((percent, message)))
        return [str(note) for note in notes]

    def written(self, name: str) -> Any:
        return json.loads((self.tree / name).read_text("utf-8"))


@pytest.fixture
def machine(tmp_path: Path, people: People, monkeypatch: pytest.MonkeyPatch) -> Machine:
    return Machine(tmp_path, people, monkeypatch)


def test_what_is_in_a_backup(machine: Machine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    monkeypatch.setattr(paths, "CONFIGURATION", tmp_path / "etc")
    # Settings must be root's; on this machine they are whoever's runs the test.
    real = os.fstat
    root = {os.stat(tmp_path / "etc").st_ino}
    monkeypatch.setattr(os, "fstat", lambda number: _owned_by_root(real(number), root))
    assert machine.build() == []
    assert machine.shown == {"settings": str(tmp_path / "etc"), "homes/anna": str(machine.homes / "anna")}
    about = machine.written("about.json")
    assert (about["format"], about["version"]) == (backup_tree.FORMAT, __version__)
    assert machine.written("packages.json") == {"anna": {"iniconfig": "2.0"}}, "of members only"
    assert machine.written("hub.json") == {"files": {"hub.sqlite": "eA=="}}
    assert backup_accounts.from_json([{**machine.written("accounts.json")[0], "uid": 1001}])[0].name == "anna"
    assert len(machine.written("accounts.json")) == 2
    for name in ("about.json", "accounts.json", "packages.json", "hub.json"):
        assert (machine.tree / name).stat().st_mode & 0o777 == 0o600
    assert machine.tree.stat().st_mode & 0o777 == 0o700


def _owned_by_root(status: os.stat_result, inodes: set[int]) -> os.stat_result:
    fields = list(status)
    if status.st_ino in inodes:
        fields[stat.ST_UID] = 0
    return os.stat_result(fields)


def test_everybody_is_asked_before_the_mounts_are_there(machine: Machine) -> None:
    machine.build()
    assert machine.done == ["jupyterhub hub-state export", "anna own-environment status", "own mounts", "memory tree"]
    assert [percent for percent, _message in machine.reported] == sorted(
        percent for percent, _message in machine.reported
    )


@pytest.mark.parametrize("hub", ["", "no JSON", "[1]", '{"ok": false, "error": "the database is damaged"}'])
def test_without_the_hubs_state_there_is_a_backup_all_the_same(machine: Machine, hub: str) -> None:
    machine.hub = hub
    (note,) = machine.build()
    assert "without the hub's state" in note and ("damaged" in note) is ("damaged" in hub)
    assert not (machine.tree / "hub.json").exists() and "homes/anna" in machine.shown


@pytest.mark.parametrize(
    "extras",
    [
        None,
        [],
        "x",
        7,
        {"a": ["1"]},
        {f"p{number}": "1" for number in range(backup_tree.MAXIMUM_PACKAGES + 1)},
        ProgramError("no"),
    ],
)
def test_packages_that_cannot_be_told_are_none(machine: Machine, extras: Any) -> None:
    machine.extras = extras
    assert backup_tree.packages_of(ANNA) == {}


def test_only_what_can_be_a_package_is_kept(machine: Machine) -> None:
    machine.extras = {
        **{f"p{number}": "1" for number in range(backup_tree.MAXIMUM_PACKAGES - 6)},
        "good": "1.0+local",
        "bad one": "1",
        "-r": "1",
        "x": "1; id",
        "z": "-1",
    }
    found = backup_tree.packages_of(ANNA)
    assert len(found) == backup_tree.MAXIMUM_PACKAGES - 5 and found["good"] == "1.0+local"


@pytest.mark.parametrize("home", ["somebody else's", "a file", "a link", "gone"])
def test_a_home_that_is_not_the_members_folder_is_left_out_with_a_note(
    machine: Machine, home: str, people: People, tmp_path: Path
) -> None:
    place = machine.homes / "anna"
    if home == "somebody else's":
        people.add("anna", os.getuid() + 1, home=place)
    else:
        place.rmdir()
    if home == "a file":
        place.touch()
    elif home == "a link":
        (tmp_path / "elsewhere").touch()
        place.symlink_to(tmp_path / "elsewhere")
    (note,) = machine.build()
    assert "without the home of anna" in note and machine.shown == {}
    assert machine.written("packages.json") == {"anna": {"iniconfig": "2.0"}}, "the rest is saved"


def test_a_home_in_a_place_where_others_could_mislead_root_is_left_out(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unsafe(place: Path) -> Path:
        raise RefusedError(f"others can change {place}")

    monkeypatch.setattr(safe_paths, "safe_directory", unsafe)
    (note,) = machine.build()
    assert "others can change" in note and machine.shown == {}


def test_without_mounts_of_its_own_there_is_no_backup(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused() -> None:
        raise FamilyError("no mounts here")

    monkeypatch.setattr(mounts, "enter_own_mounts", refused)
    with pytest.raises(FamilyError, match="no mounts"):
        machine.build()
    assert not machine.tree.exists() and machine.shown == {}


def test_no_descriptor_of_a_home_stays_open(machine: Machine) -> None:
    # What other tests have left is closed now, not in the middle of this one.
    gc.collect()
    before = os.listdir("/proc/self/fd")
    machine.build()
    assert os.listdir("/proc/self/fd") == before


def test_what_is_left_out_of_homes_is_left_out_of_every_one(machine: Machine) -> None:
    patterns = backup_tree.patterns_left_out()
    assert f"{machine.tree}/settings/backup" in patterns, "the key does not go where it would be needed"
    assert f"{machine.tree}/homes/*/.cache" in patterns and f"{machine.tree}/homes/*/.local/share/Trash" in patterns
