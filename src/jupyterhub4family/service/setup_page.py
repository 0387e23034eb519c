"""Runs as jupyterhub: what answers on the portal's port while the first release is being built.

It only reads: one page, and the progress as JSON. Nothing that a browser sends is used.
"""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, Optional

from jupyterhub4family.common.paths import SHARE
from jupyterhub4family.common.settings import Settings
from jupyterhub4family.service.progress import read_progress

PAGE = SHARE / "setup-page.html"
#: The page brings everything with it, and its script is the only one that may run.
POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'; img-src data:"


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    #: Browsers open several connections at once, and each of a family may have a few pages open.
    request_queue_size = 64
    address_family = socket.AF_INET6

    def server_bind(self) -> None:
        # One socket for IPv6 and IPv4, as the proxy will have.
        with contextlib.suppress(OSError):
            self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        super().server_bind()


class _ServerIPv4(_Server):
    address_family = socket.AF_INET


class SetupPage:
    """A web server in a thread, for use in a `with` statement; the port is taken when it is made.

    Raises OSError when the port cannot be had.
    """

    def __init__(self, settings: Settings, page: Path = PAGE) -> None:
        html = page.read_bytes()

        class Handler(_Handler):
            page_html = html

        if settings.bind_address or not socket.has_ipv6:
            self._server: _Server = _ServerIPv4((settings.bind_address, settings.port), Handler)
        else:
            self._server = _bound_to_everything(settings.port, Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.1,), daemon=True)

    def __enter__(self) -> SetupPage:
        self._thread.start()
        return self

    def __exit__(
        self,
        _kind: Optional[type[BaseException]],
        _error: Optional[BaseException],
        _trace: Optional[TracebackType],
    ) -> None:
        self._server.shutdown()
        self._server.server_close()


def _bound_to_everything(port: int, handler: type[BaseHTTPRequestHandler]) -> _Server:
    try:
        return _Server(("", port), handler)
    except OSError as error:
        # A kernel may know IPv6 and the machine still have it switched off.
        if error.errno == 98:  # EADDRINUSE
            raise
        return _ServerIPv4(("", port), handler)


class _Handler(BaseHTTPRequestHandler):
    page_html = b""
    server_version = "jupyterhub4family"
    sys_version = ""
    #: Seconds; a client that says nothing must not keep a thread for ever.
    timeout = 10

    def do_GET(self) -> None:
        """Answer every address with the page, and one with the progress."""
        if self.path == "/setup-progress.json":
            self._answer(200, "application/json", json.dumps(read_progress()).encode())
        else:
            # 503: programs must not take this page for the hub's.
            self._answer(503, "text/html; charset=utf-8", self.page_html)

    do_HEAD = do_GET
    do_POST = do_GET

    def _answer(self, status: int, kind: str, body: bytes) -> None:
        self.send_response(status)
        for header, value in (
            ("Content-Type", kind),
            ("Content-Length", str(len(body))),
            ("Cache-Control", "no-store"),
            ("Content-Security-Policy", POLICY),
            ("X-Content-Type-Options", "nosniff"),
            ("Retry-After", "3"),
            ("Connection", "close"),
        ):
            self.send_header(header, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing: a page that asks every second would fill the log."""
