"""Any identity: a program that was started with three pipes, without what `subprocess` brings along.

For programs.py alone, which starts everything: it has the part of `subprocess.Popen` that is used there. To load that
module takes a door longer than to start a program. Only for who has no other threads: these could open a descriptor
that the program would inherit, and would be in its folder for a moment.
"""

from __future__ import annotations

import _thread
import contextlib
import os
import signal
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Optional

#: Seconds between looks whether a program has ended: at first, and at most.
_FIRST_PAUSE, _LONGEST_PAUSE = 0.0005, 0.05
#: What Python ignores, and no program that it starts.
_IGNORED_BY_PYTHON = (signal.SIGPIPE, signal.SIGXFSZ)


class Pipe:
    """Our end of a pipe."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor: Optional[int] = descriptor

    def fileno(self) -> int:
        """Its descriptor. Raises ValueError once it is closed."""
        if self._descriptor is None:
            raise ValueError("the pipe is closed")
        return self._descriptor

    def close(self) -> None:
        """Close it, unless that was done."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)


class Spawned:
    """A program that was started, with pipes to its stdin, stdout and stderr. Raises OSError if it cannot be."""

    def __init__(self, args: Sequence[str], environment: Mapping[str, str], directory: Optional[str] = None) -> None:
        #: Its status, once it has ended and somebody has asked: negative if a signal has ended it. A number, or None.
        self.returncode: Any = None
        # Two threads may ask: of the one who waits, and of the one who hears Ctrl-C.
        self._asking = _thread.allocate_lock()
        (stdin, ours_in), (ours_out, stdout), (ours_err, stderr) = os.pipe(), os.pipe(), os.pipe()
        self.stdin, self.stdout, self.stderr = Pipe(ours_in), Pipe(ours_out), Pipe(ours_err)
        pipes = [(os.POSIX_SPAWN_DUP2, end, number) for number, end in enumerate((stdin, stdout, stderr))]
        try:
            with _in(directory):
                self.pid = os.posix_spawn(
                    args[0],
                    list(args),
                    dict(environment),
                    file_actions=[*pipes, *_closing_the_others()],
                    setsigdef=_IGNORED_BY_PYTHON,
                )
        except BaseException:
            self._close()
            raise
        finally:
            for theirs in (stdin, stdout, stderr):
                os.close(theirs)

    def poll(self) -> Optional[int]:
        """Its status if it has ended; None while it runs."""
        return self._ask(os.WNOHANG)

    def wait(self, timeout: Optional[float] = None) -> int:
        """Its status once it has ended. Raises subprocess.TimeoutExpired."""
        deadline, pause = None if timeout is None else time.monotonic() + timeout, _FIRST_PAUSE
        while True:
            status = self._ask(0 if deadline is None else os.WNOHANG)
            if status is not None:
                return status
            left = 0.0 if deadline is None else deadline - time.monotonic()
            if left <= 0:
                from subprocess import TimeoutExpired

                raise TimeoutExpired(str(self.pid), timeout or 0)
            time.sleep(min(pause, left))
            pause = min(2 * pause, _LONGEST_PAUSE)

    def terminate(self) -> None:
        """Ask it to end. Raises PermissionError for one that has become somebody else's."""
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        """End it. Raises PermissionError for one that has become somebody else's."""
        self._signal(signal.SIGKILL)

    def __enter__(self) -> Spawned:
        return self

    def __exit__(self, *_error: Any) -> None:
        """Close the pipes and wait for its end, as `subprocess` does."""
        self._close()
        self.wait()

    def _ask(self, options: int) -> Optional[int]:
        with self._asking:
            if self.returncode is None:
                try:
                    pid, status = os.waitpid(self.pid, options)
                except ChildProcessError:
                    # Whoever started us ignores SIGCHLD: nobody learns how it has ended. As `subprocess` has it.
                    pid, status = self.pid, 0
                if pid == self.pid:
                    self.returncode = os.waitstatus_to_exitcode(status)
            found: Optional[int] = self.returncode
            return found

    def _signal(self, number: int) -> None:
        # Its number may be another one's as soon as it has been waited for.
        if self.poll() is None:
            os.kill(self.pid, number)

    def _close(self) -> None:
        for pipe in (self.stdin, self.stdout, self.stderr):
            with contextlib.suppress(OSError):
                pipe.close()


def _closing_the_others() -> list[tuple[int, int]]:
    """What has the program inherit nothing: all of ours that Python has opened are closed anyway (PEP 446)."""
    found = []
    for descriptor in map(int, os.listdir("/proc/self/fd")):
        # One of them was that of the folder.
        with contextlib.suppress(OSError):
            if descriptor > 2 and os.get_inheritable(descriptor):
                found.append((os.POSIX_SPAWN_CLOSE, descriptor))
    return found


@contextlib.contextmanager
def _in(directory: Optional[str]) -> Iterator[None]:
    """Be in a folder for a moment, since a program starts where we are. Raises OSError."""
    if directory is None:
        yield
        return
    # As a place only: it need not be one that we may read.
    here = os.open(".", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.chdir(directory)
        try:
            yield
        finally:
            os.fchdir(here)
    finally:
        os.close(here)
