"""user.show_log: becomes `tail` of the member's own logs, and of nothing else."""

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


def becomes(monkeypatch: pytest.MonkeyPatch, *args: str) -> list[str]:
    """The words of the program that show-log becomes."""
    became: list[str] = []

    def execv(program: str, arguments: list[str]) -> None:
        assert program == arguments[0] == "/usr/bin/tail"
        became.extend(arguments[1:])
        raise SystemExit

    monkeypatch.setattr(os, "execv", execv)
    monkeypatch.setattr(sys, "argv", ["show-log", *args])
    with pytest.raises(SystemExit):
        show_log.main()
    return became


def test_all_logs_are_shown(logs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("server.log", "server-maths.log", "server-.log", "server.log.1", "other"):
        (logs / name).touch()
    shown = [str(logs / name) for name in ("server-.log", "server-maths.log", "server.log")]
    assert becomes(monkeypatch, "200") == ["-n", "200", "--", *shown]
    assert becomes(monkeypatch, "5", "--follow") == ["-n", "5", "-F", "--", *shown]


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
