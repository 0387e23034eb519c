"""Runs as the caller: which members' servers run, and what they use, as far as the kernel tells everybody."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Optional

from jupyterhub4family.cli.base import accounts as membership
from jupyterhub4family.common import paths
from jupyterhub4family.common.system import cgroups, processes

#: How the program of every server is called.
PROGRAM = "/jupyterhub-singleuser"
#: How the kernel calls one that waits until it is wanted, and is no server yet (lean/waiting.py; comm, proc(5)).
WAITING = "jupyter-waiting"
#: What runs it where it starts lean: the word before it (ADR 27).
LEAN_START = str(paths.LEAN_START)


@dataclass(frozen=True)
class Server:
    """A server that runs. None: the kernel does not count it."""

    member: str
    pid: int
    #: Whether it is in a scope of its own.
    confined: bool
    megabytes: Optional[int] = None
    limit_megabytes: Optional[int] = None
    processor_seconds: Optional[int] = None
    #: How many of its programs the kernel has ended because they wanted too much memory.
    killed: int = 0


def running_servers() -> list[Server]:
    """All servers of members that can be seen, sorted by member."""
    names = {account.pw_uid: account.pw_name for account in membership.members()}
    found: dict[int, str] = {}
    for entry in os.listdir(processes.PROC):
        if not entry.isdigit():
            continue
        try:
            owner = os.stat(processes.PROC / entry).st_uid
            args = processes.arguments(int(entry)) if owner in names else []
        except OSError:
            continue
        if any(word.endswith(PROGRAM) for word in [word for word in args if word != LEAN_START][:2]):
            found[int(entry)] = names[owner]
    # A child that has not become another program yet looks like its parent.
    servers = [_server(name, pid) for pid, name in found.items() if _parent(pid) not in found and not _waits(pid)]
    return sorted(servers, key=lambda one: (one.member, one.pid))


def _parent(pid: int) -> int:
    fields = processes.stat_fields(pid)
    return int(fields[1]) if fields else 0


def _waits(pid: int) -> bool:
    try:
        return processes.read(pid, "comm").decode("utf-8", "replace").strip() == WAITING
    except OSError:
        return False


def _server(member: str, pid: int) -> Server:
    usage = cgroups.usage(pid)
    if usage is None:
        return Server(member, pid, confined=False)
    return Server(
        member,
        pid,
        confined=True,
        megabytes=None if usage.memory is None else round(usage.memory / 2**20),
        limit_megabytes=None if usage.memory_limit is None else round(usage.memory_limit / 2**20),
        processor_seconds=None if usage.processor is None else round(usage.processor),
        killed=usage.killed,
    )
