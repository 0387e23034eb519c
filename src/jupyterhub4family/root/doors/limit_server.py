"""Runs as root through sudo, called by members: the door that lets a server start, and puts it into a scope.

Who can become root gets none, unless root has allowed it (administrators.py): it is looked at here, because the
mediator opens this door at each start and sees neither rules of sudo nor what else only root may read.

It takes no pid and no number from the caller. Which process is meant the kernel says: the leader of the process group
in which the door itself runs, if that is one of the door's ancestors and wholly the caller's. As long as the door is in
this group, the kernel gives its number to no other process. What the limits are, the settings say. A process that is
in a scope already stays there, so nobody gets out of one.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Union

from jupyterhub4family.common import entry, paths, records
from jupyterhub4family.common.errors import ConfigurationError, FamilyError, PermissionRefused
from jupyterhub4family.common.i18n.messages import _
from jupyterhub4family.common.protocol import doors, serving
from jupyterhub4family.common.settings import model, types
from jupyterhub4family.common.settings.model import Settings
from jupyterhub4family.common.settings.types import Amount
from jupyterhub4family.common.system import cgroups, files, processes, programs
from jupyterhub4family.common.system.programs import Arg, ProgramError
from jupyterhub4family.root.base import run_dir, sudo_caller
from jupyterhub4family.root.doors import administrators

#: systemd's own client, and its manager (org.freedesktop.systemd1(5)).
BUSCTL = "/usr/bin/busctl"
MANAGER = ("org.freedesktop.systemd1", "/org/freedesktop/systemd1", "org.freedesktop.systemd1.Manager")
#: Where systemd keeps what it was told until the next reboot: a folder for each unit, a file for each property, written
#: anew at each change (systemd.unit(5), system.control).
SYSTEMS_OWN = Path("/run/systemd/system.control")
#: Seconds for all of it; a server that waits longer is better off without.
TIMEOUT = 5.0
#: Seconds between two looks whether it is done: each takes half a millisecond.
_FIRST_PAUSE, _LONGEST_PAUSE = 0.003, 0.02
#: Microseconds between asking a server to end and ending it, when the machine is shut down.
_STOP_TIMEOUT = 10_000_000
#: More ancestors than any server has: itself, sudo, and sudo's monitor.
_GENERATIONS = 4

Property = Union[int, str, bool, list[int]]


@records.dataclass(frozen=True)
class Limits:
    """What one member's servers may use: bytes, a weight, processes and threads."""

    memory: int
    processor: int
    processes: int

    def properties(self) -> dict[str, Property]:
        """As systemd calls them (systemd.resource-control(5))."""
        return {
            "MemoryMax": self.memory,
            # Where there is swap: room for what sleeps. Who eats memory shall not keep the disk busy for long.
            "MemorySwapMax": self.memory // 4,
            "CPUWeight": self.processor,
            "TasksMax": self.processes,
        }


def main() -> int:
    """Answer one request: an error if no server may start, else the scope that holds the caller now."""
    return serving.serve(_calling_member, HANDLERS)


def _calling_member() -> pwd.struct_passwd:
    return sudo_caller.calling_member(_("only a member may have a server limited"))


def _confine_caller(member: pwd.struct_passwd, request: doors.Confine) -> doors.Confined:
    administrators.check(member)
    if request.only_check:
        return doors.Confined()
    try:
        return doors.Confined(confine(member, callers_process(member)))
    except FamilyError as error:
        # A server without limits is better than none.
        return doors.Confined(problem=error.message)


def callers_process(member: pwd.struct_passwd) -> int:
    """The pid of the process to be confined. Raises PermissionRefused unless it is the member's, wholly."""
    pid = os.getpgrp()
    if pid not in _ancestors() or set(processes.uids(pid)) != {member.pw_uid}:
        raise PermissionRefused(_("only a member's own server can be limited"))
    if f"/user-{member.pw_uid}.slice/" in "".join(f"{path}/" for path in cgroups.control_groups(pid).values()):
        # A login at the machine, with limits of its own that may be narrower.
        raise PermissionRefused(_("a login session stays where it is"))
    return pid


def _ancestors() -> Iterator[int]:
    pid = os.getppid()
    for _generation in range(_GENERATIONS):
        yield pid
        fields = processes.stat_fields(pid)
        if fields is None:
            return
        pid = int(fields[1])


def confine(member: pwd.struct_passwd, pid: int) -> str:
    """Put the process `pid` of `member` into a scope, unless it is in one; returns the scope's name.

    Raises FamilyError when systemd does not run or does not do it; the process then is where it was.
    """
    if there := cgroups.scope_of(pid):
        return there
    if not paths.SYSTEMD_RUNS.is_dir():
        raise FamilyError(_("systemd is not running here, so servers have no limits"))
    began = processes.start_time(pid)
    if began is None:
        raise PermissionRefused(_("only a member's own server can be limited"))
    with contextlib.suppress(OSError, ValueError):
        # By root, so that the member cannot take it back.
        processes.prefer_to_end(pid)
    settings = _settings()
    limits = limits_of(member.pw_name, settings)
    total = _in_bytes(settings.memory_limit_total)
    _set_limits(cgroups.SLICE, {"MemoryMax": total, "MemorySwapMax": total // 4})
    _set_limits(cgroups.member_slice(member.pw_uid), limits.properties())
    scope = cgroups.scope_name(member.pw_uid, pid, began)
    _start_scope(scope, pid, member, limits)
    # It has said yes, and does it some milliseconds later.
    deadline, pause = time.monotonic() + TIMEOUT, _FIRST_PAUSE
    while cgroups.scope_of(pid) != scope:
        if time.monotonic() > deadline:
            raise FamilyError(_("systemd did not create the scope {name}", name=scope))
        time.sleep(pause)
        pause = min(1.5 * pause, _LONGEST_PAUSE)
    return scope


def _settings() -> Settings:
    """Those of the file; the defaults if it is bad: what the service remembers shall raise nobody's limits."""
    entry.with_debians_modules()
    try:
        return model.load_settings()
    except ConfigurationError:
        return Settings()


def limits_of(name: str, settings: Settings) -> Limits:
    """What the settings allow the servers of the member `name`."""
    own = settings.limits_of(name)
    return Limits(_in_bytes(own.memory), own.cpu, own.processes)


def _in_bytes(amount: Amount) -> int:
    """Of this computer; on a very small one as many as a server needs to start."""
    return max(amount.in_bytes(cgroups.total_memory()), types.LEAST_MEMORY)


def _set_limits(unit: str, properties: Mapping[str, Property]) -> None:
    """Give a slice these limits until the next reboot; one that is not there yet has them when it comes.

    To ask systemd takes a tenth of a start, so it is not asked for what it has been told before: its own files of that,
    which go with the next reboot as well, must be as they were when we had told it.
    """
    args = _args(properties)
    note = run_dir.RUN_DIR / f"{unit}.limits"
    with contextlib.suppress(OSError):
        if note.read_text("utf-8") == _noted(unit, args):
            return
    _call("SetUnitProperties", "sba(sv)", unit, "true", *args)
    with contextlib.suppress(OSError, FamilyError):
        run_dir.ensure_run_dir()
        files.write_atomically(note, _noted(unit, args), 0o600)


def _noted(unit: str, args: list[str]) -> str:
    """What was told, and the state of systemd's files of it. Raises OSError if there are none."""
    status = os.stat(SYSTEMS_OWN / f"{unit}.d")
    return " ".join([*args, str(status.st_ino), str(status.st_mtime_ns)])


def _start_scope(scope: str, pid: int, member: pwd.struct_passwd, limits: Limits) -> None:
    properties: dict[str, Property] = {
        "Description": f"A server of {member.pw_name}",
        "Slice": cgroups.member_slice(member.pw_uid),
        "PIDs": [pid],
        "TimeoutStopUSec": _STOP_TIMEOUT,
        "CollectMode": "inactive-or-failed",
        # One notebook that eats all memory is no reason to end the server. Scopes got a policy for this in version 253,
        # and since 250 systemd ends every one in which the kernel had to kill; but it looks only where it accounts
        # itself. The kernel does so all the same: there is a limit.
        "MemoryAccounting": False,
        **limits.properties(),
    }
    _call("StartTransientUnit", "ssa(sv)a(sa(sv))", scope, "fail", *_args(properties), "0")


def _call(method: str, signature: str, *args: Arg) -> None:
    try:
        programs.run([BUSCTL, "--quiet", "call", *MANAGER, method, signature, *args], timeout=TIMEOUT)
    except ProgramError as error:
        raise FamilyError(_("systemd did not limit the server: {reason}", reason=error.message)) from error


def _args(properties: Mapping[str, Property]) -> list[str]:
    """Properties as busctl takes them: their count, then name, type and value of each."""
    args = [str(len(properties))]
    for name, value in properties.items():
        if isinstance(value, bool):
            args += [name, "b", "true" if value else "false"]
        elif isinstance(value, int):
            args += [name, "t", str(value)]
        elif isinstance(value, str):
            args += [name, "s", value]
        else:
            args += [name, "au", str(len(value)), *map(str, value)]
    return args


HANDLERS = (serving.on(doors.LIMIT_SERVER, _confine_caller),)


if __name__ == "__main__":
    sys.exit(main())
