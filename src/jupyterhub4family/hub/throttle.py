"""Runs inside JupyterHub's process, as `jupyterhub`: wrong passwords, counted by the address that they came from.

The door `authenticate` counts them for each account, for good reasons of its own. This is for whoever tries one
password on everybody, or keeps the machine busy with a thousand logins at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import time
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

#: So many wrong passwords within so many seconds may come from one address. A family that sits behind one address
#: (a VPN, a proxy in front) does not type that many; a program that guesses gets 1,920 tries a day.
MAXIMUM, WITHIN = 20, 900.0
#: So many logins of one address are looked at at the same time; the others wait their turn.
AT_ONCE = 4
#: So many addresses are remembered; beyond that the one that was heard of first is forgotten.
MAXIMUM_ADDRESSES = 1000


@dataclass
class _Client:
    """What is known of one address."""

    turns: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(AT_ONCE))
    #: Who waits or is being looked at.
    present: int = 0
    #: When the wrong passwords came, in seconds of the machine's own clock; the oldest first.
    wrong: deque[float] = field(default_factory=lambda: deque(maxlen=MAXIMUM + AT_ONCE))


class Throttle:
    """Keeps count. Forgets when the hub restarts, which nobody outside can bring about."""

    def __init__(self) -> None:
        self._clients: dict[str, _Client] = {}

    @contextlib.asynccontextmanager
    async def turn(self, address: str) -> AsyncIterator[bool]:
        """Wait for this address's turn; says whether its password may be looked at at all."""
        client = self._client(address)
        client.present += 1
        try:
            async with client.turns:
                yield not self._is_exhausted(client)
        finally:
            client.present -= 1

    def wrong(self, address: str) -> None:
        """A wrong password came from this address."""
        self._client(address).wrong.append(time.monotonic())

    def _client(self, address: str) -> _Client:
        network = network_of(address)
        if network not in self._clients:
            self._make_room()
            self._clients[network] = _Client()
        return self._clients[network]

    def _make_room(self) -> None:
        if len(self._clients) < MAXIMUM_ADDRESSES:
            return
        idle = [network for network, client in self._clients.items() if not client.present]
        done = [network for network in idle if not self._recent(self._clients[network])]
        for network in done or idle[:1]:
            del self._clients[network]

    def _is_exhausted(self, client: _Client) -> bool:
        return self._recent(client) >= MAXIMUM

    @staticmethod
    def _recent(client: _Client) -> int:
        while client.wrong and client.wrong[0] < time.monotonic() - WITHIN:
            client.wrong.popleft()
        return len(client.wrong)


def network_of(address: str) -> str:
    """What one device has: an IPv4 address, or all that begin with the same 64 bits of IPv6; else the word itself."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return address
    return str(found) if found.version == 4 else str(ipaddress.ip_network((found, 64), strict=False))
