"""cli.checks.accounts: the service account has no rights that it does not need."""

from __future__ import annotations

from pathlib import Path

import pytest

from jupyterhub4family.cli.doctor.base.finding import OK, PROBLEM, UNKNOWN, CheckContext, Finding
from jupyterhub4family.cli.doctor.checks import accounts
from jupyterhub4family.common.paths import SERVICE_HOME
from tests.unit.helpers import People

LOCKED = "root:*:1::::::\njupyterhub:*:1::::::\n"


@pytest.fixture
def shadow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    file = tmp_path / "shadow"
    file.write_text(LOCKED)
    monkeypatch.setattr(accounts, "SHADOW", file)
    return file


def service(people: People, *groups: str, uid: int = 998, home: Path = SERVICE_HOME, shell: str = "/bin/bash") -> None:
    people.group("nogroup", 65534)
    people.add("jupyterhub", uid, *groups, home=home, gid=65534, shell=shell)


def look(by_root: bool = True) -> list[Finding]:
    return list(accounts.check_service_account(CheckContext(by_root=by_root)))


def test_an_account_as_it_should_be(people: People, shadow: Path) -> None:
    service(people)
    assert [one.state for one in look()] == [OK]
    assert [one.state for one in accounts.check_groups(CheckContext())] == [OK]


def test_it_is_missing(people: People, shadow: Path) -> None:
    (found,) = look()
    assert found.state == PROBLEM and found.repair == "accounts" and found.hint


@pytest.mark.parametrize("group", ["sudo", "jupyterhub", "jupyterhub_adm", "shadow", "docker"])
def test_it_is_in_a_group_that_gives_rights(people: People, shadow: Path, group: str) -> None:
    if group not in people.groups:
        people.group(group, 42)
    service(people, group)
    (found,) = look()
    assert found.state == PROBLEM and group in found.message and found.repair == "accounts"


@pytest.mark.parametrize("field", ["", "$y$j9T$x"])
def test_it_has_a_password(people: People, shadow: Path, field: str) -> None:
    service(people)
    shadow.write_text(f"jupyterhub:{field}:1::::::\n")
    (found,) = look()
    assert found.state == PROBLEM and "password" in found.message
    assert "$y$" not in found.message, "not even its hash is shown"


@pytest.mark.parametrize("field", ["!", "*", "!*", "!$y$locked"])
def test_a_locked_password_is_none(people: People, shadow: Path, field: str) -> None:
    service(people)
    shadow.write_text(f"jupyterhub:{field}:1::::::\n")
    assert [one.state for one in look()] == [OK]


def test_it_has_no_line_in_shadow(people: People, shadow: Path) -> None:
    service(people)
    shadow.write_text("root:*:1::::::\n")
    assert [one.state for one in look()] == [PROBLEM]


def test_without_root_the_password_cannot_be_seen(people: People, shadow: Path) -> None:
    service(people)
    shadow.unlink()
    assert [one.state for one in look(by_root=False)] == [UNKNOWN, OK]


@pytest.mark.parametrize(
    ("uid", "home", "shell"),
    [
        (0, SERVICE_HOME, "/bin/bash"),
        (1001, SERVICE_HOME, "/bin/bash"),
        (998, Path("/home/x"), "/bin/bash"),
        (998, SERVICE_HOME, "/usr/sbin/nologin"),
    ],
)
def test_number_home_and_shell(people: People, shadow: Path, uid: int, home: Path, shell: str) -> None:
    service(people, uid=uid, home=home, shell=shell)
    (found,) = look()
    assert found.state == PROBLEM and found.hint


def test_a_group_is_missing(people: People) -> None:
    del people.groups["jupyterhub_adm"]
    (found,) = accounts.check_groups(CheckContext())
    assert found.state == PROBLEM and "jupyterhub_adm" in found.message and found.repair == "accounts"
