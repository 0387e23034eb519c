"""cli.backup: what is asked of root's program, and what people are told."""

from __future__ import annotations

import getpass
import json
import os
import shutil
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from jupyterhub4family.cli.doctor.base.finding import CheckContext, Finding
from jupyterhub4family.cli.doctor.checks import backup as checks
from jupyterhub4family.cli.main import main
from jupyterhub4family.common.errors import FamilyError, PermissionRefused, UsageError
from jupyterhub4family.common.i18n.messages import _, to_json
from jupyterhub4family.common.state import backup as backup_state
from jupyterhub4family.common.state.backup import DAY, HOUR, BackupState
from jupyterhub4family.common.system.programs import CompletedProcess
from tests.unit.fakes import Call, FakePrograms

KEY = "AAAAA-BBBBB-CCCCC-DDDDD-EEEEE"


class Program:
    """Root's program: remembers what it is asked, answers what a test says."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.answers: list[dict[str, Any]] = []

    def converse(self, call: Call) -> dict[str, Any]:
        arguments = call.args
        request = call.request
        assert Path(arguments[0]).name == "backup"
        self.asked.append((arguments[1], request))
        return {"ok": True, "target": "/srv/x", **(self.answers.pop(0) if self.answers else {})}


@pytest.fixture
def program(monkeypatch: pytest.MonkeyPatch) -> Program:
    fake = Program()
    FakePrograms(monkeypatch).answer("*", fake.converse)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    return fake


@pytest.mark.parametrize("arguments", ["setup /srv/x", "now", "list", "verify", "restore", "off"])
def test_only_root_may(program: Program, monkeypatch: pytest.MonkeyPatch, arguments: str) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1001)
    with pytest.raises(PermissionRefused):
        main(["backup", *arguments.split()])
    assert program.asked == []


def test_a_new_key_is_shown_with_what_to_do_with_it(program: Program, capsys: pytest.CaptureFixture[str]) -> None:
    program.answers = [{"key": KEY, "same_disk": True, "backups": 0}]
    assert main(["backup", "setup", "/srv/x"]) == 0
    output = capsys.readouterr().out
    assert f"\n    {KEY}\n" in output and "paper" in output and "same disk" in output and "backup now" in output
    assert program.asked == [("setup", {"target": "/srv/x"})]


def test_a_backup_that_is_there_needs_its_key(
    program: Program, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    program.answers = [{"needs_key": True}]
    with pytest.raises(UsageError, match="recovery key"):
        main(["backup", "setup", "sftp:nas:/x"])
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True)
    monkeypatch.setattr(getpass, "getpass", lambda _question: KEY)
    program.answers = [{"needs_key": True}, {"key": "", "same_disk": False, "backups": 2}]
    assert main(["backup", "setup", "sftp:nas:/x"]) == 0
    assert program.asked[-1] == ("setup", {"target": "sftp:nas:/x", "key": KEY})
    output = capsys.readouterr().out
    assert KEY not in output and "2 backups" in output and "backup restore" in output
    (tmp_path / "key").write_text(KEY)
    program.answers = [{"key": "", "same_disk": False, "backups": 1}]
    main(["backup", "setup", "x", "--key-file", str(tmp_path / "key")])
    assert program.asked[-1] == ("setup", {"target": f"{os.getcwd()}/x", "key": KEY})
    with pytest.raises(FamilyError, match="cannot be read"):
        main(["backup", "setup", "x", "--key-file", str(tmp_path / "nothing")])


def test_now_list_and_verify(program: Program, capsys: pytest.CaptureFixture[str]) -> None:
    note = to_json(_("without the home of {name}: {reason}", name="anna", reason="x"))
    program.answers = [{"notes": [note]}, {"backups": []}, {"backups": [{"id": "1234abcd", "time": 0, "host": "h"}]}]
    assert main(["backup", "now", "--quiet"]) == 0
    assert "without the home of anna" in capsys.readouterr().out, "the quiet are warned, too"
    main(["backup", "list"])
    assert "no backup" in capsys.readouterr().out
    main(["backup", "list"])
    assert capsys.readouterr().out.startswith("1234abcd  19")
    program.answers = [{"backups": 3}]
    main(["backup", "verify", "--json"])
    assert json.loads(capsys.readouterr().out)["backups"] == 3


def test_what_restore_asks_for_and_tells(program: Program, capsys: pytest.CaptureFixture[str]) -> None:
    about = {"id": "1234abcd", "time": 0, "host": "old"}
    plain = {"member": "", "paths": [], "to": "", "from": "", "dry_run": False}
    homes = [{"name": "anna", "kept": 1, "aside": "/home/anna/before-restore-1"}]
    program.answers = [{**about, "homes": homes, "place": "", "notes": []}]
    main("backup restore --member anna --path a --path b --from 1234abcd".split())
    assert program.asked == [("restore", {**plain, "paths": ["a", "b"], "member": "anna", "from": "1234abcd"})]
    output = capsys.readouterr().out
    assert "anna has it back" in output and "/home/anna/before-restore-1" in output
    program.answers = [{**about, "homes": [], "made": ["ben"], "place": "", "notes": ["mum: no"]}]
    main("backup restore --yes".split())
    output = capsys.readouterr().out
    assert "account ben was made" in output and "starting" in output and "note: mum: no" in output
    program.answers = [{**about, "homes": [], "place": "/root/x", "notes": []}]
    main("backup restore --to /root/x".split())
    assert program.asked[-1][1] == {**plain, "to": "/root/x"} and "/root/x" in capsys.readouterr().out
    program.answers = [{**about, "members": ["anna", "ben"], "files": 7, "bytes": 3_000_000}]
    main("backup restore --dry-run".split())
    assert program.asked[-1][1]["dry_run"] is True
    output = capsys.readouterr().out
    assert "7 files, 3 MB" in output and "anna, ben" in output
    program.answers = [{**about, "members": ["anna"], "paths": ["school/a"]}]
    main("backup restore --dry-run --path /home/anna/school/a --to /root/y".split())
    output = capsys.readouterr().out
    assert "school/a" in output and "/root/y" in output


def test_off(program: Program, capsys: pytest.CaptureFixture[str]) -> None:
    program.answers = [{"done": "off"}, {"done": "nothing"}]
    main(["backup", "off"])
    main(["backup", "off", "--yes"])
    assert capsys.readouterr().out == "Backups are off.\nNo backup was set up.\n"


# -- doctor and status -------------------------------------------------------------------------------


def found(
    monkeypatch: pytest.MonkeyPatch, note: BackupState, restic: bool = True, timer: str = "active"
) -> list[Finding]:
    monkeypatch.setattr(backup_state, "read_state", lambda: note)
    monkeypatch.setattr(shutil, "which", lambda _name, **_more: "/usr/bin/restic" if restic else None)
    FakePrograms(monkeypatch).answer("*", lambda _call: CompletedProcess(0, f"{timer}\n", ""))
    return list(checks.check_backup(CheckContext()))


def note(**more: Any) -> BackupState:
    return BackupState(**{"target": "/srv/x", "last_good": int(time.time()) - 5 * HOUR - 60, **more})


def test_what_doctor_says(monkeypatch: pytest.MonkeyPatch) -> None:
    for about, more, state, text in (
        (note(), {}, "ok", "5 hours old"),
        (BackupState(), {}, "warning", "No backup is set up"),
        (note(last_good=0), {}, "warning", "No backup has been made yet"),
        (note(last_good=0, problem="the disk is full"), {}, "warning", "made yet (the disk is full)"),
        (note(last_good=1000), {}, "warning", "days old"),
        (note(last_good=1000, problem="the disk is full"), {}, "warning", "days old (the disk is full)"),
        (note(problem="the disk is full"), {}, "warning", "the disk is full"),
        (note(waiting=True), {}, "warning", "connected"),
        (note(left_out="without the home of x: y"), {}, "warning", "incomplete: without the home of x"),
        (note(), {"restic": False}, "problem", "not installed"),
        (note(), {"timer": "inactive"}, "warning", "it is inactive"),
        (note(restoring=7), {}, "problem", "begun and not finished"),
    ):
        first = found(monkeypatch, about, **more)[0]
        assert (first.state, text in first.message) == (state, True), first
        assert state == "ok" or first.hint


def test_what_status_says() -> None:
    for about, text in (
        (note(), "Backup: the last one is 5 hours old, in /srv/x."),
        (note(last_good=0), "none yet"),
        (note(waiting=True), "nothing has been saved"),
        (note(last_good=int(note().last_good - 9 * DAY)), "9 days old. Try: sudo jupyterhub4family backup now"),
    ):
        assert text in backup_state.describe(about)
