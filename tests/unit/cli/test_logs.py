"""cli.logs: who shows a log, and to whom."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from jupyterhub4family.cli import logs
from jupyterhub4family.cli.base import accounts as membership
from jupyterhub4family.cli.logs import log_command
from jupyterhub4family.cli.main import main
from jupyterhub4family.common import paths
from jupyterhub4family.common.errors import FamilyError, PermissionRefused, RefusedError, UnknownAccountError
from jupyterhub4family.common.state import supervision
from jupyterhub4family.common.system import programs
from jupyterhub4family.common.system.programs import as_account
from tests.unit.helpers import People, account, write_program


@pytest.fixture
def machine(people: People, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The service's folder of logs, on a machine where cron supervises."""
    people.add("anna", 1001, "jupyterhub")
    people.add("ben", 1002, "jupyterhub")
    monkeypatch.setattr(paths, "SERVICE_HOME", tmp_path)
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
    assert log_command(whose, 50, follow) == ["/usr/bin/journalctl", "--all", "--unit", unit, "--lines", "50", end]


def logs_as_root(monkeypatch: pytest.MonkeyPatch, owner: int) -> None:
    """Root calls; the logs have to belong to this uid."""
    as_whom(monkeypatch, 0)
    monkeypatch.setattr(membership, "service_account", lambda: account("jupyterhub", uid=owner))


def test_without_systemd_the_end_of_the_file_is_shown(
    machine: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    logs_as_root(monkeypatch, os.getuid())
    (machine / "hub.log").write_text("one\ntwo\nthree\n")
    assert main(["logs", "-n", "2"]) == 0
    assert capsys.readouterr().out == "two\nthree\n"
    # Nobody else's file, and nothing that a link leads to.
    logs_as_root(monkeypatch, os.getuid() + 1)
    assert main(["logs"]) == 0
    logs_as_root(monkeypatch, os.getuid())
    (machine / "proxy.log").symlink_to("hub.log")
    assert main(["logs", "proxy"]) == 0
    assert capsys.readouterr().out == ""


def test_whoever_may_not_read_the_folder_is_told(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda _path, _mode: False)
    as_whom(monkeypatch, 1001)
    with pytest.raises(PermissionRefused, match="only root and the account jupyterhub"):
        main(["logs"])
    as_whom(monkeypatch, 0)
    with pytest.raises(FamilyError, match="no log yet"):
        main(["logs"])


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


def test_the_program_has_a_safe_path_and_no_terminal(
    machine: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    program = write_program(machine / "journal", "import os; print(os.environ['PATH'], '\\033[2J', os.isatty(0))")
    monkeypatch.setattr(logs, "log_command", lambda *_args: [str(program)])
    monkeypatch.setattr(supervision, "chosen_supervisor", lambda: "systemd")
    monkeypatch.setenv("PATH", "/tmp/bad")
    assert main(["logs"]) == 0
    assert capsys.readouterr().out == f"{programs.SAFE_PATH} \ufffd[2J False\n"
