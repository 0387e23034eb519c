"""hub.http_server: nobody on the machine keeps the others from asking the hub."""

from __future__ import annotations

import asyncio
import itertools
import os
import resource
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from tornado.httpserver import HTTPServer
from tornado.httputil import HTTPServerRequest, ResponseStartLine

from jupyterhub4family.common.system import accounts, sockets
from jupyterhub4family.hub import http_server
from tests.unit.helpers import TIMEOUT, free_port
from tests.unit.hub.doubles import MachineDirectory
from tests.unit.hub.portal import Portal

GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


def _answer(request: HTTPServerRequest) -> None:
    assert request.connection is not None
    request.connection.write_headers(ResponseStartLine("", 200, "OK"), request_headers(), b"ok")
    request.connection.finish()


def request_headers() -> Any:
    """Of an answer of two bytes."""
    from tornado.httputil import HTTPHeaders

    return HTTPHeaders({"Content-Length": "2"})


@asynccontextmanager
async def _server(**more: Any) -> AsyncIterator[int]:
    port = free_port()
    server = http_server.BoundedServer(_answer, **more)
    server.listen(port, address="127.0.0.1")
    try:
        yield port
    finally:
        server.stop()
        await server.close_all_connections()


async def _ask(port: int, text: bytes = GET) -> bytes:
    """The first line of what comes back; empty if the connection is closed instead."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(text)
        return await asyncio.wait_for(reader.readline(), TIMEOUT)
    except ConnectionError:
        return b""
    finally:
        writer.close()


def _as_another_account(monkeypatch: pytest.MonkeyPatch) -> None:
    """From here on the server is of another account than whoever asks it."""
    monkeypatch.setattr(os, "getuid", lambda: 4711)


def test_numbers_of_an_accounts_containers_are_the_accounts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """As many as adduser(8) gives it, each with a connection or two."""
    numbers = itertools.count(100000)
    monkeypatch.setattr(sockets, "uid_of_peer", lambda _connection: next(numbers))

    async def work(subordinate: str) -> bool:
        (tmp_path / "subuid").write_text(subordinate)
        monkeypatch.setattr(accounts, "SUBORDINATE_UIDS", tmp_path / "subuid")
        async with _server() as port:
            answers = [await asyncio.open_connection("127.0.0.1", port) for _number in range(http_server.PER_ACCOUNT)]
            await asyncio.sleep(0.2)
            refused = await _ask(port) == b""
            for _reader, writer in answers:
                writer.close()
            return refused

    assert asyncio.run(work("daemon:100000:65536\n"))
    assert asyncio.run(work("")), "nobody's are counted together"


def test_an_account_has_so_many_connections_and_then_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    async def work() -> None:
        async with _server() as port:
            held = [await asyncio.open_connection("127.0.0.1", port) for _number in range(http_server.PER_ACCOUNT)]
            await asyncio.sleep(0.2)
            assert await _ask(port) == b""
            for _reader, writer in held[:3]:
                writer.close()
            await asyncio.sleep(0.2)
            assert b"200" in await _ask(port)
            for _reader, writer in held[3:]:
                writer.close()

    _as_another_account(monkeypatch)
    asyncio.run(work())


def test_the_proxy_is_not_counted_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """It runs as the hub does, and has bounds of its own."""

    async def work() -> None:
        async with _server() as port:
            held = [await asyncio.open_connection("127.0.0.1", port) for _number in range(http_server.PER_ACCOUNT + 20)]
            await asyncio.sleep(0.2)
            assert b"200" in await _ask(port)
            for _reader, writer in held:
                writer.close()

    asyncio.run(work())


def test_descriptors_are_left_for_all_that_is_no_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    async def work() -> None:
        async with _server() as port:
            held = [await asyncio.open_connection("127.0.0.1", port) for _number in range(10)]
            await asyncio.sleep(0.2)
            assert await _ask(port) == b""
            for _reader, writer in held:
                writer.close()

    monkeypatch.setattr(resource, "getrlimit", lambda _which: (20, 4096))
    asyncio.run(work())


def test_members_servers_send_a_line_or_two(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sixty-four connections of each account may be half through a body."""

    async def work(size: int) -> bytes:
        async with _server(max_body_size=http_server.BODY, max_buffer_size=http_server.BUFFER) as port:
            body = b"Content-Length: %d" % size + b"\r\n\r\n" + bytes(size)
            return await _ask(port, b"POST / HTTP/1.1\r\nHost: x\r\n" + body)

    too_much = http_server.MEMBERS_BODY + 1
    assert b"200" in asyncio.run(work(too_much)), "the proxy"
    _as_another_account(monkeypatch)
    assert b"200" in asyncio.run(work(http_server.MEMBERS_BODY))
    assert b"200" not in asyncio.run(work(too_much))


@pytest.mark.parametrize(
    "text",
    [
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % (http_server.BODY + 1),
        b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n" + b"100000\r\n%b\r\n" % (b"x" * 2**20) * 3,
    ],
)
def test_large_bodies_are_refused(text: bytes) -> None:
    async def work() -> None:
        async with _server(max_body_size=http_server.BODY, max_buffer_size=http_server.BUFFER) as port:
            assert b" 200 " not in await _ask(port, text)
            assert b" 200 " in await _ask(port)

    asyncio.run(work())


@pytest.mark.parametrize("text", [b"", GET[:-2], b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nhalf"])
def test_who_says_nothing_is_not_waited_for(text: bytes) -> None:
    async def work() -> None:
        async with _server(idle_connection_timeout=0.3, body_timeout=0.3) as port:
            assert b" 200 " not in await _ask(port, text)

    asyncio.run(work())


def test_the_hub_is_served_so(machine: MachineDirectory) -> None:
    async def work() -> None:
        async with Portal(machine) as portal:
            server = portal.app.http_server
            assert isinstance(server, http_server.BoundedServer)
            assert server.conn_params.max_body_size == http_server.BODY
            assert server.max_buffer_size == http_server.BUFFER
            assert server.conn_params.body_timeout == http_server.BODY_TIME
            assert server.conn_params.header_timeout == http_server.IDLE_TIME

    loop: Callable[[Any], None] = asyncio.run
    try:
        loop(work())
    finally:
        HTTPServer.configure(None)
