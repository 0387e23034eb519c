"""lean.hub_client: what JupyterHub asks its `fetch` for, of a real server, and what is left to JupyterHub's own."""

from __future__ import annotations

import asyncio
import http.server
import json
import threading
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from tornado.httpclient import HTTPClientError

from jupyterhub4family.lean import hub_client, stand_ins


class Hub(http.server.BaseHTTPRequestHandler):
    """Answers what it was asked; /refused as a hub does that does not know a token."""

    def do_GET(self) -> None:
        length = int(self.headers.get("Content-Length", 0))
        heard = {
            "method": self.command,
            "path": self.path,
            "body": self.rfile.read(length).decode(),
            "type": self.headers.get("Content-Type"),
            "authorization": self.headers.get("Authorization"),
        }
        body = json.dumps(heard).encode()
        self.send_response(403 if self.path == "/refused" else 200)
        self.send_header("X-JupyterHub-Version", "6.1.1")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_GET

    def log_message(self, *args: Any) -> None:
        """Silent."""


@pytest.fixture(scope="module")
def hub() -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def ask(url: str, **more: Any) -> Any:
    async def both() -> tuple[hub_client.Response, Any]:
        answer = await hub_client.fetch(url, **more)
        return answer, await answer.json()

    return asyncio.run(both())


def test_a_question_and_its_answer(hub: str) -> None:
    answer, heard = ask(f"{hub}/hub/api", headers={"Authorization": "token x"})
    assert (answer.status, answer.ok, answer.reason) == (200, True, "OK")
    assert answer.headers.get("x-jupyterhub-version") == "6.1.1"
    assert heard["method"] == "GET" and heard["authorization"] == "token x" and heard["body"] == ""
    assert json.loads(asyncio.run(answer.text())) == json.loads(asyncio.run(answer.read())) == heard


@pytest.mark.parametrize(
    ("data", "body", "kind"),
    [
        ('{"last_activity": 1}', '{"last_activity": 1}', "application/json"),
        (b"code=1&state=2", "code=1&state=2", "application/json"),
        ({"code": "1 2"}, "code=1+2", "application/x-www-form-urlencoded"),
    ],
)
def test_what_a_server_sends(hub: str, data: Any, body: str, kind: str) -> None:
    headers = {"Content-Type": "application/json"}
    _answer, heard = ask(f"{hub}/activity", method="POST", headers=headers, data=data)
    assert (heard["method"], heard["body"], heard["type"]) == ("POST", body, kind)
    assert headers == {"Content-Type": "application/json"}, "the caller's are not changed"


def test_a_token_that_the_hub_refuses(hub: str) -> None:
    answer, _heard = ask(f"{hub}/refused", raise_for_status=False)
    assert (answer.status, answer.ok) == (403, False)
    with pytest.raises(HTTPClientError, match="403"):
        ask(f"{hub}/refused")


def test_a_hub_that_is_not_there() -> None:
    with pytest.raises(OSError):
        ask("http://127.0.0.1:9")


@pytest.mark.parametrize(
    ("url", "more"),
    [
        ("http+unix://%2Frun%2Fhub/hub/api", {}),
        ("https://127.0.0.1:1/hub/api", {}),
        ("http://hub.example.org/hub/api", {}),
        ("http://127.0.0.1:1/", {"ssl": object()}),
        ("http://127.0.0.1:1/", {"allow_redirects": False}),
        ("http://127.0.0.1:1/", {"data": {"file": b"bytes"}}),
    ],
)
def test_everything_else_is_for_jupyterhubs_own(
    monkeypatch: pytest.MonkeyPatch, url: str, more: dict[str, Any]
) -> None:
    asked = []

    async def theirs(url: str, **more: Any) -> str:
        asked.append((url, more))
        return "their answer"

    monkeypatch.setattr(stand_ins, "real", lambda name: SimpleNamespace(fetch=theirs))
    assert asyncio.run(hub_client.fetch(url, **more)) == "their answer"
    assert asked == [(url, {"method": "GET", "raise_for_status": True, **more})]
