"""A web server that plays the hub's API: enough of it for what `service.tell_hub` asks.

JupyterHub itself answers these questions in the machine tests; here it is about what is made of the answers.
"""

from __future__ import annotations

import json
import shutil
import tempfile
import threading
import urllib.parse
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import ThreadingMixIn, UnixStreamServer
from typing import Any, Optional

TOKEN = "0123456789abcdef" * 4


class _UnixServer(ThreadingMixIn, UnixStreamServer):
    daemon_threads = True

    def get_request(self) -> tuple[Any, Any]:
        # http.server wants to know where somebody comes from.
        connection, _nothing = super().get_request()
        return connection, ("", 0)


class FakeHub:
    """Users with their servers; servers end some requests after they were asked to."""

    def __init__(self) -> None:
        self.users: dict[str, dict[str, Any]] = {}
        self.requests: list[str] = []
        #: How often a user has to be looked at until their servers have ended.
        self.looks_until_stopped = 2
        #: Answers that come instead of real ones: status and body for a request such as `GET /users/anna`.
        self.instead: dict[str, tuple[int, bytes]] = {}
        hub = self

        class Handler(_Handler):
            fake = hub

        # A socket's path has at most 107 bytes (unix(7)), and tests have long names.
        self._directory = Path(tempfile.mkdtemp(prefix="hub-"))
        self.socket = self._directory / "hub"
        self._server = _UnixServer(str(self.socket), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()

    def add(self, name: str, *servers: str, pending: Optional[str] = None) -> None:
        """A user with running servers; "" is the default one."""
        self.users[name] = {"name": name, "servers": {server: {"pending": pending} for server in servers}}

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
        shutil.rmtree(self._directory)

    def answer(self, method: str, path: str, body: Any) -> tuple[int, Any]:
        parts = [urllib.parse.unquote(part) for part in path.split("?", maxsplit=1)[0].split("/")[1:]]
        if parts in (["users"], ["jupyterhub4family", "members"]):
            return self._all_users(method, path) if parts == ["users"] else self._add_members(body)
        user = self.users.get(parts[1])
        if user is None:
            return 404, {"status": 404, "message": "Not Found"}
        if method == "DELETE" and len(parts) > 2:
            server = user["servers"][parts[3] if len(parts) > 3 else ""]
            if server["pending"] == "spawn":
                server["pending"] = None
                return 400, {"status": 400, "message": "is pending spawn"}
            server["pending"] = "stop"
            server["looks"] = self.looks_until_stopped
            return 202, None
        if method == "DELETE":
            assert not user["servers"], "JupyterHub refuses to delete a user whose servers run"
            del self.users[parts[1]]
            return 204, None
        for name, server in list(user["servers"].items()):
            if server["pending"] == "stop":
                server["looks"] -= 1
                if server["looks"] < 0:
                    del user["servers"][name]
        return 200, user

    def _all_users(self, method: str, path: str) -> tuple[int, Any]:
        if method == "GET":
            query = urllib.parse.parse_qs(path.partition("?")[2])
            offset, limit = int(query["offset"][0]), int(query["limit"][0])
            return 200, [self.users[name] for name in sorted(self.users)][offset : offset + limit]
        return 405, None

    def _add_members(self, body: Any) -> tuple[int, Any]:
        new = [name for name in body["names"] if name not in self.users]
        for name in new:
            self.add(name)
        return 200, {"added": new}


class _Handler(BaseHTTPRequestHandler):
    fake: FakeHub

    def _any(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        body = json.loads(self.rfile.read(length)) if length else None
        path = self.path[len("/hub/api") :]
        line = f"{self.command} {path}"
        self.fake.requests.append(line)
        if self.headers["Authorization"] != f"token {TOKEN}":
            status, data = 403, b'{"status": 403}'
        elif line in self.fake.instead:
            status, data = self.fake.instead[line]
        else:
            status, answer = self.fake.answer(self.command, path, body)
            data = b"" if answer is None else json.dumps(answer).encode()
        if status == 0:
            # Not even HTTP.
            self.wfile.write(data)
            return
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    do_GET = do_POST = do_DELETE = _any

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""
