"""Runs inside JupyterHub's process, as `jupyterhub`: tells the proxy its routes, at the proxy's own socket.

No other account reaches that socket, so nobody can play the proxy to the hub or the hub to the proxy.
"""

from __future__ import annotations

import socket
from typing import Any

from jupyterhub import version_info
from jupyterhub.proxy import ConfigurableHTTPProxy
from jupyterhub.utils import exponential_backoff
from tornado.httpclient import AsyncHTTPClient
from tornado.iostream import StreamClosedError
from tornado.netutil import Resolver

from jupyterhub4family.common import paths
from jupyterhub4family.hub import entrances

#: Seconds until the proxy must answer, as JupyterHub itself gives it.
TIMEOUT = 30


def api_url() -> str:
    """Where JupyterHub finds the proxy's API. JupyterHub 5 cannot name a socket there; see `FamilyProxy`."""
    return entrances.url(str(paths.PROXY_API_SOCKET)) if version_info >= (6,) else "http://proxy"


class FamilyProxy(ConfigurableHTTPProxy):  # type: ignore[misc]  # jupyterhub has no types
    """configurable-http-proxy that reaches the hub through the hub's own socket, not through the servers' port."""

    async def add_hub_route(self, hub: Any) -> Any:
        """Lead everything that is no member's to the hub."""
        return await self.add_route(hub.routespec, entrances.hub_url(), {"hub": True})

    async def get_all_routes(self, *args: Any, **more: Any) -> dict[str, Any]:
        """The proxy's routes; the one to the hub as JupyterHub expects it, if it is as it should be."""
        routes: dict[str, Any] = await super().get_all_routes(*args, **more)
        for route in routes.values():
            if route["target"] == entrances.hub_url():
                route["target"] = self.hub.host
        return routes

    if version_info < (6,):

        async def api_request(self, path: str, method: str = "GET", body: Any = None, client: Any = None) -> Any:
            """Ask the proxy's API; a proxy that is just starting is waited for. Raises tornado's HTTPError."""
            client = client or AsyncHTTPClient(force_instance=True, resolver=_ProxySocket())
            ask = super().api_request

            async def tried() -> Any:
                try:
                    return await ask(path, method, body, client)
                except (OSError, StreamClosedError) as error:
                    self.log.warning("The proxy does not answer yet: %s", error)
                    return False  # once more

            return await exponential_backoff(tried, "The proxy does not answer", timeout=TIMEOUT)


class _ProxySocket(Resolver):
    """Says of every name that it is the proxy's socket."""

    async def resolve(self, host: str, port: int, family: int = socket.AF_UNSPEC) -> list[tuple[int, Any]]:
        """Where to connect to."""
        return [(int(socket.AF_UNIX), str(paths.PROXY_API_SOCKET))]
