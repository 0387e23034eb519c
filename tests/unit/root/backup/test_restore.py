"""root.restore: fresh folders, whose a path is, what is given away, and that nothing is half-restored."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, Callable

import pytest

from jupyterhub4family.common import paths as common_paths
from jupyterhub4family.common.errors import ExitStatus, FamilyError, RefusedError, UsageError
from jupyterhub4family.common.protocol import doors
from jupyterhub4family.common.system import programs
from jupyterhub4family.common.system.programs import CompletedProcess
from jupyterhub4family.root.backup import accounts as backup_accounts
from jupyterhub4family.root.backup import restore
from jupyterhub4family.root.backup import tree as backup_tree
from jupyterhub4family.root.backup.accounts import AccountRecord, to_json
from jupyterhub4family.root.backup.restic import Snapshot
from jupyterhub4family.root.backup.restore import Contents, below_home, owner_of, staging_directory
from jupyterhub4family.root.base import safe_paths, supervisor
from jupyterhub4family.root.doors import members
from jupyterhub4family.root.setup import setup
from tests.unit.fakes import Call, FakePrograms
from tests.unit.helpers import People

ANNA = AccountRecord("anna", 1001, "", "/home/anna", "/bin/bash", True, False)
BEN = AccountRecord("ben", 1002, "", "/home/ben", "/bin/bash", True, False)
MUM = AccountRecord("mum", 1003, "", "/home/mum", "/bin/bash", False, True)
CONTENTS = Contents(Snapshot("1" * 64, 1000, "old"), [ANNA, BEN, MUM], {"anna": {"iniconfig": "2.0"}})


class Machine:
    """A backup that restores what a test says, and identities that stay as they are."""

    def __init__(self, directory: Path, people: People, monkeypatch: pytest.MonkeyPatch) -> None:
        self.homes = directory / "home"
        (self.homes / "anna").mkdir(parents=True)
        people.add("anna", 1001, "jupyterhub", home=self.homes / "anna")
        self.files: dict[str, str] = {}
        self.requests: list[Any] = []
        #: Of the fresh folder and of what is in it for the member, when the member's program runs.
        self.modes: list[int] = []
        self.owners: list[tuple[str, int]] = []
        self.problem_text: Callable[[], None] = lambda: None
        monkeypatch.setattr(safe_paths, "safe_directory", lambda place: place)
        monkeypatch.setattr(backup_tree, "TREE", Path("/tree"))
        fakes = FakePrograms(monkeypatch)
        fakes.answer("*", self._run)
        fakes.let_run("rm")
        monkeypatch.setattr(backup_accounts, "HOMES", self.homes)
        monkeypatch.setattr(os, "chown", lambda path, uid, _gid, **_more: self.owners.append((str(path), uid)))

    def restore(self, _snapshot: Snapshot, wanted: list[Path], place: Path) -> None:
        for name, text in self.files.items():
            if not set(wanted) & {Path("/tree") / name, *(Path("/tree") / name).parents}:
                continue
            path = place / "tree" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        self.problem_text()

    def _run(self, call: Call) -> CompletedProcess:
        arguments = call.args
        self.requests.append((" ".join(map(str, arguments)), (call.stdin or "")))
        assert call.timeout == (3600 if call.name == "hub-state" else None), "a large home takes as long as it takes"
        if arguments[-1].endswith("take-restored"):
            top = Path(call.request["place"])
            self.modes = [path.stat().st_mode & 0o777 for path in (top.parent, top)]
        if call.name == "hub-state":
            return CompletedProcess(0, '{"ok": true, "kept": "/before-restore"}\n', "")
        return CompletedProcess(0, '{"ok": true, "taken": 2, "kept": 1}\n', "")

    def left(self) -> list[str]:
        return sorted(os.listdir(self.homes))


@pytest.fixture
def machine(tmp_path: Path, people: People, monkeypatch: pytest.MonkeyPatch) -> Machine:
    return Machine(tmp_path, people, monkeypatch)


def bring_back(machine: Machine, *paths: str, to: Path | None = None) -> Any:
    wanted = [Path(path) for path in paths]
    repository: Any = machine
    return restore.restore_member(repository, CONTENTS, ANNA, wanted, to=to, on_progress=lambda _percent, _what: None)


def test_a_home_is_handed_over_by_the_member_in_a_session_of_its_own(machine: Machine) -> None:
    machine.files = {"homes/anna/school/a": "x", "homes/ben/b": "y"}
    reported = bring_back(machine)
    assert (
        reported.name == "anna" and reported.taken == 2 and reported.aside.startswith(f"{machine.homes}/anna/before-")
    )
    ((arguments, request),) = machine.requests
    assert arguments.startswith("/usr/bin/setsid --wait /usr/sbin/runuser -u anna -- ") and arguments.endswith(
        "/take-restored"
    )
    assert '"iniconfig": "2.0"' in request
    assert {uid for _name, uid in machine.owners} == {1001}
    assert machine.modes == [0o711, 0o700], "the member gets to what is theirs, others to nothing"
    assert machine.left() == ["anna"], "nothing is left beside the homes"


@pytest.mark.parametrize("to", [False, True])
def test_a_home_that_is_a_link_in_the_backup_leads_root_nowhere(machine: Machine, tmp_path: Path, to: bool) -> None:
    """Whoever knows the key and the target could have put one there: its target would get a new owner and mode."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir(mode=0o755)
    mode = elsewhere.stat().st_mode
    machine.files = {"homes/anna": "in its place comes a link"}

    def make_link() -> None:
        (file,) = machine.homes.glob("*/reading/tree/homes/anna")
        file.unlink()
        file.symlink_to(elsewhere)

    machine.problem_text = make_link
    with pytest.raises(FamilyError, match="anna in the backup is not a folder"):
        bring_back(machine, to=machine.homes / "out" if to else None)
    assert elsewhere.stat().st_mode == mode and machine.owners == [] and machine.requests == []
    assert machine.left() == ["anna"]


def test_single_files_bring_no_packages(machine: Machine) -> None:
    machine.files = {"homes/anna/school/a": "x"}
    bring_back(machine, "school/a")
    assert "iniconfig" not in machine.requests[0][1]


def test_of_single_files_nothing_else_is_read(machine: Machine) -> None:
    machine.files = {"homes/anna/school/a": "x", "homes/anna/school/b": "y", "homes/anna/c": "z"}
    bring_back(machine, "school/a", to=machine.homes / "out")
    out = machine.homes / "out"
    assert [path.relative_to(out) for path in out.rglob("*") if path.is_file()] == [Path("school/a")]


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
    left = machine.homes / f"{restore.STAGING_PREFIX}1"
    (left / "for-1001").mkdir(parents=True)
    (tmp_path / "keep").write_text("x")
    (left / "for-1001" / "link").symlink_to(tmp_path)
    with staging_directory(machine.homes) as place:
        assert not left.exists() and place.stat().st_mode & 0o777 == 0o700
    assert machine.left() == ["anna"] and (tmp_path / "keep").exists()


def test_a_fresh_folder_is_closed_before_it_is_removed(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    modes: list[int] = []
    remove = programs.run

    def look_and_remove(args: Any, **more: Any) -> CompletedProcess:
        modes.append(Path(args[-1]).stat().st_mode & 0o777)
        return remove(args, **more)

    monkeypatch.setattr(programs, "run", look_and_remove)
    with staging_directory(machine.homes) as place:
        place.chmod(0o711)
    assert modes == [0o700], "nobody gets in any more"


def test_what_cannot_be_removed_does_not_hide_what_has_happened(machine: Machine) -> None:
    with pytest.raises(FamilyError, match="the disk is gone"), staging_directory(machine.homes) as place:
        (place / "closed").mkdir()
        (place / "closed" / "file").touch()
        (place / "closed").chmod(0)
        raise FamilyError("the disk is gone")
    # Left where root may not remove it either, such as in a mount that is in use; root did, if that ran the test.
    if place.exists():
        (place / "closed").chmod(0o700)


def test_directories_a_thousand_times_in_each_other(machine: Machine) -> None:
    """More than Python goes down, and than root has files open: a member's, who would keep all others from theirs."""
    here = os.open("/", os.O_RDONLY)
    with staging_directory(machine.homes) as place:
        os.chdir(place)
        try:
            for _number in range(1500):
                os.mkdir("d")
                os.chdir("d")
        finally:
            os.fchdir(here)
            os.close(here)
        restore.chown_tree(place, 1001, 1001)
        assert len(machine.owners) == 1502, "and the directory that restic writes into"
    assert machine.left() == ["anna"]


def test_what_is_no_file_is_not_given_away(machine: Machine, tmp_path: Path) -> None:
    top = tmp_path / "top"
    (top / "deep").mkdir(parents=True)
    (top / "deep/file").touch()
    (top / "link").symlink_to("/etc")
    os.mkfifo(top / "deep/pipe")
    restore.chown_tree(top, 1001, 1001)
    assert sorted(os.listdir(top / "deep")) == ["file"] and (top / "link").is_symlink()
    assert {Path(name).name for name, _uid in machine.owners} == {"deep", "link", "file", "top"}


def test_a_link_is_given_away_itself_and_never_what_it_leads_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: set[int] = set()

    def chown(path: Any, uid: int, gid: int, *, dir_fd: int | None = None, follow_symlinks: bool = True) -> None:
        given.add(os.stat(path, dir_fd=dir_fd, follow_symlinks=follow_symlinks).st_ino)

    monkeypatch.setattr(os, "chown", chown)
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious/file").touch()
    (tmp_path / "top").mkdir()
    (tmp_path / "top/folder").symlink_to(tmp_path / "precious")
    (tmp_path / "top/file").symlink_to(tmp_path / "precious/file")
    (tmp_path / "link").symlink_to("top")
    restore.chown_tree(tmp_path / "top", 1001, 1001)
    ours = (tmp_path / "top", tmp_path / "top/folder", tmp_path / "top/file")
    assert given == {os.lstat(path).st_ino for path in ours}


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
            CONTENTS.record(name)


def test_a_home_is_named_as_it_was_then_or_as_it_is_now(machine: Machine) -> None:
    """The backup says /home/anna; on this machine her home is elsewhere."""
    for home in ("/home/anna", str(machine.homes / "anna")):
        assert below_home(ANNA, f"{home}/school/a") == Path("school/a")
        assert owner_of(CONTENTS, [f"{home}/school/a", f"{home}/b"]) == "anna"
    with pytest.raises(UsageError):
        below_home(ANNA, f"{machine.homes}/ben/x")


class Described:
    """A backup that says of itself what a test wants; it remembers what was read."""

    def __init__(self, **files: Any) -> None:
        self.files = files
        self.read_files: list[str] = []

    def find(self, _untrusted_id: str) -> Snapshot:
        return CONTENTS.snapshot

    def read(self, _snapshot: Snapshot, path: Path) -> str:
        self.read_files.append(path.name)
        return json.dumps(self.files[path.stem])


def described(**changes: Any) -> Any:
    about = {"format": backup_tree.FORMAT, "version": "7.8"}
    packages = {"anna": {"iniconfig": "2.0", "x;y": "1", "z": ["1"]}}
    return Described(**{"about": about, "accounts": to_json(CONTENTS.account_records), "packages": packages, **changes})


def test_what_a_backup_says_of_itself() -> None:
    assert restore.read_manifest(described(), "") == CONTENTS, "and what is no package is left out"


def test_a_backup_of_a_newer_format_is_refused_before_more_is_read() -> None:
    repository = described(about={"format": backup_tree.FORMAT + 1, "version": "7.8"})
    with pytest.raises(RefusedError, match=r"newer version \(7\.8\)") as refused:
        restore.read_manifest(repository, "")
    assert "upgrade jupyterhub4family" in refused.value.hint and repository.read_files == ["about.json"]


@pytest.mark.parametrize(
    "changes",
    [{"about": {}}, {"about": {"format": "new"}}, {"about": []}, {"packages": []}, {"packages": {"anna": 1}}],
)
def test_a_backup_that_says_nothing_sensible_is_damaged(changes: dict[str, Any]) -> None:
    with pytest.raises(FamilyError, match="is damaged") as caught:
        restore.read_manifest(described(**changes), "")
    assert caught.value.hint.endswith("backup verify")


# -- everything --------------------------------------------------------------------------------------


class Family(Machine):
    """A backup of two members and a delegate, and a machine on which everything is noted, in order."""

    def __init__(self, directory: Path, people: People, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__(directory, people, monkeypatch)
        self.done: list[str] = []
        self.refuses = ""
        self.bytes = 1
        (self.homes / "ben").mkdir()
        people.add("ben", 1002, home=self.homes / "ben")
        people.add("mum", 1003)
        (directory / "base").mkdir()
        monkeypatch.setattr(common_paths, "BACKUP", directory / "base")
        self.files = {"homes/anna/a": "x", "homes/ben/b": "y", "hub.json": '{"files": {}}', "settings/config.yaml": "z"}
        for module, name in ((supervisor, "stop"), (supervisor, "start"), (setup, "end_all_servers")):
            monkeypatch.setattr(module, name, lambda name=name: self.done.append(name))
        monkeypatch.setattr(setup, "ensure_supervision", lambda enable: self.done.append("supervision"))
        monkeypatch.setattr(
            restore, "_exchange_settings", lambda place: self.done.append((place / "config.yaml").read_text())
        )
        monkeypatch.setattr(backup_accounts, "ensure_account", self._ensure_account)
        monkeypatch.setattr(
            backup_accounts, "ensure_delegate", lambda person: self.done.append(f"delegate {person.name}")
        )
        monkeypatch.setattr(members, "add_members", self._add_members)

    def size(self, _snapshot: Snapshot) -> tuple[int, int]:
        return 3, self.bytes

    def bring_back(self) -> tuple[restore.Everything, list[str]]:
        """What is told, and what has happened from when everything had been read."""
        repository: Any = self
        reported = restore.restore_everything(
            repository, CONTENTS, lambda _percent, _what: None, lambda: self.done.append("begin")
        )
        return reported, self.done

    def _ensure_account(self, person: AccountRecord) -> bool:
        if person.name == self.refuses:
            raise RefusedError("the name is a system account's")
        return person.name == "ben"

    def _add_members(self, by_root: bool, request: doors.AddMembers) -> None:
        assert by_root and not request.allow_administrator
        self.done.append(f"add {' '.join(request.names)}")


@pytest.fixture
def family(tmp_path: Path, people: People, monkeypatch: pytest.MonkeyPatch) -> Family:
    return Family(tmp_path, people, monkeypatch)


def test_everything_comes_back_in_its_place(family: Family) -> None:
    reported, done = family.bring_back()
    assert done == [
        *("begin", "stop", "end_all_servers", "z"),
        *("delegate anna", "add anna", "delegate ben", "add ben", "delegate mum"),
        *("supervision", "start"),
    ]
    assert (
        reported.made == ["ben"] and reported.notes == [] and [home.name for home in reported.homes] == ["anna", "ben"]
    )
    hub, *homes = [arguments for arguments, _request in family.requests]
    assert "-u jupyterhub " in hub and hub.endswith("hub-state import")
    assert ["-u anna " in homes[0], "-u ben " in homes[1]] == [True, True]
    assert family.left() == ["anna", "ben"], "nothing is left beside the homes"


def test_one_who_cannot_come_back_keeps_nobody_out(family: Family) -> None:
    family.refuses = "anna"
    reported, done = family.bring_back()
    assert [str(note) for note in reported.notes] == ["anna: the name is a system account's"]
    assert "add anna" not in done and "add ben" in done and [home.name for home in reported.homes] == ["ben"]


def test_whatever_fails_in_the_middle_hub_and_proxy_are_started_again(
    family: Family, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_place: Path) -> None:
        raise OSError("the disk is gone")

    monkeypatch.setattr(restore, "_exchange_settings", fail)
    with pytest.raises(OSError, match="gone"):
        family.bring_back()
    assert family.done == ["begin", "stop", "end_all_servers", "supervision", "start"]
    assert family.left() == ["anna", "ben"]


def test_what_cannot_be_read_or_does_not_fit_changes_nothing(family: Family) -> None:
    def fail() -> None:
        raise FamilyError("the backup is damaged")

    family.problem_text = fail
    with pytest.raises(FamilyError, match="damaged"):
        family.bring_back()
    family.problem_text, family.bytes = (lambda: None), 10**18
    with pytest.raises(FamilyError, match="is full") as caught:
        family.bring_back()
    assert caught.value.status == ExitStatus.DISK_FULL
    assert family.done == [] and family.requests == [] and family.left() == ["anna", "ben"]


def test_homes_beside_each_other_under_two_names_come_back_together(family: Family, people: People) -> None:
    """As where /home is a link to another disk, and some accounts say the one, some the other."""
    other = family.homes.with_name("other")
    other.symlink_to(family.homes)
    people.add("ben", 1002, home=other / "ben")
    reported, _done = family.bring_back()
    assert [home.name for home in reported.homes] == ["anna", "ben"] and reported.notes == []
    assert family.left() == ["anna", "ben"]


def test_a_home_that_was_not_saved_is_not_missed(family: Family) -> None:
    del family.files["homes/ben/b"]
    reported, done = family.bring_back()
    assert [home.name for home in reported.homes] == ["anna"] and "add ben" in done and reported.notes == []


def test_everything_as_a_new_folder_changes_nothing_else(family: Family) -> None:
    out = family.homes / "out"
    repository: Any = family
    restore.lay_out_everything(repository, CONTENTS, out, lambda _percent, _what: None)
    assert family.done == [] and family.requests == []
    assert (out / "homes/anna/a").read_text() == "x" and (out / "hub.json").exists()
    # It may be in a place that everybody can look into.
    assert out.stat().st_mode & 0o777 == 0o700 and [uid for _name, uid in family.owners] == [0]
    assert family.left() == ["anna", "ben", "out"]


# -- places ------------------------------------------------------------------------------------------


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
    assert kept.stat().st_mode & 0o777 == 0o700, "there may be a key in it"
    assert (
        (kept / "config.yaml").read_text() == "new"
        and (kept / "more.d/x.py").exists()
        and not (kept / "backup").exists()
    )
