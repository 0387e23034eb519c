"""cli.status: tells what people see, whoever else may have the ports."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Optional

import pytest

from jupyterhub4family import __version__
from jupyterhub4family.cli import status
from jupyterhub4family.cli.base import accounts as membership
from jupyterhub4family.cli.base import snapshot
from jupyterhub4family.cli.main import main
from jupyterhub4family.common import paths
from jupyterhub4family.common.errors import ConfigurationError, FamilyError
from jupyterhub4family.common.settings import effective
from jupyterhub4family.common.settings.model import Settings
from jupyterhub4family.common.state import certificates, supervision
from jupyterhub4family.common.system import network
from jupyterhub4family.common.system.programs import CompletedProcess
from tests.unit.fakes import FakePrograms
from tests.unit.helpers import account, free_port

Answers = dict[str, tuple[int, bytes]]
HEALTH = "/hub/health"
PROGRESS = "/setup-progress.json"


class Web:
    """Web servers of the test: each answers the addresses that it is told, everything else with one answer."""

    def __init__(self) -> None:
        self._servers: list[ThreadingHTTPServer] = []

    def serve(self, answers: Answers, otherwise: tuple[int, bytes] = (404, b"")) -> int:
        """A new server; returns its port."""

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                code, body = answers.get(self.path, otherwise)
                self.send_response(code)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: Any) -> None:
                """Say nothing."""

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._servers.append(server)
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        return int(server.server_address[1])

    def close(self) -> None:
        for server in self._servers:
            server.shutdown()
            server.server_close()


@pytest.fixture
def web(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Web]:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.setattr(supervision, "chosen_supervisor", lambda _settings: "cron")
    monkeypatch.setattr(paths, "CURRENT_RELEASE", tmp_path / "release")
    monkeypatch.setattr(paths, "CURRENT_TEMPLATE", tmp_path / "template")
    monkeypatch.setattr(network, "lan_addresses", lambda: ["192.168.0.7", "10.0.0.1"])
    monkeypatch.setattr(network, "announced_name", str)
    monkeypatch.setattr(membership, "members", lambda: [account()])
    monkeypatch.setattr(certificates, "read_authority", lambda: None)
    monkeypatch.setattr(effective, "configuration_problems", lambda: [])
    FakePrograms(monkeypatch).answer("qrencode", lambda call: CompletedProcess(0, f"[code of {call.args[-1]}]\n", ""))
    made = Web()
    yield made
    made.close()


def find_out(portal: Optional[int] = None, hub: Optional[int] = None) -> snapshot.Status:
    return snapshot.take_snapshot(plain(portal, hub))


def plain(portal: Optional[int] = None, hub: Optional[int] = None) -> Settings:
    """Settings of a portal without TLS: what answers in these tests has none."""
    return Settings(port=portal or free_port(), hub_port=hub or free_port(), https=False, allow_plain_http=True)


def test_nothing_runs(web: Web) -> None:
    now = find_out()
    assert (now.portal, now.hub_running, now.setup, now.version) == ("not running", False, {}, __version__)


def test_everything_runs(web: Web) -> None:
    now = find_out(web.serve({HEALTH: (200, b"")}), web.serve({HEALTH: (200, b"")}))
    assert (now.portal, now.hub_running) == ("running", True)


def test_the_hub_is_starting(web: Web) -> None:
    now = find_out(web.serve({}, otherwise=(503, b"<html>")))
    assert (now.portal, now.hub_running) == ("starting", False)


def test_the_proxy_is_missing(web: Web) -> None:
    assert find_out(hub=web.serve({HEALTH: (200, b"")})).portal == "not running"


@pytest.mark.parametrize("event", [{}, {"percent": 15, "message": "Fetching JupyterHub"}])
def test_the_release_is_being_built(web: Web, event: dict[str, Any]) -> None:
    page = {PROGRESS: (200, json.dumps(event).encode())}
    now = find_out(web.serve(page, otherwise=(503, b"<html>")))
    assert (now.portal, now.setup) == ("setting up", event)


@pytest.mark.parametrize("code", [404, 200, 302, 401, 500])
def test_another_web_server_has_the_port(web: Web, code: int) -> None:
    now = find_out(web.serve({}, otherwise=(code, b"<html>It works!</html>")))
    # Of one that says yes to everything nothing better can be said.
    assert now.portal == ("starting" if code == 200 else "taken")


@pytest.mark.parametrize("body", [b"[]", b"[1]", b"null", b"1", b'"x"', b"{", b"\xff"])
@pytest.mark.parametrize("code", [200, 404])
def test_another_programs_json_is_no_traceback(
    web: Web, body: bytes, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    now = find_out(web.serve({PROGRESS: (200, body)}, otherwise=(code, b"")))
    assert now.portal != "running" and now.setup == {}
    status._print(now)


@pytest.mark.parametrize(
    ("output", "portal"),
    [
        (b"SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n", "taken"),
        (b"\x15\x03\x01\x00\x02\x02F", "taken"),
        (b"", "not running"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{", "starting"),
    ],
)
def test_something_else_than_a_web_server_has_the_port(web: Web, output: bytes, portal: str) -> None:
    listener = socket.create_server(("127.0.0.1", 0))

    def answer() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                connection.recv(1000)
                connection.sendall(output)

    thread = threading.Thread(target=answer, daemon=True)
    thread.start()
    try:
        assert find_out(int(listener.getsockname()[1])).portal == portal
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()


def test_somebody_who_never_answers_is_not_waited_for(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshot, "TIMEOUT", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        assert find_out(int(silent.getsockname()[1])).portal == "not running"


def test_a_portal_that_should_speak_tls_and_does_not(web: Web) -> None:
    number = web.serve({HEALTH: (200, b"")})
    assert snapshot.take_snapshot(Settings(port=number, hub_port=free_port())).portal == "taken"
    assert snapshot.take_snapshot(Settings(port=free_port(), hub_port=free_port())).portal == "not running"


def test_addresses_of_the_lan_come_first(web: Web) -> None:
    found = snapshot.take_snapshot(Settings(port=free_port(), hub_port=free_port())).addresses
    assert [address.rpartition(":")[0] for address in found] == [
        "https://192.168.0.7",
        "https://10.0.0.1",
        "https://127.0.0.1",
    ]


def test_which_release_and_template(web: Web, tmp_path: Path) -> None:
    (tmp_path / "py3.11-abc").mkdir()
    (tmp_path / "release").symlink_to("py3.11-abc")
    for elsewhere in ("/etc", "../x", "template", "a\x1b[31m", "x" * 300):
        (tmp_path / "template").symlink_to(elsewhere)
        now = find_out()
        # One that leads to itself has a name like any other; it is not looked behind.
        assert (now.release, now.template) == ("py3.11-abc", "template" if elsewhere == "template" else "")
        (tmp_path / "template").unlink()


def call(monkeypatch: pytest.MonkeyPatch, settings: Settings, *arguments: str) -> int:
    monkeypatch.setattr(effective, "settings_in_use", lambda: (settings, None))
    return main(["status", *arguments])


def test_the_command_when_people_can_log_in(
    web: Web, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = plain(web.serve({HEALTH: (200, b"")}), web.serve({HEALTH: (200, b"")}))
    assert call(monkeypatch, settings) == 0
    output = capsys.readouterr().out
    assert "is running" in output and f"http://192.168.0.7:{settings.port}/" in output


def test_the_command_when_they_cannot(
    web: Web, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    event = {"message": "no network", "hint": "plug the cable in", "failed": True, "percent": 0}
    page = {PROGRESS: (200, json.dumps(event).encode())}
    settings = plain(web.serve(page, otherwise=(503, b"")))
    assert call(monkeypatch, settings) == 6
    output = capsys.readouterr().out
    assert "Problem: no network" in output and "Try: plug the cable in" in output
    assert call(monkeypatch, plain()) == 6
    assert "Try: sudo jupyterhub4family start" in capsys.readouterr().out


def test_the_command_as_json(web: Web, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(monkeypatch, plain(), "--json") == 6
    now = json.loads(capsys.readouterr().out)
    assert now["portal"] == "not running" and now["hub_running"] is False and now["supervisor"] == "cron"


def test_the_next_step(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    runs = plain(web.serve({HEALTH: (200, b"")}), web.serve({HEALTH: (200, b"")}))
    assert snapshot.take_snapshot(runs).next == ""
    monkeypatch.setattr(membership, "members", lambda: [])
    assert "members add" in snapshot.take_snapshot(runs).next
    assert "start" in find_out().next
    assert "ss -ltnp" in snapshot.take_snapshot(plain(web.serve({}))).next


def test_how_a_new_device_learns_to_trust(
    web: Web, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(certificates, "read_authority", lambda: b"a certificate")
    now = snapshot.take_snapshot(Settings(port=8000, hub_port=free_port()))
    assert now.trust == "http://192.168.0.7:8000/trust"
    assert now.fingerprint.count(":") == 31
    status._print(replace(now, portal="running"), with_code=True)
    output = capsys.readouterr().out
    assert now.trust in output and now.fingerprint[-47:] in output and f"[code of {now.trust}]" in output


def test_a_code_only_where_it_fits_or_is_wanted(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[str] = []

    def code(address: str) -> str:
        shown.append(address)
        return ""

    monkeypatch.setattr(status, "code", code)
    settings = plain(web.serve({HEALTH: (200, b"")}), web.serve({HEALTH: (200, b"")}))
    assert call(monkeypatch, settings) == 0 and shown == []
    assert call(monkeypatch, settings, "--qr") == 0
    assert shown == [f"http://192.168.0.7:{settings.port}/"]


def test_a_bad_settings_file_is_told_beside_what_runs(
    web: Web, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = plain(web.serve({HEALTH: (200, b"")}), web.serve({HEALTH: (200, b"")}))
    error = ConfigurationError("unknown key 'prot'", "the nearest known key is 'port'")
    monkeypatch.setattr(effective, "settings_in_use", lambda: (settings, error))
    with pytest.raises(FamilyError) as caught:
        main(["status"])
    assert int(caught.value.status) == 8 and "prot" in caught.value.message
    assert "JupyterHub is running" in capsys.readouterr().out


# -- whoever else may have the ports ---------------------------------------------------------------------


class Impostor:
    """Has a port, and sends what it likes to whoever asks; `forever` again and again."""

    def __init__(self, first: bytes, forever: bytes = b"", pause: float = 0.0) -> None:
        self.asked = 0
        self._server = socket.create_server(("127.0.0.1", 0))
        self._what = (first, forever, pause)
        self._over = threading.Event()
        threading.Thread(target=self._serve, daemon=True).start()

    @property
    def port(self) -> int:
        return int(self._server.getsockname()[1])

    def _serve(self) -> None:
        first, forever, pause = self._what
        with contextlib.suppress(OSError):
            while True:
                client, _address = self._server.accept()
                self.asked += 1
                threading.Thread(target=self._answer, args=(client, first, forever, pause), daemon=True).start()

    def _answer(self, client: socket.socket, first: bytes, forever: bytes, pause: float) -> None:
        with contextlib.suppress(OSError), client:
            client.sendall(first)
            # Not time.sleep, which other tests replace: until somebody hangs up this goes on.
            while forever and not self._over.wait(pause):
                client.sendall(forever)

    def close(self) -> None:
        self._over.set()
        self._server.close()


@pytest.mark.parametrize(
    ("first", "forever", "pause"),
    [
        (b"HTTP/1.1 200 OK\r\nX: ", b"a", 0.05),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n", b"a", 0.05),
        (b"HTTP/1.1 200 OK\r\n", b"X: y\r\n", 0.0),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\na\r\n", 0.001),
        (b"HTTP/1.1 100 Continue\r\n\r\n" * 1000, b"HTTP/1.1 100 Continue\r\n\r\n", 0.01),
        (b"", b"a" * 10000, 0.0),
    ],
)
def test_whoever_answers_without_an_end_keeps_nobody_waiting(
    web: Web, monkeypatch: pytest.MonkeyPatch, first: bytes, forever: bytes, pause: float
) -> None:
    monkeypatch.setattr(snapshot, "TIMEOUT", 0.5)
    impostor = Impostor(first, forever, pause)
    begin = time.monotonic()
    now = find_out(impostor.port, impostor.port)
    assert time.monotonic() - begin < 3 and now.portal != "setting up"
    impostor.close()


def test_nobody_is_led_elsewhere(web: Web) -> None:
    elsewhere = Impostor(b"HTTP/1.1 200 OK\r\n\r\n")
    place = f"http://127.0.0.1:{elsewhere.port}/"
    impostor = Impostor(f"HTTP/1.1 302 Found\r\nLocation: {place}\r\nContent-Length: 0\r\n\r\n".encode())
    assert find_out(impostor.port, impostor.port).portal == "taken"
    assert impostor.asked and not elsewhere.asked
    impostor.close()
    elsewhere.close()


@pytest.mark.parametrize(
    ("body", "setup"),
    [
        (b"[" * 60000, {}),
        (b'{"percent": 1e999, "message": ["x"], "hint": 7, "failed": "yes", "more": "x"}', {}),
        (
            json.dumps({"percent": 10**30, "message": "\x1b]0;x\x07\n\u202e" + "y" * 1000, "failed": True}).encode(),
            {"percent": 100, "failed": True, "message": "\ufffd]0;x\ufffd \ufffd" + "y" * 492},
        ),
    ],
)
def test_what_the_setup_is_said_to_tell(web: Web, body: bytes, setup: dict[str, Any]) -> None:
    now = find_out(web.serve({PROGRESS: (200, body)}, otherwise=(503, b"")))
    assert now.setup == setup and now.portal == ("starting" if body.startswith(b"[") else "setting up")
