"""Runs inside JupyterHub's process, as `jupyterhub`: whose program listens on a port of this machine.

Everybody on the machine may listen on any free port. Before a member's browser is led to one, it must be known that
no other account has taken it.
"""

from __future__ import annotations

import ipaddress

from jupyterhub4family.common.system import sockets
from jupyterhub4family.common.system.sockets import Address


def owners(port: int) -> frozenset[int]:
    """The uids of those whose sockets a connection to 127.0.0.1:`port` would reach; empty if nobody listens there.

    The kernel is asked for that one socket: a member may have a hundred thousand others. Where it answers no such
    question they are all looked through.
    """
    try:
        uid = sockets.uid_of_listener(port)
    except OSError:
        return _looked_through(port)
    return frozenset() if uid is None else frozenset({uid})


def _looked_through(port: int) -> frozenset[int]:
    """A socket on 127.0.0.1 itself comes before one on all IPv4 addresses, and that before one on all IPv6 addresses
    (which gets IPv4 as well, unless it says otherwise).
    """
    by_rank: dict[int, set[int]] = {}
    for listener in sockets.listeners():
        rank = _rank(listener.address)
        if listener.port == port and rank is not None:
            by_rank.setdefault(rank, set()).add(listener.uid)
    return frozenset(by_rank[min(by_rank)]) if by_rank else frozenset()


def _rank(address: Address) -> int | None:
    """How close a socket on `address` is to a connection to 127.0.0.1, 0 the closest; None: it gets none."""
    if isinstance(address, ipaddress.IPv6Address):
        return 2 if address.is_unspecified else None
    if address == ipaddress.IPv4Address("127.0.0.1"):
        return 0
    return 1 if address.is_unspecified else None
