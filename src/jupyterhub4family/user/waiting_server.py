"""Runs as the member, inside the mediator: begins a server before anybody has asked for it, and hands it over then.

Such a process has imported all that a server needs, is in its own scope with its limits, and waits at a socket in the
member's home (lean/waiting.py). It has no token and no port. Whoever can reach the socket is the member, who could
start any program anyway (ADR 36).
"""

from __future__ import annotations

import contextlib
import json
import os
import pwd
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Optional

from jupyterhub4family.common import paths
from jupyterhub4family.common.errors import UsageError
from jupyterhub4family.common.i18n.messages import _
from jupyterhub4family.common.system import cgroups, processes
from jupyterhub4family.user import server

if TYPE_CHECKING:
    import socket

#: As in lean/waiting.py, which knows nothing of us.
ORDER = "JUPYTERHUB4FAMILY_WAIT"
#: Seconds that one may wait at most.
LONGEST = 300
#: Seconds for one that is still importing to answer; a start from nothing takes as long.
ANSWER_WITHIN = 10.0
#: Bytes.
LONGEST_ANSWER = 200


def prepare(member: pwd.struct_passwd, untrusted_variables: Mapping[str, Any], seconds: int) -> bool:
    """Begin a server that waits for so many seconds; whether one waits now. Raises UsageError, FamilyError.

    None begins where servers start plain: all that could be done ahead is a part of the lean start.
    """
    if not 0 < seconds <= LONGEST:
        raise UsageError(_("a server may wait {seconds} seconds at most", seconds=LONGEST))
    variables = server.server_environment(member, untrusted_variables)
    launcher = server.launcher(Path(member.pw_dir))
    if not launcher or processes.SERVER_MARKER not in variables:
        return False
    with _directory(member) as directory:
        if directory is None or _is_waiting(directory):
            return directory is not None
        with _listen(directory) as listener:
            os.set_inheritable(listener.fileno(), True)
            server.begin(member, {**variables, ORDER: f"{listener.fileno()} {seconds}"}, launcher)
    return True


def take(member: pwd.struct_passwd, untrusted_variables: Mapping[str, Any]) -> Optional[server.Started]:
    """Have the server that waits for these variables, if there is one, become what it was prepared for.

    None: there is none, or it is not what a start from nothing would be; then it is over. Raises UsageError.
    """
    home = Path(member.pw_dir)
    # Most starts find none: they have nothing to load, and make up the variables themselves.
    if not os.path.lexists(home / paths.MEMBER_WAITING):
        return None
    variables = server.server_environment(member, untrusted_variables)
    # Turned off since it began to wait: nobody says `go`, and it ends.
    is_wanted = bool(server.launcher(home))
    with _directory(member) as directory, contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        if directory is None:
            return None
        with _connect(directory) as connection:
            connection.settimeout(ANSWER_WITHIN)
            connection.sendall(json.dumps(variables).encode("utf-8") + b"\n")
            started = _who_answers(member, variables[processes.SERVER_MARKER], _line(connection))
            if started is not None and is_wanted:
                # Not before: of one that is not ours nobody would know.
                connection.sendall(b"go\n")
                return started
    return None


@contextlib.contextmanager
def _directory(member: pwd.struct_passwd) -> Iterator[Optional[int]]:
    """A descriptor of the folder in which the socket lies: its own path may be too long for one (unix(7))."""
    path = Path(member.pw_dir) / paths.MEMBER_WAITING
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        yield None
        return
    try:
        yield directory
    finally:
        os.close(directory)


def _address(directory: int) -> str:
    return f"/proc/self/fd/{directory}/{paths.MEMBER_WAITING.name}"


def _connect(directory: int) -> socket.socket:
    """Raises OSError if nobody waits."""
    import socket

    connection = socket.socket(socket.AF_UNIX)
    try:
        connection.connect(_address(directory))
    except OSError:
        connection.close()
        raise
    return connection


def _is_waiting(directory: int) -> bool:
    try:
        _connect(directory).close()
    except OSError:
        return False
    return True


def _listen(directory: int) -> socket.socket:
    """A socket that only the member can reach. Raises OSError."""
    import socket

    listener = socket.socket(socket.AF_UNIX)
    before = os.umask(0o177)
    try:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(_address(directory))
        listener.bind(_address(directory))
        # From now on whoever comes is served when all is imported.
        listener.listen(4)
    except OSError:
        listener.close()
        raise
    finally:
        os.umask(before)
    return listener


def _line(connection: socket.socket) -> bytes:
    """Raises OSError if it does not come in time."""
    deadline, text = time.monotonic() + ANSWER_WITHIN, b""
    while not text.endswith(b"\n") and len(text) < LONGEST_ANSWER:
        connection.settimeout(max(0.01, deadline - time.monotonic()))
        piece = connection.recv(LONGEST_ANSWER)
        if not piece:
            break
        text += piece
    return text


def _who_answers(member: pwd.struct_passwd, marker: str, untrusted_answer: bytes) -> Optional[server.Started]:
    """The process that says it waits, if it is the member's, for this server, and in a scope of its own.

    A program of the member's can answer in its place; the hub is not told of one that has no limits.
    """
    untrusted_pid = json.loads(untrusted_answer)["pid"]
    if type(untrusted_pid) is not int or not 0 < untrusted_pid <= processes.MAXIMUM_PID:
        return None
    pid, start_time = untrusted_pid, processes.start_time(untrusted_pid)
    if (
        start_time is None
        or processes.uids(pid)[:1] != (member.pw_uid,)
        or processes.environment_value(pid, processes.SERVER_MARKER) != marker
    ):
        return None
    if paths.SYSTEMD_RUNS.is_dir() and cgroups.scope_of(pid) != cgroups.scope_name(member.pw_uid, pid, start_time):
        return None
    return server.Started(pid, start_time)
