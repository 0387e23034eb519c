"""Runs as jupyterhub: what answers on the portal's port while the first release is being built.

It only reads: one page, and the progress as JSON. What a browser sends is used for two things: the language it asks
for, and, where it came without TLS, the address that it is led to (as proxy/plain.js does it later).
"""

from __future__ import annotations

import contextlib
import html
import ipaddress
import json
import re
import socket
import ssl
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, Optional

from jupyterhub4family.common import paths
from jupyterhub4family.common.errors import FamilyError
from jupyterhub4family.common.i18n.messages import LANGUAGES, Message, _, accepted_languages, best_language, translated
from jupyterhub4family.common.settings.model import Settings
from jupyterhub4family.common.system import network
from jupyterhub4family.service.releases import progress

PAGE = paths.SHARE / "setup-page.html"
#: The first byte of every TLS connection; plain HTTP begins with a letter.
TLS_HANDSHAKE = b"\x16"
#: The page brings everything with it, and its script is the only one that may run.
POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'; img-src data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
#: Of TLS 1.2; the same as in proxy/certificates.js. Those of TLS 1.3 are all good.
CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    #: None for a portal without HTTPS.
    tls: Optional[ssl.SSLContext] = None

    def __init__(self, port: socket.socket, handler: type[BaseHTTPRequestHandler]) -> None:
        super().__init__(port.getsockname(), handler, bind_and_activate=False)
        self.socket.close()
        # A descriptor of its own: the port stays open when the page's time is over.
        self.socket = port.dup()

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        # In the connection's own thread, so that nobody waits for somebody else's handshake.
        try:
            request = self._secured(request)
        except (OSError, ValueError):
            # Browsers that do not trust the certificate yet leave like this, and so do scanners.
            self.shutdown_request(request)
            return
        super().process_request_thread(request, client_address)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of connections that break: a page that asks every second would fill the log."""
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)

    def _secured(self, connection: socket.socket) -> socket.socket:
        """The connection, behind TLS if that is how it begins. Raises OSError."""
        if self.tls is None:
            return connection
        connection.settimeout(_Handler.timeout)
        if connection.recv(1, socket.MSG_PEEK) != TLS_HANDSHAKE:
            return connection
        return self.tls.wrap_socket(connection, server_side=True)


class SetupPage:
    """A web server in a thread, at a port that listens already, for use in a `with` statement.

    Raises FamilyError when there is no certificate.
    """

    def __init__(self, settings: Settings, port: socket.socket, page: Path = PAGE) -> None:
        template = page.read_text("utf-8")
        tls = _tls_context() if settings.https else None

        class Handler(_Handler):
            pages: ClassVar[dict[str, bytes]] = {language: in_language(template, language) for language in LANGUAGES}
            language = settings_language(settings)
            port = settings.port

        self._server = _Server(port, Handler)
        self._server.tls = tls
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


def _tls_context() -> ssl.SSLContext:
    """TLS with the certificate that the family brought along, if it is good, else with ours. Raises FamilyError."""
    for directory in (paths.OWN_TLS, paths.TLS):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_ciphers(CIPHERS)
        with contextlib.suppress(OSError):
            context.load_cert_chain(directory / "portal.crt", directory / "portal.key")
            return context
    raise FamilyError(_("the portal has no certificate"), _("make a new one: sudo jupyterhub4family cert renew"))


def in_language(template: str, language: str) -> bytes:
    """The page with its sentences, each in double braces, in a language."""

    def substitute(found: re.Match[str]) -> str:
        return html.escape(translated(_(" ".join(found[1].split())), language))

    text = re.sub(r"\{\{(.*?)\}\}", substitute, template, flags=re.DOTALL)
    return text.replace('<html lang="en">', f'<html lang="{language}">', 1).encode()


def sentences() -> list[Message]:
    """Everything that the page says, so that the catalogue knows it."""
    return [
        _("Almost there"),
        _("Your family's JupyterHub is being set up"),
        _("This happens once and takes a few minutes, longer on a slow connection."),
        _("This page turns into the login page by itself."),
        _("Progress"),
        _("Starting"),
        _("Starting the portal"),
        _("This did not work:"),
        _("Try:"),
        _("The setup keeps trying by itself."),
    ]


def sent_in_clear() -> Message:
    """What somebody is told who sends a form without TLS."""
    return _(
        "This was sent without encryption, so it went no further. If there was a password in it, change it."
        " Open the address that begins with https:// instead."
    )


def asked_host(untrusted: str) -> tuple[str, int]:
    """Host and port that a browser asked for, if the host is one of ours; else "" and 0.

    Whoever could choose it would lead people elsewhere.
    """
    found = re.fullmatch(r"(\[[0-9a-f:.]{2,45}\]|[a-z0-9][a-z0-9.-]{0,252})(?::([0-9]{1,5}))?", untrusted.lower())
    if found is None:
        return "", 0
    host = found[1].strip("[]")
    try:
        ours = ipaddress.ip_address(host).is_private
    except ValueError:
        ours = host in (*network.host_names(), "localhost")
    return (found[1], int(found[2] or 0)) if ours else ("", 0)


def settings_language(settings: Settings) -> str:
    """The language that the family has chosen for everybody; "" if each browser is to have its own."""
    return settings.language if settings.language in LANGUAGES else ""


class _Handler(BaseHTTPRequestHandler):
    pages: ClassVar[dict[str, bytes]] = {}
    language = ""
    port = 0
    server_version = "jupyterhub4family"
    sys_version = ""
    #: Seconds; a client that says nothing must not keep a thread for ever.
    timeout = 10

    def do_GET(self) -> None:
        """Answer every address with the page, and one with the progress; without TLS lead there."""
        if self._must_be_led_to_tls():
            if self.command == "POST":
                text = translated(sent_in_clear(), self._language()) + "\n"
                self._answer(403, "text/plain; charset=utf-8", text.encode())
            else:
                self._answer(307, "text/plain", b"", location=self._secure_address())
        elif self.path == "/setup-progress.json":
            event = progress.read_progress()
            translations = {
                key: translated(event[key], self._language()) for key in event if isinstance(event[key], str)
            }
            self._answer(200, "application/json", json.dumps({**event, **translations}).encode())
        else:
            # 503: programs must not take this page for the hub's.
            self._answer(503, "text/html; charset=utf-8", self.pages[self._language()])

    do_HEAD = do_GET
    do_POST = do_GET

    def _must_be_led_to_tls(self) -> bool:
        return getattr(self.server, "tls", None) is not None and not isinstance(self.connection, ssl.SSLSocket)

    def _language(self) -> str:
        return self.language or best_language(accepted_languages(self.headers.get("Accept-Language", "")))

    def _secure_address(self) -> str:
        host, port = asked_host(self.headers.get("Host", ""))
        if not host:
            local = str(self.connection.getsockname()[0])
            host, port = network.in_url(local[7:] if local.startswith("::ffff:") else local), 0
        path = self.path if re.fullmatch(r"/[\x21-\x7e]*", self.path) else "/"
        return f"https://{host}:{port or self.port}{path}"

    def _answer(self, status: int, kind: str, body: bytes, location: str = "") -> None:
        self.send_response(status)
        if location:
            self.send_header("Location", location)
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
