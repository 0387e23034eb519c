"""Runs inside JupyterHub's process, as `jupyterhub`: the two ways into the hub.

The proxy and the service's own programs come through a Unix socket that no other account reaches. What they say about
a browser (X-Forwarded-For) is believed. Members' servers come through a TCP port, as everybody on this machine may:
there nothing is believed, and nothing but the API is to be had; no page, no login, no password.
"""

from __future__ import annotations

import asyncio
import logging
import os
import re
import socket
from typing import Any
from urllib.parse import quote

from jupyterhub import version_info
from tornado import httputil, web
from tornado.httpserver import HTTPServer
from tornado.routing import AnyMatches, Matcher, Rule, RuleRouter

from jupyterhub4family.common import paths
from jupyterhub4family.common.errors import FamilyError
from jupyterhub4family.common.settings.model import Settings
from jupyterhub4family.common.state import ports
from jupyterhub4family.service.run import handover

#: How JupyterHub and configurable-http-proxy write the address of a Unix socket; JupyterHub 5 the other way round.
SCHEME = "http+unix" if version_info >= (6,) else "unix+http"
#: Below the hub's own address, what members' servers and programs may ask for. `authorize` is a page for browsers.
SERVED = r"(?:api/?|api/(?!oauth2/authorize(?:$|[/?])).*|health)"
#: Seconds between two looks whether JupyterHub listens.
PAUSE = 0.05

log = logging.getLogger("jupyterhub4family")


def url(path: str) -> str:
    """A Unix socket as an address for JupyterHub and the proxy."""
    return f"{SCHEME}://{quote(path, safe='')}"


def hub_url() -> str:
    """The hub's own socket."""
    return url(str(paths.HUB_SOCKET))


def came_through_proxy(request: Any) -> bool:
    """Whether a request came through the hub's own socket."""
    connection = getattr(request.connection, "context", None)
    return getattr(connection, "address_family", None) == socket.AF_UNIX


def port_of_this_process(settings: Settings) -> socket.socket:
    """The hub's TCP port, which `run-hub` has handed over. Raises FamilyError if it is somebody else's."""
    descriptor = os.environ.pop(handover.DESCRIPTOR, "")
    if not descriptor.isdigit():
        return handover.take(ports.HUB, settings)
    one = socket.socket(fileno=int(descriptor))
    # What the hub starts, members' servers above all, must not have it.
    one.set_inheritable(False)
    return one


async def open_port(app: Any, port: socket.socket) -> None:
    """Serve the API at `port` as soon as JupyterHub is ready for requests at all."""
    while getattr(app, "http_server", None) is None:
        await asyncio.sleep(PAUSE)
    app.servers_entrance = server = HTTPServer(
        _for_servers(app.tornado_application, app.hub.base_url),
        xheaders=False,
    )
    port.setblocking(False)
    server.add_socket(port)


def take_port(settings: Settings) -> socket.socket | None:
    """The port, or None, told in the log: pages work without, members' servers do not."""
    try:
        return port_of_this_process(settings)
    except FamilyError as error:
        log.critical("%s; try: %s", error.message, error.hint)
        return None


def _for_servers(application: web.Application, base_url: str) -> RuleRouter:
    served = re.compile(re.escape(base_url) + SERVED)
    closed = web.Application([(r".*", _Closed)])
    return RuleRouter([Rule(_PathIs(served), application), Rule(AnyMatches(), closed)])


class _PathIs(Matcher):
    """Requests whose path, as it was sent, fits an expression wholly."""

    def __init__(self, expression: re.Pattern[str]) -> None:
        self._expression = expression

    def match(self, request: httputil.HTTPServerRequest) -> dict[str, Any] | None:
        """An empty dictionary if it fits, as tornado wants it."""
        return {} if self._expression.fullmatch(request.path) else None


class _Closed(web.RequestHandler):
    """Everything that is not for members' servers."""

    def prepare(self) -> None:
        """Refuse."""
        self.set_status(403)
        self.finish("This port serves the API for members' servers. People use the portal.\n")
