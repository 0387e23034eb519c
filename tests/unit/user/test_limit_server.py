"""user.limit_server: a server starts whatever becomes of its scope, and what is in a scope ends.

Real scopes are made on real machines; here some processes of the test's own are said to be in one.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from jupyterhub4family.common import paths
from jupyterhub4family.common.errors import FamilyError
from jupyterhub4family.common.system import cgroups as scopes
from jupyterhub4family.common.system.programs import CompletedProcess, ProgramError
from jupyterhub4family.user import limit_server
from tests.unit.fakes import Call, FakePrograms
from tests.unit.helpers import TIMEOUT, must_not_be_called


@pytest.fixture
def systemd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paths, "SYSTEMD_RUNS", tmp_path)
    monkeypatch.setattr(os, "setpgid", lambda _pid, _group: None)


def answer(monkeypatch: pytest.MonkeyPatch, status: int, output: str, errors: str = "") -> list[Any]:
    asked: list[Any] = []

    def run(call: Call) -> CompletedProcess:
        arguments = call.args
        asked.append(([str(word) for word in arguments], (call.stdin or "")))
        return CompletedProcess(status, output, errors)

    FakePrograms(monkeypatch).answer("*", run)
    return asked


CONFINE = ["/usr/bin/sudo", "-nH", "/usr/lib/jupyterhub4family/confine"]


@pytest.mark.usefixtures("systemd")
def test_the_door_is_asked_for_nothing_in_particular(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = answer(monkeypatch, 0, '{"ok": true, "scope": "x"}\n')
    assert limit_server.confine_this_process() == ""
    assert asked == [(CONFINE, '{"only_check": false}')]


@pytest.mark.usefixtures("systemd")
def test_why_there_are_no_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    answer(monkeypatch, 0, '{"ok": true, "scope": "", "problem": "systemd is tired"}\n')
    assert limit_server.confine_this_process() == "systemd is tired"


#: What the door may say, and what is made of it.
REFUSED = [
    (4, '{"ok": false, "error": "anna can become root", "hint": "", "status": 4}', "", "anna can become root"),
    (1, "", "sudo: a password is required\n", "a password is required"),
    (1, "", "", "status 1"),
    (0, "nonsense", "", "confine gave no answer (status 0)"),
    (0, '{"ok": true, "scope": 1}', "", "confine gave an answer that makes no sense"),
]


@pytest.mark.usefixtures("systemd")
@pytest.mark.parametrize(("status", "output", "errors", "reason"), REFUSED)
def test_without_roots_word_no_server_starts(
    monkeypatch: pytest.MonkeyPatch, status: int, output: str, errors: str, reason: str
) -> None:
    answer(monkeypatch, status, output, errors)
    for ask in (limit_server.confine_this_process, limit_server.require_permission):
        with pytest.raises(FamilyError) as caught:
            ask()
        assert reason in caught.value.message


@pytest.mark.usefixtures("systemd")
def test_a_door_that_cannot_be_opened_lets_nobody_start(monkeypatch: pytest.MonkeyPatch) -> None:
    def run(call: Call) -> CompletedProcess:
        raise ProgramError("sudo did not end")

    FakePrograms(monkeypatch).answer("*", run)
    with pytest.raises(ProgramError):
        limit_server.confine_this_process()


@pytest.mark.usefixtures("systemd")
def test_a_leader_of_its_session_needs_no_group(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_pid: int, _group: int) -> None:
        raise PermissionError(1, "not so")

    monkeypatch.setattr(os, "setpgid", refuse)
    asked = answer(monkeypatch, 0, '{"ok": true, "scope": "x"}\n')
    assert limit_server.confine_this_process() == "" and len(asked) == 1


def test_without_systemd_root_is_asked_all_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paths, "SYSTEMD_RUNS", tmp_path / "none")
    monkeypatch.setattr(os, "setpgid", must_not_be_called)
    asked = answer(monkeypatch, 0, '{"ok": true}\n')
    assert limit_server.confine_this_process() == ""
    assert asked == [(CONFINE, '{"only_check": true}')]
    answer(monkeypatch, *REFUSED[0][:3])
    with pytest.raises(FamilyError, match="can become root"):
        limit_server.confine_this_process()


# -- ending all ------------------------------------------------------------------------------------


class Scopes:
    """Scopes that hold what the test has started."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.started: dict[int, tuple[str, subprocess.Popen[bytes]]] = {}
        monkeypatch.setattr(scopes, "scopes", self._scopes)
        monkeypatch.setattr(scopes, "scope_of", self._scope_of)

    def start(self, scope: str, *, deaf: bool = False) -> subprocess.Popen[bytes]:
        ignore = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); " if deaf else ""
        arguments = [sys.executable, "-ISc", f"{ignore}print(flush=True); import time; time.sleep(60)"]
        process = subprocess.Popen(arguments, stdout=subprocess.PIPE)
        assert process.stdout is not None
        process.stdout.readline()
        self.started[process.pid] = (scope, process)
        return process

    def _scope_of(self, pid: int) -> str:
        scope, process = self.started.get(pid, ("", None))
        return scope if process is not None and process.poll() is None else ""

    def _scopes(self) -> dict[str, list[int]]:
        found: dict[str, list[int]] = {}
        for pid in self.started:
            if scope := self._scope_of(pid):
                found.setdefault(scope, []).append(pid)
        return found


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> Iterator[Scopes]:
    made = Scopes(monkeypatch)
    yield made
    for _scope, process in made.started.values():
        process.kill()
        process.communicate(timeout=TIMEOUT)


MINE = scopes.scope_name(1001, 50, 777)


def test_everything_in_the_scope_ends_and_nothing_else(held: Scopes) -> None:
    first, second = held.start(MINE), held.start(MINE)
    others = held.start(scopes.scope_name(1001, 51, 777)), held.start("")
    assert limit_server.end_all(1001, 50, 777) == 2
    assert first.wait(TIMEOUT) == second.wait(TIMEOUT) == -signal.SIGTERM
    assert all(one.poll() is None for one in others)


def test_who_does_not_listen_is_killed(held: Scopes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limit_server, "TIMEOUT", 0.3)
    deaf = held.start(MINE, deaf=True)
    assert limit_server.end_all(1001, 50, 777) == 1
    assert deaf.wait(TIMEOUT) == -signal.SIGKILL


def test_a_pid_that_was_used_again_gets_no_signal(held: Scopes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Listed in the scope, and when it comes to the signal in another."""
    stranger = held.start("elsewhere")
    listings = [{MINE: [stranger.pid]}]
    monkeypatch.setattr(scopes, "scopes", lambda: listings.pop() if listings else {})
    assert limit_server.end_all(1001, 50, 777) == 1
    assert stranger.poll() is None


@pytest.mark.usefixtures("held")
@pytest.mark.parametrize(("pid", "start_time"), [(50, 777), (-1, 0), (2**70, -5)])
def test_an_empty_scope_takes_no_time(pid: int, start_time: int) -> None:
    assert limit_server.end_all(1001, pid, start_time) == 0
