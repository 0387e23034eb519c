"""Any identity: the names and addresses under which this machine is found at home. Asks files and the kernel only.

No look-up in the DNS: that may take half a minute without internet, and answers of a network would get into
certificates.
"""

from __future__ import annotations

import array
import contextlib
import fcntl
import ipaddress
import re
import socket
import struct
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Union

from jupyterhub4family.common.system import files, processes

Address = Union[ipaddress.IPv4Address, ipaddress.IPv6Address]

#: Networks that only this machine sees: bridges and links to containers and to virtual machines.
INNER_INTERFACE = re.compile(
    r"lo|docker\d+|docker_\w+|br-[0-9a-f]{12}|veth.*|virbr\d.*|vnet\d+|lxcbr\d+|lxdbr\d+|incusbr\d+|podman\d+|cni\d*"
    r"|cni-.*|flannel.*|cali.*|vmnet\d+|vboxnet\d+|ve-.*|vb-.*|dummy\d+"
)
#: One part of a host name (RFC 1123); underscores and the like are in no certificate.
LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
#: Domains that exist in home networks only: mDNS (RFC 6762), home networks (RFC 8375), private use (ICANN, 2024).
HOME_DOMAINS = ("localhost", "local", "home.arpa", "internal")
#: There while avahi runs. Its socket is systemd's, and stays when avahi is stopped.
AVAHI_PID = Path("/run/avahi-daemon/pid")
#: What avahi calls its process while it announces a name.
_ANNOUNCING = re.compile(r"avahi-daemon: running \[([^\]]*)\]")

HOSTS_FILE = Path("/etc/hosts")
RESOLVER_FILE = Path("/etc/resolv.conf")
ROUTES_FILE = Path("/proc/net/route")
IPV6_FILE = Path("/proc/net/if_inet6")
IPV6_ROUTES_FILE = Path("/proc/net/ipv6_route")

_LIST_ADDRESSES = 0x8912  # SIOCGIFCONF
#: Flags of an IPv6 address (linux/if_addr.h) that will not last or cannot be used: temporary, failed, deprecated, new.
_UNSTEADY = 0x01 | 0x08 | 0x20 | 0x40
#: Flags of an IPv6 route (linux/route.h, linux/ipv6_route.h) that leads to no neighbour: by a gateway, refused, to this
#: machine itself, to any of several.
_NO_NEIGHBOUR = 0x0002 | 0x0200 | 0x80000000 | 0x00100000
#: No network of neighbours has fewer bits in common: "everything is here" is a tunnel.
_SHORTEST_PREFIX = 48
_LASTING_IPV6 = ipaddress.IPv6Network("fc00::/7")


def is_host_name(text: str) -> bool:
    """Whether `text`, in lower case, can be a host name in a certificate."""
    labels = text.split(".")
    good = len(text) <= 253 and all(LABEL.fullmatch(label) for label in labels)
    # 1.2.3.4 is an address, and 1.2.3.400 is nothing.
    return good and not labels[-1].isdigit()


def host_names() -> list[str]:
    """Names of this machine, in lower case: HOST, full names if it knows any, and HOST.local."""
    own = socket.gethostname().lower().rstrip(".")
    short = own.partition(".")[0]
    if not is_host_name(short) or short == "localhost":
        # A machine without a proper name is found by its addresses.
        return []
    found = [short, own, *_names_of_hosts_file(short), *(f"{short}.{domain}" for domain in _domains())]
    return _each_once(name for name in [*found, f"{short}.local"] if is_host_name(name))


def local_name() -> str:
    """HOST.local, the name that avahi is to announce; "" if the machine has no proper name."""
    return next((name for name in host_names() if name.endswith(".local")), "")


def lan_addresses() -> list[str]:
    """Addresses of this machine in its networks, the most useful first: IPv4, then lasting ones of IPv6.

    Left out are loopback and link-local addresses, networks of containers and virtual machines, and all public
    IPv6 addresses: they change, and nobody types them.
    """
    outer = _outer_interfaces()

    def usefulness(found: tuple[str, Address]) -> tuple[bool, bool, bool]:
        interface, address = found
        return (address.version != 4, interface not in outer, not address.is_private)

    both = [*_ipv4_addresses(), *_ipv6_addresses()]
    useful = [found for found in both if not INNER_INTERFACE.fullmatch(found[0]) and _lasts(found[1])]
    return _each_once(str(address) for _interface, address in sorted(useful, key=usefulness))


def on_link_networks() -> list[ipaddress.IPv6Network]:
    """The IPv6 networks whose devices this machine reaches without a router in between, from the kernel's routes.

    Single addresses are none (a peer, an anycast address), nor is multicast.
    """
    found = []
    # proc(5) does not know the file: destination, prefix length, source, prefix length, next hop, metric, references,
    # uses, flags, device; all in hexadecimal digits (net/ipv6/route.c).
    for fields in _fields_of(IPV6_ROUTES_FILE):
        with contextlib.suppress(ValueError, IndexError):
            length, flags = int(fields[1], 16), int(fields[8], 16)
            network = ipaddress.IPv6Network((bytes.fromhex(fields[0]), length))
            is_direct = not int(fields[4], 16) and not flags & _NO_NEIGHBOUR and fields[9] != "lo"
            if is_direct and _SHORTEST_PREFIX <= length < 128 and not network.is_multicast:
                found.append(network)
    return found


def announced_name() -> str:
    """The name under which other machines at home find this one now, in lower case; "" without avahi.

    It is HOST-2.local where another machine was HOST.local already. avahi writes it over its command line.
    """
    try:
        pid = int(files.read_untrusted(AVAHI_PID, 100) or b"")
        title = processes.read(pid, "cmdline").partition(b"\0")[0]
    except (OSError, ValueError):
        return ""
    found = _ANNOUNCING.fullmatch(title.decode("ascii", "replace"))
    return found[1].lower() if found else ""


def in_url(host: str) -> str:
    """A host as it is written in a URL: IPv6 addresses stand in brackets."""
    return f"[{host}]" if ":" in host else host


def _each_once(texts: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(texts))


def _lasts(address: Address) -> bool:
    if address.is_loopback or address.is_link_local or address.is_unspecified:
        return False
    return address.version == 4 or address in _LASTING_IPV6


def _fields_of(file: Path) -> Iterator[list[str]]:
    """The words of each line, comments left out; nothing if the file is missing."""
    with contextlib.suppress(OSError):
        for line in file.read_text("utf-8", "replace").splitlines():
            fields = line.partition("#")[0].split()
            if fields:
                yield fields


def _names_of_hosts_file(short: str) -> list[str]:
    """Full names of this machine in /etc/hosts, as Debian's installer writes them: 127.0.1.1 HOST.DOMAIN HOST."""
    lines = [[word.lower() for word in fields[1:]] for fields in _fields_of(HOSTS_FILE)]
    return [name for names in lines if short in names for name in names if name.startswith(f"{short}.")]


def _domains() -> list[str]:
    """The home network's own domains, as its router tells them (fritz.box, home.arpa, lan): two at most."""
    found: list[str] = []
    for fields in _fields_of(RESOLVER_FILE):
        if fields[0] in ("domain", "search"):
            found = [word.lower().rstrip(".") for word in fields[1:]]
    return [domain for domain in found if domain and is_host_name(domain)][:2]


def _outer_interfaces() -> set[str]:
    """Interfaces that lead to the default gateway."""
    return {fields[0] for fields in _fields_of(ROUTES_FILE) if len(fields) > 2 and fields[1] == "00000000"}


def _ipv4_addresses() -> list[tuple[str, Address]]:
    """Every IPv4 address with its interface, from the kernel (netdevice(7))."""
    # struct ifreq: a name of 16 bytes, then a union as long as struct ifmap.
    size = 40 if struct.calcsize("P") == 8 else 32
    capacity = 64 * size
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            while True:
                buffer = array.array("B", bytes(capacity))
                request = struct.pack("iP", capacity, buffer.buffer_info()[0])
                length = int(struct.unpack("iP", fcntl.ioctl(probe.fileno(), _LIST_ADDRESSES, request))[0])
                if length < capacity:
                    break
                capacity *= 2
    except OSError:
        return []
    raw = buffer.tobytes()[:length]
    entries = [raw[start : start + size] for start in range(0, length, size)]
    return [
        # An alias such as eth0:1 belongs to its interface.
        (entry[:16].partition(b"\0")[0].decode("ascii", "replace").partition(":")[0], _ipv4(entry[20:24]))
        for entry in entries
    ]


def _ipv4(raw: bytes) -> Address:
    return ipaddress.IPv4Address(raw)


def _ipv6_addresses() -> list[tuple[str, Address]]:
    """Every IPv6 address that is neither temporary nor on its way out, with its interface."""
    found: list[tuple[str, Address]] = []
    for fields in _fields_of(IPV6_FILE):
        with contextlib.suppress(ValueError, IndexError):
            address, flags, interface = ipaddress.IPv6Address(bytes.fromhex(fields[0])), int(fields[4], 16), fields[5]
            if not flags & _UNSTEADY:
                found.append((interface, address))
    return found
