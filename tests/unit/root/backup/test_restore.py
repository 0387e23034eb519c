"""root.restore: fresh folders, whose a path is, what is given away, and that nothing is half-restored."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Callable

import pytest

from jupyterhub4family.common import paths as common_paths
from jupyterhub4family.common.errors import FamilyError, RefusedError, UsageError
from jupyterhub4family.common.system.programs import Finished
from jupyterhub4family.root.backup import accounts as backup_accounts
from jupyterhub4family.root.backup import restore
from jupyterhub4family.root.backup import tree as backup_tree
from jupyterhub4family.root.backup.accounts import AccountRecord
from jupyterhub4family.root.backup.restic import Snapshot
from jupyterhub4family.root.backup.restore import Contents, below_home, owner_of, staging_directory
from jupyterhub4family.root.base import safe_paths
from tests.unit.fakes import Call, FakePrograms
from tests.unit.helpers import People

ANNA = AccountRecord("anna", 1001, "", "/home/anna", "/bin/bash", True, False)
BEN = AccountRecord("ben", 1002, "", "/home/ben", "/bin/bash", True, False)
MUM = AccountRecord("mum", 1003, "", "/home/mum", "/bin/bash", False, True)
CONTENTS = Contents(Snapshot("1" * 64, 1000, "old"), [ANNA, BEN, MUM], {"anna": {"iniconfig": "2.0"}})


class Machine:
    """A backup that restores what a test says, and identities that stay as they are."""

    def __init__(self, folder: Path, people: People, monkeypatch: pytest.MonkeyPatch) -> None:
        self.homes = folder / "home"
        (self.homes / "anna").mkdir(parents=True)
        people.add("anna", 1001, "jupyterhub", home=self.homes / "anna")
        self.files: dict[str, str] = {}
        self.requests: list[Any] = []
        self.owners: list[tuple[str, int]] = []
        self.problem_text: Callable[[], None] = lambda: None
        monkeypatch.setattr(safe_paths, "safe_directory", lambda place: place)
        monkeypatch.setattr(backup_tree, "TREE", Path("/tree"))
        FakePrograms(monkeypatch).answer("*", self._run)
        monkeypatch.setattr(backup_accounts, "HOMES", self.homes)
        monkeypatch.setattr(os, "chown", lambda path, uid, _gid, **_more: self.owners.append((str(path), uid)))

    def restore(self, _snapshot: Snapshot, _paths: list[Path], place: Path) -> None:
        for name, text in self.files.items():
            path = place / "tree" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        self.problem_text()

    def _run(self, call: Call) -> Finished:
        words = call.args
        self.requests.append((" ".join(map(str, words)), (call.stdin or "")))
        return Finished(0, '{"ok": true, "taken": 2, "kept": 1}\n', "")

    def left(self) -> list[str]:
        return sorted(os.listdir(self.homes))


@pytest.fixture
def machine(tmp_path: Path, people: People, monkeypatch: pytest.MonkeyPatch) -> Machine:
    return Machine(tmp_path, people, monkeypatch)


def bring_back(machine: Machine, *paths: str, to: Path | None = None) -> Any:
    wanted = [Path(path) for path in paths]
    repository: Any = machine
    return restore.restore_member(repository, CONTENTS, ANNA, wanted, to=to, tell=lambda _percent, _what: None)


def test_a_home_is_handed_over_by_the_member_in_a_session_of_its_own(machine: Machine) -> None:
    machine.files = {"homes/anna/school/a": "x", "homes/ben/b": "y"}
    told = bring_back(machine)
    assert told.name == "anna" and told.taken == 2 and told.aside.startswith(f"{machine.homes}/anna/before-")
    ((words, request),) = machine.requests
    assert words.startswith("/usr/bin/setsid --wait /usr/sbin/runuser -u anna -- ") and words.endswith("/take-restored")
    assert '"iniconfig": "2.0"' in request
    assert {uid for _name, uid in machine.owners} == {1001}
    assert machine.left() == ["anna"], "nothing is left beside the homes"


def test_single_files_bring_no_packages(machine: Machine) -> None:
    machine.files = {"homes/anna/school/a": "x"}
    bring_back(machine, "school/a")
    assert "iniconfig" not in machine.requests[0][1]


def test_what_is_not_in_the_backup_changes_nothing(machine: Machine) -> None:
    machine.files = {"homes/anna/school/a": "x"}
    with pytest.raises(FamilyError, match="school/b is not in the backup"):
        bring_back(machine, "school/a", "school/b")
    assert machine.requests == [] and machine.left() == ["anna"]


def test_a_failure_while_reading_leaves_nothing(machine: Machine) -> None:
    def fail() -> None:
        raise FamilyError("the disk is full")

    machine.files, machine.problem_text = {"homes/anna/a": "x"}, fail
    for to in (None, machine.homes / "out"):
        with pytest.raises(FamilyError, match="full"):
            bring_back(machine, to=to)
    assert machine.requests == [] and machine.left() == ["anna"]


def test_into_another_folder(machine: Machine) -> None:
    machine.files = {"homes/anna/school/a": "x"}
    assert bring_back(machine, to=machine.homes / "out") == machine.homes / "out"
    assert (machine.homes / "out/school/a").read_text() == "x" and machine.requests == []
    assert (machine.homes / "out").stat().st_mode & 0o777 == 0o700
    assert machine.left() == ["anna", "out"]


def test_what_an_interrupted_restore_has_left_goes_without_following_links(machine: Machine, tmp_path: Path) -> None:
    left = machine.homes / f"{restore.FRESH}1"
    (left / "for-1001").mkdir(parents=True)
    (tmp_path / "keep").write_text("x")
    (left / "for-1001" / "link").symlink_to(tmp_path)
    with staging_directory(machine.homes) as place:
        assert not left.exists() and place.stat().st_mode & 0o777 == 0o700
    assert machine.left() == ["anna"] and (tmp_path / "keep").exists()


def test_what_is_no_file_is_not_given_away(machine: Machine, tmp_path: Path) -> None:
    top = tmp_path / "top"
    (top / "deep").mkdir(parents=True)
    (top / "deep/file").touch()
    (top / "link").symlink_to("/etc")
    os.mkfifo(top / "deep/pipe")
    restore.chown_tree(top, 1001, 1001)
    assert sorted(os.listdir(top / "deep")) == ["file"] and (top / "link").is_symlink()
    assert {Path(name).name for name, _uid in machine.owners} == {"deep", "link", "file", "top"}


@pytest.mark.parametrize("path", ["school/a", "./school//a", "school/x/../a", "/home/anna/school/a"])
def test_paths_in_a_home(path: str, people: People) -> None:
    assert below_home(ANNA, path) == Path("school/a")


@pytest.mark.parametrize(
    "path", ["", ".", "..", "../ben", "a/../../ben", "/", "/home/anna", "/home/ben/x", "/home/anna/../x"]
)
def test_paths_that_are_in_no_home_of_theirs(path: str, people: People) -> None:
    with pytest.raises(UsageError):
        below_home(ANNA, path)


def test_whose_a_path_is(people: People) -> None:
    assert owner_of(CONTENTS, ["/home/ben/a", "/home/ben/b"]) == "ben"
    for paths in (["/home/ben/a", "/home/anna/a"], ["a"], ["/home/mum/a"], ["/home/ben/../carla/x"]):
        with pytest.raises(UsageError):
            owner_of(CONTENTS, paths)
    for name in ("mum", "carla", "../x"):
        with pytest.raises(FamilyError, match="not in the backup"):
            CONTENTS.person(name)


def test_where_a_restore_may_put_things(machine: Machine, tmp_path: Path) -> None:
    assert restore.check_to(tmp_path / "new") == tmp_path / "new"
    (tmp_path / "link").symlink_to("/nowhere")
    for there in (tmp_path, tmp_path / "link"):
        with pytest.raises(RefusedError):
            restore.check_to(there)
    with pytest.raises(UsageError):
        restore.check_to(Path("new"))


def test_settings_are_exchanged_file_by_file(
    machine: Machine, tmp_path: Path, people: People, monkeypatch: Any
) -> None:
    people.add("jupyterhub", 998)
    now, then = tmp_path / "etc", tmp_path / "then"
    for place, files in (
        (now, {"config.yaml": "new", "more.d/x.py": "x", "backup/key": "K"}),
        (then, {"config.yaml": "old"}),
    ):
        for name, text in files.items():
            (place / name).parent.mkdir(parents=True, exist_ok=True)
            (place / name).write_text(text)
    monkeypatch.setattr(common_paths, "CONFIGURATION", now)
    monkeypatch.setattr(common_paths, "OWN_TLS", now / "tls")
    restore._exchange_settings(then)
    assert (now / "config.yaml").read_text() == "old" and not (now / "more.d/x.py").exists()
    assert (now / "backup/key").read_text() == "K", "where backups go stays"
    (kept,) = tmp_path.glob("etc.before-restore-*")
    assert (
        (kept / "config.yaml").read_text() == "new"
        and (kept / "more.d/x.py").exists()
        and not (kept / "backup").exists()
    )
