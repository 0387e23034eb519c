"""Any identity: who a process is, read from /proc, so that a pid used again is not taken for the old process."""

from __future__ import annotations

import errno
import os
import re
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Callable, Optional, TypeVar

if TYPE_CHECKING:
    import threading

PROC = Path("/proc")
#: The kernel gives no larger pid (PID_MAX_LIMIT, proc_sys_kernel(5)).
MAXIMUM_PID = 2**22
#: Bytes of a file about a process. Whose process it is can make its arguments and environment seem as long as its
#: memory (PR_SET_MM_MAP, prctl(2)); real ones have some kilobytes.
MAXIMUM_SIZE = 2**20
#: A variable in the environment of every member's server and of everything it starts (set by user/server.py).
SERVER_MARKER = "JUPYTERHUB_SERVICE_PREFIX"
#: By how many thousandths of all memory a member's server seems larger than it is when the kernel looks for a process
#: to end.
SERVER_OOM_SCORE = 300
#: <linux/prctl.h>
_PR_SET_PDEATHSIG = 1
#: What says something about whoever asks, and nothing about the process that is asked about.
_OURS = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ETIMEDOUT})
#: Files about a process that the kernel shows only when it is not just becoming another program (execve(2)): that may
#: last for as long as a file system of its owner's likes, on which it has a file to close (FUSE).
_MAY_WAIT = frozenset({"environ", "stat"})
#: Seconds until what is asked about a process has to be there.
ANSWER_WITHIN = 1.0

Result = TypeVar("Result")
#: Questions that have not been answered, with those who still wait.
_unanswered: dict[str, threading.Thread] = {}


def prefer_to_end(pid: int) -> None:
    """Have the kernel end process `pid`, and what it starts, before others when memory runs out. Raises OSError.

    Its owner can do this and take it back; what root has done its owner cannot undo (oom_score_adj, proc(5)).
    """
    with open(PROC / str(pid) / "oom_score_adj", "r+b", buffering=0) as file:
        # Never less than somebody has chosen. Written in any case: what root has written is the least from then on.
        score = max(int(file.read(10)), SERVER_OOM_SCORE)
        file.write(str(score).encode("ascii"))


def die_with_parent() -> None:
    """For a child, before it executes its program: be ended (SIGTERM) when the parent ends, however that happens."""
    import ctypes

    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def start_time(pid: int) -> Optional[int]:
    """When process `pid` started, in clock ticks since the machine started; None if there is no such process.

    Field 22 of /proc/PID/stat (proc(5)). A zombie counts as gone: it will never answer anything. Raises OSError where
    that cannot be known, because the machine or this process has no descriptors or memory left.
    """
    fields = stat_fields(pid)
    return None if fields is None or fields[0] in "ZX" else int(fields[19])


def in_time(question: str, ask: Callable[[], Result]) -> Result:
    """What `ask` returns or raises; TimeoutError (an OSError) if it does not come in time, or did not the last time.

    For what the kernel may not answer for as long as somebody else likes: a thread waits for it, which nobody needs.
    """
    import threading

    earlier = _unanswered.get(question)
    if earlier is not None and earlier.is_alive():
        raise TimeoutError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT))
    answers: list[Result] = []
    errors: list[BaseException] = []

    def wait() -> None:
        try:
            answers.append(ask())
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=wait, daemon=True)
    thread.start()
    thread.join(ANSWER_WITHIN)
    if errors:
        raise errors[0]
    if answers:
        _unanswered.pop(question, None)
        return answers[0]
    _unanswered[question] = thread
    raise TimeoutError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT))


def read(pid: int, name: str) -> bytes:
    """The file /proc/PID/`name`, as far as it is of a reasonable size. Raises OSError; TimeoutError as `in_time`."""
    if name in _MAY_WAIT and pid != os.getpid():
        return in_time(f"{pid} {name}", lambda: _read(pid, name))
    return _read(pid, name)


def _read(pid: int, name: str) -> bytes:
    with open(PROC / str(pid) / name, "rb", buffering=0) as file:
        data = bytearray()
        while len(data) < MAXIMUM_SIZE and (piece := file.read(MAXIMUM_SIZE - len(data))):
            data += piece
    return bytes(data)


def arguments(pid: int) -> list[str]:
    """The arguments of process `pid`. Raises OSError if there is no such process to be seen."""
    return read(pid, "cmdline").decode("utf-8", "replace").split("\0")


def stat_fields(pid: int, reader: Callable[[int, str], bytes] = read) -> Optional[list[str]]:
    """The fields of /proc/PID/stat from the third one on (proc(5)); None if there is no such process to be seen.

    Raises OSError as `start_time` does.
    """
    try:
        text = reader(pid, "stat").decode("ascii", "replace")
    except OSError as error:
        if error.errno in _OURS:
            raise
        return None
    # The second field is the command in parentheses and may itself hold spaces and parentheses.
    return text[text.rindex(")") + 2 :].split()


def all_stat_fields() -> dict[int, list[str]]:
    """The same for every process that is to be seen, by its pid. Raises OSError as `start_time` does."""

    def look() -> dict[int, list[str]]:
        # One that has just ended, or is hidden from us, has no fields.
        pids = [int(entry) for entry in os.listdir(PROC) if entry.isdigit()]
        fields = {pid: stat_fields(pid, _read) for pid in pids}
        return {pid: found for pid, found in fields.items() if found is not None}

    return in_time("all processes", look)


def uids(pid: int) -> tuple[int, ...]:
    """Real, effective, saved and file system's uid of a process; empty if there is no such process to be seen.

    From /proc/PID/status: the folder itself belongs to root for processes that may not be looked into (proc(5)).
    """
    try:
        text = read(pid, "status").decode("utf-8", "replace")
    except OSError:
        return ()
    found = re.search(r"^Uid:((?:\t[0-9]+){4})$", text, re.MULTILINE)
    return tuple(map(int, found[1].split())) if found else ()


def is_running(pid: int, expected_start_time: int) -> bool:
    """Whether process `pid` is still the one that started at `expected_start_time` (0: any start time will do).

    Raises OSError as `start_time` does: not to know is not to know it gone.
    """
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
    """The value `key` had in the environment of process `pid` when it started; None if unset or unreadable.

    Raises TimeoutError if the kernel does not tell in time.
    """
    try:
        return variable(read(pid, "environ"), key)
    except TimeoutError:
        raise
    except OSError:
        return None


def variable(block: bytes, key: str) -> Optional[str]:
    """The value of `key` among variables as /proc/PID/environ has them; None if it is unset."""
    prefix = key.encode() + b"="
    for entry in block.split(b"\0"):
        if entry.startswith(prefix):
            return entry[len(prefix) :].decode("utf-8", "replace")
    return None
