"""A slower network between a browser and one machine, packet by packet: runs as root on the developer's computer.

Not every kernel can delay packets (netem is a module of its own), so a small program does it: the browser gets a
network namespace whose only way out is a tunnel, another tunnel ends in the machine's, and in between each packet
waits for its turn at the given rate and then for the delay. The machine's address stays what it is, and so do
certificates. `python -m bench.link NAMESPACE MACHINE RATE DELAY` is that program.
"""

from __future__ import annotations

import ctypes
import fcntl
import json
import os
import select
import struct
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from tests.machine.lib.machine import Machine
from tests.machine.lib.places import host

#: What marks were set for: a slow network at home, there and back 5 ms.
MEGABITS, MILLISECONDS = 20.0, 5.0
#: Bytes that may wait for their turn: what comes on top is lost, as in a router.
QUEUE = 512 * 1024
BROWSER, MACHINE = "10.95.0.2", "10.95.0.1"
_TUNNEL = "slow0"
_MTU = 1500
_TUNSETIFF, _IFF_TUN, _IFF_NO_PI = 0x400454CA, 0x0001, 0x1000
_CLONE_NEWNET = 0x40000000


@dataclass
class Direction:
    """Packets on their way from one end to the other."""

    bytes_per_second: float
    delay: float
    free_at: float = 0.0
    waiting: deque[tuple[float, bytes]] = field(default_factory=deque)
    waiting_bytes: int = 0

    def send(self, packet: bytes, now: float) -> bool:
        """Take a packet; False if it is lost, because too many are waiting."""
        if self.waiting_bytes + len(packet) > QUEUE:
            return False
        self.free_at = max(self.free_at, now) + len(packet) / self.bytes_per_second
        self.waiting.append((self.free_at + self.delay, packet))
        self.waiting_bytes += len(packet)
        return True

    def arrived(self, now: float) -> Iterator[bytes]:
        """Packets whose time has come."""
        while self.waiting and self.waiting[0][0] <= now:
            packet = self.waiting.popleft()[1]
            self.waiting_bytes -= len(packet)
            yield packet

    def next_at(self) -> float | None:
        """When the next one arrives."""
        return self.waiting[0][0] if self.waiting else None


@dataclass(frozen=True)
class Link:
    """A link that works: what is started with `prefix` in front has it for its network."""

    namespace: str

    @property
    def prefix(self) -> list[str]:
        """What a command begins with that shall use it."""
        return ["ip", "netns", "exec", self.namespace]

    def received(self) -> int:
        """Bytes that have come to the browser's side, headers of packets included."""
        listing = json.loads(host("ip", "-n", self.namespace, "-s", "-j", "link", "show", "dev", _TUNNEL).stdout)
        return int(listing[0]["stats64"]["rx"]["bytes"])


@contextmanager
def slow_link(machine: Machine, megabits: float = MEGABITS, milliseconds: float = MILLISECONDS) -> Iterator[Link]:
    """A link to the machine at this rate each way; `milliseconds` are there and back."""
    namespace = f"{machine.name}-browser"
    host("ip", "netns", "delete", namespace, check=False)
    host("ip", "netns", "add", namespace)
    arguments = [namespace, machine.name, str(megabits), str(milliseconds)]
    program = subprocess.Popen([sys.executable, "-m", "bench.link", *arguments], stdout=subprocess.PIPE, text=True)
    try:
        assert program.stdout
        if program.stdout.readline() != "ready\n":
            raise RuntimeError(f"no link to {machine.name}")
        for name, own, other in ((namespace, BROWSER, MACHINE), (machine.name, MACHINE, BROWSER)):
            inside = ("ip", "-n", name)
            host(*inside, "addr", "add", own, "peer", other, "dev", _TUNNEL)
            host(*inside, "link", "set", _TUNNEL, "mtu", str(_MTU), "up")
        host("ip", "-n", namespace, "link", "set", "lo", "up")
        host("ip", "-n", namespace, "route", "add", "default", "via", MACHINE, "dev", _TUNNEL)
        yield Link(namespace)
    finally:
        program.terminate()  # both tunnels go with it
        program.wait()
        host("ip", "netns", "delete", namespace, check=False)


def main(namespace: str, machine: str, megabits: str, milliseconds: str) -> None:
    """Carry packets until somebody ends it."""
    rate, delay = float(megabits) * 125_000, float(milliseconds) / 2000
    ends = [_tunnel(namespace), _tunnel(machine)]
    print("ready", flush=True)
    ways = {ends[0]: (Direction(rate, delay), ends[1]), ends[1]: (Direction(rate, delay), ends[0])}
    while True:
        due = [at for way, _ in ways.values() if (at := way.next_at()) is not None]
        patience = max(0.0, min(due) - time.monotonic()) if due else None
        readable, _, _ = select.select(ends, [], [], patience)
        now = time.monotonic()
        for end in readable:
            ways[end][0].send(os.read(end, 65536), now)
        for way, target in ways.values():
            for packet in way.arrived(now):
                _write(target, packet)


def _tunnel(namespace: str) -> int:
    """A tunnel of packets in a network namespace; it is there as long as this program."""
    with open(Path("/run/netns") / namespace) as place:
        if ctypes.CDLL(None, use_errno=True).setns(place.fileno(), _CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), f"no way into {namespace}")
    end = os.open("/dev/net/tun", os.O_RDWR)
    fcntl.ioctl(end, _TUNSETIFF, struct.pack("16sH22x", _TUNNEL.encode(), _IFF_TUN | _IFF_NO_PI))
    return end


def _write(end: int, packet: bytes) -> None:
    # The other side may not be up yet, or no more: lost, as on any network.
    with suppress(OSError):
        os.write(end, packet)


if __name__ == "__main__":
    main(*sys.argv[1:])
