"""user.server.kill: only a member's own server is signalled, only with the signals that stop one."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from typing import Any, Callable

import pytest

from jupyterhub4family.common.errors import UsageError
from jupyterhub4family.common.system.processes import SERVER_MARKER, environment_value, start_time
from jupyterhub4family.user.server import kill
from tests.unit.helpers import TIMEOUT, must_not_be_called, wait_until

Start = Callable[..., "subprocess.Popen[bytes]"]


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts a real process, by default one that looks like a server."""
    started: list[subprocess.Popen[bytes]] = []
    # A shell starts what runs in its background with this signal ignored, and programs inherit that.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)

    def start_one(*args: str, marked: bool = True) -> subprocess.Popen[bytes]:
        variables = {"READY": "1", **({SERVER_MARKER: "/user/anna/"} if marked else {})}
        process = subprocess.Popen(list(args) or ["/bin/sleep", "60"], env=variables)
        started.append(process)
        wait_until(lambda: environment_value(process.pid, "READY"), "the start of a process")
        return process

    yield start_one
    signal.signal(signal.SIGINT, before)
    for process in started:
        process.kill()
        process.wait(TIMEOUT)


def started_at(process: subprocess.Popen[bytes]) -> int:
    ticks = start_time(process.pid)
    assert ticks is not None
    return ticks


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
@pytest.mark.parametrize("with_start_time", [True, False])
def test_a_server_is_signalled(start: Start, number: int, with_start_time: bool) -> None:
    server = start()
    assert kill(server.pid, number, started_at(server) if with_start_time else 0) is True
    assert server.wait(TIMEOUT) == -number


def test_signal_0_asks_only(start: Start) -> None:
    server = start()
    assert kill(server.pid, 0, started_at(server)) is True
    assert server.poll() is None


def test_a_server_that_has_ended_is_gone(start: Start) -> None:
    server = start()
    ticks = started_at(server)
    server.kill()
    wait_until(lambda: start_time(server.pid) is None, "the end of the server")
    # First as a zombie, then not at all.
    assert kill(server.pid, signal.SIGTERM, ticks) is False
    server.wait(TIMEOUT)
    assert kill(server.pid, signal.SIGTERM, ticks) is False
    assert kill(server.pid, 0, 0) is False


@pytest.fixture
def no_signal(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Whoever sends a signal in this test has failed it."""
    with monkeypatch.context() as meanwhile:
        meanwhile.setattr(os, "kill", must_not_be_called)
        yield


@pytest.mark.parametrize(
    "number", [signal.SIGHUP, signal.SIGSTOP, signal.SIGCONT, signal.SIGUSR1, signal.SIGSEGV, -1, 64, 65, 2**40]
)
def test_other_signals_are_refused(start: Start, no_signal: None, number: int) -> None:
    with pytest.raises(UsageError, match="not among those"):
        kill(start().pid, number, 0)


@pytest.mark.parametrize("difference", [-1, 1, 10**9])
def test_a_pid_used_again_gets_no_signal(start: Start, no_signal: None, difference: int) -> None:
    server = start()
    assert kill(server.pid, signal.SIGTERM, started_at(server) + difference) is False


def test_a_process_that_is_no_server_gets_no_signal(start: Start, no_signal: None) -> None:
    """Also the member's own: an editor, a mail program."""
    editor = start(marked=False)
    assert kill(editor.pid, signal.SIGTERM, started_at(editor)) is False
    assert kill(editor.pid, 0, 0) is False


def test_a_variable_of_a_similar_name_makes_no_server() -> None:
    variables = {f"X{SERVER_MARKER}": "1", f"{SERVER_MARKER}X": "1", "A": f"{SERVER_MARKER}=1", "READY": "1"}
    process = subprocess.Popen(["/bin/sleep", "60"], env=variables)
    wait_until(lambda: environment_value(process.pid, "READY"), "the start of a process")
    assert kill(process.pid, signal.SIGTERM, 0) is False
    process.kill()
    assert process.wait(TIMEOUT) == -signal.SIGKILL


@pytest.mark.parametrize("pid", [0, 1, -1, -2, -(2**31), 2**22 + 1, 2**31, 2**64])
def test_numbers_that_mean_everybody_or_nobody_get_no_signal(monkeypatch: pytest.MonkeyPatch, pid: int) -> None:
    sent: list[Any] = []
    with monkeypatch.context() as meanwhile:
        meanwhile.setattr(os, "kill", lambda *args: sent.append(args))
        assert kill(pid, signal.SIGKILL, 0) is False
        assert kill(pid, signal.SIGKILL, 12345) is False
    assert all(number == 0 for _pid, number in sent)


def test_our_own_group_gets_no_signal(no_signal: None) -> None:
    assert kill(-os.getpgid(0), signal.SIGKILL, 0) is False


def test_a_server_that_may_not_be_signalled_counts_as_gone(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_pid: int, _number: int) -> None:
        raise PermissionError

    server = start()
    with monkeypatch.context() as meanwhile:
        meanwhile.setattr(os, "kill", refuse)
        assert kill(server.pid, signal.SIGTERM, started_at(server)) is False
