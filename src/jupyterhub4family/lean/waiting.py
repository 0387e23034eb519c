"""Runs as the member, in a process that is to be their server one day: waits until it is wanted (ADR 36).

The mediator that began it has left it a socket in a folder of the member's. Another mediator comes there, says which
variables the server gets, and this process is that server from then on. It knows nothing secret before, opens no port,
and ends by itself: after its time, or when a file that it has imported is no longer what it was.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import struct
import sys
import time
from typing import Optional

#: Descriptor of the socket and seconds to wait, for a process that shall wait. No program that it starts sees it.
ORDER = "JUPYTERHUB4FAMILY_WAIT"
#: Where the socket lies, seen from the home.
SOCKET = ".local/state/jupyterhub4family/waiting.sock"
#: What the kernel calls the process meanwhile (comm, proc(5): 15 bytes): nobody shall take it for a server that runs.
NAME = "jupyter-waiting"
#: A file in memory with the server's variables, as /proc/PID/environ has them: that one cannot be changed any more, and
#: whoever may look there sees this among the process's descriptors as well (user/server_activity.py).
SHOWN = "jupyterhub4family-environ"
#: Tells apart for which server it can be; servers are found by it (user/server.py).
MARKER = "JUPYTERHUB_SERVICE_PREFIX"
#: Seconds for whoever comes to say what they want; bytes of it.
TIMEOUT, LONGEST_REQUEST = 2.0, 256 * 1024
#: pid, uid and gid (struct ucred, unix(7)).
_CREDENTIALS = struct.Struct("3i")
_COMM = "/proc/self/comm"

#: What is known of a file: when it was changed last, and which one it is.
_Stamp = Optional[tuple[int, int, int]]


def wait(order: str, began: int) -> None:
    """Return when this process shall be the server, with the server's variables; else the process ends here.

    `began`: when the first of its modules was imported (time.time_ns).
    """
    descriptor, seconds = order.split()
    deadline = time.monotonic() + float(seconds)
    had, known, mine = _first_variables(), _files(), _stamp(SOCKET)
    name = _rename(NAME)
    if not any(stamp is not None and stamp[0] >= began for stamp in known.values()):
        with socket.socket(fileno=int(descriptor)) as listener:
            listener.set_inheritable(False)
            while (left := deadline - time.monotonic()) > 0:
                listener.settimeout(left)
                try:
                    client = listener.accept()[0]
                except OSError:
                    break
                with client:
                    variables = _wanted_variables(client)
                    if variables is None or variables.get(MARKER) != had.get(MARKER):
                        # Nothing that can be read, or another server of the member's: somebody else may still come.
                        continue
                    # With other variables it would have been started otherwise.
                    is_same = all(variables.get(one) == value for one, value in had.items())
                    if is_same and known == _files() and _is_agreed(client):
                        _unlink(mine)
                        # What a module has set while it was imported it would have set later, too.
                        os.environ.update({one: value for one, value in variables.items() if one not in had})
                        _show(variables)
                        _rename(name)
                        return
                break
    _unlink(mine)
    # Nobody's files are open, no thread runs: there is nothing to tidy up.
    os._exit(0)


def _show(variables: dict[str, str]) -> None:
    """Keep the variables where the member's own programs look for them, for as long as this process lives."""
    with contextlib.suppress(OSError):
        text = b"".join(os.fsencode(f"{name}={value}") + b"\0" for name, value in variables.items())
        # No program that it starts inherits it (MFD_CLOEXEC).
        os.write(os.memfd_create(SHOWN), text)


def _unlink(socket_file: _Stamp) -> None:
    """Take the socket away, unless another process waits at one of that name by now."""
    with contextlib.suppress(OSError):
        if _stamp(SOCKET) == socket_file:
            os.unlink(SOCKET)


def _first_variables() -> dict[str, str]:
    """What this process was started with, apart from the order to wait."""
    with open("/proc/self/environ", "rb") as file:
        pairs = [os.fsdecode(one).partition("=") for one in file.read().split(b"\0") if one]
    return {name: value for name, _equals, value in pairs if name != ORDER}


def _wanted_variables(client: socket.socket) -> Optional[dict[str, str]]:
    """What the client wants the server to have; None if it is somebody else's, or not said as it should be."""
    _pid, uid, _gid = _CREDENTIALS.unpack(client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size))
    if uid != os.getuid():
        return None
    request = _line(client)
    try:
        variables = json.loads(request) if request is not None else None
    except ValueError:
        return None
    if not isinstance(variables, dict) or not all(isinstance(one, str) for one in variables.values()):
        return None
    return variables


def _line(client: socket.socket) -> Optional[bytes]:
    """One line; None if it does not come in time, or is too long."""
    client.settimeout(TIMEOUT)
    text = b""
    try:
        while not text.endswith(b"\n"):
            piece = client.recv(65536)
            if not piece or len(text) + len(piece) > LONGEST_REQUEST:
                return None
            text += piece
    except OSError:
        return None
    return text


def _is_agreed(client: socket.socket) -> bool:
    """Say who we are; the client looks whether that is true, and says that they count on us."""
    try:
        client.sendall(json.dumps({"pid": os.getpid()}).encode("ascii") + b"\n")
    except OSError:
        return False
    return _line(client) == b"go\n"


def _files() -> dict[str, _Stamp]:
    """All files that were imported, and all folders in which Python looks for modules, as they are now.

    Packages that are installed, up- or downgraded or removed leave another name in such a folder.
    """
    names = {getattr(module, "__file__", None) for module in list(sys.modules.values())}
    return {name: _stamp(name) for name in [*names, *sys.path] if isinstance(name, str) and name}


def _stamp(name: str) -> _Stamp:
    try:
        found = os.stat(name)
    except OSError:
        return None
    return (found.st_mtime_ns, found.st_size, found.st_ino)


def _rename(name: str) -> str:
    """Give this process another name in the kernel's lists; returns the one it had."""
    with contextlib.suppress(OSError), open(_COMM, "r+b", buffering=0) as file:
        before = file.read().decode("utf-8", "replace").strip()
        file.write(name.encode("utf-8"))
        return before
    return "python"
