"""Any identity: which TCP sockets of this machine wait for connections, and whose they are, as the kernel tells."""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import os
import socket
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, Optional, Union

from jupyterhub4family.common import records

#: The kernel's tables of TCP sockets of this network namespace (proc(5)); not hidden by hidepid.
TABLES = (Path("/proc/self/net/tcp"), Path("/proc/self/net/tcp6"))
#: TCP_LISTEN of <netinet/tcp.h>, as the tables write it.
_LISTENING = "0A"
_ESTABLISHED = "01"
#: TCP_ESTABLISHED, TCP_SYN_RECV, TCP_CLOSE_WAIT: what a connection is in that nobody has taken up.
_WAITING = ("01", "03", "08")

#: <linux/netlink.h>, <linux/sock_diag.h>: the protocol of questions about single sockets (sock_diag(7)).
_NETLINK_SOCK_DIAG, _SOCK_DIAG_BY_FAMILY, _NLM_F_REQUEST = 4, 20, 1
#: struct nlmsghdr; struct inet_diag_req_v2 up to the ports; how struct inet_diag_msg and struct nlmsgerr begin.
_HEADER, _QUESTION = struct.Struct("=IHHII"), struct.Struct("=BBBBI")
_FAMILY_AND_STATE, _ERROR = struct.Struct("=BB"), struct.Struct("=i")
_NLMSG_ERROR = 2
#: Where in an answer, behind both heads, the uid is.
_UID_OFFSET = _HEADER.size + 4 + 48 + 12
_NO_COOKIE = b"\xff" * 8
#: In every network namespace the loopback device is the first.
_LOOPBACK_DEVICE = 1
_TCP_LISTEN = 10
_NOBODY_IN_PARTICULAR = (str(ipaddress.IPv4Address(0)), 0)
#: Seconds; the kernel answers at once.
_TIMEOUT = 1.0

Address = Union[ipaddress.IPv4Address, ipaddress.IPv6Address]


@records.dataclass(frozen=True)
class Listener:
    """A socket that waits for connections."""

    #: As IPv4 where the table of IPv6 has it mapped (::ffff:127.0.0.1).
    address: Address
    port: int
    uid: int
    #: By which /proc/PID/fd shows the processes that hold it.
    inode: str


def listeners() -> Iterator[Listener]:
    """Every TCP socket of this machine that listens. Raises OSError if the kernel does not tell."""
    for row in _rows():
        if row.state == _LISTENING:
            yield Listener(*_place(row.local), int(row.uid), row.inode)


def connected_ports(uid: int) -> set[int]:
    """The ports to which programs of `uid` are connected just now. Raises OSError if the kernel does not tell."""
    return {_place(row.remote)[1] for row in _rows() if row.state == _ESTABLISHED and row.uid == str(uid)}


def is_taken_up(connection: socket.socket) -> bool:
    """Whether the program at the other end of a connection within this machine has taken it up.

    A port that is held open by somebody who serves nobody (systemd) lets everybody connect; such a connection waits
    in the kernel, without an inode, until it is taken up (accept(2)); one whose other end was closed has none either,
    and another state. Raises OSError if the kernel does not tell.
    """
    here, there = connection.getsockname()[:2], connection.getpeername()[:2]
    for row in _rows():
        if _as_name(_place(row.local)) == there and _as_name(_place(row.remote)) == here:
            return row.inode != "0" or row.state not in _WAITING
    return True  # and has ended since


class _Row(NamedTuple):
    local: str
    remote: str
    state: str
    uid: str
    inode: str


def _rows() -> Iterator[_Row]:
    for table in TABLES:
        try:
            lines = table.read_text("ascii").splitlines()
        except FileNotFoundError:
            continue  # a kernel without IPv6
        for line in lines[1:]:
            _number, local, remote, state, _queues, _timer, _tries, uid, _timeout, inode = line.split()[:10]
            yield _Row(local, remote, state, uid, inode)


def _place(word: str) -> tuple[Address, int]:
    address, _colon, port = word.partition(":")
    return _address(address), int(port, 16)


def _as_name(place: tuple[Address, int]) -> tuple[str, int]:
    return str(place[0]), place[1]


def _address(word: str) -> Address:
    """An address as the tables write it: 32-bit words in the byte order of this machine, in hexadecimal."""
    parts = [int(word[start : start + 8], 16) for start in range(0, len(word), 8)]
    address = ipaddress.ip_address(struct.pack(f"={len(parts)}I", *parts))
    return getattr(address, "ipv4_mapped", None) or address


def uid_of_peer(connection: socket.socket) -> Optional[int]:
    """Whose the other end of a connection from this very machine is; None if that cannot be known.

    It is of somebody elsewhere, gone already, or the kernel answers no such questions (sock_diag(7)).
    """
    try:
        if connection.family == socket.AF_UNIX:
            credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
            return int(struct.unpack("=iII", credentials)[1])
        theirs, ours = connection.getpeername()[:2], connection.getsockname()[:2]
        found = _ask(connection.family, theirs, ours)
        return found.uid if found is not None else None
    except (OSError, ValueError):
        return None


def uid_of_listener(port: int) -> Optional[int]:
    """Whose socket a connection to 127.0.0.1:`port` would reach; None if nobody listens there.

    The kernel looks for it as it does for a connection, in a hundredth of a millisecond however many there are. Raises
    OSError if it answers no such questions (sock_diag(7)).
    """
    found = _ask(socket.AF_INET, ("127.0.0.1", port), _NOBODY_IN_PARTICULAR, _LOOPBACK_DEVICE)
    return found.uid if found is not None and found.state == _TCP_LISTEN else None


class _Found(NamedTuple):
    state: int
    uid: int


def _ask(family: int, local: tuple[str, int], remote: tuple[str, int], device: int = 0) -> Optional[_Found]:
    """What the kernel knows of one socket; None if there is no such. Raises OSError."""
    ports = struct.pack("!HH", local[1], remote[1])
    addresses = b"".join(socket.inet_pton(family, address).ljust(16, b"\0") for address in (local[0], remote[0]))
    question = _QUESTION.pack(family, socket.IPPROTO_TCP, 0, 0, 0xFFFFFFFF)
    question += ports + addresses + struct.pack("=I", device) + _NO_COOKIE
    head = _HEADER.pack(_HEADER.size + len(question), _SOCK_DIAG_BY_FAMILY, _NLM_F_REQUEST, 1, 0)
    with contextlib.closing(socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_SOCK_DIAG)) as kernel:
        kernel.settimeout(_TIMEOUT)
        kernel.send(head + question)
        answer = kernel.recv(4096)
    kind = _HEADER.unpack_from(answer)[1]
    if kind == _NLMSG_ERROR:
        number = -_ERROR.unpack_from(answer, _HEADER.size)[0]
        if number == errno.ENOENT:
            return None
        raise OSError(number, os.strerror(number))
    if kind != _SOCK_DIAG_BY_FAMILY:
        raise OSError(errno.EPROTO, os.strerror(errno.EPROTO))
    _family, state = _FAMILY_AND_STATE.unpack_from(answer, _HEADER.size)
    return _Found(state, struct.unpack_from("=I", answer, _UID_OFFSET)[0])
