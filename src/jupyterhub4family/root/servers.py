"""Runs as root, inside the door `members` and at removal: ends all servers of a member, with all they have started."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator

from jupyterhub4family.common.confinement import member_slice
from jupyterhub4family.common.paths import SYSTEMD_RUNS
from jupyterhub4family.common.processes import PROC, SERVER_MARKER, environment_value
from jupyterhub4family.common.programs import run

#: Seconds between asking and forcing.
PATIENCE = 5.0


def end_servers(uid: int) -> int:
    """End every process of `uid` that belongs to a server: asked first, then killed. Returns how many were found.

    Other processes of the person (a login at the machine, a mail program) are left alone.
    """
    found = list(_server_processes(uid))
    _signal_all(found, signal.SIGTERM)
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline and list(_server_processes(uid)):
        time.sleep(0.1)
    _signal_all(list(_server_processes(uid)), signal.SIGKILL)
    if SYSTEMD_RUNS.is_dir():
        # What has hidden from us by giving itself another environment is still in its scope.
        run(["systemctl", "stop", member_slice(uid)], check=False, timeout=60)
    return len(found)


def has_server(uid: int) -> bool:
    """Whether a process of `uid` belongs to a server."""
    return next(_server_processes(uid), None) is not None


def _server_processes(uid: int) -> Iterator[int]:
    for entry in PROC.iterdir():
        if not entry.name.isdigit():
            continue
        try:
            if entry.stat().st_uid != uid:
                continue
        except OSError:
            continue
        if environment_value(int(entry.name), SERVER_MARKER) is not None:
            yield int(entry.name)


def _signal_all(pids: list[int], number: int) -> None:
    for pid in pids:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            continue
