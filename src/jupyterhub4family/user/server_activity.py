"""Runs as the member, inside the mediator or started by root: asks the member's own servers what they are doing.

With the token that each server has in its environment, or shows beside it, where only the member can look. What comes
back is the member's word: whoever decides by it decides about this member's servers and nobody else's.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import stat
import urllib.parse
from typing import Any, Optional

from jupyterhub4family.common.protocol.doors import Activity
from jupyterhub4family.common.system import cgroups, processes, sockets

#: Where a server listens, as the hub told it.
_ADDRESS = re.compile(r"http://127\.0\.0\.1:[0-9]{2,5}/[\w./%~@-]*")
#: The variables that say it.
_URL, _TOKEN = "JUPYTERHUB_SERVICE_URL", "JUPYTERHUB_API_TOKEN"
#: Seconds; bytes.
TIMEOUT, LONGEST_ANSWER = 10, 1024 * 1024
#: As in lean/waiting.py, which knows nothing of us; bytes that are read of it.
SHOWN, LONGEST_SHOWN = "jupyterhub4family-environ", 256 * 1024
#: What a kernel is in that does nothing: one to which nobody has connected stays in `starting`.
_STATES_AT_REST = frozenset({"idle", "starting", "dead"})


def activity(uid: int, pid: int, start_time: int) -> Activity:
    """What goes on in the server `pid` of the account `uid`, if it is the one that started then."""
    found = address_and_token(pid)
    if not processes.is_running(pid, start_time) or found is None:
        return Activity(known=False)
    kernels = ask(*found, "kernels")
    # A server without terminals has no such address.
    terminals = ask(*found, "terminals", if_missing=[])
    if kernels is None or terminals is None:
        return Activity(known=False)
    states = [kernel.get("execution_state") if isinstance(kernel, dict) else None for kernel in kernels]
    busy = sum(state not in _STATES_AT_REST for state in states)
    return Activity(True, len(kernels) + len(terminals), busy + programs(uid, pid, start_time))


def address_and_token(pid: int) -> Optional[tuple[str, str]]:
    """Where the server listens that has started process `pid`, or is it, and its token; None if it is none."""
    address, token = (processes.environment_value(pid, name) for name in (_URL, _TOKEN))
    if address is None and processes.environment_value(pid, processes.SERVER_MARKER) is not None:
        # It was prepared ahead (ADR 36), and no server yet when it started.
        shown = _shown(pid)
        address, token = processes.variable(shown, _URL), processes.variable(shown, _TOKEN)
    return (address, token) if address and token and _ADDRESS.fullmatch(address) else None


def _shown(pid: int) -> bytes:
    """What such a server shows of its variables; nothing if it is none."""
    directory = processes.PROC / str(pid) / "fd"
    # It has ended, or is not ours to look into.
    with contextlib.suppress(OSError):
        for number in os.listdir(directory):
            with contextlib.suppress(FileNotFoundError):
                if os.readlink(directory / number).startswith(f"/memfd:{SHOWN} "):
                    return _read(str(directory / number))
    return b""


def _read(path: str) -> bytes:
    """A file's content, or nothing: another one may have taken its number, and shall not have us wait.

    Not by `files.read_untrusted`, which follows no link: all of these are links (proc(5)).
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        is_file = stat.S_ISREG(os.fstat(descriptor).st_mode)
        return os.pread(descriptor, LONGEST_SHOWN, 0) if is_file else b""
    finally:
        os.close(descriptor)


def ask(address: str, token: str, what: str, if_missing: Optional[list[Any]] = None) -> Optional[list[Any]]:
    """The list `what` (`kernels`, `terminals`) of a server; None if it does not say; `if_missing` if it has no such.

    A server that is ending has left its port to whoever takes it: another account gets no token.
    """
    parts = urllib.parse.urlsplit(address)
    connection = http.client.HTTPConnection("127.0.0.1", parts.port, timeout=TIMEOUT)
    try:
        if not _is_ours(parts.port or 0):
            return None
        connection.request("GET", f"{parts.path.rstrip('/')}/api/{what}", headers={"Authorization": f"token {token}"})
        with connection.getresponse() as answer:
            if answer.status == http.client.NOT_FOUND:
                return if_missing
            found = json.loads(answer.read(LONGEST_ANSWER)) if answer.status == http.client.OK else None
    except (OSError, ValueError, RecursionError, http.client.HTTPException):
        return None
    finally:
        connection.close()
    return found if isinstance(found, list) else None


def _is_ours(port: int) -> bool:
    """Whether it is a program of this account that listens there."""
    try:
        return sockets.uid_of_listener(port) == os.getuid()
    except OSError:  # a kernel that answers no such questions
        return any(one.port == port and one.uid == os.getuid() for one in sockets.listeners())


def programs(uid: int, pid: int, start_time: int) -> int:
    """How many programs run in a server beside itself and what it has started itself: kernels and shells.

    They were started in a notebook, in a terminal, or in the background: a stop would end them all.
    """
    everybody = processes.all_stat_fields()
    parents = {one: int(fields[1]) for one, fields in everybody.items() if fields[0] not in "ZX"}
    inside = set(cgroups.scopes().get(cgroups.scope_name(uid, pid, start_time), ()))
    inside.update(one for one in parents if _descends(one, pid, parents))
    return sum(one != pid and one in parents and parents[one] != pid for one in inside)


def _descends(one: int, ancestor: int, parents: dict[int, int]) -> bool:
    # Not for ever: a pid that was used again while the table was read could lead in a circle.
    for _step in range(len(parents)):
        if one == ancestor:
            return True
        one = parents.get(one, 0)
    return False
