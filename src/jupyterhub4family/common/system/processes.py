"""Any identity: who a process is, read from /proc, so that a pid used again is not taken for the old process."""

from __future__ import annotations

import ctypes
import os
import re
import signal
from pathlib import Path
from typing import Optional

PROC = Path("/proc")
#: The kernel gives no larger pid (PID_MAX_LIMIT, proc_sys_kernel(5)).
MAXIMUM_PID = 2**22
#: A variable in the environment of every member's server and of everything it starts (set by user/server.py).
SERVER_MARKER = "JUPYTERHUB_SERVICE_PREFIX"
#: <linux/prctl.h>
_PR_SET_PDEATHSIG = 1


def die_with_parent() -> None:
    """For a child, before it executes its program: be ended (SIGTERM) when the parent ends, however that happens."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def start_time(pid: int) -> Optional[int]:
    """When process `pid` started, in clock ticks since the machine started; None if there is no such process.

    Field 22 of /proc/PID/stat (proc(5)). A zombie counts as gone: it will never answer anything.
    """
    fields = stat_fields(pid)
    return None if fields is None or fields[0] in "ZX" else int(fields[19])


def stat_fields(pid: int) -> Optional[list[str]]:
    """The fields of /proc/PID/stat from the third one on (proc(5)); None if there is no such process to be seen."""
    try:
        text = (PROC / str(pid) / "stat").read_text("ascii", "replace")
    except OSError:
        return None
    # The second field is the command in parentheses and may itself hold spaces and parentheses.
    return text[text.rindex(")") + 2 :].split()


def uids(pid: int) -> tuple[int, ...]:
    """Real, effective, saved and file system's uid of a process; empty if there is no such process to be seen.

    From /proc/PID/status: the folder itself belongs to root for processes that may not be looked into (proc(5)).
    """
    try:
        text = (PROC / str(pid) / "status").read_text("utf-8", "replace")
    except OSError:
        return ()
    found = re.search(r"^Uid:((?:\t[0-9]+){4})$", text, re.MULTILINE)
    return tuple(map(int, found[1].split())) if found else ()


def is_running(pid: int, expected_start_time: int) -> bool:
    """Whether process `pid` is still the one that started at `expected_start_time` (0: any start time will do)."""
    if not 1 < pid <= MAXIMUM_PID:
        return False
    started = start_time(pid)
    if started is None:
        # With /proc mounted hidepid=2 other accounts' processes cannot be seen; signal 0 still tells.
        return _exists_unseen(pid)
    return expected_start_time in (0, started)


def _exists_unseen(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except PermissionError:
        return not (PROC / str(pid)).exists()
    except OSError:
        return False
    return False


def environment_value(pid: int, key: str) -> Optional[str]:
    """The value `key` had in the environment of process `pid` when it started; None if unset or unreadable."""
    try:
        entries = (PROC / str(pid) / "environ").read_bytes().split(b"\0")
    except OSError:
        return None
    prefix = key.encode() + b"="
    for entry in entries:
        if entry.startswith(prefix):
            return entry[len(prefix) :].decode("utf-8", "replace")
    return None
