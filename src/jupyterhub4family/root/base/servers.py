"""Runs as root, inside the door `members` and at removal: ends all servers of a member, with all they have started."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator

from jupyterhub4family.common import paths
from jupyterhub4family.common.system import cgroups, processes, programs

#: Seconds between asking and forcing.
GRACE_PERIOD = 5.0


def end_servers(uid: int) -> int:
    """End every process of `uid` that belongs to a server: asked first, then killed. Returns how many were found.

    Other processes of the person (a login at the machine, a mail program) are left alone.
    """
    found = list(_server_processes(uid))
    _signal_all(found, signal.SIGTERM)
    deadline = time.monotonic() + GRACE_PERIOD
    while time.monotonic() < deadline and list(_server_processes(uid)):
        time.sleep(0.1)
    _signal_all(list(_server_processes(uid)), signal.SIGKILL)
    if paths.SYSTEMD_RUNS.is_dir():
        # What has hidden from us by giving itself another environment is still in its scope.
        programs.run(["systemctl", "stop", cgroups.member_slice(uid)], check=False, timeout=60)
    return len(found)


def has_server(uid: int) -> bool:
    """Whether a process of `uid` belongs to a server."""
    return next(_server_processes(uid), None) is not None


def _server_processes(uid: int) -> Iterator[int]:
    for entry in processes.PROC.iterdir():
        if not entry.name.isdigit():
            continue
        try:
            if entry.stat().st_uid != uid:
                continue
        except OSError:
            continue
        try:
            if processes.environment_value(int(entry.name), processes.SERVER_MARKER) is not None:
                yield int(entry.name)
        except TimeoutError:
            # It hides what it is, and shall not keep root from ending the others.
            yield int(entry.name)


def _signal_all(pids: list[int], number: int) -> None:
    for pid in pids:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            continue
