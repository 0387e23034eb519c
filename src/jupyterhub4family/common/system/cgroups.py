"""Any identity: the scopes of systemd that hold members' servers, and what the kernel tells everybody about them.

A server is in a scope of its own, that in the slice of its member, and that in the slice of all servers. Scopes are
made by the door `confine` (root/doors/limit_server.py) where systemd runs; here they are only looked at, in /proc and
/sys/fs/cgroup, with version 1 of control groups as well as with version 2.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Optional

from jupyterhub4family.common import patterns, records
from jupyterhub4family.common.system import processes

CONTROL_GROUPS = Path("/sys/fs/cgroup")
#: All servers of all members; a unit of the package.
SLICE = "jupyterhub4family.slice"
#: In the path of a control group: the slice of a member, and in it the scope of a server. systemd reads the dashes as
#: "below".
_PATH_PATTERN = patterns.compiled(
    r"/jupyterhub4family\.slice/jupyterhub4family-(?P<uid>[0-9]+)\.slice"
    r"/(?P<scope>jupyterhub4family-(?P=uid)-[0-9]+-[0-9]+\.scope)(?=/|$)"
)


def member_slice(uid: int) -> str:
    """The unit that holds all servers of one member, and their limits."""
    return f"jupyterhub4family-{uid}.slice"


def scope_name(uid: int, pid: int, start_time: int) -> str:
    """The unit that holds one server, and everything that it has started."""
    return f"jupyterhub4family-{uid}-{pid}-{start_time}.scope"


def control_groups(pid: int) -> dict[str, str]:
    """The control group of a process for each controller of version 1; that of version 2 has an empty name.

    Empty if there is no such process, or it cannot be seen.
    """
    found = {}
    try:
        lines = (processes.PROC / str(pid) / "cgroup").read_text("utf-8", "replace").splitlines()
    except OSError:
        return {}
    for line in lines:
        _number, _colon, rest = line.partition(":")
        controllers, _colon, path = rest.partition(":")
        found.update(dict.fromkeys(controllers.split(","), path))
    return found


def scope_of(pid: int) -> str:
    """The scope in which process `pid` is; empty if it is in none of ours.

    Only whose process it is can be named in it: members can make groups of any name below their own sessions.
    """
    for path in control_groups(pid).values():
        match = _PATH_PATTERN.search(path)
        if match and processes.uids(pid)[:1] == (int(match["uid"]),):
            return match["scope"]
    return ""


def scopes() -> dict[str, list[int]]:
    """All scopes of servers that hold a process, with the pids of their processes that can be seen."""
    found: dict[str, list[int]] = {}
    for entry in os.listdir(processes.PROC):
        scope = scope_of(int(entry)) if entry.isdigit() else ""
        if scope:
            found.setdefault(scope, []).append(int(entry))
    return found


# -- memory, and what they use -----------------------------------------------------------------------------------


@records.dataclass(frozen=True)
class Usage:
    """What the server uses to which a process belongs. None: the kernel does not count it."""

    #: Bytes, without what was only read from disk and can be forgotten at any time.
    memory: Optional[int]
    #: Bytes; None if there is no limit.
    memory_limit: Optional[int]
    #: Seconds of processor time since the start.
    processor: Optional[float]
    #: How many of its processes the kernel has ended because memory was short.
    killed: int


def usage(pid: int) -> Optional[Usage]:
    """What the server uses to which process `pid` belongs; None if that is in no scope of ours."""
    if not scope_of(pid):
        return None
    # A controller that systemd does not manage here counts for all the computer.
    groups = {name: path for name, path in control_groups(pid).items() if _PATH_PATTERN.search(path)}
    newer, older = _directory(groups.get("")), _directory(groups.get("memory"), "memory")
    if newer is not None and (newer / "memory.current").exists():
        used, limit = _number(newer / "memory.current"), _number(newer / "memory.max")
        idle, killed = _field(newer / "memory.stat", "inactive_file"), _field(newer / "memory.events", "oom_kill")
    else:
        used, limit = _number(_in(older, "memory.usage_in_bytes")), _number(_in(older, "memory.limit_in_bytes"))
        idle = _field(_in(older, "memory.stat"), "total_inactive_file")
        killed = _field(_in(older, "memory.oom_control"), "oom_kill")
    microseconds = _field(_in(newer, "cpu.stat"), "usage_usec")
    if microseconds is None:
        nanoseconds = _number(_in(_directory(groups.get("cpuacct"), "cpuacct"), "cpuacct.usage"))
        microseconds = None if nanoseconds is None else nanoseconds // 1000
    return Usage(
        memory=None if used is None else max(0, used - (idle or 0)),
        # "No limit" is a word in version 2, and a very large number in version 1.
        memory_limit=limit if limit is not None and limit < 2**60 else None,
        processor=None if microseconds is None else microseconds / 1e6,
        killed=killed or 0,
    )


def total_memory() -> int:
    """Bytes of memory that this computer has; in a container those that it was given."""
    # Not sysconf: it tells of the host.
    shown = _field(processes.PROC / "meminfo", "MemTotal:")
    given = _number(CONTROL_GROUPS / "memory.max")
    return min(one for one in ((shown or 0) * 1024, given) if one is not None)


def counts_memory() -> bool:
    """Whether this kernel limits the memory of groups at all; small computers may have that switched off."""
    return _has_controller("memory")


def counts_processes() -> bool:
    """Whether this kernel limits the number of processes in groups."""
    return _has_controller("pids")


def _has_controller(name: str) -> bool:
    try:
        if name in (CONTROL_GROUPS / "cgroup.controllers").read_text("ascii").split():
            return True
    except OSError:
        pass
    # Version 1, where systemd has to be able to make groups: in a container it may not be.
    try:
        return not os.statvfs(CONTROL_GROUPS / name).f_flag & os.ST_RDONLY
    except OSError:
        return False


def _directory(path: Optional[str], controller: str = "") -> Optional[Path]:
    """The folder of a control group; with both versions side by side that of version 2 is called `unified`."""
    if path is None:
        return None
    below = controller
    if not controller and not (CONTROL_GROUPS / "cgroup.controllers").exists():
        below = "unified"
    return Path(f"{CONTROL_GROUPS}/{below}{path}")


def _in(directory: Optional[Path], name: str) -> Path:
    return (directory or Path("/nowhere")) / name


def _number(path: Path) -> Optional[int]:
    try:
        return int(path.read_text("ascii"))
    except (OSError, ValueError):
        return None


def _field(path: Path, name: str) -> Optional[int]:
    try:
        lines = [line.split() for line in path.read_text("ascii").splitlines()]
        return next((int(args[1]) for args in lines if args[:1] == [name]), None)
    except (OSError, ValueError, IndexError):
        return None


# -- how much more fits ------------------------------------------------------------------------------------------


@records.dataclass(frozen=True)
class FreeMemory:
    """How much more fits into memory, in bytes."""

    memory: int
    #: What else can be moved out of it.
    swap: int
    #: How much there is, used or not.
    total: int

    @property
    def room(self) -> int:
        """What counts: as long as there is swap, what nobody uses makes room (and where that is zram, in memory)."""
        return max(self.memory, self.swap)


def free_memory(server: int = 0) -> list[FreeMemory]:
    """What is left of this computer's memory; of its container's, and of what all servers may use, if these are less.

    Of all servers' only if process `server` is in the scope of one.
    """
    meminfo = processes.PROC / "meminfo"
    available, total = _field(meminfo, "MemAvailable:"), _field(meminfo, "MemTotal:")
    swap = (_field(meminfo, "SwapFree:") or 0) * 1024
    # What is not known is not short.
    found = [] if available is None or total is None else [FreeMemory(available * 1024, swap, total * 1024)]
    for directory in (CONTROL_GROUPS, CONTROL_GROUPS / "memory", *_slices_of_servers(server)):
        found.extend(_free_in(directory, swap))
    return found


def _slices_of_servers(server: int) -> Iterator[Path]:
    """The folders of the slice that holds all servers, for version 2 and for version 1, as far as they are there."""
    for controllers, path in control_groups(server).items() if server else ():
        above, is_there, _below = path.partition(f"/{SLICE}/")
        if is_there and controllers in ("", "memory"):
            directory = _directory(f"{above}/{SLICE}", controllers)
            assert directory is not None  # there is a path
            yield directory


def _free_in(directory: Path, swap: int) -> Iterator[FreeMemory]:
    """What is left in a group that has a limit of memory; `swap` is left for the whole computer."""
    limit, used = _number(directory / "memory.max"), _number(directory / "memory.current")
    prefix = ""
    if limit is None or used is None:
        limit, used = _number(directory / "memory.limit_in_bytes"), _number(directory / "memory.usage_in_bytes")
        prefix = "total_"
    # "No limit" is a word in version 2, and a very large number in version 1.
    if limit is None or used is None or limit >= 2**60:
        return
    files = [_field(directory / "memory.stat", f"{prefix}{name}") or 0 for name in ("inactive_file", "active_file")]
    most, taken = _number(directory / "memory.swap.max"), _number(directory / "memory.swap.current")
    if most is not None and taken is not None:
        swap = min(swap, max(0, most - taken))
    # As the kernel reckons for MemAvailable (proc(5)): half of the files that are being used can go, too.
    yield FreeMemory(max(0, limit - used + files[0] + files[1] // 2), swap, limit)
