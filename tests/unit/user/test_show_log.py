"""user.show_log: the ends of the member's own logs, and of nothing else."""

from __future__ import annotations

import os
import pwd
import sys
from pathlib import Path

import pytest

from jupyterhub4family.common.errors import FamilyError
from jupyterhub4family.common.paths import MEMBER_LOGS
from jupyterhub4family.user import show_log
from tests.unit.helpers import account


@pytest.fixture
def logs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(pwd, "getpwuid", lambda _uid: account(home=tmp_path))
    directory = tmp_path / MEMBER_LOGS
    directory.mkdir(parents=True)
    return directory


def shown(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *args: str) -> str:
    """What show-log prints."""
    monkeypatch.setattr(sys, "argv", ["show-log", *args])
    assert show_log.main() == 0
    return capsys.readouterr().out


def test_all_logs_are_shown(logs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("server.log", "server-maths.log", "server-.log", "server.log.1", "other"):
        (logs / name).write_text(f"1\n2\n{name}\n")
    output = shown(monkeypatch, capsys, "2")
    names = ("server-.log", "server-maths.log", "server.log")
    assert output == "".join(f"==> {logs / name} <==\n2\n{name}\n" for name in names)


def test_what_is_no_plain_file_is_passed_over(
    logs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (logs / "server.log").write_text("hello\n")
    os.mkfifo(logs / "a.log")
    (logs / "b.log").symlink_to("/dev/zero")
    (logs / "c.log").mkdir()
    (logs / "d.log").symlink_to("/etc/passwd")
    assert shown(monkeypatch, capsys, "200") == "hello\n"


def test_without_a_log_there_is_a_sentence(logs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["show-log", "200"])
    with pytest.raises(FamilyError, match="anna has not started a server yet"):
        show_log.main()
    logs.rmdir()
    with pytest.raises(FamilyError):
        show_log.main()


@pytest.mark.parametrize("args", [[], ["x"], ["1", "/etc/shadow"], ["1", "-f"]])
def test_other_words_are_refused(logs: Path, monkeypatch: pytest.MonkeyPatch, args: list[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["show-log", *args])
    with pytest.raises(SystemExit) as caught:
        show_log.main()
    assert caught.value.code == 2
