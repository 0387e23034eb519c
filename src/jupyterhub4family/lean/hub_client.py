"""Runs as the member, inside their server: JupyterHub's `fetch` by tornado, which is loaded anyway, instead of aiohttp.

For the hub of this machine, at its address on the loopback, and for what a server sends there. Everything else is for
JupyterHub's own.
"""

from __future__ import annotations

import json
from typing import Any, Optional
from urllib.parse import urlencode, urlsplit

from jupyterhub4family.lean import stand_ins

#: Seconds; aiohttp's own bounds for connecting and for the whole.
_CONNECT_TIMEOUT, _TIMEOUT = 30.0, 300.0
_LOOPBACK = ("127.0.0.1", "localhost", "::1")


class Response:
    """What JupyterHub asks of aiohttp's answers."""

    def __init__(self, answer: Any) -> None:
        self.status: int = answer.code
        self.reason: str = answer.reason
        self.headers = answer.headers
        self.ok = answer.code < 400
        self._body: bytes = answer.body or b""

    async def read(self) -> bytes:
        """The body."""
        return self._body

    async def text(self) -> str:
        """The body as text."""
        return self._body.decode("utf-8", "replace")

    async def json(self) -> Any:
        """What the body says. Raises ValueError if it is no JSON."""
        return json.loads(self._body)


async def fetch(
    url: str,
    *,
    method: str = "GET",
    raise_for_status: bool = True,
    headers: Optional[dict[str, str]] = None,
    data: Any = None,
    **more: Any,
) -> Any:
    """As `jupyterhub.httpclient.fetch`. Raises tornado's errors and OSError where that raises aiohttp's."""
    parts = urlsplit(url)
    if parts.scheme != "http" or parts.hostname not in _LOOPBACK or more or not _can_send(data):
        theirs = stand_ins.real("jupyterhub.httpclient").fetch
        given = {
            **more,
            **({} if headers is None else {"headers": headers}),
            **({} if data is None else {"data": data}),
        }
        return await theirs(url, method=method, raise_for_status=raise_for_status, **given)
    from tornado.simple_httpclient import SimpleAsyncHTTPClient

    if isinstance(data, dict):
        headers = {**(headers or {}), "Content-Type": "application/x-www-form-urlencoded"}
        data = urlencode(data)
    answer = await SimpleAsyncHTTPClient().fetch(
        url,
        raise_error=raise_for_status,
        method=method,
        headers=headers,
        body=data,
        allow_nonstandard_methods=True,
        connect_timeout=_CONNECT_TIMEOUT,
        request_timeout=_TIMEOUT,
    )
    return Response(answer)


def _can_send(data: Any) -> bool:
    plain = isinstance(data, dict) and all(isinstance(one, str) for pair in data.items() for one in pair)
    return data is None or plain or isinstance(data, (str, bytes))
