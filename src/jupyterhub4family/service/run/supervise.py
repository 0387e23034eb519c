"""Runs as jupyterhub, inside a screen session: keeps one process (hub or proxy) running where there is no systemd.

What the process prints goes to the screen, so that `screen -r` shows it live, and into a log file that does
not grow beyond its limit. Started by `ensure`.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import FrameType
from typing import IO, Optional

from jupyterhub4family.common import paths
from jupyterhub4family.common.errors import UsageError, run_program
from jupyterhub4family.common.i18n.messages import _
from jupyterhub4family.common.system import files, processes

PROCESSES = ("proxy", "hub")
#: Bytes; beyond this a log is put aside, and one old log is kept.
LOG_LIMIT = 5 * 1024 * 1024
#: Bytes that a pipe holds (pipe(7)), which are copied at a time.
CHUNK = 64 * 1024
#: Seconds between the end of a process and its next start.
PAUSE = 1.0
#: Seconds that a process gets to end by itself.
GRACE_PERIOD = 10.0


def main() -> int:
    """Program `supervise NAME`: returns when asked to end (SIGTERM, SIGHUP), the process having ended too."""
    if len(sys.argv) != 2 or sys.argv[1] not in PROCESSES:
        raise UsageError(_("{program} takes one of {args}", program="supervise", args=", ".join(PROCESSES)))
    name = sys.argv[1]
    os.umask(0o077)
    if not _only_one(name):
        return 0
    paths.SERVICE_LOGS.mkdir(mode=0o700, parents=True, exist_ok=True)
    files.write_atomically(pid_file(name), f"{os.getpid()} {processes.start_time(os.getpid())}\n", 0o600)
    Supervisor(name).supervise()
    return 0


def _only_one(name: str) -> bool:
    """Take the lock for the rest of this process's life; False if another supervisor has it."""
    for _attempt in range(10):
        # Somebody may be holding it for a moment just to see whether it is free (ensure.is_supervised).
        if files.take_lock(lock_file(name), wait=False) is not None:
            return True
        time.sleep(0.1)
    return False


def lock_file(name: str) -> Path:
    """Held as long as a supervisor of `name` lives."""
    return paths.STATE / f"supervise-{name}.lock"


def pid_file(name: str) -> Path:
    """Holds pid and start time of the supervisor of `name`."""
    return paths.STATE / f"supervise-{name}.pid"


class Supervisor:
    """Keeps the program run-NAME running until it is told to end."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._ending = False
        # A signal that comes just before this process waits would be handled only when the waiting is over, which
        # may be never: so each signal also writes a byte to where it waits. SIGCHLD says that the program ended.
        self._woken, wakes = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(wakes, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
        for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
            signal.signal(number, self._end)

    def supervise(self) -> None:
        """Start the program again whenever it ends."""
        with CappedLog(paths.SERVICE_LOGS / f"{self._name}.log") as log:
            while not self._ending:
                self._run_once(log)
                if not self._ending:
                    log.write(f"--- {self._name} has ended; starting it again ---\n".encode())
                    self._wait([], PAUSE)

    def _run_once(self, log: CappedLog) -> None:
        # The program dies with this process: else a supervisor that was killed would leave a hub behind
        # that nobody shows and nobody restarts.
        process = subprocess.Popen(
            [str(paths.LIBRARY / f"run-{self._name}")],
            bufsize=0,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            preexec_fn=processes.die_with_parent,  # noqa: PLW1509 (there are no threads here)
        )
        assert process.stdout is not None
        with process.stdout as output:
            os.set_blocking(output.fileno(), False)
            printing = [output.fileno()]
            until: Optional[float] = None
            while process.poll() is None:
                if self._ending and until is None:
                    process.terminate()
                    until = time.monotonic() + GRACE_PERIOD
                elif until is not None and time.monotonic() >= until:
                    process.kill()
                self._wait(printing, None if until is None else max(until - time.monotonic(), 0.01))
                if printing and not _copy(output, log):
                    printing = []
            _copy(output, log)

    def _wait(self, printing: list[int], timeout: Optional[float]) -> None:
        """Wait until something is printed, a signal has come, or the timeout (seconds) is over."""
        select.select([self._woken, *printing], [], [], timeout)
        with contextlib.suppress(BlockingIOError):
            os.read(self._woken, 1024)

    def _end(self, _number: int, _frame: Optional[FrameType]) -> None:
        self._ending = True


def _copy(output: IO[bytes], log: CappedLog) -> bool:
    """Write to the log what has been printed, up to all that a pipe holds; False when nothing can come any more."""
    printed = output.read(CHUNK)
    if printed:
        log.write(printed)
    return printed != b""


class CappedLog:
    """Writes to the terminal and to a file of limited size. Neither a closed terminal nor a full disk is an error.

    Nor is a terminal that does not take more: somebody may have left `screen -r` in its copy mode, or typed Ctrl-S,
    and the hub must not stand still for that. What the terminal does not take is in the file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: Optional[IO[bytes]] = None
        self._terminal = sys.stdout.fileno()

    def __enter__(self) -> CappedLog:
        self._was_blocking = os.get_blocking(self._terminal)
        os.set_blocking(self._terminal, False)
        return self

    def __exit__(self, *_error: object) -> None:
        os.set_blocking(self._terminal, self._was_blocking)
        if self._file is not None:
            self._file.close()

    def write(self, text: bytes) -> None:
        """Write it to both places."""
        with contextlib.suppress(OSError):
            os.write(self._terminal, text)
        with contextlib.suppress(OSError):
            self._open().write(text)

    def _open(self) -> IO[bytes]:
        if self._file is not None and self._file.tell() > LOG_LIMIT:
            self._file.close()
            self._file = None
            self._path.replace(self._path.with_name(self._path.name + ".1"))
        if self._file is None:
            self._file = open(self._path, "ab", buffering=0)  # noqa: SIM115 (open as long as this is)
        return self._file


if __name__ == "__main__":
    sys.exit(run_program(main))
