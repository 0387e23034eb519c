"""Any identity: which TCP sockets of this machine wait for connections, and whose they are, as the kernel tells."""

from __future__ import annotations

import ipaddress
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Union

#: The kernel's tables of TCP sockets of this network namespace (proc(5)); not hidden by hidepid.
TABLES = (Path("/proc/self/net/tcp"), Path("/proc/self/net/tcp6"))
#: TCP_LISTEN of <netinet/tcp.h>, as the tables write it.
_LISTENING = "0A"

Address = Union[ipaddress.IPv4Address, ipaddress.IPv6Address]


@dataclass(frozen=True)
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
    for table in TABLES:
        try:
            lines = table.read_text("ascii").splitlines()
        except FileNotFoundError:
            continue  # a kernel without IPv6
        for line in lines[1:]:
            _number, local, _remote, state, _queues, _timer, _tries, uid, _timeout, inode = line.split()[:10]
            if state == _LISTENING:
                address, _colon, port = local.partition(":")
                yield Listener(_address(address), int(port, 16), int(uid), inode)


def _address(word: str) -> Address:
    """An address as the tables write it: 32-bit words in the byte order of this machine, in hexadecimal."""
    parts = [int(word[start : start + 8], 16) for start in range(0, len(word), 8)]
    address = ipaddress.ip_address(struct.pack(f"={len(parts)}I", *parts))
    return getattr(address, "ipv4_mapped", None) or address
