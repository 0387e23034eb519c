"""service.websocket: our end of RFC 6455, against an independent implementation and against bad manners."""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct
import threading
from collections.abc import Iterator
from typing import Any, Callable

import pytest
import websockets

from jupyterhub4family.common.errors import FamilyError
from jupyterhub4family.service.smoke_test import websocket
from jupyterhub4family.service.smoke_test.websocket import WebSocket

TLS = ssl.create_default_context()


async def _echo(connection: Any, *_path: str) -> None:
    async for message in connection:
        await connection.ping()
        await connection.send([message[:3], message[3:]] if isinstance(message, str) else message)


@pytest.fixture
def echo() -> Iterator[str]:
    """An echo server in a thread; in a way that the library has had from Debian 11 to 13."""
    loop, listener = asyncio.new_event_loop(), socket.create_server(("127.0.0.1", 0))

    async def start() -> Any:
        return await websockets.serve(_echo, sock=listener, max_size=None)

    server = loop.run_until_complete(start())
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    yield f"http://127.0.0.1:{listener.getsockname()[1]}/x?y=1"

    async def stop() -> None:
        server.close()
        await server.wait_closed()

    asyncio.run_coroutine_threadsafe(stop(), loop).result(timeout=30)
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


@pytest.mark.parametrize("length", [5, 125, 126, 65535, 65536, 300_000])
def test_texts_of_every_length_there_and_back(echo: str, length: int) -> None:
    text = "ä" + "x" * (length - 1)
    with WebSocket(echo, TLS, {"X-One": "1"}, 10) as connection:
        connection.send(text)
        assert connection.receive() == text
        connection.send("again")
        assert connection.receive() == "again"


def welcome(key: str) -> bytes:
    """What a server answers that has understood."""
    return f"HTTP/1.1 101 Switching\r\nsec-websocket-accept:  {websocket._proof(key)}\r\n\r\n".encode()


def against(head: Callable[[str], bytes], rest: bytes = b"") -> WebSocket:
    listener = socket.create_server(("127.0.0.1", 0))

    def serve_one() -> None:
        with listener, listener.accept()[0] as connection:
            request = connection.recv(10000).decode("latin-1")
            connection.sendall(head(request.partition("Sec-WebSocket-Key: ")[2].partition("\r")[0]) + rest)

    threading.Thread(target=serve_one, daemon=True).start()
    return WebSocket(f"http://127.0.0.1:{listener.getsockname()[1]}/x", TLS, {}, 5)


@pytest.mark.parametrize("output", [b"HTTP/1.1 403 Forbidden\r\n\r\n", b"\r\n\r\n", b""])
def test_a_refusal_is_a_sentence(output: bytes) -> None:
    with pytest.raises(FamilyError):
        against(lambda _key: output)


@pytest.mark.parametrize("key", ["", "AAAAAAAAAAAAAAAAAAAAAA=="])
def test_a_server_that_has_not_understood_is_refused_as_a_browser_does(key: str) -> None:
    with pytest.raises(FamilyError, match="was refused"):
        against(lambda _key: welcome(key))
    with pytest.raises(FamilyError, match="was refused"):
        against(lambda _key: b"HTTP/1.1 101 Switching\r\n\r\n")
    # The example of RFC 6455, 1.3.
    assert websocket._proof("dGhlIHNhbXBsZSBub25jZQ==") == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
    with against(welcome, b"\x81\x02ok") as connection:
        assert connection.receive() == "ok"


@pytest.mark.parametrize(
    "frame", [b"\x88\x00", b"", b"\x81\x7f" + struct.pack(">Q", 2**40), b"\x81\x05ab", b"\x81\x7e"]
)
def test_what_breaks_off_or_is_too_much_is_a_sentence(frame: bytes) -> None:
    with against(welcome, frame) as connection, pytest.raises(FamilyError):
        connection.receive()


def test_nobody_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(FamilyError, match="could not be opened"):
        WebSocket(f"http://127.0.0.1:{port}/", TLS, {}, 5)
