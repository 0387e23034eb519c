"""Runs as jupyterhub: a client's end of a web socket (RFC 6455), as far as talking to a kernel needs it.

Not tornado's, which is the other end as well: a release whose two ends make the same mistake would pass its trial, and
no browser would get in. See docs/adr/0019-own-websocket-client.md.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import os
import socket
import ssl
import struct
from types import TracebackType
from typing import Optional
from urllib.parse import urlsplit

from jupyterhub4family.common.errors import FamilyError
from jupyterhub4family.common.i18n.messages import _

#: Opcodes (RFC 6455, 5.2).
_CONTINUATION, _TEXT, _CLOSE, _PING, _PONG = 0x0, 0x1, 0x8, 0x9, 0xA
#: Behind the key, when its hash is made (RFC 6455, 1.3).
_GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
#: Bytes; a kernel's answers to us are small.
LARGEST_MESSAGE = 16 * 2**20


class WebSocket:
    """An open connection; texts only. Raises FamilyError when it cannot be opened, or breaks."""

    def __init__(self, url: str, tls: ssl.SSLContext, headers: dict[str, str], timeout: float) -> None:
        where = urlsplit(url)
        self._buffer = b""
        try:
            plain = socket.create_connection((where.hostname or "", where.port or 80), timeout)
            self._socket = tls.wrap_socket(plain, server_hostname=where.hostname) if where.scheme == "https" else plain
            self._shake_hands(f"{where.path}?{where.query}", where.netloc, headers)
        except OSError as error:
            raise FamilyError(
                _("the web socket to the notebook could not be opened: {reason}", reason=error)
            ) from error

    def __enter__(self) -> WebSocket:
        return self

    def __exit__(
        self, _kind: Optional[type[BaseException]], _error: Optional[BaseException], _trace: Optional[TracebackType]
    ) -> None:
        with contextlib.suppress(OSError):
            self._send_frame(_CLOSE, b"")
        self._socket.close()

    def send(self, text: str) -> None:
        """Send one text."""
        self._send_frame(_TEXT, text.encode("utf-8"))

    def receive(self) -> str:
        """The next text; pings are answered on the way."""
        message = b""
        while True:
            final, opcode, payload = self._frame()
            if opcode == _PING:
                self._send_frame(_PONG, payload)
            elif opcode == _CLOSE:
                raise FamilyError(_("the notebook closed the connection"))
            elif opcode in (_TEXT, _CONTINUATION):
                message += payload
                if len(message) > LARGEST_MESSAGE:
                    raise FamilyError(_("the notebook sent too much"))
                if final:
                    return message.decode("utf-8", "replace")

    def _shake_hands(self, path: str, host: str, headers: dict[str, str]) -> None:
        key = base64.b64encode(os.urandom(16)).decode("ascii")
        lines = [f"GET {path} HTTP/1.1", f"Host: {host}", "Upgrade: websocket", "Connection: Upgrade"]
        lines += [f"Sec-WebSocket-Key: {key}", "Sec-WebSocket-Version: 13"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        self._socket.sendall("\r\n".join([*lines, "", ""]).encode("latin-1"))
        while b"\r\n\r\n" not in self._buffer:
            self._fill()
        head, _end, self._buffer = self._buffer.partition(b"\r\n\r\n")
        first, *fields = head.decode("latin-1").split("\r\n")
        if first.split()[1:2] != ["101"] or _proof(key) not in [_accepted(field) for field in fields]:
            raise FamilyError(_("the web socket to the notebook was refused: {answer}", answer=first))

    def _fill(self) -> None:
        try:
            received = self._socket.recv(65536)
        except OSError as error:
            raise FamilyError(_("the connection to the notebook broke: {reason}", reason=error)) from error
        if not received:
            raise FamilyError(_("the notebook closed the connection"))
        self._buffer += received

    def _take(self, count: int) -> bytes:
        while len(self._buffer) < count:
            self._fill()
        taken, self._buffer = self._buffer[:count], self._buffer[count:]
        return taken

    def _frame(self) -> tuple[bool, int, bytes]:
        first, second = self._take(2)
        length = second & 0x7F
        if length == 126:
            (length,) = struct.unpack(">H", self._take(2))
        elif length == 127:
            (length,) = struct.unpack(">Q", self._take(8))
        if length > LARGEST_MESSAGE:
            raise FamilyError(_("the notebook sent too much"))
        return bool(first & 0x80), first & 0x0F, self._take(length)

    def _send_frame(self, opcode: int, payload: bytes) -> None:
        """What a client sends is masked (RFC 6455, 5.3)."""
        length = len(payload)
        if length < 126:
            head = bytes((0x80 | opcode, 0x80 | length))
        elif length < 2**16:
            head = bytes((0x80 | opcode, 0x80 | 126)) + struct.pack(">H", length)
        else:
            head = bytes((0x80 | opcode, 0x80 | 127)) + struct.pack(">Q", length)
        mask = os.urandom(4)
        self._socket.sendall(head + mask + bytes(byte ^ mask[i % 4] for i, byte in enumerate(payload)))


def _proof(key: str) -> str:
    """What a server that has understood the request answers, and every browser asks for (RFC 6455, 4.1)."""
    return base64.b64encode(hashlib.sha1(f"{key}{_GUID}".encode()).digest()).decode("ascii")  # noqa: S324 (no secret)


def _accepted(field: str) -> str:
    """The value of a line of the answer, if it is the one with the proof."""
    name, _colon, value = field.partition(":")
    return value.strip() if name.strip().lower() == "sec-websocket-accept" else ""
