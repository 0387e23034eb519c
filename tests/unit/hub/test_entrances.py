"""hub.entrances, proxy_client, membership: who comes in where, and what is believed and served there."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest
from jupyterhub import orm
from tornado.httpclient import AsyncHTTPClient, HTTPRequest, HTTPResponse
from tornado.httpserver import HTTPServer
from tornado.netutil import bind_unix_socket
from tornado.web import Application, RequestHandler

from jupyterhub4family.common import paths
from jupyterhub4family.common.state import ports
from jupyterhub4family.hub import entrances, membership, proxy_client
from jupyterhub4family.service.run import handover
from tests.unit.hub.doubles import Doors, MachineDirectory
from tests.unit.hub.portal import HubSocket, Portal, in_a_loop, until


async def at_the_port(portal: Portal, path: str, **more: Any) -> HTTPResponse:
    """What a member's program gets at the hub's TCP port."""
    await until(lambda: hasattr(portal.app, "servers_entrance"), "the port")
    request = HTTPRequest(f"http://127.0.0.1:{portal.port}{path}", follow_redirects=False, **more)
    return await AsyncHTTPClient().fetch(request, raise_error=False)


async def at_the_socket(path: str, token: str, body: Mapping[str, Any] | None = None) -> HTTPResponse:
    """What the service's own programs get."""
    request = HTTPRequest(
        f"http://hub/hub/api{path}",
        method="GET" if body is None else "POST",
        body=None if body is None else json.dumps(body),
        headers={"Authorization": f"token {token}", "Content-Type": "application/json"},
    )
    return await AsyncHTTPClient(force_instance=True, resolver=HubSocket()).fetch(request, raise_error=False)


def test_at_the_port_there_is_the_api_and_no_page(machine: MachineDirectory, doors: Doors) -> None:
    async def work() -> None:
        async with Portal(machine) as portal:
            for path in ("/hub/api", "/hub/api/", "/hub/health"):
                assert (await at_the_port(portal, path)).code == 200, path
            assert (await at_the_port(portal, "/hub/api/users")).code == 403
            assert (await at_the_port(portal, "/hub/api/oauth2/token", method="POST", body="")).code == 400
            for path in (
                "/",
                "/hub",
                "/hub/",
                "/hub/login",
                "/hub/home",
                "/hub/admin",
                "/hub/static/js/home.js",
                "/hub/api/oauth2/authorize?client_id=x",
                "/hub/api/oauth2/authorize/",
                "/hub/apix",
                "/hub/api/../login",
                "//hub/api",
                "/hub/trust",
                "/hub/logo",
                "/user/anna/",
            ):
                answer = await at_the_port(portal, path)
                # `..` and a doubled slash are not resolved by the hub: they are names like any other.
                assert answer.code == 403 or (answer.code == 404 and ".." in path), (path, answer.code)
                assert "Set-Cookie" not in answer.headers and b"xsrf" not in answer.body, path
            form = "username=anna&password=secret"
            assert (await at_the_port(portal, "/hub/login", method="POST", body=form)).code == 403

    in_a_loop(work)
    assert doors.asked("authenticate") == []


def test_at_the_port_nobody_is_asked_for_a_password(machine: MachineDirectory, doors: Doors) -> None:
    """JupyterHub makes tokens for whoever sends name and password along."""

    async def work() -> None:
        async with Portal(machine) as portal:
            portal.user("anna")
            body = json.dumps({"auth": {"username": "anna", "password": "secret"}})
            for headers in ({}, {"Authorization": "token x"}, {"X-Forwarded-For": "192.0.2.1"}):
                answer = await at_the_port(
                    portal, "/hub/api/users/anna/tokens", method="POST", body=body, headers=headers
                )
                assert answer.code == 403, answer.body
            assert portal.app.db.query(orm.APIToken).filter(orm.APIToken.user_id.isnot(None)).count() == 0

    in_a_loop(work)
    assert doors.asked("authenticate") == []


def test_at_the_port_nobody_says_where_they_come_from(
    machine: MachineDirectory, doors: Doors, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[Any, ...]] = []

    class Seen(RequestHandler):
        def get(self) -> None:
            seen.append((self.request.remote_ip, self.request.protocol, entrances.came_through_proxy(self.request)))

    async def work() -> None:
        async with Portal(machine) as portal:
            portal.app.tornado_application.wildcard_router.rules.insert(
                0, Application([(r"/hub/api/seen", Seen)]).wildcard_router.rules[0]
            )
            forged = {"X-Forwarded-For": "192.0.2.66", "X-Real-Ip": "192.0.2.66", "X-Forwarded-Proto": "https"}
            assert (await at_the_port(portal, "/hub/api/seen", headers=forged)).code == 200
            browser = portal.browser(address="192.0.2.7")
            assert (await browser.get("/hub/api/seen")).code == 200

    in_a_loop(work)
    assert seen == [("127.0.0.1", "http", False), ("192.0.2.7", "https", True)]


def test_the_ports_descriptor_is_not_passed_on(machine: MachineDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    port = ports.open_port(ports.Place("127.0.0.1", 0))
    port.set_inheritable(True)
    monkeypatch.setenv(handover.DESCRIPTOR, str(port.fileno()))
    from jupyterhub4family.common.settings.model import Settings

    mine = entrances.port_of_this_process(Settings())
    assert mine.getsockname() == port.getsockname() and not mine.get_inheritable()
    port.detach()
    mine.close()


def test_tokens_are_new_at_every_start_and_the_old_ones_are_worth_nothing(
    machine: MachineDirectory, doors: Doors
) -> None:
    from jupyterhub4family.service.hub_state import tokens

    def token(name: str) -> str:
        return (machine.state / f"{name}_token").read_text("ascii").strip()

    async def work() -> None:
        async with Portal(machine):
            earlier = token("membership")
            assert (await at_the_socket("/users", earlier)).code == 200
        tokens.renew_tokens()
        async with Portal(machine) as portal:
            now = token("membership")
            assert now != earlier
            await until(lambda: portal.app.db.query(orm.APIToken).count() == 2, "the older ones to be forgotten")
            assert (await at_the_socket("/users", now)).code == 200
            assert (await at_the_socket("/users", earlier)).code == 403

    in_a_loop(work)


def test_the_token_for_members_changes_no_names_and_gives_no_rights(machine: MachineDirectory, doors: Doors) -> None:
    machine.member("ben", 1002)
    machine.people.add("clara", 1003)

    async def work() -> None:
        async with Portal(machine) as portal:
            token = (machine.state / "membership_token").read_text("ascii").strip()
            path = f"/{membership.PATH}"
            names = ["anna", "ben", "clara", "nobody-at-all", "root", "../x", ""]
            answer = await at_the_socket(path, token, {"names": names})
            assert json.loads(answer.body) == {"added": ["anna", "ben"]}, "members only"
            assert json.loads((await at_the_socket(path, token, {"names": names})).body) == {"added": []}
            for wrong in ({}, {"names": "anna"}, {"names": [1]}, {"names": None}):
                assert (await at_the_socket(path, token, wrong)).code == 400, wrong
            client = AsyncHTTPClient(force_instance=True, resolver=HubSocket())
            for method, place, body in (
                ("PATCH", "users/ben", {"name": "anna2"}),
                ("PATCH", "users/ben", {"admin": True}),
                ("POST", "users", {"usernames": ["clara"]}),
                ("POST", "users/clara", {}),
                ("POST", "users/anna/tokens", {}),
                ("POST", "users/anna/server", {}),
                ("POST", "groups/jupyterhub_adm/users", {"users": ["ben"]}),
                ("GET", "proxy", None),
            ):
                request = HTTPRequest(
                    f"http://hub/hub/api/{place}",
                    method=method,
                    body=None if body is None else json.dumps(body),
                    headers={"Authorization": f"token {token}"},
                )
                assert (await client.fetch(request, raise_error=False)).code in (403, 404), (method, place)
            others = [(machine.state / "routes_token").read_text("ascii").strip(), "x"]
            for other in others:
                assert (await at_the_socket(path, other, {"names": ["anna"]})).code == 403
            assert {user.name for user in portal.app.db.query(orm.User)} == {"anna", "ben"}

    in_a_loop(work)


class FakeProxy(RequestHandler):
    """The proxy's API as far as the hub asks it."""

    routes: dict[str, Any]
    seen: list[str]

    def initialize(self, routes: dict[str, Any], seen: list[str]) -> None:
        self.routes, self.seen = routes, seen

    def _note(self) -> None:
        self.seen.append(self.request.headers["Authorization"])

    def get(self, _path: str) -> None:
        self._note()
        self.write(self.routes)

    def post(self, path: str) -> None:
        self._note()
        self.routes[path or "/"] = json.loads(self.request.body)
        self.set_status(201)

    def delete(self, path: str) -> None:
        self._note()
        self.routes.pop(path)
        self.set_status(204)


def test_routes_are_told_at_the_proxys_socket(machine: MachineDirectory, doors: Doors) -> None:
    routes: dict[str, Any] = {}
    seen: list[str] = []

    async def work() -> None:
        server = HTTPServer(Application([(r"/api/routes(.*)", FakeProxy, {"routes": routes, "seen": seen})]))
        server.add_socket(bind_unix_socket(str(paths.PROXY_API_SOCKET)))

        def real_proxy(config: Any) -> None:
            config.JupyterHub.proxy_class = proxy_client.FamilyProxy

        async with Portal(machine, change=real_proxy) as portal:
            assert routes["/"]["target"] == entrances.hub_url()
            proxy = portal.app.proxy
            await proxy.add_route("/user/anna/", "http://127.0.0.1:1", {"user": "anna"})
            found = await proxy.get_all_routes()
            assert found["/"]["target"] == portal.app.hub.host == f"http://127.0.0.1:{portal.port}", (
                "nothing to correct"
            )
            assert found["/user/anna/"]["target"] == "http://127.0.0.1:1"
            await proxy.delete_route("/user/anna/")
            assert set(routes) == {"/"}
        server.stop()

    in_a_loop(work)
    token = (machine.state / "proxy_token").read_text("ascii").strip()
    assert set(seen) == {f"token {token}"}
