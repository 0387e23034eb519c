"""cli.logs: which program shows a log, and to whom."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from jupyterhub4family.cli.logs import log_command
from jupyterhub4family.common import paths
from jupyterhub4family.common.errors import FamilyError, PermissionRefused, RefusedError, UnknownAccountError
from jupyterhub4family.common.state import supervision
from jupyterhub4family.common.system.programs import as_account
from tests.unit.helpers import People


@pytest.fixture
def machine(people: People, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The service's folder of logs, on a machine where cron supervises."""
    people.add("anna", 1001, "jupyterhub")
    people.add("ben", 1002, "jupyterhub")
    monkeypatch.setattr(paths, "SERVICE_LOGS", tmp_path / "log")
    monkeypatch.setattr(supervision, "chosen_supervisor", lambda: "cron")
    (tmp_path / "log").mkdir()
    return tmp_path / "log"


def as_whom(monkeypatch: pytest.MonkeyPatch, uid: int) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: uid)


@pytest.mark.parametrize("whose", ["hub", "proxy"])
@pytest.mark.parametrize(("follow", "end"), [(False, "--no-pager"), (True, "--follow")])
def test_with_systemd_the_journal_shows_it(
    machine: Path, monkeypatch: pytest.MonkeyPatch, whose: str, follow: bool, end: str
) -> None:
    monkeypatch.setattr(supervision, "chosen_supervisor", lambda: "systemd")
    unit = f"jupyterhub4family-{whose}.service"
    assert log_command(whose, 50, follow) == ["/usr/bin/journalctl", "--unit", unit, "--lines", "50", end]


def test_without_systemd_tail_shows_the_file(machine: Path) -> None:
    assert log_command("hub", 50, False) == ["/usr/bin/tail", "-n", "50", str(machine / "hub.log")]
    # -F: the file is put aside when it is large.
    assert log_command("proxy", 5, True) == ["/usr/bin/tail", "-n", "5", "-F", str(machine / "proxy.log")]


def test_whoever_may_not_read_the_folder_is_told(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda _path, _mode: False)
    as_whom(monkeypatch, 1001)
    with pytest.raises(PermissionRefused, match="only root and the account jupyterhub"):
        log_command("hub", 50, False)
    as_whom(monkeypatch, 0)
    with pytest.raises(FamilyError, match="no log yet"):
        log_command("hub", 50, False)


def test_a_member_sees_their_own(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    as_whom(monkeypatch, 1001)
    assert log_command("anna", 50, False) == ["/usr/lib/jupyterhub4family/show-log", "50"]
    assert log_command("anna", 50, True)[-1] == "--follow"


def test_root_sees_it_with_the_members_rights(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    as_whom(monkeypatch, 0)
    show = ["/usr/lib/jupyterhub4family/show-log", "50"]
    assert log_command("anna", 50, False) == [*as_account("anna"), *show]


@pytest.mark.parametrize("uid", [1002, 998])
def test_nobody_else_sees_it(machine: Path, monkeypatch: pytest.MonkeyPatch, uid: int) -> None:
    as_whom(monkeypatch, uid)
    with pytest.raises(PermissionRefused, match="only anna and root"):
        log_command("anna", 50, False)


@pytest.mark.parametrize(
    ("whose", "kind"),
    [
        ("clara", UnknownAccountError),
        ("Hub", RefusedError),
        ("../hub", RefusedError),
        ("-f", RefusedError),
        ("", RefusedError),
    ],
)
def test_names_that_are_none(
    machine: Path, monkeypatch: pytest.MonkeyPatch, whose: str, kind: type[FamilyError]
) -> None:
    as_whom(monkeypatch, 0)
    with pytest.raises(kind):
        log_command(whose, 50, False)


def test_it_becomes_the_program_with_a_safe_path(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    became: list[object] = []

    def execve(*args: object) -> None:
        became.extend(args)
        raise SystemExit

    monkeypatch.setattr(os, "execve", execve)
    monkeypatch.setenv("PATH", "/tmp/bad")
    from jupyterhub4family.cli.main import main

    with pytest.raises(SystemExit):
        main(["logs", "-n", "7"])
    program, args, variables = became
    assert program == "/usr/bin/tail" and args == ["/usr/bin/tail", "-n", "7", str(machine / "hub.log")]
    assert isinstance(variables, dict) and "/tmp/bad" not in variables["PATH"]
