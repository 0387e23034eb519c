"""cli.config: what is shown, what is refused before anything is written, and what is restarted."""

from __future__ import annotations

import json
import os
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from jupyterhub4family.cli.main import main
from jupyterhub4family.cli.settings import editor
from jupyterhub4family.common import paths
from jupyterhub4family.common.errors import ConfigurationError, FamilyError, PermissionRefused
from jupyterhub4family.common.settings import effective
from jupyterhub4family.common.settings.model import KEYS, parse_settings
from jupyterhub4family.common.state import supervision
from jupyterhub4family.common.system import files
from jupyterhub4family.common.system.programs import CompletedProcess
from tests.unit.fakes import Call, FakePrograms
from tests.unit.helpers import write_program

#: Made by `make install`.
SAMPLE = "usr/share/jupyterhub4family/config.sample.yaml"


class Box:
    """A settings file, and a service that only notes how it is restarted."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.file, self.note = paths.SETTINGS_FILE, paths.LAST_GOOD_SETTINGS
        self.states = "active\nactive\n"
        self.restarts: list[str] = []
        fake = FakePrograms(monkeypatch)
        fake.let_run("editor")
        fake.answer("systemctl", lambda _call: CompletedProcess(0, self.states, ""))
        fake.answer("control", self._restart)
        fake.answer("upgrade", self._converse)
        #: What root's program for apt's files answers, and how often it was asked.
        self.apt: dict[str, Any] = {"ok": True}
        self.asked = 0
        monkeypatch.setattr(supervision, "chosen_supervisor", lambda _settings: "systemd")
        monkeypatch.setattr(os, "geteuid", lambda: 0)
        # Only root may give a file away; here it stays with whoever runs the tests.
        self.owners: list[tuple[int, int]] = []
        monkeypatch.setattr(os, "fchown", lambda _file, uid, gid: self.owners.append((uid, gid)))

    def write(self, text: str, mode: int = 0o644) -> None:
        self.file.parent.mkdir(exist_ok=True)
        self.file.write_text(text, "utf-8")
        self.file.chmod(mode)

    def text(self) -> str:
        return self.file.read_text("utf-8")

    def _converse(self, call: Call) -> dict[str, Any]:
        arguments = call.args
        assert [Path(arguments[0]).name, *arguments[1:]] == ["upgrade", "settings"]
        self.asked += 1
        return self.apt

    def _restart(self, call: Call) -> dict[str, Any]:
        self.restarts.append(" ".join(call.args[1:]))
        return {"ok": True}


@pytest.fixture
def box(machine_root: Path, monkeypatch: pytest.MonkeyPatch, manual: Path) -> Iterator[Box]:
    monkeypatch.setattr(editor, "SAMPLE", manual / SAMPLE)
    yield Box(monkeypatch)
    assert not list(machine_root.rglob(".*")), "nothing is left over"


# -- reading -----------------------------------------------------------------------------------------


def test_show_names_every_key_and_where_its_value_comes_from(box: Box, capsys: pytest.CaptureFixture[str]) -> None:
    box.write("# ours\nport: 9000\nfamily_name: The Millers\n")
    assert main(["config", "show"]) == 0
    plain = capsys.readouterr().out.splitlines()
    assert [line.partition(":")[0] for line in plain] == list(KEYS)
    assert "port: 9000" in plain and "https: true" in plain and 'login_help: ""' in plain
    assert main(["config", "show", "--origin"]) == 0
    lines = dict(line.split("  # ") for line in capsys.readouterr().out.splitlines())
    origins = {arguments.partition(":")[0]: origin for arguments, origin in lines.items()}
    assert origins["port"] == f"{box.file}:2" and origins["family_name"] == f"{box.file}:3"
    assert origins["https"] == "default"


def test_what_is_shown_is_a_settings_file(box: Box, capsys: pytest.CaptureFixture[str]) -> None:
    box.write("port: 9000\nextra_names: [nas, 'fd00::1']\nlogin_help: |\n  Ask Mum.\n  Or Dad.\n")
    assert main(["config", "show", "--origin"]) == 0
    box.write(capsys.readouterr().out)
    settings, problem = effective.settings_in_use()
    assert problem is None
    assert settings == parse_settings(
        {"port": 9000, "extra_names": ["nas", "fd00::1"], "login_help": "Ask Mum.\nOr Dad."}, "test"
    )


def test_show_as_json(box: Box, capsys: pytest.CaptureFixture[str]) -> None:
    box.write("port: 9000\n")
    assert main(["config", "show", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["port"] == 9000
    assert main(["config", "show", "--json", "--origin"]) == 0
    assert json.loads(capsys.readouterr().out)["port"] == {"value": 9000, "origin": f"{box.file}:1"}


@pytest.mark.parametrize(
    ("text", "key", "plain", "as_json"),
    [
        ("", "port", "8000", 8000),
        ("port: 9000", "port", "9000", 9000),
        ("", "https", "true", True),
        ("extra_names: [a, b]", "extra_names", "a,b", ["a", "b"]),
        ("family_name: Müller", "family_name", "Müller", "Müller"),
        ("", "family_name", "", ""),
    ],
)
def test_get(  # noqa: PLR0917
    box: Box, text: str, key: str, plain: str, as_json: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    box.write(text)
    assert main(["config", "get", key]) == 0
    assert capsys.readouterr().out == plain + "\n"
    assert main(["config", "get", key, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == as_json


def test_a_bad_file_is_told_beside_what_is_in_use(box: Box, capsys: pytest.CaptureFixture[str]) -> None:
    box.write("port: x\n")
    box.note.write_text('{"port": 9000}', "utf-8")
    assert main(["config", "get", "port"]) == 0
    output = capsys.readouterr()
    assert output.out == "9000\n" and f"{box.file}:1: port must be" in output.err
    with pytest.raises(FamilyError, match="last good settings stay in use") as caught:
        main(["config", "show", "--origin"])
    assert caught.value.status == 8
    assert "port: 9000" in capsys.readouterr().out


@pytest.mark.parametrize("arguments", ["get prot", "set prot 9000", "unset prot"])
def test_an_unknown_key_is_refused_with_the_nearest(box: Box, arguments: str) -> None:
    with pytest.raises(ConfigurationError, match="unknown key 'prot'") as caught:
        main(["config", *arguments.split()])
    assert "'port'" in caught.value.hint and not box.file.exists()


# -- changing ----------------------------------------------------------------------------------------


def test_the_first_change_makes_the_file(box: Box, capsys: pytest.CaptureFixture[str]) -> None:
    os.umask(0o077)
    assert main(["config", "set", "family_name", "The", "Millers"]) == 0
    os.umask(0o022)
    assert box.text().endswith("family_name: The Millers\n") and box.text().startswith("# ")
    assert stat.S_IMODE(box.file.stat().st_mode) == 0o644
    assert stat.S_IMODE(box.file.parent.stat().st_mode) == 0o755
    assert box.restarts == ["restart"]
    assert "restarting" in capsys.readouterr().out


def test_mode_owner_and_a_link_stay(box: Box, tmp_path: Path) -> None:
    box.write("port: 9000\n", 0o640)
    real = tmp_path / "kept-elsewhere.yaml"
    box.file.rename(real)
    box.file.symlink_to(real)
    before = real.stat()
    assert main(["config", "set", "port", "9001"]) == 0
    assert box.file.is_symlink() and real.read_text("utf-8") == "port: 9001\n"
    assert stat.S_IMODE(real.stat().st_mode) == 0o640
    assert box.owners == [(before.st_uid, before.st_gid)]


@pytest.mark.parametrize(
    ("text", "arguments", "restarts"),
    [
        ("", "set port 9000", ["restart --all"]),
        ("", "set listen local", ["restart --all"]),
        ("", "set start_timeout 60", ["restart"]),
        ("", "set family_name Us", ["restart"]),
        ("port: 9000\n", "unset port", ["restart --all"]),
        ("", "set port 9000 --no-restart", []),
        # The default, written down: the same as before.
        ("", "set port 8000", []),
        ("port: 8000\n", "unset port", []),
        # The file was bad, so nobody knows what runs.
        ("family_name: [x]\n", "set family_name Us", ["restart --all"]),
    ],
)
def test_what_is_restarted(box: Box, text: str, arguments: str, restarts: list[str]) -> None:
    box.write(text)
    assert main(["config", *arguments.split()]) == 0
    assert box.restarts == restarts


def test_the_command_for_a_later_restart_is_told(box: Box, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "set", "port", "9000", "--no-restart"]) == 0
    assert "sudo jupyterhub4family restart --all" in capsys.readouterr().out


def test_who_has_stopped_it_does_not_find_it_started(box: Box, capsys: pytest.CaptureFixture[str]) -> None:
    box.states = "inactive\ninactive\n"
    assert main(["config", "set", "port", "9000"]) == 0
    assert box.restarts == [] and "is not running" in capsys.readouterr().out


@pytest.mark.parametrize("states", ["active\ndeactivating\n", "active\ninactive\n", "failed\nactivating\n"])
def test_what_is_just_being_restarted_is_restarted_once_more(box: Box, states: str) -> None:
    box.states = states
    assert main(["config", "set", "port", "9000"]) == 0
    assert box.restarts == ["restart --all"]


def _identity(file: Path) -> tuple[int, int, int]:
    """Changes with every writing; the time of the last reading does not count."""
    about = file.stat()
    return about.st_ino, about.st_mtime_ns, about.st_ctime_ns


def test_the_same_value_again_changes_nothing(box: Box, capsys: pytest.CaptureFixture[str]) -> None:
    box.write("port: 9000 # ours\n")
    before = _identity(box.file)
    assert main(["config", "set", "port", "9000"]) == 0
    assert _identity(box.file) == before and box.restarts == []
    assert "Nothing to change" in capsys.readouterr().out
    assert main(["config", "set", "port", "9000", "--quiet"]) == 0
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    "arguments",
    ["set port 80", "set port x", "set port 8081", "set https false", "set language fr", "set extra_names a_b",
     "set family_name " + "x" * 81],
)  # fmt: skip
def test_a_bad_value_changes_nothing(box: Box, arguments: str) -> None:
    box.write("# ours\nlisten: lan\n")
    before = _identity(box.file)
    with pytest.raises(ConfigurationError):
        main(["config", *arguments.split()])
    assert _identity(box.file) == before and box.restarts == []


def test_a_bad_file_is_not_written_to_unless_that_mends_it(box: Box) -> None:
    box.write("port: x\n")
    with pytest.raises(ConfigurationError, match="port must be"):
        main(["config", "set", "family_name", "Us"])
    assert box.text() == "port: x\n"
    assert main(["config", "set", "port", "9000"]) == 0
    assert box.text() == "port: 9000\n"
    box.write("prot: 9000\n")
    assert main(["config", "unset", "prot"]) == 0
    assert box.text() == ""


def test_a_dry_run_shows_the_difference_to_anybody(
    box: Box, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    box.write("port: 9000\n")
    assert main(["config", "set", "port", "9001", "--dry-run"]) == 0
    shown = capsys.readouterr().out.splitlines()
    assert "-port: 9000" in shown and "+port: 9001" in shown
    assert box.text() == "port: 9000\n" and box.restarts == []


@pytest.mark.parametrize("arguments", ["set port 9000", "unset port", "edit"])
def test_only_root_changes_anything(box: Box, monkeypatch: pytest.MonkeyPatch, arguments: str) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    box.write("port: 9001\n")
    with pytest.raises(PermissionRefused) as caught:
        main(["config", *arguments.split()])
    assert caught.value.status == 4 and caught.value.hint.startswith("sudo jupyterhub4family config")
    assert box.text() == "port: 9001\n"


def test_a_disk_that_is_full_leaves_the_old_file(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_args: Any, **_more: Any) -> None:
        raise OSError(28, "No space left on device")

    box.write("port: 9000\n")
    monkeypatch.setattr(files, "write_atomically", full)
    with pytest.raises(FamilyError, match="No space left") as caught:
        main(["config", "set", "port", "9001"])
    assert caught.value.status == 10
    assert box.text() == "port: 9000\n" and box.restarts == []


def test_without_systemd_it_runs_unless_it_was_stopped(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervision, "chosen_supervisor", lambda _settings: "cron")
    assert main(["config", "set", "port", "9001"]) == 0
    (paths.STATE / "stopped").touch()
    assert main(["config", "set", "port", "9002"]) == 0
    assert box.restarts == ["restart --all"]


# -- edit --------------------------------------------------------------------------------------------


def edit_with(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, script: str) -> None:
    """An editor that does what `script` says to the file "$1"."""
    editor = write_program(tmp_path / "editor", script, "/bin/sh")
    monkeypatch.delenv("VISUAL", raising=False)
    monkeypatch.setenv("EDITOR", str(editor))


def test_edit_begins_with_the_explained_sample(
    box: Box, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, manual: Path
) -> None:
    edit_with(monkeypatch, tmp_path, 'cp "$1" "$0.seen"; echo "port: 9000" >>"$1"')
    assert main(["config", "edit"]) == 0
    sample = (manual / SAMPLE).read_text("utf-8")
    assert (tmp_path / "editor.seen").read_text("utf-8") == sample
    assert box.text() == sample + "port: 9000\n"
    assert box.restarts == ["restart --all"]


@pytest.mark.parametrize(("text", "script"), [("", "true"), ("port: 9000\n", "true"), ("port: 9000\n", ': >"$1"')])
def test_who_changes_nothing_gets_nothing(
    box: Box, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, script: str
) -> None:
    if text:
        box.write(text)
    edit_with(monkeypatch, tmp_path, script)
    assert main(["config", "edit"]) == 0
    assert box.file.exists() == bool(text) and (not text or box.text() == text)
    assert box.restarts == []


def test_a_bad_edit_is_kept_as_a_draft_and_nothing_is_lost(
    box: Box, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    box.write("port: 9000\n")
    edit_with(monkeypatch, tmp_path, 'echo "family_name: Us" >>"$1"; echo "prot: 1" >>"$1"')
    with pytest.raises(ConfigurationError, match="'prot'") as caught:
        main(["config", "edit"])
    draft = editor.draft_of(box.file)
    assert str(draft) in caught.value.hint
    assert box.text() == "port: 9000\n" and box.restarts == []
    assert draft.read_text("utf-8") == "port: 9000\nfamily_name: Us\nprot: 1\n"
    edit_with(monkeypatch, tmp_path, """sed -i /prot/d "$1" """)
    assert main(["config", "edit"]) == 0
    assert box.text() == "port: 9000\nfamily_name: Us\n" and not draft.exists()
    assert box.restarts == ["restart"]


def test_an_editor_that_fails_changes_nothing(box: Box, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    box.write("port: 9000\n")
    edit_with(monkeypatch, tmp_path, 'echo "listen: local" >>"$1"; exit 3')
    with pytest.raises(FamilyError, match="status 3"):
        main(["config", "edit"])
    assert box.text() == "port: 9000\n"
    assert "listen: local" in editor.draft_of(box.file).read_text("utf-8")


@pytest.mark.parametrize(("answer", "good"), [("", True), ("y", True), ("n", False), (EOFError, False)])
def test_it_asks_whether_to_go_on(
    box: Box, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: Any, good: bool
) -> None:
    def reply(_question: str) -> str:
        if not isinstance(answer, str):
            raise answer
        return answer

    box.write("port: x\n")
    monkeypatch.setattr("builtins.input", reply)
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    # The first time a mistake of another kind, the second time none.
    edit_with(monkeypatch, tmp_path, 'if grep -q y "$1"; then echo "port: 9000" >"$1"; else echo "port: y" >"$1"; fi')
    if good:
        assert main(["config", "edit"]) == 0
        assert box.text() == "port: 9000\n" and not editor.draft_of(box.file).exists()
    else:
        with pytest.raises(ConfigurationError):
            main(["config", "edit"])
        assert box.text() == "port: x\n" and editor.draft_of(box.file).exists()


def test_a_machine_without_an_editor(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("VISUAL", "EDITOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(shutil, "which", lambda _name: None)
    with pytest.raises(FamilyError, match="no editor") as caught:
        main(["config", "edit"])
    assert "apt install nano" in caught.value.hint


def test_apts_files_follow_and_what_is_missing_is_told(box: Box) -> None:
    box.write("port: 9000\n")
    assert main(["config", "set", "port", "9001"]) == 0
    assert box.asked == 0
    assert main(["config", "set", "upgrade_key", "/root/ours.asc"]) == 0
    assert main(["config", "set", "upgrade_source", "https://example.org/x/"]) == 0
    assert box.asked == 2
    box.apt = {"ok": False, "error": "unattended-upgrades is missing", "hint": "", "status": 1}
    with pytest.raises(FamilyError, match="missing"):
        main(["config", "set", "auto_upgrade", "on"])
    assert "auto_upgrade: true" in box.text(), "it takes effect as soon as that is there"
    assert box.restarts == ["restart --all"], "only the port needed that"
