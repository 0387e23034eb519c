"""Runs as the member, inside the mediator: puts a server that starts into its scope, and ends all that is in one."""

from __future__ import annotations

import contextlib
import os
import signal
import time

from jupyterhub4family.common import paths
from jupyterhub4family.common.protocol import calling, doors
from jupyterhub4family.common.system import cgroups, processes

SUDO = ("/usr/bin/sudo", "-nH")
#: Seconds between asking and forcing, and then for the kernel to clear away.
TIMEOUT = 5.0


def confine_this_process() -> str:
    """Have this process put into a scope of its own; returns why that was not done, empty if it was.

    Nothing is said where systemd does not run: `doctor` tells that. A server without limits is better than none; but
    raises FamilyError when root does not let this account have a server, or does not answer.
    """
    with contextlib.suppress(OSError):
        # When memory runs out the kernel ends this before the hub. The door sees to it that it stays so.
        processes.prefer_to_end(os.getpid())
    if not paths.SYSTEMD_RUNS.is_dir():
        require_permission()
        return ""
    with contextlib.suppress(OSError):
        # The door knows us by that: we are the leader of the group in which it runs.
        os.setpgid(0, 0)
    return calling.call(doors.LIMIT_SERVER, doors.Confine(), become=SUDO).problem


def require_permission() -> None:
    """Raise FamilyError unless root lets this account have a server: not if it can become root (ADR 25)."""
    calling.call(doors.LIMIT_SERVER, doors.Confine(only_check=True), become=SUDO)


def end_all(uid: int, pid: int, start_time: int) -> int:
    """End everything that is still in the scope of the server `pid`: asked first, then killed. Returns how many.

    Only what is the member's own can be signalled, and only what is in that very scope is.
    """
    scope = cgroups.scope_name(uid, pid, start_time)
    first = cgroups.scopes().get(scope, [])
    left = first
    for number in (signal.SIGTERM, signal.SIGKILL):
        deadline = time.monotonic() + TIMEOUT
        asked: set[int] = set()
        while left and time.monotonic() < deadline:
            # Also those that have come meanwhile. Who was asked gets time; who is killed is killed each time.
            for one in left:
                if number == signal.SIGKILL or one not in asked:
                    _signal(one, scope, number)
                    asked.add(one)
            time.sleep(0.02)
            left = cgroups.scopes().get(scope, [])
    return len(first)


def _signal(pid: int, scope: str, number: int) -> None:
    """Signal a process if it is (still) in this scope: a pid that was used again gets nothing."""
    with contextlib.suppress(OSError):
        process = os.pidfd_open(pid)
        try:
            if cgroups.scope_of(pid) == scope:
                signal.pidfd_send_signal(process, number)
        finally:
            os.close(process)
