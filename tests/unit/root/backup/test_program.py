"""root.backup: setting up, the note that status and doctor read, the night, and who is asked for what."""

from __future__ import annotations

import errno
import io
import json
import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Callable

import pytest

from jupyterhub4family.common import paths
from jupyterhub4family.common.errors import ExitStatus, FamilyError, RefusedError, UsageError
from jupyterhub4family.common.i18n.messages import _
from jupyterhub4family.common.protocol import service_programs, serving, shapes
from jupyterhub4family.common.protocol.responses import ProgressCallback
from jupyterhub4family.common.state import backup, supervision
from jupyterhub4family.common.state.backup import read_state
from jupyterhub4family.common.system import files
from jupyterhub4family.common.system.files import take_lock
from jupyterhub4family.root.backup import program as backup_program
from jupyterhub4family.root.backup import restic, restore
from jupyterhub4family.root.backup import tree as backup_tree
from jupyterhub4family.root.backup.accounts import AccountRecord
from jupyterhub4family.root.backup.restic import Snapshot
from jupyterhub4family.root.base import run_dir, safe_paths, sudo_caller
from tests.unit.fakes import FakePrograms
from tests.unit.helpers import must_not_be_called


class Disk:
    """What is in the target: which key opens it; empty for no backup at all."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.key = ""
        self.count = 0
        self.saved = self.expired = self.pruned = 0
        self.verified = False
        self.problem_text: FamilyError | None = None

    def at(self, target: Any, target_file: Path | None = None, key_file: Path | None = None) -> Any:
        self.key_file, self.target = key_file or self.directory / "etc/backup/key", target
        self.target_file = target_file or self.directory / "etc/backup/target"
        return self

    def note(self) -> backup.BackupState:
        return read_state(self.directory / "note")

    def exists(self) -> bool:
        self._look_at_secrets()
        if self.key and self.key_file.read_text().strip() != self.key:
            raise RefusedError("the recovery key does not open it")
        return bool(self.key)

    def _look_at_secrets(self) -> None:
        for file in (self.key_file, self.target_file):
            assert file.stat().st_mode & 0o777 == 0o600, "both are secrets"

    def make(self) -> None:
        self._look_at_secrets()
        self.key = self.key_file.read_text().strip()

    def snapshots(self) -> list[Snapshot]:
        return [Snapshot("1" * 64, 7, "old")] * self.count

    def save(self, _tree: Path, _left_out: list[str]) -> list[str]:
        if self.problem_text:
            raise self.problem_text
        self.saved += 1
        return ["error: read /y: input/output error"]

    def size(self, _snapshot: Snapshot) -> tuple[int, int]:
        return 9, 1234

    def verify(self) -> None:
        if self.problem_text:
            raise self.problem_text
        self.verified = True

    def expire(self, prune: bool) -> None:
        self.expired += 1
        self.pruned += prune


@pytest.fixture
def disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Disk]:
    fake = Disk(tmp_path)
    settings = tmp_path / "etc" / "backup"
    for name, value in {
        "BACKUP_SETTINGS": settings,
        "BACKUP_TARGET": settings / "target",
        "BACKUP_KEY": settings / "key",
        "BACKUP": tmp_path,
        "BACKUP_STATE": tmp_path / "note",
        "SYSTEMD_RUNS": tmp_path / "no",
    }.items():
        monkeypatch.setattr(paths, name, value)
    monkeypatch.setattr(run_dir, "RUN_DIR", tmp_path)
    monkeypatch.setattr(backup_program, "Repository", fake.at)
    monkeypatch.setattr(backup, "read_state", fake.note)
    for module, name in ((restic, "ensure_restic"), (run_dir, "ensure_run_dir"), (sudo_caller, "require_root")):
        monkeypatch.setattr(module, name, lambda: None)
    monkeypatch.setattr(safe_paths, "safe_directory", lambda directory: directory)
    monkeypatch.setattr(
        backup_tree, "build_tree", lambda _report: [_("without the home of {name}: {reason}", name="x", reason="y")]
    )
    (tmp_path / "usb").mkdir()
    monkeypatch.setattr(backup_tree, "TREE", tmp_path / "tree")
    (tmp_path / "tree/homes").mkdir(parents=True)
    yield fake


def ask(action: str, **untrusted: Any) -> dict[str, Any]:
    """What the program answers to this request, if it is one."""
    handler, request = serving.choose([backup_program.HANDLERS[action]], untrusted)
    answer: dict[str, Any] = shapes.encode(handler.function(None, request))
    return answer


def set_up(tmp_path: Path, **more: str) -> dict[str, Any]:
    return ask("setup", target=str(tmp_path / "usb"), **more)


def test_a_new_backup_gets_a_key_of_its_own_and_the_second_setup_needs_none(disk: Disk, tmp_path: Path) -> None:
    first = set_up(tmp_path)
    assert first["key"] == disk.key == (tmp_path / "etc/backup/key").read_text().strip()
    assert set_up(tmp_path)["key"] == "", "it is shown once"
    disk.key = ""
    assert set_up(tmp_path)["key"] == disk.key != first["key"]
    assert not list(tmp_path.glob("backup.*")), "no key is left in between"
    assert not disk.note().waiting


def test_another_ones_backup_needs_its_key_and_then_waits_for_somebody_to_decide(disk: Disk, tmp_path: Path) -> None:
    disk.key, disk.count = "AAAAA-AAAAA-AAAAA-AAAAA-AAAAB", 2
    assert set_up(tmp_path) == {"needs_key": True, "target": str(tmp_path / "usb")}
    assert not (tmp_path / "etc").exists()
    for wrong in ("AAAAA-AAAAA-AAAAA-AAAAA-AAAAC", "no key"):
        with pytest.raises(RefusedError):
            set_up(tmp_path, key=wrong)
    done = set_up(tmp_path, key=disk.key.lower())
    assert (done["key"], done["backups"], disk.note().waiting) == ("", 2, True)
    disk.key = ""
    with pytest.raises(FamilyError, match="no backup in") as caught:
        set_up(tmp_path, key="AAAAA-AAAAA-AAAAA-AAAAA-AAAAC")
    assert "leave the recovery key out" in caught.value.hint and disk.key == ""


def test_a_backup_in_another_target_begins_anew(disk: Disk, tmp_path: Path) -> None:
    set_up(tmp_path)
    ask("now")
    backup_program.change_state(problem="x", restoring=7)
    disk.key = ""
    set_up(tmp_path)
    assert disk.note() == backup.BackupState(target=str(tmp_path / "usb")), "nothing of it is true of the new one"


def test_room_is_freed_once_a_week(disk: Disk, tmp_path: Path) -> None:
    set_up(tmp_path)
    ask("now")
    for days, pruned in ((6.9, 1), (7, 2), (-8, 3)):  # the clock was set back
        backup_program.change_state(pruned=int(time.time() - days * backup.DAY))
        ask("now")
        assert disk.pruned == pruned


def test_a_setup_for_which_there_is_no_room_says_so_and_leaves_no_key(
    disk: Disk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = files.write_atomically
    monkeypatch.setattr(files, "write_atomically", _fails_at("backup.target", write))
    with pytest.raises(OSError, match="No space"):
        set_up(tmp_path)
    monkeypatch.setattr(files, "write_atomically", _fails_at("backup.key", write))
    with pytest.raises(OSError, match="No space"):
        set_up(tmp_path)
    assert not list(tmp_path.glob("backup.*")) and disk.key == ""


def _fails_at(name: str, write: Callable[..., None]) -> Callable[..., None]:
    def fails(file: Path, *args: Any) -> None:
        if file.name == name:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        write(file, *args)

    return fails


def test_one_member_brought_back_is_told_as_a_home_and_a_new_folder_as_a_place(
    disk: Disk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    set_up(tmp_path)
    anna = AccountRecord("anna", 1001, "", "/home/anna", "/bin/bash", True, False)
    contents = restore.Contents(Snapshot("1" * 64, 7, "old"), [anna], {})
    monkeypatch.setattr(restore, "read_manifest", lambda _repository, _id: contents)

    def bring_back(*_args: Any, to: Path | None, on_progress: ProgressCallback) -> Path | service_programs.RestoredHome:
        on_progress(10, "reading")
        return to or service_programs.RestoredHome("anna", 2)

    monkeypatch.setattr(restore, "restore_member", bring_back)
    reported = ask("restore", member="anna")
    assert '"reading"' in capsys.readouterr().out
    assert reported["homes"] == [{"name": "anna", "taken": 2, "kept": 0, "aside": ""}] and reported["place"] == ""
    reported = ask("restore", member="anna", to=str(tmp_path / "out"))
    assert reported["homes"] == [] and reported["place"] == str(tmp_path / "out")
    assert (reported["id"], reported["time"], reported["host"]) == ("11111111", 7, "old")


def test_the_note_says_how_it_went(disk: Disk, tmp_path: Path) -> None:
    with pytest.raises(FamilyError, match="no backup is set up"):
        ask("now")
    assert not (tmp_path / "note").exists()
    set_up(tmp_path)
    notes = ask("now")["notes"]
    note = disk.note()
    assert note.last_good == note.last_try > 0 and note.problem_text() == "" and disk.pruned == 1
    assert "home of x" in disk.note().incomplete()
    assert "home of x" in notes[0] and "input/output error" in notes[1]
    disk.problem_text = FamilyError(_("the disk is full"), status=ExitStatus.DISK_FULL)
    with pytest.raises(FamilyError, match="full"):
        ask("now")
    assert disk.note().problem_text() == "the disk is full" and disk.note().last_good == note.last_good
    disk.problem_text = None
    ask("now")
    assert disk.note().problem_text() == "" and (disk.expired, disk.pruned) == (2, 1), "room is freed once a week"
    (tmp_path / "usb").rmdir()
    with pytest.raises(FamilyError, match="not there"):
        ask("now")


def test_at_night_only_what_is_due(disk: Disk, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert backup_program.nightly() == 0 and disk.saved == 0
    set_up(tmp_path)
    assert backup_program.nightly() == 0 and disk.saved == 1
    assert "home of x" in capsys.readouterr().out
    assert backup_program.nightly() == 0 and disk.saved == 1, "once is enough"
    backup_program.change_state(last_good=int(time.time()) - 3 * backup.DAY)
    lock = take_lock(tmp_path / "backup.lock", wait=False)
    assert lock is not None
    with pytest.raises(RefusedError, match="under way") as refused:
        backup_program.nightly()
    assert "try again" in refused.value.hint
    os.close(lock)
    assert disk.saved == 1


@pytest.fixture
def handlers() -> Iterator[None]:
    """What this process does when it is asked to end is afterwards as it was; nobody ends the tests meanwhile."""

    def unhandled(number: int, _frame: object) -> None:
        pytest.fail(f"signal {number} would have ended the program")

    before = {number: signal.signal(number, unhandled) for number in backup_program.ENDS}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.usefixtures("handlers")
@pytest.mark.parametrize("number", backup_program.ENDS)
def test_whoever_is_asked_to_end_tidies_up_first(disk: Disk, tmp_path: Path, number: signal.Signals) -> None:
    tidied = False
    with pytest.raises(FamilyError, match="interrupted"), backup_program._exclusive():
        try:
            os.kill(os.getpid(), number)
            time.sleep(10)
        finally:
            tidied = True
    assert tidied
    lock = take_lock(tmp_path / "backup.lock", wait=False)
    assert lock is not None, "the next one need not wait"
    os.close(lock)


@pytest.mark.usefixtures("handlers")
@pytest.mark.parametrize("number", backup_program.ENDS)
def test_once_a_restore_of_everything_has_begun_it_is_not_given_up(
    disk: Disk, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    def everything(_repository: Any, _contents: Any, _report: Any, begin: Any) -> restore.Everything:
        begin()
        os.kill(os.getpid(), number)
        return restore.Everything(["anna"], [], [])

    monkeypatch.setattr(restore, "restore_everything", everything)
    contents = restore.Contents(Snapshot("1" * 64, 7, "old"), [], {})
    repository: Any = disk
    with backup_program._exclusive():
        report = service_programs.RestoreReport("11111111", 7, "old")
        assert backup_program._everything(report, repository, contents, None).made == ["anna"]
    assert disk.note().restoring == 0


def test_off_forgets_the_key_and_nothing_else(disk: Disk, tmp_path: Path) -> None:
    assert ask("off") == {"done": "nothing"}
    set_up(tmp_path)
    assert ask("off") == {"done": "off"}
    assert not (tmp_path / "etc/backup").exists() and not (tmp_path / "note").exists() and (tmp_path / "usb").is_dir()


def test_systemds_timer_runs_while_there_is_a_target(
    disk: Disk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, programs_run: FakePrograms
) -> None:
    programs_run.answer("systemctl")
    monkeypatch.setattr(supervision, "SYSTEMD_RUNS", tmp_path)
    set_up(tmp_path)
    assert programs_run.lines == ["systemctl enable --quiet --now jupyterhub4family-backup.timer"]
    ask("off")
    assert programs_run.lines[1:] == ["systemctl disable --quiet --now jupyterhub4family-backup.timer"]


@pytest.mark.parametrize(
    "untrusted",
    [{"paths": "a"}, {"paths": [1]}, {"paths": ["a"] * 101}, {"member": 1}, {"more": 1}, {"to": "x"}, {"dry_run": 1}],
)
def test_requests_that_are_refused(disk: Disk, untrusted: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(restore, "read_manifest", must_not_be_called)
    with pytest.raises(UsageError):
        ask("restore", **untrusted)


@pytest.mark.parametrize(
    "untrusted", [{}, {"target": 1}, {"target": "/x", "key": 1}, {"target": "/x", "more": 1}, {"key": "x"}]
)
def test_setups_that_are_refused(disk: Disk, untrusted: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(UsageError):
        ask("setup", **untrusted)
    assert not (tmp_path / "etc").exists() and disk.key == ""


@pytest.mark.parametrize("action", ["now", "list", "verify", "off"])
def test_what_takes_no_words_is_given_none(disk: Disk, tmp_path: Path, action: str) -> None:
    set_up(tmp_path)
    with pytest.raises(UsageError):
        ask(action, target="/x")
    assert disk.saved == 0 and (tmp_path / "etc/backup").exists()


def test_what_is_listed_and_checked(disk: Disk, tmp_path: Path) -> None:
    set_up(tmp_path)
    disk.count = 2
    one = {"id": "11111111", "time": 7, "host": "old"}
    assert ask("list") == {"target": str(tmp_path / "usb"), "backups": [one, one]}
    assert ask("verify") == {"target": str(tmp_path / "usb"), "backups": 2} and disk.verified
    disk.problem_text = FamilyError("a pack is damaged")
    with pytest.raises(FamilyError, match="damaged"):
        ask("verify")


def test_before_everything_is_brought_back_it_can_be_asked_what_that_is(
    disk: Disk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_up(tmp_path)
    anna = AccountRecord("anna", 1001, "", "/home/anna", "/bin/bash", True, False)
    mum = AccountRecord("mum", 1003, "", "/home/mum", "/bin/bash", False, True)
    contents = restore.Contents(Snapshot("1" * 64, 7, "old"), [anna, mum], {})
    monkeypatch.setattr(restore, "read_manifest", lambda _repository, _id: contents)
    monkeypatch.setattr(restore, "restore_everything", must_not_be_called)
    monkeypatch.setattr(restore, "restore_member", must_not_be_called)
    asked: list[Path] = []
    monkeypatch.setattr(restore, "require", lambda _repository, _contents, _record, path: asked.append(path))
    reported = ask("restore", dry_run=True)
    assert (reported["members"], reported["delegates"], reported["files"], reported["bytes"]) == (
        ["anna"],
        ["mum"],
        9,
        1234,
    )
    reported = ask("restore", dry_run=True, member="anna", paths=["school/a"])
    assert (reported["members"], reported["paths"], asked) == (["anna"], ["school/a"], [Path("school/a")])
    assert ask("restore", dry_run=True, member="anna")["paths"] == [] and asked[1:] == [Path()]


def test_a_restore_of_everything_is_noted_until_it_is_complete(
    disk: Disk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk.key, disk.count = "AAAAA-AAAAA-AAAAA-AAAAA-AAAAB", 1
    set_up(tmp_path, key=disk.key)
    contents = restore.Contents(Snapshot("1" * 64, 7, "old"), [], {})
    monkeypatch.setattr(restore, "read_manifest", lambda _repository, _id: contents)
    monkeypatch.setattr(signal, "signal", lambda *_args: None)
    fails = [True]

    def everything(_repository: Any, _contents: Any, _report: Any, begin: Any) -> restore.Everything:
        begin()
        if fails.pop(0):
            raise FamilyError("no")
        return restore.Everything(["anna"], [], [])

    monkeypatch.setattr(restore, "restore_everything", everything)
    with pytest.raises(FamilyError):
        ask("restore")
    assert disk.note().restoring > 0 and disk.note().waiting
    fails.append(False)
    assert ask("restore")["made"] == ["anna"]
    assert (disk.note().restoring, disk.note().waiting) == (0, False)


def test_the_program_answers_in_json(
    disk: Disk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    mask = os.umask(0o022)
    monkeypatch.setattr(signal, "signal", lambda *_args: None)
    for action, request, status in (
        ("now", "{}", 1),
        ("list", "", 2),
        ("setup", '{"target": "s3:x"}', 2),
        ("off", "{}", 0),
    ):
        monkeypatch.setattr(sys, "argv", ["backup", action])
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(request.encode())))
        assert backup_program.main() == status
        assert json.loads(capsys.readouterr().out.splitlines()[-1])["ok"] is (status == 0)
    os.umask(mask)
