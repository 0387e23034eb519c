"""Runs inside JupyterHub's process, as `jupyterhub`: wrong passwords, counted by the device that they came from.

The door `authenticate` counts them for each account, for good reasons of its own. This is for whoever tries one
password on everybody, or keeps the machine busy with a thousand logins at once; nobody else is to be hindered by it.
What counts as one device says docs/adr/0024-whose-tries-count.md.
"""

from __future__ import annotations

import asyncio
import contextlib
import enum
import ipaddress
import time
from collections import deque
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Optional

from jupyterhub4family.common.system import network

#: Seconds within which wrong passwords are counted together.
WITHIN = 900.0
#: So many wrong passwords may come from one device. A family that sits behind one address (a VPN) does not type that
#: many; a program that guesses gets 1,920 tries a day. And so many logins are looked at at a time; the others wait.
MAXIMUM, AT_ONCE = 20, 4
#: The same for a whole network that this machine is in itself: one device can take any of its addresses.
MAXIMUM_OF_NETWORK, AT_ONCE_OF_NETWORK = 100, 12
#: So many are looked at at a time in all: of devices that are not known, and of those that are.
AT_ONCE_IN_ALL = 16
#: So many wait in each of these cases, and for so many seconds. Whoever comes then, or waits longer, is asked to come
#: again: everybody has to have an answer before the proxy gives the hub up, after half a minute (proxy/limits.js).
#: Eight a second get theirs, and fewer where other programs want the processor.
MAXIMUM_WAITING, TURN_TIMEOUT = 100, 20.0
#: So many are remembered, of devices that are known, and of others. `_Clients` says what is done beyond that.
MAXIMUM_REMEMBERED = 1000
#: Seconds for which this machine is believed to be in the same networks.
NETWORKS_AGE = 30.0


class Turn(enum.Enum):
    """What comes of waiting for one's turn."""

    GRANTED = enum.auto()
    #: Too many wrong passwords have come from there.
    EXHAUSTED = enum.auto()
    #: Too many wait already, or it did not come in time.
    BUSY = enum.auto()


@dataclass(frozen=True)
class Budget:
    """What is counted together, and how much of it there may be; without a maximum it is only made to wait."""

    name: str
    maximum: Optional[int] = MAXIMUM
    at_once: int = AT_ONCE


#: All strangers share this one, and all devices that are known that one.
_STRANGERS, _KNOWN = Budget("strangers", None, AT_ONCE_IN_ALL), Budget("known", None, AT_ONCE_IN_ALL)
#: All for whom there is no room in memory.
_CROWD = Budget("crowd")


@dataclass
class _Client:
    """What is known of one of these."""

    budget: Budget
    #: Made where it is used: before Python 3.10 it belongs to the loop that runs then.
    turns: asyncio.Semaphore
    #: Who waits or is being looked at.
    present: int = 0
    #: When the wrong passwords came, in seconds of the machine's own clock; the oldest first.
    wrong: deque[float] = field(default_factory=lambda: deque(maxlen=2 * MAXIMUM_OF_NETWORK))

    def recent(self) -> int:
        """How many wrong passwords count."""
        while self.wrong and self.wrong[0] < time.monotonic() - WITHIN:
            self.wrong.popleft()
        return len(self.wrong)

    def is_exhausted(self) -> bool:
        """Whether no password from there may be looked at."""
        return self.budget.maximum is not None and self.recent() >= self.budget.maximum

    def is_crowded(self) -> bool:
        """Whether nobody else may wait."""
        return self.present >= self.budget.at_once + MAXIMUM_WAITING


class _Clients:
    """A bounded memory. Nobody who is blocked is forgotten for the sake of somebody else.

    Forgotten are first all of whom nothing counts any more, else the one with the fewest wrong passwords. When there is
    nobody left to forget, all newcomers are counted together, as if they were one.
    """

    def __init__(self) -> None:
        self._known: dict[str, _Client] = {}

    def client(self, budget: Budget) -> _Client:
        """The one with this budget."""
        if budget.name not in self._known and not self._make_room():
            budget = _CROWD
        if budget.name not in self._known:
            self._known[budget.name] = _Client(budget, asyncio.Semaphore(budget.at_once))
        return self._known[budget.name]

    def _make_room(self) -> bool:
        """Forget somebody if need be; whether there is room now."""
        if len(self._known) < MAXIMUM_REMEMBERED:
            return True
        kept = (_STRANGERS, _KNOWN, _CROWD)
        idle = [client for client in self._known.values() if not client.present and client.budget not in kept]
        counts = {client.budget.name: client.recent() for client in idle if not client.is_exhausted()}
        done = [name for name, count in counts.items() if not count]
        for name in done or sorted(counts, key=lambda name: counts[name])[:1]:
            del self._known[name]
        return bool(counts)


class Throttle:
    """Keeps count. Forgets when the hub restarts, which nobody outside can bring about."""

    def __init__(self) -> None:
        # Apart from each other: however many strangers come, they take no room from devices that are known.
        self._strangers, self._devices = _Clients(), _Clients()
        self._networks: list[ipaddress.IPv6Network] = []
        self._looked = float("-inf")

    def believes(self, device: str) -> bool:
        """Whether a known device is still taken for one: not after as many wrong passwords as any may send."""
        return not self._devices.client(_device(device)).is_exhausted()

    @contextlib.asynccontextmanager
    async def turn(self, address: str, name: str, device: str = "") -> AsyncIterator[Turn]:
        """Wait for the turn of a login as `name`; says whether its password may be looked at.

        `device`: the known device that it comes from, or "".
        """
        clients = self._clients(address, name, device)
        if any(client.is_crowded() for client in clients):
            yield Turn.BUSY
            return
        async with contextlib.AsyncExitStack() as stack:
            for client in clients:
                stack.enter_context(_present(client))
            until = time.monotonic() + TURN_TIMEOUT
            for client in clients:
                if not await _came(client.turns, until - time.monotonic()):
                    yield Turn.BUSY
                    return
                stack.callback(client.turns.release)
            yield Turn.EXHAUSTED if any(client.is_exhausted() for client in clients) else Turn.GRANTED

    def wrong(self, address: str, name: str, device: str = "") -> None:
        """A wrong password came from there."""
        for client in self._clients(address, name, device):
            client.wrong.append(time.monotonic())

    def _clients(self, address: str, name: str, device: str) -> Sequence[_Client]:
        """Those whose turns a login takes, in the order in which it waits for them: the one that all share last."""
        if device:
            return [self._devices.client(budget) for budget in (_device(device), _KNOWN)]
        return [self._strangers.client(one) for one in (*budgets(address, name, self._on_link()), _STRANGERS)]

    def _on_link(self) -> Sequence[ipaddress.IPv6Network]:
        if time.monotonic() - self._looked > NETWORKS_AGE:
            self._networks, self._looked = network.on_link_networks(), time.monotonic()
        return self._networks


async def _came(turns: asyncio.Semaphore, seconds: float) -> bool:
    """Whether a turn came within so many seconds. None is lost if whoever waits is cancelled."""
    if not turns.locked():
        return await turns.acquire()
    waiting = asyncio.ensure_future(turns.acquire())
    try:
        # Not wait_for: before Python 3.12 it loses a cancellation that comes in the same turn as the answer.
        await asyncio.wait({waiting}, timeout=max(0.0, seconds))
    except asyncio.CancelledError:
        if not waiting.cancel() and not waiting.cancelled():
            turns.release()
        raise
    return waiting.done() or not waiting.cancel()


@contextlib.contextmanager
def _present(client: _Client) -> Iterator[None]:
    client.present += 1
    try:
        yield
    finally:
        client.present -= 1


def _device(device: str) -> Budget:
    return Budget(f"device {device}")


def budgets(address: str, name: str, on_link: Sequence[ipaddress.IPv6Network]) -> list[Budget]:
    """What a login as `name` from this address draws on; `on_link` are the networks that this machine is in.

    An IPv4 address is one device. So are, from elsewhere, all addresses that begin with the same 64 bits of IPv6: that
    is what one connection to the internet gets. At home the whole family has these 64 bits in common: there each
    address counts, and all of them together. From this machine itself (another proxy in front, a tunnel of ssh) come
    many devices or one, and nobody knows: what is counted is the account.
    """
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return [Budget(address)]
    if found.is_loopback:
        return [Budget(f"{found} as {name[:64]}")]
    if isinstance(found, ipaddress.IPv4Address):
        return [Budget(str(found))]
    prefix = str(ipaddress.ip_network((int(found), 64), strict=False))
    if found.is_link_local or any(found in one for one in on_link):
        return [Budget(str(found)), Budget(f"all of {prefix}", MAXIMUM_OF_NETWORK, AT_ONCE_OF_NETWORK)]
    return [Budget(prefix)]
