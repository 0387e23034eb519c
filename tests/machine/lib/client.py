"""A browser without a screen: logs in, starts servers and runs notebooks as a member's browser does.

Runs on the developer's machine as whoever runs the tests; it has only what the portal gives a browser:
pages, cookies, the event stream of a start, and the web sockets of kernels and terminals. No API token.

    with Browser("https://10.9.0.2:8000", verify=ca) as browser:
        browser.login("alice", "secret").expect()
        browser.start_server()
        print(browser.kernel().execute("6 * 7"))

Every request says what a browser would say about it (Sec-Fetch-Mode, Origin), because JupyterHub decides by
that whether to set its XSRF cookie and whether to demand it back.
"""

from __future__ import annotations

import base64
import json
import re
import secrets
import shlex
import ssl
import struct
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from socket import SO_LINGER, SOL_SOCKET, create_connection
from typing import Any, NamedTuple
from urllib.parse import quote, urljoin, urlsplit

import httpx
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus

from tests.machine.lib.websocket import WebSocket

TIMEOUT = 60.0
"""How long one answer may take, in seconds; a first start is given more by `start_server`."""


class ClientError(Exception):
    """Something did not go as a member would expect; the text says what the portal answered."""


class LoginRefused(ClientError):
    """The login page came back, or an error page in its place."""


class SpawnFailed(ClientError):
    """A server did not start; `events` is what the progress page showed."""

    def __init__(self, message: str, events: list[ProgressEvent]) -> None:
        super().__init__("\n".join([message, *(f"  {event}" for event in events)]))
        self.events = events


class PageRefused(ClientError):
    """A page or an API answered with an error; `page` is the whole answer."""

    def __init__(self, page: Page) -> None:
        super().__init__(f"{page.status} for {page.path}: {page.args()[:500]}")
        self.page = page


class KernelError(ClientError):
    """The code ran and raised; `name` is the exception's class."""

    def __init__(self, name: str, message: str) -> None:
        super().__init__(f"{name}: {message}")
        self.name = name


class SocketRefused(ClientError):
    """A web socket was not opened; `status` is the HTTP status that came in its place."""

    def __init__(self, path: str, status: int) -> None:
        super().__init__(f"{status} for the web socket {path}")
        self.status = status


class Silence(ClientError):
    """No answer at all, or none within the time given, or the connection broke."""


@dataclass(frozen=True)
class ProgressEvent:
    """One line of the page that is shown while a server starts."""

    seconds: float
    progress: int
    message: str
    ready: bool = False
    failed: bool = False

    def __str__(self) -> str:
        return f"{self.seconds:6.2f} s {self.progress:3d} % {self.message}"


class _PageReader(HTMLParser):
    """Collects what a person or their browser takes from a page: its words, its error, its forms."""

    _VOID = ("input", "br", "hr", "img", "meta", "link")
    _UNSEEN = frozenset({"script", "noscript", "style", "head", "nav", "modal", "hidden"})
    _ERRORS = frozenset({"login_error", "error", "alert-danger"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.args: list[str] = []
        self.error: list[str] = []
        self.forms: list[tuple[str, dict[str, str]]] = []
        # Every element that is open at the moment, as its tag and its classes.
        self._open: list[set[str]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {key: value or "" for key, value in attrs}
        if tag == "form":
            self.forms.append((given.get("action", ""), {}))
        elif tag == "input" and self.forms and "name" in given:
            self.forms[-1][1][given["name"]] = given.get("value", "")
        if tag not in self._VOID:
            self._open.append({tag, *given.get("class", "").split()})

    def handle_endtag(self, tag: str) -> None:
        # Pages forget to close paragraphs: closing an outer element closes everything inside.
        if any(tag in element for element in self._open):
            while tag not in self._open.pop():
                pass

    def handle_data(self, data: str) -> None:
        inside = set().union(*self._open)
        if data.strip() and inside.isdisjoint(self._UNSEEN):
            self.args.append(" ".join(data.split()))
            if not inside.isdisjoint(self._ERRORS):
                self.error.append(" ".join(data.split()))


@dataclass(frozen=True)
class Page:
    """An answer after all redirects."""

    status: int
    url: str
    text: str = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)
    passed: tuple[str, ...] = ()
    """The addresses that redirected on the way."""

    @property
    def path(self) -> str:
        return urlsplit(self.url).path

    def json(self) -> Any:
        return json.loads(self.text)

    def forms(self) -> list[tuple[str, dict[str, str]]]:
        """Its forms: where each is sent, and its fields as the page fills them in."""
        return _PageReader(self.text).forms

    def args(self) -> str:
        """What a person reads on it."""
        if "json" in self.headers.get("content-type", ""):
            return self.text
        return " ".join(_PageReader(self.text).args)

    def error(self) -> str:
        """What the page says went wrong; "" when it complains about nothing."""
        printed = " ".join(_PageReader(self.text).error)
        return printed or (self.args() if self.status >= 400 else "")

    def expect(self) -> Page:
        if self.status >= 400:
            raise PageRefused(self)
        return self


@dataclass(frozen=True)
class LoginResult:
    """What came of an attempt to log in."""

    logged_in: bool
    status: int
    error: str
    page: Page

    def expect(self) -> LoginResult:
        if not self.logged_in:
            raise LoginRefused(f"{self.status}: {self.error}")
        return self


class ShellResult(NamedTuple):
    """What a command printed in a terminal, and its exit status."""

    output: str
    status: int


class Browser:
    """One browser window with a cookie jar of its own."""

    def __init__(
        self,
        base_url: str,
        verify: str | Path | bool = True,
        cookies: httpx.Cookies | None = None,
        timeout: float = TIMEOUT,
        source: str | None = None,
    ) -> None:
        """`verify` is the file of a certificate authority, or False to accept any certificate; `cookies` are
        another browser's, copied; `source` is an address of this computer's to come from."""
        self.base_url = base_url.rstrip("/")
        self.name = ""
        self.timeout = timeout
        self._sockets: list[WebSocket] = []
        self.ssl = ssl.create_default_context(cafile=str(verify) if not isinstance(verify, bool) else None)
        if verify is False:
            self.ssl.check_hostname = False
            self.ssl.verify_mode = ssl.CERT_NONE
        # trust_env: whatever proxy the developer's machine uses, the portal is not behind it.
        self.http = httpx.Client(
            transport=httpx.HTTPTransport(verify=self.ssl, local_address=source, trust_env=False),
            cookies=httpx.Cookies(cookies),
            timeout=timeout,
            trust_env=False,
            headers={"User-Agent": "Mozilla/5.0 (jupyterhub4family tests)", "Accept-Language": "en"},
        )

    def __enter__(self) -> Browser:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the window: kernels and servers live on."""
        for socket in self._sockets:
            socket.close()
        self.http.close()

    @property
    def cookies(self) -> httpx.Cookies:
        """A copy, to be replayed later by another browser."""
        return httpx.Cookies(self.http.cookies)

    # --- Pages and API calls -------------------------------------------------------------------------------

    def get(self, path: str, follow: bool = True) -> Page:
        """Open a page, as by typing its address."""
        return self._ask("GET", path, "navigate", follow=follow)

    def post(self, path: str, form: Mapping[str, str], follow: bool = True) -> Page:
        """Send a form, as by its button; the caller fills in `_xsrf` like every other hidden field."""
        return self._ask("POST", path, "navigate", follow=follow, data=dict(form))

    def status(self, path: str, follow: bool = True) -> int:
        """The HTTP status of a page."""
        return self.get(path, follow).status

    def fetch(self, method: str, path: str, body: object = None, xsrf: bool = True) -> Page:
        """An API call as a page's JavaScript makes it; `xsrf=False` has no token, like a foreign page."""
        headers = {"Accept": "application/json"}
        if xsrf and (token := self.xsrf_token(path)):
            headers["X-XSRFToken"] = token
        return self._ask(method, path, "cors", headers=headers, json=body)

    def xsrf_token(self, path: str) -> str:
        """The token for an address: of all cookies that would be sent there, the one of the nearest path."""
        path = urlsplit(self._url(path)).path
        fitting = [c for c in self.http.cookies.jar if c.name == "_xsrf" and path.startswith(c.path)]
        return max(fitting, key=lambda cookie: len(cookie.path)).value or "" if fitting else ""

    def _url(self, path: str) -> str:
        return urljoin(self.base_url + "/", path)

    def _headers(self, mode: str) -> dict[str, str]:
        destination = {"navigate": "document", "websocket": "websocket"}.get(mode, "empty")
        return {"Sec-Fetch-Mode": mode, "Sec-Fetch-Site": "same-origin", "Sec-Fetch-Dest": destination}

    def _ask(
        self,
        method: str,
        path: str,
        mode: str,
        *,
        follow: bool = True,
        headers: Mapping[str, str] | None = None,
        data: Mapping[str, str] | None = None,
        json: object = None,
    ) -> Page:
        printed = {**self._headers(mode), **(headers or {})}
        if method != "GET":
            printed["Origin"] = self.base_url
        try:
            answer = self.http.request(
                method, self._url(path), headers=printed, data=data, json=json, follow_redirects=follow
            )
        except httpx.TransportError as error:
            raise Silence(f"{method} {self._url(path)}: {error}") from error
        passed = tuple(str(step.url) for step in answer.history)
        return Page(answer.status_code, str(answer.url), answer.text, answer.headers, passed)

    def _hub_api(self, method: str, path: str, body: object = None) -> Page:
        """A call to the hub's API, from its home page."""
        page = self.fetch(method, "/hub/api" + path, body)
        if page.status == 403:
            # The token changes with the login, and only a page of the hub brings the new one.
            self.get("/hub/home")
            page = self.fetch(method, "/hub/api" + path, body)
        return page.expect()

    # --- Login ---------------------------------------------------------------------------------------------

    def login(self, name: str, password: str, then: str = "/hub/home") -> LoginResult:
        """Fill in the login page. `then=""` is what a member who opened the bare address gets: their server
        starts at once."""
        page = self.get(f"/hub/login?next={quote(then)}" if then else "/hub/login")
        for action, fields in page.forms():
            if "password" in fields:
                filled = {**fields, "username": name, "password": password}
                page = self.post(urljoin(page.url, action), filled)
                break
        else:
            return LoginResult(False, page.status, page.error() or f"no login form at {page.url}", page)
        logged_in = page.status < 400 and not page.path.startswith("/hub/login")
        if logged_in:
            self.name = self.user_model()["name"]
        return LoginResult(logged_in, page.status, "" if logged_in else page.error(), page)

    def logout(self) -> Page:
        """Use the page's logout link."""
        self.name = ""
        return self.get("/hub/logout")

    def user_model(self) -> dict[str, Any]:
        """What the hub knows about whoever is logged in; PageRefused when nobody is."""
        return dict(self._hub_api("GET", "/user").json())

    def servers(self) -> dict[str, dict[str, Any]]:
        """One's own running, starting and stopping servers by name; the default server's name is ""."""
        model = self._hub_api("GET", f"/users/{quote(self.name)}").json()
        return dict(model["servers"])

    # --- Servers -------------------------------------------------------------------------------------------

    def home(self, name: str = "") -> str:
        """The path where one's own server answers."""
        return f"/user/{quote(self.name)}/" + (f"{quote(name)}/" if name else "")

    def start_server(self, name: str = "", timeout: float = 180) -> list[ProgressEvent]:
        """Press "Start My Server" and watch the progress page until the server is ready."""
        clicked = time.monotonic()
        page = self.get(f"/hub/spawn/{quote(self.name)}/{quote(name)}" if name else "/hub/spawn")
        for action, fields in page.forms():
            # Only a portal that lets members choose something shows a form; this takes what it proposes.
            if "/spawn" in action:
                page = self.post(urljoin(page.url, action), fields)
        if page.status >= 400:
            raise SpawnFailed(f"{page.status}: {page.error()}", [])
        events: list[ProgressEvent] = []
        for event in self.progress(name, timeout, clicked):
            events.append(event)
            if event.failed:
                raise SpawnFailed(event.message, events)
            if event.ready:
                # The progress page now loads itself again, which leads to the server.
                self.get(f"/hub/spawn-pending/{quote(self.name)}/{quote(name)}".rstrip("/")).expect()
                return events
        raise SpawnFailed(f"not ready after {timeout:.0f} s", events)

    def progress(self, name: str = "", timeout: float = 180, began: float | None = None) -> Iterator[ProgressEvent]:
        """The event stream of a start from its first event, until it is ready, has failed or time is up."""
        what = f"servers/{quote(name)}" if name else "server"
        path = f"/hub/api/users/{quote(self.name)}/{what}/progress"
        began = began or time.monotonic()
        seen: list[dict[str, Any]] = []
        while (left := began + timeout - time.monotonic()) > 0:
            with suppress(httpx.TransportError):
                for raw in self._event_stream(path, left):
                    # A browser opens a broken stream again, and the hub then tells everything anew.
                    if raw not in seen:
                        seen.append(raw)
                        event = ProgressEvent(
                            seconds=time.monotonic() - began,
                            progress=int(raw.get("progress", 0)),
                            message=str(raw.get("message", "")),
                            ready=bool(raw.get("ready")),
                            failed=bool(raw.get("failed")),
                        )
                        yield event
                        if event.ready or event.failed:
                            return
            time.sleep(0.5)

    def _event_stream(self, path: str, timeout: float) -> Iterator[dict[str, Any]]:
        """The events of one connection. An EventSource has no own headers: the token is in the query."""
        until = time.monotonic() + timeout
        query = {"_xsrf": self.xsrf_token(path)}
        headers = {**self._headers("cors"), "Accept": "text/event-stream"}
        # The hub sends an empty line every 8 seconds.
        patience = httpx.Timeout(self.timeout, read=min(timeout, 20))
        url = self._url(path)
        with self.http.stream("GET", url, params=query, headers=headers, timeout=patience) as answer:
            if answer.status_code != 200:
                answer.read()
                raise PageRefused(Page(answer.status_code, str(answer.url), answer.text, answer.headers))
            for line in answer.iter_lines():
                if line.startswith("data:"):
                    yield json.loads(line[len("data:") :])
                if time.monotonic() > until:
                    return

    def stop_server(self, name: str = "", timeout: float = TIMEOUT, remove: bool = False) -> None:
        """Press "Stop My Server" and wait until it is gone; `remove` also takes a named one off the list."""
        what = f"servers/{quote(name)}" if name else "server"
        self._hub_api("DELETE", f"/users/{quote(self.name)}/{what}", {"remove": True} if remove else None)
        until = time.monotonic() + timeout
        while name in (servers := self.servers()) and not servers[name].get("stopped", False):
            if time.monotonic() > until:
                raise Silence(f"server {name!r} still runs after {timeout:.0f} s: {servers[name]}")
            time.sleep(0.2)

    def open_lab(self, name: str = "") -> Page:
        """Open JupyterLab: through the hub's OAuth pages and back, as at the first visit."""
        return self.get(self.home(name) + "lab")

    def kernel(self, name: str = "", spec: str = "python3") -> Kernel:
        """A new kernel on one's own running server."""
        self.open_lab(name).expect()
        model = self.fetch("POST", self.home(name) + "api/kernels", {"name": spec}).expect().json()
        return Kernel(self, self.home(name), model["id"])

    def terminal(self, name: str = "") -> Terminal:
        """A new terminal on one's own running server."""
        self.open_lab(name).expect()
        model = self.fetch("POST", self.home(name) + "api/terminals").expect().json()
        return Terminal(self, self.home(name), model["name"])

    def websocket(self, path: str, timeout: float = TIMEOUT) -> WebSocket:
        """A web socket with the window's cookies."""
        url = self._url(path)
        headers = {**self._websocket_headers(url), "User-Agent": self.http.headers["User-Agent"]}
        tls = self.ssl if url.startswith("https") else None
        try:
            socket = WebSocket(re.sub(r"^http", "ws", url), self.base_url, headers, tls, timeout)
        except InvalidStatus as error:
            raise SocketRefused(urlsplit(url).path, error.response.status_code) from error
        except (InvalidHandshake, OSError) as error:
            raise Silence(f"no web socket at {urlsplit(url).path}: {error}") from error
        self._sockets.append(socket)
        return socket

    def _websocket_headers(self, url: str) -> dict[str, str]:
        # The jar knows which cookies belong there, but it only speaks of http addresses.
        request = urllib.request.Request(url)
        self.http.cookies.jar.add_cookie_header(request)
        return {**self._headers("websocket"), "Cookie": request.get_header("Cookie") or ""}

    def vanish(self, path: str, after: int) -> None:
        """Open a web socket, hear so many bytes, and be gone with a reset, as a browser is that was killed.

        Without the library: its thread that reads keeps a connection from being reset.
        """
        where = urlsplit(self._url(path))
        headers = {
            "Host": where.netloc,
            "Upgrade": "websocket",
            "Connection": "Upgrade",
            "Sec-WebSocket-Version": "13",
            "Sec-WebSocket-Key": base64.b64encode(secrets.token_bytes(16)).decode(),
            "Origin": self.base_url,
            **self._websocket_headers(where.geturl()),
        }
        lines = [f"GET {where.path}?{where.query} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
        plain = create_connection((where.hostname, where.port or 443), self.timeout)
        with self.ssl.wrap_socket(plain, server_hostname=where.hostname) as wire:
            wire.sendall("\r\n".join([*lines, "", ""]).encode())
            heard = b""
            while len(heard) < after:
                more = wire.recv(65536)
                if not more or not heard.startswith(b"HTTP/1.1 101 "[: len(heard)]):
                    raise Silence(f"no web socket at {where.path}: {heard[:200]!r}")
                heard += more
            wire.setsockopt(SOL_SOCKET, SO_LINGER, struct.pack("ii", 1, 0))


class _Connected:
    """What kernels and terminals share: a web socket that can be opened again."""

    def __init__(self, browser: Browser, api: str, channel: str) -> None:
        self.browser = browser
        self._api = api
        self._channel = channel
        self._socket = browser.websocket(channel)

    def reconnect(self) -> None:
        """Open the web socket again, as JupyterLab does after a broken connection."""
        self.close()
        self._socket = self.browser.websocket(self._channel)

    def close(self) -> None:
        """Close the connection; kernel or terminal live on."""
        self._socket.close()

    def shutdown(self) -> None:
        """End it on the server."""
        self.close()
        self.browser.fetch("DELETE", self._api).expect()

    def _send(self, message: object) -> None:
        try:
            self._socket.send(json.dumps(message))
        except ConnectionClosed as error:
            raise Silence(f"{self._channel}: connection lost: {error}") from error

    def _messages(self, timeout: float) -> Iterator[Any]:
        """Whatever arrives; Silence when nothing more can."""
        until = time.monotonic() + timeout
        while (left := until - time.monotonic()) > 0:
            try:
                received = self._socket.receive(left)
            except TimeoutError:
                break
            except ConnectionClosed as error:
                raise Silence(f"{self._channel}: connection lost: {error}") from error
            # Messages with binary attachments are of no interest here.
            if isinstance(received, str):
                yield json.loads(received)
        raise Silence(f"{self._channel}: no answer within {timeout:.0f} s")


class Kernel(_Connected):
    """A running kernel and the web socket of one notebook to it."""

    def __init__(self, browser: Browser, home: str, kernel_id: str) -> None:
        self.id = kernel_id
        self._session = secrets.token_hex(16)
        api = f"{home}api/kernels/{kernel_id}"
        super().__init__(browser, api, f"{api}/channels?session_id={self._session}")

    def heard_and_lost(self, after: int) -> None:
        """One more window on the same notebook that hears so many bytes and vanishes."""
        self.browser.vanish(f"{self._api}/channels?session_id={secrets.token_hex(16)}", after)

    def execute(self, code: str, timeout: float = TIMEOUT) -> str:
        """Run a cell: what it printed, then the text of its last value. KernelError when it raises."""
        number = secrets.token_hex(16)
        header = {"msg_id": number, "msg_type": "execute_request", "session": self._session}
        header.update(username=self.browser.name, version="5.3", date=time.strftime("%Y-%m-%dT%H:%M:%SZ"))
        content = {"code": code, "silent": False, "store_history": True, "allow_stdin": False}
        message = {"header": header, "parent_header": {}, "metadata": {}, "content": content}
        self._send({**message, "channel": "shell", "buffers": []})
        output: list[str] = []
        error: KernelError | None = None
        waiting_for = {"execute_reply", "idle"}
        for answer in self._messages(timeout):
            if answer.get("parent_header", {}).get("msg_id") != number:
                continue
            kind, content = answer["header"]["msg_type"], answer["content"]
            if kind == "stream" and content["name"] == "stdout":
                output.append(str(content["text"]))
            elif kind == "execute_result":
                output.append(str(content["data"].get("text/plain", "")))
            elif kind == "error":
                error = KernelError(str(content["ename"]), str(content["evalue"]))
            # Reply and output come by different ways: only both together mean that everything has come.
            waiting_for -= {kind, content.get("execution_state")}
            if not waiting_for:
                break
        if error:
            raise error
        return "".join(output)

    def debug(self, command: str, **arguments: object) -> dict[str, Any]:
        """Ask the kernel's debugger, as JupyterLab does when it is switched on (Debug Adapter Protocol)."""
        number = secrets.token_hex(16)
        header = {"msg_id": number, "msg_type": "debug_request", "session": self._session}
        header.update(username=self.browser.name, version="5.3", date=time.strftime("%Y-%m-%dT%H:%M:%SZ"))
        self._debugged = getattr(self, "_debugged", 0) + 1
        content = {"type": "request", "seq": self._debugged, "command": command, "arguments": arguments}
        message = {"header": header, "parent_header": {}, "metadata": {}, "content": content}
        self._send({**message, "channel": "control", "buffers": []})
        for answer in self._messages(TIMEOUT):
            ours = answer.get("parent_header", {}).get("msg_id") == number
            if ours and answer["header"]["msg_type"] == "debug_reply":
                return dict(answer["content"])
        raise Silence(f"no answer to {command}")


class Terminal(_Connected):
    """A shell in the browser."""

    def __init__(self, browser: Browser, home: str, name: str) -> None:
        self.name = name
        super().__init__(browser, f"{home}api/terminals/{name}", f"{home}terminals/websocket/{name}")

    def run(self, command: str, timeout: float = TIMEOUT) -> ShellResult:
        """Type a command and read what it prints. The shell stays the same from one command to the next."""
        mark = secrets.token_hex(8)
        # In two words: the shell echoes what is typed, and the echo must not look like the marks themselves.
        begin, end = f"printf '<%s%s>' {mark} in", f"printf '<%s%s%s>' {mark} out $?"
        self._send(["stdin", f"{begin}; eval {shlex.quote(command)}; {end}\r"])
        seen = ""
        for kind, *content in self._messages(timeout):
            if kind == "stdout":
                seen += content[0]
            elif kind == "disconnect":
                raise Silence(f"the shell ended: {seen[-500:]}")
            if found := re.search(f"<{mark}in>(.*)<{mark}out([0-9]+)>", seen, re.DOTALL):
                # Colours, cursor movements and window titles are no output.
                text = re.sub(r"\x1b(\[[0-?]*[ -/]*[@-~]|\][^\x07]*\x07|[=>])", "", found.group(1))
                return ShellResult(text.replace("\r\n", "\n").strip(), int(found.group(2)))
        raise Silence(f"{command!r}: no end of it; so far: {seen[-500:]}")
