"""root.base.system_bus: the bytes that go over the bus, as another one has written them, and answers of all kinds."""

from __future__ import annotations

import contextlib
import socket
import struct
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from jupyterhub4family.root.base import system_bus
from jupyterhub4family.root.base.system_bus import BusError, Property
from tests.unit.helpers import TIMEOUT

PROPERTIES: dict[str, Property] = {
    "Description": "Änne",
    "PIDs": [4711, 5],
    "MemoryMax": 2**40,
    "MemoryAccounting": False,
    "CollectMode": "inactive",
}
#: What busctl of systemd 252 has sent on a computer of the usual kind (little endian) when it was given the same words,
#: but for the flag by which it lets polkit ask somebody.
HEAD = bytes.fromhex(
    "6c010001c800000002000000b600000001016f00190000002f6f72672f667265656465736b746f702f73797374656d643100000000000000"
    "030173001200000053746172745472616e7369656e74556e69740000000000000201730020000000"
    "6f72672e667265656465736b746f702e73797374656d64312e4d616e6167657200000000000000000601730018000000"
    "6f72672e667265656465736b746f702e73797374656d6431000000000000000008016700"
    "1073736128737629612873612873762929000000"
)
BODY = bytes.fromhex(
    "07000000742e73636f706500040000006661696c00000000a1000000000000000b0000004465736372697074696f6e000173000005000000"
    "c3846e6e650000000400000050494473000261750000000008000000671200000500000000000000090000004d656d6f72794d6178000174"
    "00000000000000000000000000010000100000004d656d6f72794163636f756e74696e670001620000000000000000000b000000"
    "436f6c6c6563744d6f6465000173000008000000696e6163746976650000000000000000"
)


class Bus:
    """A bus of the test's own, at a socket of its own, that answers one connection as it is told."""

    def __init__(self, place: Path) -> None:
        self._server = socket.socket(socket.AF_UNIX)
        self._server.bind(str(place))
        self._server.listen()
        self.greeting, self.received = b"OK 1234deadbeef\r\n", b""
        #: What is sent once both messages are there.
        self.answers: list[bytes] = []
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            self._answer()

    def _answer(self) -> None:
        connection, _address = self._server.accept()
        with connection:
            connection.settimeout(TIMEOUT)
            self._receive(connection, lambda: self.received.endswith(b"\r\n"))
            connection.sendall(self.greeting)
            self._receive(connection, lambda: len(self.messages()) == 2)
            for answer in self.answers:
                connection.sendall(answer)
            if not self.answers:
                # Until the other end has had enough.
                connection.recv(1)

    def _receive(self, connection: socket.socket, is_all: Callable[[], bool]) -> None:
        while not is_all():
            piece = connection.recv(7)
            if not piece:
                return
            self.received += piece

    def messages(self) -> list[tuple[bytes, bytes]]:
        """Heads and bodies of all messages that are there wholly."""
        data, found = self.received.partition(b"BEGIN\r\n")[2], []
        while len(data) >= 16:
            body, fields = struct.unpack("=4xI4xI", data[:16])
            begins = 16 + fields + -fields % 8
            if len(data) < begins + body:
                break
            found.append((data[:begins], data[begins : begins + body]))
            data = data[begins + body :]
        return found

    def end(self) -> None:
        self._server.close()
        self._thread.join(TIMEOUT)


@pytest.fixture
def bus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bus]:
    monkeypatch.setattr(system_bus, "SOCKET", str(tmp_path / "bus"))
    bus = Bus(tmp_path / "bus")
    yield bus
    bus.end()


def message(kind: int, fields: list[tuple[int, str, object]], body: bytes = b"") -> bytes:
    """A message as the bus writes it, by hand."""
    data = b""
    for code, signature, value in fields:
        data += bytes(-len(data) % 8) + bytes([code, 1]) + signature.encode() + b"\0"
        if signature == "u":
            data += struct.pack("=I", value)
        else:
            text = str(value).encode()
            data += (bytes([len(text)]) if signature == "g" else struct.pack("=I", len(text))) + text + b"\0"
    order = b"l" if sys.byteorder == "little" else b"B"
    head = order + bytes([kind, 1, 1]) + struct.pack("=III", len(body), 9, len(data))
    return head + data + bytes(-len(data) % 8) + body


HELLO = message(2, [(5, "u", 1), (6, "s", ":1.7"), (7, "s", "org.freedesktop.DBus"), (8, "g", "s")], b"\5\0\0\0:1.71\0")
SIGNAL = message(4, [(1, "o", "/org"), (2, "s", "org.x"), (3, "s", "NameAcquired"), (8, "g", "s")], b"\1\0\0\0x\0")
DONE = message(2, [(5, "u", 2), (8, "g", "o")], b"\4\0\0\0/job\0")


def error(text: str, number: int = 2) -> bytes:
    body = struct.pack("=I", len(text.encode())) + text.encode() + b"\0"
    return message(3, [(4, "s", "org.freedesktop.DBus.Error.AccessDenied"), (5, "u", number), (8, "g", "s")], body)


def start(timeout: float = TIMEOUT) -> None:
    system_bus.start_transient("t.scope", PROPERTIES, timeout)


def test_what_is_sent_is_what_busctl_sends(bus: Bus) -> None:
    bus.answers = [DONE]
    start()
    assert bus.received.startswith(b"\0AUTH EXTERNAL 30\r\nBEGIN\r\n")
    (hello, nothing), sent = bus.messages()
    assert b"Hello\0" in hello and nothing == b""
    if sys.byteorder == "little":
        assert sent == (HEAD, BODY)


def test_properties_of_a_slice(bus: Bus) -> None:
    bus.answers = [DONE]
    system_bus.set_properties("a.slice", {"TasksMax": 7}, TIMEOUT)
    _hello, (head, body) = bus.messages()
    assert b"SetUnitProperties\0" in head and b"\x07sba(sv)\0" in head
    text = struct.pack("=I8sII", 7, b"a.slice", 1, 24) + bytes(4) + struct.pack("=I9s", 8, b"TasksMax")
    assert body == text + b"\1t\0" + struct.pack("=Q", 7)


def test_what_comes_before_the_answer_is_none(bus: Bus) -> None:
    # In whatever pieces.
    bus.answers = [HELLO + SIGNAL[:11], SIGNAL[11:], error("of somebody else's", 7) + DONE[:3], DONE[3:]]
    start()


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (error("Unit t.scope already exists."), r"Unit t\.scope already exists\."),
        # systemd says nothing that a terminal would obey; whoever else does is not obeyed either.
        (error("a\x1b[2J\nb" + "c" * 1000), r"a.\[2J bc{200,300}$"),
        (message(3, [(4, "s", "org.freedesktop.DBus.Error.NoReply"), (5, "u", 2)]), "NoReply"),
        (message(2, [(5, "x", 0)]), "no sense"),
        (message(2, [(8, "g", "s")])[:12] + b"\3\0\0\0\x08\1g\0\0\0\0\0", "no sense"),
        (b"?" + DONE[1:], "no sense"),
        (DONE[:4] + b"\xff\xff\xff\x7f" + DONE[8:], "no sense"),
        (DONE[:12] + b"\xff\xff\xff\x7f" + DONE[16:], "no sense"),
        (DONE[:-1], "hung up"),
    ],
)
def test_everything_else_is_an_error(bus: Bus, answer: bytes, reason: str) -> None:
    bus.answers = [answer]
    with pytest.raises(BusError, match=reason):
        start()


def test_no_answer(bus: Bus) -> None:
    with pytest.raises(BusError, match="takes too long"):
        start(0.2)


def test_signals_without_an_end(bus: Bus) -> None:
    """Each comes in time, and the whole does not."""
    bus.answers = [SIGNAL] * 100_000
    with pytest.raises(BusError, match="takes too long"):
        start(0.1)


def test_root_is_not_let_in(bus: Bus) -> None:
    bus.greeting = b"REJECTED ANONYMOUS\r\n"
    with pytest.raises(BusError, match="does not let root in"):
        start()


def test_a_greeting_without_an_end(bus: Bus) -> None:
    bus.greeting = b"O" * 200_000
    with pytest.raises(BusError, match="no sense"):
        start()


def test_nobody_listens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(system_bus, "SOCKET", str(tmp_path / "none"))
    with pytest.raises(BusError, match="No such file or directory"):
        start()
