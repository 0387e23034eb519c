"""service.probe_portal: what goes wrong is a sentence that names the step; the whole way is a machine test."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from jupyterhub4family.common.errors import FamilyError
from jupyterhub4family.common.settings.model import Settings
from jupyterhub4family.service.smoke_test import portal
from jupyterhub4family.service.smoke_test.portal import PortalClient, run_smoke_test
from tests.unit.helpers import free_port

LOGIN = '<form><input type="hidden" name="_xsrf" value="abc"><input name="username"></form>'


class Hub:
    """Plays the part of the hub, as far as its answers are set."""

    def __init__(self) -> None:
        hub = self
        self.answers: dict[str, tuple[int, str]] = {
            "GET /hub/login": (200, LOGIN),
            "POST /hub/login": (200, ""),
            "GET /hub/api/user": (200, '{"name": "probe"}'),
            "POST /hub/api/users/probe/server": (202, ""),
            "DELETE /hub/api/users/probe/server": (204, ""),
            "GET /hub/api/users/probe": (200, '{"servers": {}}'),
        }
        self.asked: list[tuple[str, dict[str, str], bytes]] = []

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                arguments = f"{self.command} {self.path.partition('?')[0]}"
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                hub.asked.append((arguments, dict(self.headers), body))
                code, text = hub.answers.get(arguments, (404, ""))
                self.send_response(code)
                self.send_header("Set-Cookie", "_xsrf=abc; Path=/hub/")
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text.encode())

            do_POST = do_DELETE = do_GET

            def log_message(self, format: str, *args: Any) -> None:
                """Say nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    made = Hub()
    yield made
    made.server.shutdown()
    made.server.server_close()


def client(hub: Hub) -> PortalClient:
    return PortalClient(hub.url, Path("/nonexistent"))


def test_logging_in_as_a_browser_does(hub: Hub) -> None:
    client(hub).log_in("probe", "pass word")
    arguments, headers, body = hub.asked[1]
    assert arguments == "POST /hub/login" and body == b"_xsrf=abc&username=probe&password=pass+word"
    assert headers["Cookie"] == "_xsrf=abc" and headers["Sec-Fetch-Mode"] == "navigate"
    assert hub.asked[2][1]["X-Xsrftoken"] == "abc"


@pytest.mark.parametrize(
    ("arguments", "answer", "message"),
    [
        ("GET /hub/login", (200, "It works!"), "no login page"),
        ("GET /hub/login", (503, ""), "GET /hub/login with status 503"),
        ("POST /hub/login", (500, ""), "POST /hub/login with status 500"),
        ("GET /hub/api/user", (403, ""), "did not let"),
        ("GET /hub/api/user", (200, "[]"), "did not let"),
        ("POST /hub/api/users/probe/server", (500, ""), "status 500"),
        ("GET /hub/api/users/probe", (200, '{"servers": {}}'), "did not start"),
    ],
)
def test_each_step_that_fails_is_named(hub: Hub, arguments: str, answer: tuple[int, str], message: str) -> None:
    hub.answers[arguments] = answer
    with pytest.raises(FamilyError, match=message):
        run_smoke_test(client(hub), "probe", "secret-of-the-test")


def test_a_server_that_started_is_stopped_whatever_happens(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.answers["GET /hub/api/users/probe"] = (200, '{"servers": {"": {"ready": true}}}')
    monkeypatch.setattr(portal, "STOP", 0)
    with pytest.raises(FamilyError):
        run_smoke_test(client(hub), "probe", "secret-of-the-test")
    assert any(arguments.startswith("DELETE") for arguments, _headers, _body in hub.asked)


def test_nobody_answers() -> None:
    with pytest.raises(FamilyError, match="does not answer") as caught:
        PortalClient(f"http://127.0.0.1:{free_port()}", Path("/nonexistent")).log_in("probe", "secret-of-the-test")
    assert "secret" not in str(caught.value)


def test_where_the_portal_is() -> None:
    assert portal.portal(Settings()) == "https://127.0.0.1:8000"
    assert portal.portal(Settings(https=False, listen="local", port=8010)) == "http://127.0.0.1:8010"


def test_progress_is_lines_of_json(hub: Hub, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(FamilyError):
        run_smoke_test(client(hub), "probe", "secret-of-the-test")
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["percent"] for line in lines] == [10, 25]
