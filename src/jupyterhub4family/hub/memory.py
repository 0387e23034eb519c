"""Runs inside JupyterHub's process, as `jupyterhub`: how much memory a member's server uses, as far as anybody may see.

Where servers are in scopes, the kernel counts. Elsewhere the proportional share (PSS) of others' processes is not shown
to us; resident memory is, and counts shared pages once for each process: an upper bound.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Optional

from jupyterhub4family.common.system import cgroups, processes


@dataclass(frozen=True)
class Processes:
    """All visible processes at one moment."""

    #: Resident pages of each (field 24 of /proc/PID/stat, proc(5)).
    pages: dict[int, int]
    children: dict[int, list[int]]


def snapshot() -> Processes:
    """Look at every process; a few milliseconds, so it is done once for a page."""
    found = Processes({}, {})
    everybody: dict[int, list[str]] = {}
    with contextlib.suppress(TimeoutError):
        # Whose process keeps this from being seen decides that no memory is shown: no more than that.
        everybody = processes.all_stat_fields()
    for pid, fields in everybody.items():
        found.pages[pid] = int(fields[21])
        found.children.setdefault(int(fields[1]), []).append(pid)
    return found


@dataclass(frozen=True)
class MemoryUse:
    """The memory of a server, in bytes; None: not known, or no limit."""

    used: Optional[int]
    limit: Optional[int] = None
    #: How many of its programs the kernel had to end.
    killed: int = 0


def memory_use(pid: int, everybody: Optional[Processes] = None) -> MemoryUse:
    """What the server `pid` holds: as the kernel counts it or, where that is not to be had, an upper bound."""
    usage = cgroups.usage(pid)
    if usage is not None and usage.memory is not None:
        return MemoryUse(usage.memory, usage.memory_limit, usage.killed)
    return MemoryUse(resident(pid, everybody))


def resident(pid: int, everybody: Optional[Processes] = None) -> Optional[int]:
    """Bytes of memory held by process `pid` and all that descend from it; None if it cannot be seen."""
    everybody = everybody or snapshot()
    if pid not in everybody.pages:
        return None
    return sum(everybody.pages[one] for one in _with_descendants(pid, everybody.children)) * os.sysconf("SC_PAGE_SIZE")


def _with_descendants(pid: int, children: Mapping[int, list[int]]) -> set[int]:
    waiting, seen = [pid], set()
    while waiting:
        one = waiting.pop()
        if one not in seen:
            seen.add(one)
            waiting.extend(children.get(one, ()))
    return seen


def held_by_accounts() -> dict[int, int]:
    """Bytes of resident memory that each account's programs hold, whether in a server or not, by uid."""
    held: dict[int, int] = {}
    for pid, pages in snapshot().pages.items():
        for uid in processes.uids(pid)[:1]:
            held[uid] = held.get(uid, 0) + pages * os.sysconf("SC_PAGE_SIZE")
    return held


def processor_seconds(pid: int) -> float:
    """How long the server `pid` and all that descends from it have calculated since they started.

    Raises OSError if that cannot be known.
    """
    usage = cgroups.usage(pid)
    if usage is not None and usage.processor is not None:
        return usage.processor
    everybody = processes.all_stat_fields()
    children: dict[int, list[int]] = {}
    for one, fields in everybody.items():
        children.setdefault(int(fields[1]), []).append(one)
    if pid not in everybody:
        raise ProcessLookupError(pid)
    # Fields 14 to 17 (proc(5)): its own time, and that of children that have ended.
    ticks = sum(sum(map(int, everybody[one][11:15])) for one in _with_descendants(pid, children))
    return ticks / os.sysconf("SC_CLK_TCK")
