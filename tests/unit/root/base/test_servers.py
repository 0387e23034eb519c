"""root.servers: a removed member's servers end, whatever else the person runs goes on.

Shown only the processes that the tests start: the person who runs the tests may well do so in a server of JupyterHub.
"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Optional

import pytest

from jupyterhub4family.common import paths
from jupyterhub4family.common.system import processes as system_processes
from jupyterhub4family.common.system.processes import SERVER_MARKER, environment_value, is_running
from jupyterhub4family.root.base import servers
from tests.unit.fakes import FakePrograms
from tests.unit.helpers import TIMEOUT, wait_until


class Processes:
    """Real processes, and a /proc that lists no others."""

    def __init__(self, proc: Path) -> None:
        self._proc = proc
        self._started: list[subprocess.Popen[bytes]] = []

    def start(self, script: str, marker: Optional[str]) -> subprocess.Popen[bytes]:
        variables = {"READY": "1"} if marker is None else {"READY": "1", SERVER_MARKER: marker}
        process = subprocess.Popen(["/bin/sh", "-c", script], env=variables, stdout=subprocess.PIPE)
        self._started.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        (self._proc / str(process.pid)).symlink_to(f"/proc/{process.pid}")
        # While the shell is just becoming another program, the environment of the process is empty for a moment.
        wait_until(lambda: Path(f"/proc/{process.pid}/comm").read_bytes() == b"sleep\n", "the start of a process")
        wait_until(lambda: environment_value(process.pid, "READY"), "the start of a process")
        return process

    def end(self) -> None:
        for process in self._started:
            process.kill()
            process.communicate(timeout=TIMEOUT)


@pytest.fixture
def processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Processes]:
    proc = tmp_path / "proc"
    proc.mkdir()
    # In the real one there is more than processes.
    for name in ("self", "net", "1a"):
        (proc / name).mkdir()
    monkeypatch.setattr(system_processes, "PROC", proc)
    monkeypatch.setattr(paths, "SYSTEMD_RUNS", tmp_path / "none")
    started = Processes(proc)
    yield started
    started.end()


OBEYS = "echo ready; exec sleep 60"
IGNORES = "trap '' TERM; echo ready; exec sleep 60"


def test_servers_end_and_everything_else_goes_on(processes: Processes) -> None:
    server = processes.start(OBEYS, "/user/anna/")
    named = processes.start(OBEYS, "")
    editor = processes.start(OBEYS, None)
    begin = time.monotonic()
    assert servers.end_servers(os.getuid()) == 2
    assert time.monotonic() - begin < servers.GRACE_PERIOD, "nobody had to be waited for"
    # What is ending has no environment any more, a moment before it is gone.
    wait_until(lambda: not is_running(server.pid, 0) and not is_running(named.pid, 0), "the end of the servers")
    assert is_running(editor.pid, 0)


def test_who_does_not_listen_is_killed(processes: Processes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(servers, "GRACE_PERIOD", 0.3)
    deaf = processes.start(IGNORES, "/user/anna/")
    assert servers.end_servers(os.getuid()) == 1
    assert deaf.wait(TIMEOUT) == -9


def test_another_accounts_servers_go_on(processes: Processes) -> None:
    server = processes.start(OBEYS, "/user/ben/")
    assert servers.end_servers(os.getuid() + 1) == 0
    assert is_running(server.pid, 0)


def test_a_process_that_ends_by_itself_meanwhile_is_no_error(
    processes: Processes, monkeypatch: pytest.MonkeyPatch
) -> None:
    def kill(_pid: int, _number: int) -> None:
        raise ProcessLookupError

    processes.start(OBEYS, "/user/anna/")
    monkeypatch.setattr(servers, "GRACE_PERIOD", 0.0)
    with monkeypatch.context() as meanwhile:
        meanwhile.setattr(os, "kill", kill)
        assert servers.end_servers(os.getuid()) == 1


def test_where_systemd_runs_whole_scopes_end(
    processes: Processes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also what has taken the mark out of its environment."""
    fake = FakePrograms(monkeypatch)
    fake.answer("systemctl")
    monkeypatch.setattr(paths, "SYSTEMD_RUNS", tmp_path)
    assert servers.end_servers(1001) == 0
    assert [call.args for call in fake.calls] == [["systemctl", "stop", "jupyterhub4family-1001.slice"]]
