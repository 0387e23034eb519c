"""A web socket for tests that are not asynchronous. Runs on the developer's machine, as whoever runs the tests.

One thread with an event loop does all reading and writing for all of them, and answers pings meanwhile.
The library's own threads must not: they read and write one TLS connection at the same time, which Python's ssl
before 3.13 does not guard. About one opening in two thousand (one in fifty on a busy machine) lost its
request in that way, and the test waited a minute for an answer to a question that had never left.
"""

from __future__ import annotations

import asyncio
import ssl
import threading
from collections.abc import Coroutine, Mapping
from functools import lru_cache
from typing import Any, TypeVar

from websockets.asyncio.client import ClientConnection, connect
from websockets.typing import Origin

T = TypeVar("T")


class WebSocket:
    """An open web socket."""

    def __init__(
        self, url: str, origin: str, headers: Mapping[str, str], tls: ssl.SSLContext | None, timeout: float
    ) -> None:
        """Open it within `timeout` seconds; `headers` are what a browser would add.

        Raises websockets' InvalidStatus when the server answers with a page, its InvalidHandshake, or OSError
        (of which TimeoutError is one).
        """
        agent = headers["User-Agent"]
        others = {name: value for name, value in headers.items() if name != "User-Agent"}

        async def opened() -> ClientConnection:
            return await connect(
                url,
                origin=Origin(origin),
                additional_headers=others,
                user_agent_header=agent,
                ssl=tls,
                proxy=None,
                open_timeout=timeout,
                max_size=None,
            )

        self._connection = _wait(opened())

    def send(self, text: str | bytes) -> None:
        """Send one message: text, or bytes. Raises websockets' ConnectionClosed."""
        _wait(self._connection.send(text))

    def receive(self, timeout: float) -> str | bytes:
        """The next message. Raises TimeoutError after so many seconds, or websockets' ConnectionClosed."""
        return _wait(_within(timeout, self._connection.recv()))

    def close(self) -> None:
        """Say good-bye; nothing happens when it is closed already."""
        _wait(self._connection.close())


async def _within(seconds: float, doing: Coroutine[Any, Any, T]) -> T:
    try:
        return await asyncio.wait_for(doing, seconds)
    except asyncio.TimeoutError:  # Python has made one of both in 3.11
        raise TimeoutError(f"nothing within {seconds:.0f} s") from None


def _wait(doing: Coroutine[Any, Any, T]) -> T:
    return asyncio.run_coroutine_threadsafe(doing, _loop()).result()


@lru_cache(maxsize=1)
def _loop() -> asyncio.AbstractEventLoop:
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, name="web sockets", daemon=True).start()
    return loop
