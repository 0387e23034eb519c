"""Runs as jupyterhub, called by root's `probe`: goes through the portal as a member's browser does.

It has what the portal gives a browser, and the password of a throw-away account that it reads from stdin: no token,
no right of the service's. Standard library only, so that it finds out what is wrong with everything else.
"""

from __future__ import annotations

import http.cookiejar
import json
import secrets
import ssl
import time
import urllib.error
import urllib.parse
import urllib.request
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, Optional

from jupyterhub4family.common import paths
from jupyterhub4family.common.errors import FamilyError
from jupyterhub4family.common.i18n.messages import _
from jupyterhub4family.common.protocol import service_programs, serving
from jupyterhub4family.common.protocol.actions import Nothing
from jupyterhub4family.common.protocol.service_programs import TrialLogin
from jupyterhub4family.common.settings import effective
from jupyterhub4family.common.settings.model import Settings
from jupyterhub4family.service.smoke_test.websocket import WebSocket

#: Seconds for one answer; for a server to start; for it to stop.
TIMEOUT, START, STOP = 30, 300, 60


def main() -> int:
    """Answer one request; progress comes before the answer."""
    return serving.serve(lambda: None, HANDLERS)


def use_portal(_caller: None, request: TrialLogin) -> Nothing:
    """Go through this machine's portal as that member. Raises FamilyError that names the step."""
    run_smoke_test(PortalClient(portal(effective.settings_in_use()[0])), request.name, request.password)
    return Nothing()


def portal(settings: Settings) -> str:
    """The portal's address on this very machine."""
    return f"{'https' if settings.https else 'http'}://127.0.0.1:{settings.port}"


def run_smoke_test(client: PortalClient, name: str, password: str) -> None:
    """Log in, start a server, calculate, stop it. Raises FamilyError that names the step."""
    serving.report(10, _("Logging in"))
    client.log_in(name, password)
    serving.report(25, _("Starting a server"))
    client.start_server(name)
    try:
        serving.report(60, _("Running a test cell"))
        client.calculate(name)
    finally:
        serving.report(85, _("Stopping the server"))
        client.stop_server(name)


class _Form(HTMLParser):
    """Collects the hidden fields of a page's forms."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.fields: dict[str, str] = {}
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, Optional[str]]]) -> None:
        """Called for every tag."""
        given = dict(attrs)
        if tag == "input" and given.get("type") == "hidden" and given.get("name"):
            self.fields[str(given["name"])] = given.get("value") or ""


class PortalClient:
    """A browser with a cookie jar of its own, on the portal at `base`."""

    def __init__(self, base: str, authority: Path = paths.AUTHORITY_CERTIFICATE) -> None:
        self._base = base
        self._jar = http.cookiejar.CookieJar()
        self._tls = ssl.create_default_context(cafile=str(authority) if authority.exists() else None)
        if paths.OWN_TLS.is_dir() and any(paths.OWN_TLS.iterdir()):
            # One that the family brought along is not for 127.0.0.1; whether it is good is another check.
            self._tls.check_hostname, self._tls.verify_mode = False, ssl.CERT_NONE
        self._opener = urllib.request.build_opener(
            # Whatever proxy the machine uses for the internet, the portal is on this machine.
            urllib.request.ProxyHandler({}),
            urllib.request.HTTPCookieProcessor(self._jar),
            urllib.request.HTTPSHandler(context=self._tls),
        )

    # -- what a member does ----------------------------------------------------------------------

    def log_in(self, name: str, password: str) -> None:
        """Fill in the login page. Raises FamilyError if the portal does not let the account in."""
        page = self._page("/hub/login?next=%2Fhub%2Fhome")
        form = {**_Form(page).fields, "username": name, "password": password}
        if not form.get("_xsrf"):
            raise FamilyError(_("there is no login page at {address}", address=self._base))
        self._ask(
            "POST", "/hub/login?next=%2Fhub%2Fhome", urllib.parse.urlencode(form).encode(), "navigate", (200, 403)
        )
        status, model = self._api("GET", "/hub/api/user", (200, 401, 403))
        if status != 200 or model.get("name") != name:
            raise FamilyError(_("the portal did not let the trial member in"))

    def start_server(self, name: str) -> None:
        """Start the server and wait until it is ready. Raises FamilyError."""
        self._api("POST", f"/hub/api/users/{name}/server", (201, 202))
        deadline = time.monotonic() + START
        while True:
            server = self._server(name)
            if server.get("ready"):
                return
            if not server or time.monotonic() > deadline:
                raise FamilyError(_("the trial member's server did not start"))
            time.sleep(0.3)

    def calculate(self, name: str) -> None:
        """Run one cell through the web socket of a new kernel. Raises FamilyError if the result is not right."""
        home = f"/user/{name}/"
        self._page(f"{home}lab")  # through the hub's OAuth pages and back
        _status, model = self._api("POST", f"{home}api/kernels", (201,), {"name": "python3"})
        session, one, two = secrets.token_hex(16), secrets.randbelow(10**6), secrets.randbelow(10**6)
        path = f"{home}api/kernels/{model['id']}/channels?session_id={session}"
        with WebSocket(self._base + path, self._tls, self._headers(path, "websocket"), TIMEOUT) as socket:
            socket.send(json.dumps(_cell(session, f"{one} * {two}")))
            result = _result(socket)
        if result != str(one * two):
            raise FamilyError(_("the notebook gave a wrong result: {result}", result=result[:100]))

    def stop_server(self, name: str) -> None:
        """Stop the server and wait until it is gone. Raises FamilyError."""
        deadline = time.monotonic() + STOP
        # One that is on its way up cannot be stopped (400).
        while self._server(name):
            self._api("DELETE", f"/hub/api/users/{name}/server", (202, 204, 400))
            if time.monotonic() > deadline:
                raise FamilyError(_("the trial member's server did not stop"))
            time.sleep(0.3)

    def _server(self, name: str) -> dict[str, Any]:
        _status, model = self._api("GET", f"/hub/api/users/{name}", (200,))
        return dict((model.get("servers") or {}).get("") or {})

    # -- HTTP --------------------------------------------------------------------------------------

    def _page(self, path: str) -> str:
        return self._ask("GET", path, None, "navigate", (200,))[1]

    def _api(self, method: str, path: str, accepted: tuple[int, ...], body: Any = None) -> tuple[int, dict[str, Any]]:
        data = None if body is None else json.dumps(body).encode()
        status, text = self._ask(method, path, data, "cors", accepted)
        try:
            found = json.loads(text) if text else {}
        except ValueError:
            found = {}
        return status, found if isinstance(found, dict) else {}

    def _ask(
        self, method: str, path: str, data: Optional[bytes], mode: str, accepted: tuple[int, ...]
    ) -> tuple[int, str]:
        """Status and text of an answer. Raises FamilyError for another status, or none."""
        request = urllib.request.Request(self._base + path, data=data, method=method)  # noqa: S310 (our portal)
        for key, value in self._headers(path, mode).items():
            if key != "Cookie":  # the opener adds them itself, also after each redirect
                request.add_header(key, value)
        if mode == "cors" and data is not None:
            request.add_header("Content-Type", "application/json")
        step = f"{method} {path.partition('?')[0]}"
        try:
            with self._opener.open(request, timeout=TIMEOUT) as answer:
                status, text = answer.status, answer.read().decode("utf-8", "replace")
        except urllib.error.HTTPError as error:
            status, text = error.code, ""
        except (OSError, http.client.HTTPException) as error:
            reason = str(getattr(error, "reason", "") or error)
            raise FamilyError(_("the portal does not answer ({step}: {reason})", step=step, reason=reason)) from error
        if status not in accepted:
            raise FamilyError(_("the portal answered {step} with status {status}", step=step, status=status))
        return status, text

    def _headers(self, path: str, mode: str) -> dict[str, str]:
        """What a browser says about a request: JupyterHub decides by that about its XSRF cookie."""
        destination = {"navigate": "document", "websocket": "websocket"}.get(mode, "empty")
        headers = {
            "Sec-Fetch-Mode": mode,
            "Sec-Fetch-Site": "same-origin",
            "Sec-Fetch-Dest": destination,
            "User-Agent": "Mozilla/5.0 (jupyterhub4family doctor)",
            "Origin": self._base,
        }
        sent = urllib.request.Request(self._base + path)  # noqa: S310 (our portal; only the jar looks at it)
        self._jar.add_cookie_header(sent)
        headers["Cookie"] = sent.get_header("Cookie") or ""
        if mode == "cors":
            headers["X-XSRFToken"] = self._token(path)
        return headers

    def _token(self, path: str) -> str:
        """Of all XSRF cookies that would be sent there, the one of the nearest path."""
        fitting = [one for one in self._jar if one.name == "_xsrf" and path.startswith(one.path)]
        return max(fitting, key=lambda cookie: len(cookie.path)).value or "" if fitting else ""


def _cell(session: str, code: str) -> dict[str, Any]:
    """The message that runs one cell (Jupyter's messaging protocol 5.3)."""
    header = {"msg_id": secrets.token_hex(16), "msg_type": "execute_request", "session": session, "username": ""}
    header.update(version="5.3", date=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()))
    content = {"code": code, "silent": False, "store_history": False, "allow_stdin": False}
    message = {"header": header, "parent_header": {}, "metadata": {}, "content": content}
    return {**message, "channel": "shell", "buffers": []}


def _result(socket: WebSocket) -> str:
    """The value of the cell, as the kernel writes it. Raises FamilyError if none comes."""
    deadline = time.monotonic() + 2 * TIMEOUT
    while time.monotonic() < deadline:
        message = json.loads(socket.receive())
        kind, content = message.get("header", {}).get("msg_type"), message.get("content", {})
        if kind == "execute_result":
            return str(content.get("data", {}).get("text/plain", ""))
        if kind == "error":
            return str(content.get("evalue", ""))
    raise FamilyError(_("the notebook gave no result"))


HANDLERS = (serving.on(service_programs.USE_PORTAL, use_portal),)
