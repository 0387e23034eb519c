"""Runs inside JupyterHub's process, as `jupyterhub`: whose program listens on a port of this machine.

Everybody on the machine may listen on any free port. Before a member's browser is led to one, it must be known that
no other account has taken it.
"""

from __future__ import annotations

import ipaddress
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Union

#: The kernel's tables of TCP sockets of this network namespace (proc(5)); not hidden by hidepid.
TABLES = (Path("/proc/self/net/tcp"), Path("/proc/self/net/tcp6"))
#: TCP_LISTEN of <netinet/tcp.h>, as the tables write it.
_LISTENING = "0A"

Address = Union[ipaddress.IPv4Address, ipaddress.IPv6Address]


def owners(port: int) -> frozenset[int]:
    """The uids of those whose sockets a connection to 127.0.0.1:`port` would reach; empty if nobody listens there.

    A socket on 127.0.0.1 itself comes before one on all IPv4 addresses, and that before one on all IPv6 addresses
    (which gets IPv4 as well, unless it says otherwise).
    """
    by_rank: dict[int, set[int]] = {}
    for address, number, uid in _listeners():
        rank = _rank(address)
        if number == port and rank is not None:
            by_rank.setdefault(rank, set()).add(uid)
    return frozenset(by_rank[min(by_rank)]) if by_rank else frozenset()


def _rank(address: Address) -> int | None:
    """How close a socket on `address` is to a connection to 127.0.0.1, 0 the closest; None: it gets none."""
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is None:
            return 2 if address.is_unspecified else None
        address = address.ipv4_mapped
    if address == ipaddress.IPv4Address("127.0.0.1"):
        return 0
    return 1 if address.is_unspecified else None


def _listeners() -> Iterator[tuple[Address, int, int]]:
    """Address, port and uid of each listening TCP socket."""
    for table in TABLES:
        try:
            lines = table.read_text("ascii").splitlines()
        except FileNotFoundError:
            continue  # a kernel without IPv6
        for line in lines[1:]:
            _number, local, _remote, state, _queues, _timer, _tries, uid = line.split()[:8]
            if state == _LISTENING:
                address, _colon, port = local.partition(":")
                yield _address(address), int(port, 16), int(uid)


def _address(word: str) -> Address:
    """An address as the tables write it: 32-bit words in the byte order of this machine, in hexadecimal."""
    words = [int(word[start : start + 8], 16) for start in range(0, len(word), 8)]
    return ipaddress.ip_address(struct.pack(f"={len(words)}I", *words))
