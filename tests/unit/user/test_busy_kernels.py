"""user.busy_kernels: asks real servers of this account, with their own tokens, and counts what is busy."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar

import pytest

from jupyterhub4family.common.system import processes
from jupyterhub4family.user import busy_kernels


class Server(BaseHTTPRequestHandler):
    """As much of a single-user server as is asked."""

    answer: ClassVar[Any] = []
    asked: ClassVar[list[tuple[str, str]]] = []

    def do_GET(self) -> None:
        """Say what the kernels do."""
        self.asked.append((self.path, str(self.headers["Authorization"])))
        body = json.dumps(self.answer).encode()
        self.send_response(200 if self.headers["Authorization"] == "token secret" else 403)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_args: Any) -> None:
        """Nothing."""


@pytest.fixture
def address() -> Iterator[str]:
    Server.asked.clear()
    with ThreadingHTTPServer(("127.0.0.1", 0), Server) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/user/anna/"
        server.shutdown()


@pytest.mark.parametrize(
    ("answer", "count"),
    [
        ([{"execution_state": "busy"}, {"execution_state": "idle"}, {"execution_state": "busy"}], 2),
        ([], 0),
        ({"message": "no"}, 0),
        ([3, None], 0),
    ],
)
def test_busy_kernels_are_counted(address: str, answer: Any, count: int) -> None:
    Server.answer = answer
    assert busy_kernels.busy(address, "secret") == count
    assert Server.asked == [("/user/anna/api/kernels", "token secret")]


def test_who_does_not_answer_is_idle(address: str) -> None:
    Server.answer = [{"execution_state": "busy"}]
    assert busy_kernels.busy(address, "wrong") == 0
    assert busy_kernels.busy("http://127.0.0.1:9/user/anna/", "secret") == 0


def test_only_this_accounts_processes_are_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    assert os.getpid() in busy_kernels._own_processes()
    uid = os.getuid() + 1
    monkeypatch.setattr(os, "getuid", lambda: uid)
    assert os.getpid() not in busy_kernels._own_processes()


def test_only_servers_on_this_machine_are_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    environments = {
        1: {"JUPYTERHUB_SERVICE_URL": "http://127.0.0.1:4000/user/anna/", "JUPYTERHUB_API_TOKEN": "a"},
        2: {"JUPYTERHUB_SERVICE_URL": "http://127.0.0.1:4000/user/anna/", "JUPYTERHUB_API_TOKEN": "a"},
        3: {"JUPYTERHUB_SERVICE_URL": "http://192.168.1.2:80/user/anna/", "JUPYTERHUB_API_TOKEN": "b"},
        4: {"JUPYTERHUB_SERVICE_URL": "http://127.0.0.1:4000/user/anna/"},
        5: {},
    }
    monkeypatch.setattr(busy_kernels, "_own_processes", lambda: iter(environments))
    monkeypatch.setattr(processes, "environment_value", lambda pid, key: environments[pid].get(key))
    assert busy_kernels.servers() == {("http://127.0.0.1:4000/user/anna/", "a")}
