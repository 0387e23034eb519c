"""root.repository: how restic is called, and what is made of what it says."""

from __future__ import annotations

import json
import shutil
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from jupyterhub4family.common.errors import ExitStatus, FamilyError, RefusedError, UsageError
from jupyterhub4family.common.system.programs import CompletedProcess
from jupyterhub4family.root.backup import restic as backup_restic
from jupyterhub4family.root.backup.restic import Locked, NoRepository, Repository, escape_glob, printable, seconds
from jupyterhub4family.root.backup.target import parse_target
from tests.unit.fakes import Call, FakePrograms

ID = "191fae9731919b1ba97d059f694cd9e3f4ca7840240b37c5237a390ba6e334f4"
OTHER = "191fae98" + ID[8:]


class Restic:
    """Answers in restic's place; what it was asked is remembered."""

    def __init__(self) -> None:
        self.asked: list[list[str]] = []
        self.answers: Iterator[CompletedProcess] = iter(())

    def run(self, call: Call) -> CompletedProcess:
        arguments = call.args
        self.asked.append([str(word) for word in arguments])
        return next(self.answers, CompletedProcess(0, "", ""))

    def will_say(self, *answers: CompletedProcess) -> None:
        self.answers = iter(answers)


@pytest.fixture
def restic(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Restic:
    fake = Restic()
    FakePrograms(monkeypatch).answer("*", fake.run)
    # Of a machine on which nothing has been backed up yet.
    monkeypatch.setattr(backup_restic, "CACHE", tmp_path / "backup" / "cache")
    monkeypatch.setattr(shutil, "which", lambda _name, **_more: "/usr/bin/restic")
    return fake


LOCAL = Repository(parse_target("/srv/backup"))
REMOTE = Repository(parse_target("rest:https://anna:s3cret@nas/x"))


def test_neither_key_nor_target_is_on_the_command_line(restic: Restic) -> None:
    REMOTE.exists()
    REMOTE.make()
    arguments, made = restic.asked
    assert (
        "s3cret" not in " ".join(arguments + made)
        and "--password-file" in arguments
        and "--repository-file" in arguments
    )
    assert "--repository-file" not in made, (
        "Debian 11's restic makes none by it, and later ones refuse both ways at once"
    )
    assert arguments[:2] == ["/usr/bin/setsid", "restic"]
    assert backup_restic.CACHE.stat().st_mode & 0o777 == 0o700, "names of files are in it"


@pytest.mark.parametrize(
    ("output", "kind", "status", "message"),
    [
        # Of restic 0.11, 0.14 and 0.18.
        ("Fatal: wrong password or no key found", RefusedError, 3, "does not open"),
        ("Fatal: unable to save snapshot: write /x: no space left on device", FamilyError, 10, "/srv/backup is full"),
        (
            "Fatal: unable to open config file: stat /x: no such file\nIs there a repository at",
            NoRepository,
            1,
            "no backup",
        ),
        ("Fatal: repository does not exist: unable to open config file", NoRepository, 1, "no backup"),
        ("unable to create lock: repository is already locked by PID 7 on vm by root", Locked, 3, "another program"),
        ("Fatal: config version 2 is newer: unsupported repository version", FamilyError, 1, "newer restic"),
        ("Fatal: something new", FamilyError, 1, "Fatal: something new"),
    ],
)
def test_what_restic_says_becomes_a_sentence(
    restic: Restic, output: str, kind: type[FamilyError], status: int, message: str
) -> None:
    restic.will_say(CompletedProcess(1, "", output))
    with pytest.raises(kind, match=message) as caught:
        LOCAL.make()
    assert caught.value.status == status
    assert bool(caught.value.hint) is (output != "Fatal: something new"), "what is known can be helped"


@pytest.mark.parametrize(
    "output",
    [
        "subprocess ssh: ssh: connect to host nas port 22: Connection refused\nFatal: unable to start the sftp session",
        "subprocess ssh: Host key verification failed.\nFatal: unable to open repository at sftp:x",
        "Fatal: unable to open config file: dial tcp: lookup nas: no such host\nIs there a repository at",
        "Fatal: unable to open config file: x509: certificate signed by unknown authority rest:https://anna:s3cret@nas/x",
    ],
)
def test_a_server_that_cannot_be_reached(restic: Restic, output: str) -> None:
    restic.will_say(CompletedProcess(1, "", output))
    with pytest.raises(FamilyError, match="cannot be reached") as caught:
        REMOTE.exists()
    assert caught.value.status == ExitStatus.NETWORK and "s3cret" not in str(caught.value)


def test_backups_are_found_by_the_beginning_of_their_name(restic: Restic) -> None:
    listed = [
        {"id": OTHER, "time": "2026-01-02T00:00:00.5+01:00", "hostname": "new"},
        {"id": ID, "time": "2026-01-01T00:00:00.123456789Z", "hostname": "old"},
    ]
    for wanted, found in (("", OTHER), (ID[:8], ID), (OTHER, OTHER)):
        restic.will_say(CompletedProcess(0, json.dumps(listed), ""))
        assert LOCAL.find(wanted).id == found
    for wrong in ("191fae9", "ffffffff", "x; id", "--help12"):
        restic.will_say(CompletedProcess(0, json.dumps(listed), ""))
        with pytest.raises(UsageError):
            LOCAL.find(wrong)
    restic.will_say(CompletedProcess(0, "null", ""))
    with pytest.raises(FamilyError, match="no backup in"):
        LOCAL.find("")


def test_who_only_reads_takes_no_lock(restic: Restic, tmp_path: Path) -> None:
    """So a backup can be looked at while another one runs, and on a disk that is read-only."""
    snapshot = backup_restic.Snapshot(ID, 0, "here")
    sizes = CompletedProcess(0, '{"total_file_count": 7, "total_size": 9}', "")
    found = CompletedProcess(0, '{"path": "/"}\n{"path": "/x"}\n', "")
    restic.will_say(
        CompletedProcess(0, "", ""), CompletedProcess(0, "[]", ""), CompletedProcess(0, "text", ""), found, found, sizes
    )
    assert LOCAL.exists() and LOCAL.snapshots() == [] and LOCAL.read(snapshot, Path("/x")) == "text"
    assert LOCAL.holds(snapshot, Path("/x")) and not LOCAL.holds(snapshot, Path("/y"))
    assert LOCAL.size(snapshot) == (7, 9)
    LOCAL.restore(snapshot, [Path("/x")], tmp_path)
    assert len(restic.asked) == 7 and all("--no-lock" in arguments for arguments in restic.asked)


def lock(host: str, age: float) -> CompletedProcess:
    stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() - age))
    return CompletedProcess(0, json.dumps({"hostname": host, "time": stamp, "pid": 7}), "")


LOCKED = CompletedProcess(1, "", "repository is already locked by PID 7")


@pytest.mark.parametrize(("host", "age", "removed"), [("here", 1, True), ("there", 1, False), ("there", 9000, True)])
def test_a_lock_that_was_left_is_removed_and_nobody_is_signalled(
    restic: Restic, monkeypatch: pytest.MonkeyPatch, host: str, age: int, removed: bool
) -> None:
    monkeypatch.setattr(socket, "gethostname", lambda: "here")
    restic.will_say(LOCKED, CompletedProcess(0, "0123\n", ""), lock(host, age))
    if removed:
        LOCAL.verify()
    else:
        with pytest.raises(Locked, match="there"):
            LOCAL.verify()
    assert any("--remove-all" in arguments for arguments in restic.asked) is removed
    assert not any("unlock" in arguments and "--remove-all" not in arguments for arguments in restic.asked)


def test_a_restore_with_errors_has_failed_whatever_its_status(
    restic: Restic, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    snapshot = backup_restic.Snapshot(ID, 0, "here")
    # What restic 0.11 says of a full disk.
    output = CompletedProcess(
        0, "", "ignoring error for /x: Invalid file size: expected 5 got 0\nThere were 1 errors\n"
    )
    for full, message in ((0, "There were 1"), (10**18, "full")):
        monkeypatch.setattr(backup_restic, "FULL", full)
        restic.will_say(output)
        with pytest.raises(FamilyError, match=message):
            LOCAL.restore(snapshot, [Path("/x")], tmp_path)
    restic.will_say(CompletedProcess(0, "restoring\n", ""))
    LOCAL.restore(snapshot, [Path("/x")], tmp_path)


def test_what_vanishes_during_a_backup_is_not_missing(restic: Restic) -> None:
    errors = "error: lstat /x: no such file or directory\nerror: read /y: input/output error\nThere were 2 errors\n"
    restic.will_say(CompletedProcess(3, "", errors))
    assert LOCAL.save(Path("/tree"), ["/tree/x"]) == ["error: read /y: input/output error"]


def test_after_a_dead_lock_an_incomplete_backup_is_one_all_the_same(restic: Restic) -> None:
    errors = "error: read /y: input/output error\n"
    restic.will_say(LOCKED, CompletedProcess(0, "", ""), CompletedProcess(0, "", ""), CompletedProcess(3, "", errors))
    assert LOCAL.save(Path("/tree"), []) == [errors.strip()]


def test_only_this_machines_old_backups_are_forgotten(restic: Restic, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "gethostname", lambda: "here")
    LOCAL.expire(prune=False)
    LOCAL.expire(prune=True)
    for arguments, prune in zip(restic.asked, (False, True)):
        assert "forget" in arguments and arguments[arguments.index("--host") + 1] == "here"
        assert arguments[arguments.index("--tag") + 1] == backup_restic.TAG and "--keep-daily" in arguments
        assert ("--prune" in arguments) is prune
    assert len(restic.asked) == 2


def test_without_restic_there_is_a_command_that_installs_it(restic: Restic, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda _name, **_more: None)
    with pytest.raises(FamilyError) as caught:
        LOCAL.snapshots()
    assert caught.value.hint == "sudo apt-get install restic" and restic.asked == []


def test_what_is_not_ours_cannot_play_tricks_with_a_terminal() -> None:
    assert printable("Müller's\x1b[2J\n\u202e") == "Müller's\ufffd[2J \ufffd" and printable(7) == "7"
    assert len(printable("x" * 1000)) == 300


def test_paths_are_taken_literally_and_times_understood() -> None:
    assert escape_glob(Path("/a [b]*?\\.py")) == "/a \\[b\\]\\*\\?\\\\.py"
    assert seconds("2026-11-23T04:29:21.59611838Z") == seconds("2026-11-23T05:29:21+01:00") == 1795408161
    assert seconds("yesterday") == 0
