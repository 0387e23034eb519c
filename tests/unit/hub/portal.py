"""For tests of what runs inside JupyterHub: a hub in this very process, and a browser without a screen.

The hub is JupyterHub's own application, configured by hub/configuration.py; the proxy is a table in memory.
"""

from __future__ import annotations

import asyncio
import html
import json
import re
import socket
from collections.abc import Awaitable, Callable, Mapping
from http.cookies import SimpleCookie
from typing import Any
from urllib.parse import urlencode

from jupyterhub import orm, roles
from jupyterhub.app import JupyterHub
from jupyterhub.proxy import Proxy
from tornado.httpclient import AsyncHTTPClient, HTTPRequest, HTTPResponse
from tornado.netutil import Resolver
from traitlets.config import Config

from jupyterhub4family.common import paths
from jupyterhub4family.hub import configuration
from tests.unit.helpers import TIMEOUT, free_port
from tests.unit.hub.doubles import MachineDirectory


class MemoryProxy(Proxy):  # type: ignore[misc]  # jupyterhub has no types
    """Keeps routes, and forwards nothing."""

    should_start = False

    def __init__(self, **more: Any) -> None:
        super().__init__(**more)
        self.routes: dict[str, dict[str, Any]] = {}

    async def add_route(self, routespec: str, target: str, data: dict[str, Any]) -> None:
        self.routes[routespec] = {"routespec": routespec, "target": target, "data": data}

    async def delete_route(self, routespec: str) -> None:
        self.routes.pop(routespec, None)

    async def get_all_routes(self) -> dict[str, dict[str, Any]]:
        return dict(self.routes)


class Hub(JupyterHub):  # type: ignore[misc]
    """JupyterHub as it is, but for what belongs to a process of its own: its file, signals, a log on stderr."""

    def load_config_file(self, *_args: Any, **_more: Any) -> None:
        pass

    def init_signal(self) -> None:
        pass

    def init_logging(self) -> None:
        super().init_logging()
        self.log.propagate = True
        self.log.handlers.clear()


class HubSocket(Resolver):
    """Leads everywhere to the hub's own socket, as the proxy does."""

    async def resolve(self, host: str, port: int, family: int = socket.AF_UNSPEC) -> list[tuple[int, Any]]:
        return [(int(socket.AF_UNIX), str(paths.HUB_SOCKET))]


class Portal:
    """A hub that runs: `async with Portal(machine) as portal`. A second one in the same folder is a restarted hub."""

    def __init__(
        self, machine: MachineDirectory, settings: str = "", change: Callable[[Any], None] | None = None
    ) -> None:
        self.machine = machine
        self.port = free_port()
        machine.settings(f"hub_port: {self.port}\n{settings}")
        self.change = change
        self.app: Any = None
        self._older_tasks: set[asyncio.Task[Any]] = set()

    async def __aenter__(self) -> Portal:
        self._older_tasks = asyncio.all_tasks()
        config = Config()
        configuration.configure(config)
        config.JupyterHub.proxy_class = MemoryProxy
        config.JupyterHub.log_level = "DEBUG"
        if self.change is not None:
            self.change(config)
        Hub.clear_instance()
        self.app = Hub.instance(config=config)
        await self.app.initialize([])
        await self.app.start()
        return self

    async def __aexit__(self, *_error: Any) -> None:
        """As the hub ends at SIGTERM: members' servers go on."""
        self.app.http_server.stop()
        if hasattr(self.app, "servers_entrance"):
            self.app.servers_entrance.stop()
        self.app.metrics_collector.stop()
        for callback in self.app._periodic_callbacks.values():
            callback.stop()
        for user in self.app.users.values():
            for spawner in user.spawners.values():
                spawner.stop_polling()
        await self.app.cleanup()
        await _cancel(asyncio.all_tasks() - self._older_tasks)
        self.app.db.close()
        Hub.clear_instance()

    def user(self, name: str) -> Any:
        """JupyterHub's user, made as the door `members` has it made."""
        row = orm.User.find(self.app.db, name)
        if row is None:
            row = orm.User(name=name)
            self.app.db.add(row)
            self.app.db.commit()
            roles.assign_default_roles(self.app.db, entity=row)
            self.app.db.commit()
        return self.app.users[row]

    @property
    def routes(self) -> dict[str, Any]:
        """Where the proxy would lead to."""
        routes: dict[str, Any] = self.app.proxy.routes
        return routes

    def browser(self, language: str = "en", address: str = "192.0.2.7") -> Browser:
        """Somebody who looks at pages."""
        return Browser(language, address)


async def start(browser: Browser, user: Any, name: str = "") -> None:
    """Start a server as a page does, and wait until that has ended, one way or the other."""
    await begin(browser, name)

    def is_over() -> bool:
        spawner = user.spawners[name]
        # Of one that has failed, JupyterHub takes the end of its stop first.
        return spawner.pending is None and (spawner._spawn_future is None or spawner._spawn_future.done())

    await until(is_over, "the end of the start")


async def begin(browser: Browser, name: str = "") -> None:
    """Start a server as a page does."""
    answer = await browser.api("POST", f"users/anna/servers/{name}" if name else "users/anna/server")
    assert answer.code in (201, 202), answer.body


class Browser:
    """Keeps cookies, follows nothing by itself."""

    def __init__(self, language: str, address: str) -> None:
        self.headers = {
            "Accept-Language": language,
            "Host": "familybox:8000",
            "Sec-Fetch-Mode": "navigate",
            "X-Forwarded-For": address,
            "X-Forwarded-Proto": "https",
        }
        self.cookies: dict[str, str] = {}

    async def get(self, path: str, **headers: str) -> HTTPResponse:
        """Load a page."""
        return await self._fetch("GET", path, None, headers)

    async def page(self, path: str) -> str:
        """The text of a page, whatever its status."""
        return (await self.get(path)).body.decode("utf-8")

    async def log_in(self, name: str, password: str = "secret") -> HTTPResponse:
        """Fill the login form in."""
        await self.get("/hub/login")
        form = urlencode({"username": name, "password": password, "_xsrf": self.cookies["_xsrf"]})
        answer = await self._fetch("POST", "/hub/login", form, {"Content-Type": "application/x-www-form-urlencoded"})
        await self.get("/hub/home")
        return answer

    async def api(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> HTTPResponse:
        """What the scripts of pages ask."""
        headers = {"X-XSRFToken": self.cookies["_xsrf"], "Sec-Fetch-Mode": "cors", "Content-Type": "application/json"}
        headers["Referer"] = "https://familybox:8000/hub/home"
        text = None if body is None else json.dumps(body)
        return await self._fetch(method, f"/hub/api/{path}", text, headers)

    async def _fetch(self, method: str, path: str, body: str | None, headers: Mapping[str, str]) -> HTTPResponse:
        cookies = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        request = HTTPRequest(
            f"http://hub{path}",
            method=method,
            body=body,
            headers={**self.headers, "Cookie": cookies, **headers},
            follow_redirects=False,
            allow_nonstandard_methods=True,
            request_timeout=TIMEOUT,
        )
        answer = await AsyncHTTPClient(force_instance=True, resolver=HubSocket()).fetch(request, raise_error=False)
        for line in answer.headers.get_list("Set-Cookie"):
            for name, morsel in SimpleCookie(line).items():
                self.cookies[name] = morsel.value
        return answer


def text_of(page: str) -> str:
    """What people read on a page: without scripts, styles, and tags; white space as one blank."""
    page = re.sub(r"(?s)<(script|style)\b.*?</\1>|<!--.*?-->", " ", page)
    return " ".join(html.unescape(re.sub(r"(?s)<[^>]*>", " ", page)).split())


async def _cancel(tasks: set[asyncio.Task[Any]]) -> None:
    """End `tasks`. Python itself never comes back if connecting the pipes of a new program is cancelled."""
    for task in tasks:
        if "_connect_pipes" not in repr(task):
            task.cancel()
    if tasks:
        _done, stuck = await asyncio.wait(tasks, timeout=TIMEOUT)
        assert not stuck, f"does not end: {stuck}"


async def until(condition: Callable[[], Any], what: str) -> None:
    """Return as soon as `condition()` holds; fail after a long time."""
    for _ in range(int(TIMEOUT / 0.01)):
        if condition():
            return
        await asyncio.sleep(0.01)
    raise AssertionError(f"{what} did not happen within {TIMEOUT:g} seconds")


def in_a_loop(work: Callable[[], Awaitable[None]], timeout: float = 60) -> None:
    """Run `work` in an event loop of its own."""
    asyncio.run(asyncio.wait_for(work(), timeout))
