"""Runs as root: takes over the ports of a running hub and proxy that have opened them by themselves (up to 0.1.0).

Were they only ended and the ports opened anew, any account could be first. So root takes copies of their listening
sockets (pidfd_getfd(2), Linux 5.6) and gives them to the account's program `hold-ports`; they never close.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import pwd
import socket
from pathlib import Path
from typing import NoReturn, Optional

from jupyterhub4family.common import paths
from jupyterhub4family.common.errors import FamilyError
from jupyterhub4family.common.i18n.messages import _
from jupyterhub4family.common.settings import effective
from jupyterhub4family.common.settings.model import Settings
from jupyterhub4family.common.state import ports
from jupyterhub4family.common.system import accounts, processes, programs, sockets

#: The number of pidfd_getfd(2), on every processor.
_PIDFD_GETFD = 438
RUNUSER = "/usr/sbin/runuser"


def service_listens(settings: Settings) -> bool:
    """Whether a program of the account has opened one of the ports by itself."""
    uid = pwd.getpwnam(accounts.SERVICE_ACCOUNT).pw_uid
    wanted = {place.port for place in ports.places(settings).values()}
    return any(listener.uid == uid and listener.port in wanted for listener in sockets.listeners())


def sockets_of_service() -> list[socket.socket]:
    """Copies of the service's own listening sockets where the settings want its ports; those that can be had."""
    uid = pwd.getpwnam(accounts.SERVICE_ACCOUNT).pw_uid
    wanted = {place.port for place in ports.places(effective.settings_in_use()[0]).values()}
    ours = [one for one in sockets.listeners() if one.uid == uid and one.port in wanted][: ports.MOST]
    links = {f"socket:[{one.inode}]" for one in ours}
    found: dict[str, socket.socket] = {}
    # Each process once, however many sockets there are.
    for entry in processes.PROC.iterdir():
        if not entry.name.isdigit():
            continue
        with contextlib.suppress(OSError):
            if entry.stat().st_uid != uid:
                continue
            for descriptor in (entry / "fd").iterdir():
                link = os.readlink(descriptor)
                copy = _taken(int(entry.name), int(descriptor.name), link) if link in links - set(found) else None
                if copy is not None:
                    found[link] = copy
    return list(found.values())


def _taken(pid: int, descriptor: int, link: str) -> Optional[socket.socket]:
    """A copy of a descriptor of another process. Raises OSError."""
    process = os.pidfd_open(pid)
    try:
        library = ctypes.CDLL(None, use_errno=True)
        copy = library.syscall(_PIDFD_GETFD, process, descriptor, 0)
        if copy < 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    finally:
        os.close(process)
    # Between two looks it may have become another one.
    if os.readlink(Path("/proc/self/fd") / str(copy)) != link:
        os.close(copy)
        return None
    return socket.socket(fileno=copy)


def become_holder() -> NoReturn:
    """Become `hold-ports` of the account, with the sockets of the running hub and proxy. Raises FamilyError."""
    taken = sockets_of_service()
    if not taken:
        raise FamilyError(_("hub and proxy have no ports that could be taken over"))
    for one in taken:
        one.set_inheritable(True)
    variables = programs.plain_environment({ports.ADOPTED: ",".join(str(one.fileno()) for one in taken)})
    os.execve(RUNUSER, [RUNUSER, "-u", accounts.SERVICE_ACCOUNT, "--", str(paths.LIBRARY / "hold-ports")], variables)
