"""Any identity: the two TCP ports of the service, where they are to be open, and who hands them over.

Any account may listen on a port above 1023 as soon as nobody else does. So nobody of the service opens one when it
starts: systemd (jupyterhub4family-ports.socket) or the program `hold-ports` holds both through every restart and
crash, and hands them over.
"""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import json
import os
import pwd
import socket
import struct
from collections.abc import Iterable, Mapping

from jupyterhub4family.common import paths, records
from jupyterhub4family.common.errors import ExitStatus, FamilyError
from jupyterhub4family.common.i18n.messages import _
from jupyterhub4family.common.settings.model import Settings
from jupyterhub4family.common.system import sockets

PORTAL, HUB = "portal", "hub"
#: The variable in which root tells `hold-ports` which descriptors are ports, with commas.
ADOPTED = "JUPYTERHUB4FAMILY_PORTS"
#: Connections that wait until they are taken up; those of a whole family while hub or proxy is being restarted.
BACKLOG = 1024
#: Seconds that the program which holds the ports may take to answer.
TIMEOUT = 5
#: More descriptors than anybody hands over, and bytes of what is said about them.
MOST, LONGEST = 8, 4096


@records.dataclass(frozen=True)
class Place:
    """Where a port is to be open; no address: on all of them."""

    address: str
    port: int


def places(settings: Settings) -> dict[str, Place]:
    """What the settings want: the portal's port, and the hub's for members' servers."""
    return {PORTAL: Place(settings.bind_address, settings.port), HUB: Place("127.0.0.1", settings.hub_port)}


def from_holder() -> list[socket.socket]:
    """The sockets that `hold-ports` has; none if it does not run."""
    with contextlib.closing(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)) as asking:
        asking.settimeout(TIMEOUT)
        try:
            asking.connect(str(paths.HOLDER_SOCKET))
            _text, descriptors, _flags, _address = socket.recv_fds(asking, LONGEST, MOST)
        except OSError:
            return []
    return as_sockets(descriptors)


def as_sockets(descriptors: Iterable[int]) -> list[socket.socket]:
    """Those of these descriptors that are sockets which listen; programs that are started do not get them."""
    found = []
    for descriptor in descriptors:
        try:
            one = socket.socket(fileno=descriptor)
        except OSError:
            with contextlib.suppress(OSError):
                os.close(descriptor)
            continue
        one.set_inheritable(False)
        if one.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            found.append(one)
            continue
        # Whoever closes a connection last may have to wait for hours until its data has gone (SO_LINGER, socket(7)).
        with contextlib.suppress(OSError):
            one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 0, 0))
        one.close()
    return found


def are_held(settings: Settings) -> bool:
    """Whether `hold-ports` has what the settings want. For the account and for root: nobody else may ask it."""
    given = from_holder()
    try:
        return all(any(is_at(one, place) for one in given) for place in places(settings).values())
    finally:
        for one in given:
            one.close()


def is_at(one: socket.socket, place: Place) -> bool:
    """Whether a listening socket is the one for `place`."""
    if one.family not in (socket.AF_INET, socket.AF_INET6):
        return False
    address, port = one.getsockname()[:2]
    where = ipaddress.ip_address(address)
    return port == place.port and (str(where) == place.address if place.address else where.is_unspecified)


def open_port(place: Place, *, shared: bool = False) -> socket.socket:
    """Listen at `place`; `shared`: together with sockets of the same account that are opened like this.

    Raises OSError.
    """
    if place.address or not socket.has_dualstack_ipv6():
        return _opened(socket.AF_INET6 if ":" in place.address else socket.AF_INET, place, shared)
    try:
        return _opened(socket.AF_INET6, place, shared)
    except OSError as error:
        # A kernel may know IPv6 and the machine still have it switched off.
        if error.errno == errno.EADDRINUSE:
            raise
        return _opened(socket.AF_INET, place, shared)


def _opened(family: socket.AddressFamily, place: Place, shared: bool) -> socket.socket:
    one = socket.socket(family, socket.SOCK_STREAM)
    try:
        # As systemd, node and Python's servers do: else a port would not be had for a minute after its last use.
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, int(shared))
        if family == socket.AF_INET6:
            one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1 if place.address else 0)
        one.bind((place.address, place.port))
        one.listen(BACKLOG)
    except OSError:
        one.close()
        raise
    return one


def owners(port: int) -> set[int]:
    """The uids of those who listen at `port`, at whatever address."""
    try:
        return {listener.uid for listener in sockets.listeners() if listener.port == port}
    except OSError:
        return set()


def taken(place: Place, error: OSError) -> FamilyError:
    """What people are told when a port cannot be had: whose program has it, if the kernel tells."""
    names = set()
    for uid in owners(place.port):
        with contextlib.suppress(KeyError):
            names.add(pwd.getpwuid(uid).pw_name)
    reason = _("a program of {name} has it", name=", ".join(sorted(names))) if names else str(error.strerror)
    return FamilyError(
        _("port {port} is unavailable: {reason}", port=place.port, reason=reason),
        _("see which program uses it: {command}", command=f"sudo ss -ltnp 'sport = :{place.port}'"),
        ExitStatus.PORT_TAKEN,
    )


def described(held: Mapping[str, tuple[Place, socket.socket]]) -> bytes:
    """What `hold-ports` says about the sockets that it hands over, in their order."""
    about = [[name, place.address, place.port] for name, (place, _socket) in held.items()]
    return json.dumps(about).encode()
