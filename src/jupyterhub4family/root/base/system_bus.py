"""Runs as root, inside doors: has systemd do something by a message over the system's bus, without busctl.

What goes over the bus the D-Bus Specification says (dbus.freedesktop.org): a greeting in lines, then messages of a few
hundred bytes, in a form that has not changed since 2006. Written is only what a call of systemd's manager needs, and
read only whether it was done, and else why not. Why no program and no library does it, ADR 35 says.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Union

from jupyterhub4family.common.errors import FamilyError
from jupyterhub4family.common.i18n import safe_text
from jupyterhub4family.common.i18n.messages import _

if TYPE_CHECKING:
    import _socket

#: Where Debian's bus listens: the specification's place below /var/run, which is a link.
SOCKET = "/run/dbus/system_bus_socket"
#: Name, object and interface: the bus itself, and systemd's manager (org.freedesktop.systemd1(5)).
_BUS = ("org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus")
_MANAGER = ("org.freedesktop.systemd1", "/org/freedesktop/systemd1", "org.freedesktop.systemd1.Manager")
#: Kinds of messages, and the fields of their heads.
_CALL, _RETURN, _ERROR = 1, 2, 3
_PATH, _INTERFACE, _MEMBER, _ERROR_NAME, _REPLY_SERIAL, _DESTINATION, _SIGNATURE = 1, 2, 3, 4, 5, 6, 8
#: Bytes of what is the same in each message: numbers, and how long the fields are.
_HEAD = 16
#: Bytes of numbers, and what is aligned to how many.
_SIZES = {"y": 1, "b": 4, "u": 4, "t": 8}
_ALIGNMENTS = {**_SIZES, "s": 4, "o": 4, "a": 4, "(": 8, "g": 1, "v": 1}
#: Bytes of a message and characters of an error that are read: answers have some dozens, signals some hundreds.
_LONGEST, _SHOWN = 64 * 1024, 300
#: By what a message says in which order the bytes of its numbers stand.
_ORDERS = {"little": b"l", "big": b"B"}

Property = Union[int, str, bool, list[int]]


class BusError(FamilyError):
    """The bus cannot be reached, or somebody on it says no."""


def set_properties(unit: str, properties: Mapping[str, Property], timeout: float) -> None:
    """Have systemd give a unit these properties until the next reboot. Raises BusError."""
    _ask("SetUnitProperties", "sba(sv)", (unit, True, _variants(properties)), timeout)


def start_transient(unit: str, properties: Mapping[str, Property], timeout: float) -> None:
    """Have systemd make and start a unit, which may come a moment after this returns. Raises BusError."""
    _ask("StartTransientUnit", "ssa(sv)a(sa(sv))", (unit, "fail", _variants(properties), ()), timeout)


def _variants(properties: Mapping[str, Property]) -> list[tuple[str, tuple[str, Property]]]:
    """Properties as systemd takes them: a name, and a value that brings its type along."""
    return [(name, (_type_of(value), value)) for name, value in properties.items()]


def _type_of(value: Property) -> str:
    if isinstance(value, bool):
        return "b"
    if isinstance(value, int):
        return "t"
    return "s" if isinstance(value, str) else "au"


def _ask(method: str, signature: str, values: tuple[Any, ...], timeout: float) -> None:
    # Not `socket`: what that adds takes longer to load than all this takes.
    import _socket

    connection = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC)
    stream = _Stream(connection, time.monotonic() + timeout)
    try:
        stream.connect()
        # The kernel tells the bus who we are, and this says so as well: user 0, its digits in hexadecimal.
        stream.send(b"\0AUTH EXTERNAL 30\r\n")
        if not stream.line().startswith(b"OK "):
            raise BusError(_("D-Bus does not let root in"))
        # What has no name yet may ask nothing else.
        hello = _message(1, _BUS, "Hello")
        stream.send(b"BEGIN\r\n" + hello + _message(2, _MANAGER, method, signature, values))
        while not _is_answer(stream, 2):
            continue
    except OSError as error:
        # Whatever ends with time has no reason of the system's.
        reason = error.strerror or _("it takes too long")
        raise BusError(_("D-Bus does not answer: {reason}", reason=reason)) from error
    finally:
        connection.close()


class _Stream:
    """A connection to the bus, for as long as the whole call may take. All raise OSError and BusError."""

    def __init__(self, connection: _socket.socket, deadline: float) -> None:
        self._connection, self._deadline = connection, deadline
        self._received = b""

    def connect(self) -> None:
        self._limit_time()
        self._connection.connect(SOCKET)

    def send(self, data: bytes) -> None:
        self._limit_time()
        self._connection.sendall(data)

    def line(self) -> bytes:
        """The next line of the greeting, without its end."""
        while b"\r\n" not in self._received:
            self._receive()
        line, _end, self._received = self._received.partition(b"\r\n")
        return line

    def take(self, count: int) -> bytes:
        """The next bytes, so many."""
        while len(self._received) < count:
            self._receive()
        taken, self._received = self._received[:count], self._received[count:]
        return taken

    def _receive(self) -> None:
        self._limit_time()
        piece = self._connection.recv(4096)
        if not piece:
            raise BusError(_("D-Bus has hung up"))
        if len(self._received) > 2 * _LONGEST:
            raise BusError(_("D-Bus gives an answer that makes no sense"))
        self._received += piece

    def _limit_time(self) -> None:
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        self._connection.settimeout(left)


# -- writing -----------------------------------------------------------------------------------------


def _message(
    serial: int, whom: tuple[str, str, str], method: str, signature: str = "", values: tuple[Any, ...] = ()
) -> bytes:
    """A call of a method, with values of these types."""
    name, path, interface = whom
    fields = [
        (_PATH, ("o", path)),
        (_MEMBER, ("s", method)),
        (_INTERFACE, ("s", interface)),
        (_DESTINATION, ("s", name)),
    ]
    body = bytearray()
    if signature:
        fields.append((_SIGNATURE, ("g", signature)))
        _write_all(body, signature, values)
    message = bytearray(_ORDERS[sys.byteorder])
    # No flags, and version 1 of the protocol.
    _write_all(message, "yyyuua(yv)", (_CALL, 0, 1, len(body), serial, fields))
    _align(message, 8)
    return bytes(message + body)


def _write_all(data: bytearray, signature: str, values: tuple[Any, ...]) -> None:
    place = 0
    for value in values:
        kind = _first(signature, place)
        _write(data, kind, value)
        place += len(kind)
    assert place == len(signature)


def _write(data: bytearray, kind: str, value: Any) -> None:
    """Add a value of one type to a message, or to its body: places in both are multiples of eight alike."""
    _align(data, _ALIGNMENTS[kind[0]])
    if kind in _SIZES:
        data += int(value).to_bytes(_SIZES[kind], sys.byteorder)
    elif kind in ("s", "o", "g"):
        text = value.encode("utf-8")
        _write(data, "y" if kind == "g" else "u", len(text))
        data += text + b"\0"
    elif kind == "v":
        inner, content = value
        _write(data, "g", inner)
        _write(data, inner, content)
    elif kind[0] == "(":
        _write_all(data, kind[1:-1], value)
    else:
        data += bytes(4)
        length = len(data)
        # What the first of them is aligned with does not count as theirs.
        _align(data, _ALIGNMENTS[kind[1]])
        begins = len(data)
        for one in value:
            _write(data, kind[1:], one)
        data[length - 4 : length] = (len(data) - begins).to_bytes(4, sys.byteorder)


def _align(data: bytearray, size: int) -> None:
    data += bytes(-len(data) % size)


def _first(signature: str, place: int) -> str:
    """The whole type that begins at a place of a signature: arrays are of what follows them, structures end."""
    end, depth = place, 0
    while True:
        letter, end = signature[end], end + 1
        depth += {"(": 1, ")": -1}.get(letter, 0)
        if depth == 0 and letter != "a":
            return signature[place:end]


# -- reading -----------------------------------------------------------------------------------------


def _is_answer(stream: _Stream, serial: int) -> bool:
    """Whether the next message answers that of this number, and well; others are signals, and what the bus says.

    Raises BusError if it is an error, or makes no sense.
    """
    head = stream.take(_HEAD)
    body_size, fields_size = _number(head[4:8]), _number(head[12:16])
    if head[:1] != _ORDERS[sys.byteorder] or max(body_size, fields_size) > _LONGEST:
        raise BusError(_("D-Bus gives an answer that makes no sense"))
    try:
        fields = _fields(stream.take(fields_size + -fields_size % 8)[:fields_size])
    except IndexError:
        raise BusError(_("D-Bus gives an answer that makes no sense")) from None
    body = stream.take(body_size)
    if fields.get(_REPLY_SERIAL) != serial:
        return False
    if head[1] == _RETURN:
        return True
    # An error's first value is a sentence, if it has any.
    reason = str(fields.get(_ERROR_NAME, ""))
    if str(fields.get(_SIGNATURE, "")).startswith("s"):
        reason = _text(body, 4, _number(body[:4]))
    raise BusError(safe_text.one_line(reason, _SHOWN))


def _fields(data: bytes) -> dict[int, Union[int, str]]:
    """The fields of a message's head. Raises BusError for one of a type that no head has."""
    found: dict[int, Union[int, str]] = {}
    place = 0
    while place < len(data):
        place += -place % 8
        code, kind = data[place], data[place + 2 : place + 3]
        # The field's number, a signature of one character, and its end.
        place += 4
        if kind == b"u":
            found[code] = _number(data[place : place + 4])
            place += 4
        elif kind in (b"s", b"o"):
            length = _number(data[place : place + 4])
            found[code] = _text(data, place + 4, length)
            place += 4 + length + 1
        elif kind == b"g":
            found[code] = _text(data, place + 1, data[place])
            place += 1 + data[place] + 1
        else:
            raise BusError(_("D-Bus gives an answer that makes no sense"))
    return found


def _number(data: bytes) -> int:
    return int.from_bytes(data, sys.byteorder)


def _text(data: bytes, place: int, length: int) -> str:
    return data[place : place + length].decode("utf-8", "replace")
