"""Runs as jupyterhub: takes a port of the service from whoever holds it (common/state/ports.py).

Only where nobody does (a start by hand) it is opened here.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Mapping
from typing import Optional

from jupyterhub4family.common.settings.model import Settings
from jupyterhub4family.common.state import ports
from jupyterhub4family.common.state.ports import Place

#: The variable that tells JupyterHub which descriptor its port is.
DESCRIPTOR = "JUPYTERHUB4FAMILY_PORT"
#: The first descriptor that systemd hands over (sd_listen_fds(3)).
FIRST_DESCRIPTOR = 3
#: Seconds between two tries to get a port that systemd has, and for how long.
PAUSE, SYSTEMD_TIMEOUT = 0.2, 15.0


def take(name: str, settings: Settings) -> socket.socket:
    """The port called `name`, listening. Raises FamilyError, which says who has it, if it cannot be had."""
    place = ports.places(settings)[name]
    until = time.monotonic() + SYSTEMD_TIMEOUT
    # Once: those that are not the one are closed, and their numbers may be something else's by the next look.
    found = _the_one_at(place, from_systemd())
    while True:
        found = found or _the_one_at(place, ports.from_holder())
        if found is not None:
            return found
        try:
            return ports.open_port(place)
        except OSError as error:
            # Systemd has it, and the program that hands it on is just being started.
            if 0 not in ports.owners(place.port) or time.monotonic() > until:
                raise ports.taken(place, error) from error
        time.sleep(PAUSE)


def from_systemd(variables: Mapping[str, str] = os.environ) -> list[socket.socket]:
    """The sockets that systemd has given to this process (sd_listen_fds(3)); the caller has them now."""
    if variables.get("LISTEN_PID") != str(os.getpid()) or not variables.get("LISTEN_FDS", "").isdigit():
        return []
    count = min(int(variables["LISTEN_FDS"]), ports.MOST)
    return ports.as_sockets(range(FIRST_DESCRIPTOR, FIRST_DESCRIPTOR + count))


def from_root(variables: Mapping[str, str] = os.environ) -> list[socket.socket]:
    """The sockets that root has taken over from an earlier version for this process (root/base/held_ports.py)."""
    words = variables.get(ports.ADOPTED, "").split(",")[: ports.MOST]
    return ports.as_sockets(int(word) for word in words if word.isdigit())


def _the_one_at(place: Place, handed_over: list[socket.socket]) -> Optional[socket.socket]:
    """The socket for `place`, if it is among these; the others are closed."""
    found = None
    for one in handed_over:
        if found is None and ports.is_at(one, place):
            found = one
        else:
            one.close()
    return found
