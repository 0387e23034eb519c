"""user.server_activity: what goes on in a server, as it says itself and as the kernel shows."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest

from jupyterhub4family.common.protocol.doors import Activity
from jupyterhub4family.common.system import cgroups, processes, sockets
from jupyterhub4family.user import busy_kernels, server_activity
from tests.unit.helpers import SRC


class Server(BaseHTTPRequestHandler):
    """As much of a single-user server as is asked."""

    answers: ClassVar[dict[str, Any]] = {}
    #: How many bytes of an answer come.
    body: ClassVar[bytes | None] = None

    def do_GET(self) -> None:
        """Say what there is."""
        found = self.answers.get(self.path)
        allowed = self.headers["Authorization"] == "token secret" and found is not None
        body = json.dumps(found).encode() if self.body is None else self.body
        self.send_response(200 if allowed else 404)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_args: Any) -> None:
        """Nothing."""


@pytest.fixture
def address(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setattr(Server, "answers", {})
    monkeypatch.setattr(Server, "body", None)
    with ThreadingHTTPServer(("127.0.0.1", 0), Server) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/user/anna/"
        server.shutdown()


@pytest.fixture
def process(address: str) -> Iterator[subprocess.Popen[bytes]]:
    """A process with the environment of a server."""
    environment = {"JUPYTERHUB_SERVICE_URL": address, "JUPYTERHUB_API_TOKEN": "secret"}
    with subprocess.Popen([sys.executable, "-IS", "-c", "input()"], stdin=subprocess.PIPE, env=environment) as running:
        yield running
        running.kill()


@pytest.fixture
def prepared(address: str) -> Iterator[subprocess.Popen[bytes]]:
    """One that was prepared ahead: its variables came later (lean/waiting.py)."""
    code = (
        f"import sys; sys.path.insert(0, {str(SRC)!r}); from jupyterhub4family.lean import waiting; import os;"
        f" waiting._show({{'JUPYTERHUB_SERVICE_URL': {address!r}, 'JUPYTERHUB_API_TOKEN': 'secret'}});"
        " print(flush=True); input()"
    )
    with subprocess.Popen(
        [sys.executable, "-IS", "-c", code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={processes.SERVER_MARKER: "/user/anna/"},
    ) as running:
        assert running.stdout is not None
        running.stdout.readline()
        yield running
        running.kill()


def test_one_that_was_prepared_ahead_is_asked_as_well(address: str, prepared: subprocess.Popen[bytes]) -> None:
    Server.answers = {"/user/anna/api/kernels": [{"execution_state": "busy"}], "/user/anna/api/terminals": []}
    assert activity(prepared) == Activity(True, 1, 1)
    assert (address, "secret") in busy_kernels.servers()


def test_what_a_process_shows_keeps_nobody_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert server_activity._read(str(tmp_path / "pipe")) == b""


def activity(process: subprocess.Popen[bytes]) -> Activity:
    start_time = processes.start_time(process.pid)
    assert start_time is not None
    return server_activity.activity(os.getuid(), process.pid, start_time)


@pytest.mark.parametrize(
    ("kernels", "terminals", "expected"),
    [
        ([], [], Activity(True, 0, 0)),
        ([], None, Activity(True, 0, 0)),  # a server without terminals
        ([{"execution_state": "idle"}, {"execution_state": "starting"}], [{"name": "1"}], Activity(True, 3, 0)),
        ([{"execution_state": "idle"}, {"execution_state": "busy"}], [], Activity(True, 2, 1)),
        # What nobody has foreseen is no idle kernel.
        ([{"execution_state": "restarting"}, {}, 5], [], Activity(True, 3, 3)),
        (None, [], Activity(False)),
        # It has terminals, and does not say which: there may be somebody's shell.
        ([], {"message": "later"}, Activity(False)),
        ({"message": "no"}, [], Activity(False)),
    ],
)
def test_what_a_server_says(process: subprocess.Popen[bytes], kernels: Any, terminals: Any, expected: Activity) -> None:
    Server.answers.update({"/user/anna/api/kernels": kernels, "/user/anna/api/terminals": terminals})
    assert activity(process) == expected


@pytest.mark.parametrize("body", [b"", b"[", b"[" * 200_000, b"null", b"\xff"])
def test_nonsense_says_nothing(process: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch, body: bytes) -> None:
    Server.answers.update({"/user/anna/api/kernels": []})
    monkeypatch.setattr(Server, "body", body)
    assert activity(process) == Activity(False)


def test_another_process_of_that_number_is_not_asked(process: subprocess.Popen[bytes]) -> None:
    Server.answers.update({"/user/anna/api/kernels": []})
    start_time = processes.start_time(process.pid) or 0
    assert not server_activity.activity(os.getuid(), process.pid, start_time + 1).known
    # Nor one that is no server.
    assert not server_activity.activity(os.getuid(), os.getpid(), 0).known


@pytest.mark.parametrize("address", ["http://192.168.1.2:80/user/anna/", "https://127.0.0.1:443/", "http://127.0.0.1/"])
def test_only_servers_on_this_machine_are_asked(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    values = {"JUPYTERHUB_SERVICE_URL": address, "JUPYTERHUB_API_TOKEN": "secret"}
    monkeypatch.setattr(processes, "environment_value", lambda _pid, key: values[key])
    assert server_activity.address_and_token(1) is None


def stat(proc: Path, pid: int, parent: int, state: str = "S") -> None:
    (proc / str(pid)).mkdir()
    (proc / str(pid) / "stat").write_text(f"{pid} (x) {state} {parent} {' '.join(['0'] * 30)}\n", "ascii")


@pytest.mark.parametrize("answers", [True, False])
def test_attack_who_has_taken_the_port_of_a_server_that_ends_gets_no_token(
    process: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch, answers: bool
) -> None:
    monkeypatch.setattr(Server, "answers", {"/user/anna/api/kernels": [], "/user/anna/api/terminals": []})

    def uid_of_listener(_port: int) -> int:
        if not answers:
            raise OSError("no such protocol")
        return os.getuid() + 1

    monkeypatch.setattr(sockets, "uid_of_listener", uid_of_listener)
    # Without an answer of the kernel its table says whose it is.
    assert activity(process).known is not answers
    monkeypatch.setattr(sockets, "listeners", lambda: iter(()))
    assert not activity(process).known


def test_programs_of_notebooks_terminals_and_the_background_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "PROC", tmp_path)
    scope = cgroups.scope_name(1001, 10, 99)
    monkeypatch.setattr(cgroups, "scopes", lambda: {scope: [10, 11, 12, 40, 41], "another": [60]})
    for pid, parent in ((10, 1), (11, 10), (12, 10), (60, 1), (61, 60)):
        stat(tmp_path, pid, parent)
    assert server_activity.programs(1001, 10, 99) == 0, "the server, a kernel, a shell"
    stat(tmp_path, 20, 11)  # started in a notebook
    stat(tmp_path, 30, 12)  # in a terminal
    stat(tmp_path, 31, 30)
    stat(tmp_path, 40, 1)  # a daemon
    stat(tmp_path, 41, 1, state="Z")
    assert server_activity.programs(1001, 10, 99) == 4


def test_parents_in_a_circle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pid that was used again while the table was read can look like that."""
    monkeypatch.setattr(processes, "PROC", tmp_path)
    monkeypatch.setattr(cgroups, "scopes", dict)
    stat(tmp_path, 10, 1)
    stat(tmp_path, 20, 21)
    stat(tmp_path, 21, 20)
    assert server_activity.programs(1001, 10, 99) == 0
