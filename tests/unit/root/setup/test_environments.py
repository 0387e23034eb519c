"""root.setup.environments: each member's environment is looked at by a child that is that member."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from jupyterhub4family.common import paths
from jupyterhub4family.common.errors import PermissionRefused, UsageError
from jupyterhub4family.common.protocol import service_programs
from jupyterhub4family.common.protocol.service_programs import CompareEnvironments
from jupyterhub4family.common.python import likeness
from jupyterhub4family.common.system import accounts
from jupyterhub4family.root.base import sudo_caller
from jupyterhub4family.root.setup import environments
from tests.unit.helpers import People

PLACES = ["", "bin"]


@pytest.fixture
def anna(people: People, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Anna's environment. Becoming her is noted only: nobody but root can."""
    monkeypatch.setattr(accounts, "never_a_member", lambda _account: None)
    people.add("anna", os.getuid(), "jupyterhub", home=tmp_path / "anna")
    env = tmp_path / "anna" / paths.MEMBER_ENVIRONMENT
    (env / "bin").mkdir(parents=True)
    (env / "bin/python").symlink_to("/usr/bin/python3")
    (env / paths.MEMBER_ENVIRONMENT_NOTE).write_text(json.dumps({"how": "hard links"}), "utf-8")
    became = tmp_path / "became"

    def note(name: str) -> Any:
        def call(*args: Any) -> None:
            with became.open("a", encoding="utf-8") as file:
                file.write(f"{name} {args[-1]} {os.getsid(0) == os.getpid()}\n")

        return call

    for name in ("initgroups", "setgid", "setuid"):
        monkeypatch.setattr(os, name, note(name))
    return env


def look(*names: str) -> dict[str, str]:
    return environments.compare(None, CompareEnvironments(list(names), PLACES)).found


def test_it_says_what_the_files_are_like(anna: Path, tmp_path: Path) -> None:
    assert look("anna") == {"anna": likeness.of(anna, PLACES)}
    (anna / "bin/more").touch()
    assert look("anna") == {"anna": likeness.of(anna, PLACES)}
    became = (tmp_path / "became").read_text("utf-8").splitlines()
    assert became[:3] == [f"initgroups {os.getuid()} True", f"setgid {os.getuid()} True", f"setuid {os.getuid()} True"]


def test_nothing_is_looked_at_before_root_is_given_up(
    anna: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_uid: int) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "setuid", refuse)
    monkeypatch.setattr(likeness, "of", lambda *_args: (tmp_path / "looked").touch())
    assert look("anna") == {"anna": ""}
    assert not (tmp_path / "looked").exists()


def test_no_environment(anna: Path) -> None:
    anna.rename(anna.with_name("other"))
    assert look("anna") == {"anna": service_programs.NO_ENVIRONMENT}


@pytest.mark.parametrize("note", ["", "[]", "{}", '{"how": 3}', '{"how": ""}', "x" * 2_000_000])
def test_one_that_is_none_of_ours_is_left_to_its_owners_program(anna: Path, note: str) -> None:
    (anna / paths.MEMBER_ENVIRONMENT_NOTE).write_text(note, "utf-8")
    assert look("anna") == {"anna": ""}


def test_what_cannot_be_looked_at_is_left_to_its_owners_program(anna: Path) -> None:
    (anna / "bin").chmod(0o300)
    assert look("anna") == {"anna": ""}
    anna.parent.chmod(0)
    assert look("anna") == {"anna": ""}
    anna.parent.chmod(0o755)


def test_only_members_are_looked_at(anna: Path, people: People, monkeypatch: pytest.MonkeyPatch) -> None:
    people.add("clara", 1003, home=anna.parents[3])
    monkeypatch.setattr(os, "fork", lambda: pytest.fail("somebody was looked at"))
    assert look("clara", "ghost", "../anna", "root") == dict.fromkeys(("clara", "ghost", "../anna", "root"), "")


@pytest.mark.parametrize("place", ["/etc", "../anna", "bin/../..", "x" * 501, "a\0b"])
def test_places_outside_are_refused(anna: Path, place: str) -> None:
    with pytest.raises(UsageError):
        environments.compare(None, CompareEnvironments(["anna"], [place]))
    with pytest.raises(UsageError):
        environments.compare(None, CompareEnvironments(["anna"], ["bin"] * 5001))


def test_a_home_that_never_answers_keeps_nobody_waiting(anna: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environments, "TIMEOUT", 0.2)
    monkeypatch.setattr(likeness, "of", lambda *_args: time.sleep(600))
    before = time.monotonic()
    assert look("anna") == {"anna": ""}
    assert time.monotonic() - before < 30
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


def test_one_that_even_sigkill_does_not_end_holds_nothing_of_roots(anna: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What waits in the kernel for a file system of the member's own: `doctor` waits for the end of root's stdout."""

    def are_nothing(*_args: object) -> str:
        nothing = os.stat(os.devnull)
        return "0" * 64 if all(os.path.samestat(os.fstat(one), nothing) for one in (0, 1, 2)) else ""

    monkeypatch.setattr(likeness, "of", are_nothing)
    assert look("anna") == {"anna": "0" * 64}


def test_a_child_that_says_something_else_or_is_ended(anna: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(likeness, "of", lambda *_args: "0" * 63 + "\n")
    assert look("anna") == {"anna": ""}
    monkeypatch.setattr(likeness, "of", lambda *_args: os.kill(os.getpid(), signal.SIGKILL))
    assert look("anna") == {"anna": ""}


def test_it_is_roots(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1001)
    with pytest.raises(PermissionRefused):
        sudo_caller.require_root()
    assert environments.main() == 4
    assert json.loads(capsys.readouterr().out)["ok"] is False
