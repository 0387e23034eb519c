"""Any identity: the one place that runs other programs. Lists only, never a shell, secrets only on stdin."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Callable, Optional, TextIO, Union

from jupyterhub4family.common import records
from jupyterhub4family.common.errors import FamilyError
from jupyterhub4family.common.i18n import safe_text
from jupyterhub4family.common.i18n.messages import _
from jupyterhub4family.common.system import processes

if TYPE_CHECKING:
    import subprocess

SAFE_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
SETSID = "/usr/bin/setsid"
#: Bytes that are read or written at a time.
PIECE = 64 * 1024
#: Bytes that a program may write to its stdout, and to its stderr, before it is ended; it may be somebody else's.
MAXIMUM_OUTPUT = 16 * 2**20
#: Seconds that a program which was told to end gets for it.
GRACE_PERIOD = 2.0
#: Characters of a line that a message quotes.
_LONGEST_LINE = 1000
#: As in `subprocess`, which is imported when something is run: most doors run nothing.
PIPE, DEVNULL = -1, -3
Arg = Union[str, Path]
#: The programs that Ctrl-C ends as well, with their arguments.
_running: dict[int, tuple[subprocess.Popen[str], Sequence[Arg]]] = {}


class ProgramError(FamilyError):
    """A program ended with a status other than 0, was not found, took too long, or wrote too much."""


@records.dataclass(frozen=True)
class CompletedProcess:
    """What a program that ended left behind."""

    returncode: int
    stdout: str
    stderr: str


def plain_environment(extra: Optional[Mapping[str, str]] = None) -> dict[str, str]:
    """The environment our programs get: a fixed PATH and locale, nothing inherited, plus `extra`."""
    return {"PATH": SAFE_PATH, "LC_ALL": "C.UTF-8", **(extra or {})}


def as_account(name: str) -> list[str]:
    """Arguments to be put before a program's, with which root runs it as the account `name`.

    In a session of its own: what runs as somebody else on root's terminal could type into it (TIOCSTI, ioctl_tty(2),
    Linux before 6.2), and any other program of that account could make it do so (ptrace(2)).
    """
    return [SETSID, "--wait", "/usr/sbin/runuser", "-u", name, "--"]


def _start(args: Sequence[Arg], **options: Any) -> subprocess.Popen[str]:
    """Start a program: everything here goes through this, so the tests replace it. Raises ProgramError."""
    import subprocess

    try:
        return subprocess.Popen([str(word) for word in args], encoding="utf-8", errors="replace", **options)
    except OSError as error:
        raise _not_started(Path(args[0]).name, error) from error


@contextlib.contextmanager
def _with_ctrl_c(args: Sequence[Arg], **options: Any) -> Iterator[subprocess.Popen[str]]:
    """Start a program that Ctrl-C ends as well, however early it is pressed. Raises ProgramError."""
    import threading

    handler = signal.getsignal(signal.SIGINT)
    pressed: list[int] = []
    # In the midst of a start Ctrl-C would leave a program that nobody knows. Other threads get none. What is ignored
    # stays so: a handler would have the program not ignore it.
    puts_off = callable(handler) and threading.current_thread() is threading.main_thread()
    if puts_off:
        signal.signal(signal.SIGINT, lambda number, _frame: pressed.append(number))
    try:
        process = _start(args, **options)
    except ProgramError:
        if puts_off:
            signal.signal(signal.SIGINT, handler)
        raise
    with process:
        _running[id(process)] = process, args
        try:
            if puts_off:
                signal.signal(signal.SIGINT, handler)
            if pressed:
                signal.raise_signal(signal.SIGINT)
            yield process
        except KeyboardInterrupt:
            _interrupt(process, args)
            raise
        finally:
            del _running[id(process)]


def interrupt_all() -> None:
    """Tell all programs that other threads wait for that somebody has pressed Ctrl-C: only the main one hears it."""
    for process, args in list(_running.values()):
        _interrupt(process, args)


def _interrupt(process: subprocess.Popen[Any], args: Sequence[Arg]) -> None:
    """Tell a program that has a session of its own, and what it has started, that somebody has pressed Ctrl-C.

    The others have heard it from the terminal, as we have.
    """
    if args[0] != SETSID:
        return
    with contextlib.suppress(OSError):
        # It may be about to make that session.
        while process.poll() is None and os.getpgid(process.pid) != process.pid:
            time.sleep(0.001)
        os.killpg(process.pid, signal.SIGINT)


def last_lines(text: str, count: int = 8) -> str:
    """The last `count` lines of `text` that hold something, printable and not too long."""
    lines = [line for line in text[-64 * PIECE :].splitlines() if line.strip()][-count:]
    return safe_text.printable("\n".join(line[:_LONGEST_LINE] for line in lines))


def run(
    args: Sequence[Arg],
    *,
    check: bool = True,
    text_input: str = "",
    timeout: Optional[float] = 60,
    environment: Optional[Mapping[str, str]] = None,
    directory: Arg = "/",
    dies_with_us: bool = False,
    maximum: int = MAXIMUM_OUTPUT,
    cut_errors_at: Optional[int] = None,
) -> CompletedProcess:
    """Run a program to its end and return what it printed.

    `text_input` goes to its stdin; `timeout` is in seconds; `environment` is added to a plain one;
    `dies_with_us` ends the program when this process is killed; `maximum` is in bytes. With `cut_errors_at`, of a
    longer stderr the beginning and the end are kept, and the program goes on.
    Raises ProgramError when it cannot be started, takes too long or writes too much (it is ended then), and, with
    `check`, when its exit status is not 0: with the last lines it said, and never with what it was given on stdin.
    """
    name = Path(args[0]).name
    stdout = _Kept(name, maximum)
    stderr = _Kept(name, maximum) if cut_errors_at is None else _KeptEnds(name, cut_errors_at)
    process = _start(
        args,
        stdin=PIPE,
        stdout=PIPE,
        stderr=PIPE,
        env=plain_environment(environment),
        cwd=str(directory),
        preexec_fn=processes.die_with_parent if dies_with_us else None,
    )
    with process:
        try:
            _listen(
                process,
                args,
                name,
                text_input=text_input,
                timeout=timeout,
                on_stdout=stdout.take,
                on_stderr=stderr.take,
            )
        except KeyboardInterrupt:
            # Nobody waits for what such programs do, and one in a session of its own has heard nothing.
            _kill(process, args)
            raise
    done = CompletedProcess(process.returncode, stdout.text(), stderr.text())
    if check and done.returncode != 0:
        last = last_lines(done.stderr) or last_lines(done.stdout) or _("it printed nothing")
        raise ProgramError(
            _("{program} ended with status {status}: {output}", program=name, status=done.returncode, output=last)
        )
    return done


class _Kept:
    """What a program has written, as far as it may."""

    def __init__(self, name: str, maximum: int) -> None:
        self._name, self._maximum, self._data = name, maximum, bytearray()

    def take(self, untrusted: bytes) -> None:
        """Keep a piece. Raises ProgramError beyond the bound."""
        if len(self._data) + len(untrusted) > self._maximum:
            self._data.clear()
            raise ProgramError(_("{name} gave an answer that is too long", name=self._name))
        self._data += untrusted

    def text(self) -> str:
        """All of it, lines ended as Python ends them."""
        return self._data.decode("utf-8", "replace").replace("\r\n", "\n").replace("\r", "\n")


class _KeptEnds(_Kept):
    """The beginning and the end of what a program has written: how much that is, others than its owner decide."""

    def take(self, untrusted: bytes) -> None:
        """Keep a piece, in place of what stands in the middle."""
        self._data += untrusted
        if len(self._data) > self._maximum:
            half = self._maximum // 2
            del self._data[half : len(self._data) - half]


def run_in_terminal(args: Sequence[Arg]) -> int:
    """Run a program that talks to whoever sits at the terminal, such as an editor; returns its exit status.

    It gets the caller's own environment. Raises ProgramError when it cannot be started.
    """
    with _start(args) as process:
        try:
            return process.wait()
        except BaseException:
            process.kill()
            raise


def run_attached(args: Sequence[Arg]) -> int:
    """Run a program whose output is for whoever called; returns its exit status.

    It has no hold of the caller's terminal, from which it could read later on: what it writes goes through a pipe, and
    is made printable on its way. It speaks the caller's language, and Ctrl-C reaches it as well. Raises ProgramError
    when it cannot be started.
    """
    with _with_ctrl_c(
        args,
        stdin=PIPE,
        stdout=PIPE,
        stderr=PIPE,
        env={**os.environ, "PATH": SAFE_PATH},
    ) as process:
        _listen(
            process,
            args,
            Path(args[0]).name,
            text_input="",
            timeout=None,
            on_stdout=_Shown(sys.stdout).take,
            on_stderr=_Shown(sys.stderr).take,
        )
    return process.returncode


class _Shown:
    """Prints what a program writes, as it comes."""

    def __init__(self, stream: TextIO) -> None:
        import codecs

        self._stream = stream
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def take(self, untrusted: bytes) -> None:
        """Print a piece; the last one is empty."""
        self._stream.write(safe_text.printable(self._decoder.decode(untrusted, final=not untrusted)))
        self._stream.flush()


def stream(
    args: Sequence[Arg],
    *,
    text_input: str,
    timeout: Optional[float],
    on_stdout: Callable[[bytes], None],
    on_stderr: Callable[[bytes], None],
    name: str = "",
) -> int:
    """Run a program and pass on what it writes, as it comes; returns its exit status.

    It is ended, with what it has started in its session, when it takes longer than `timeout` seconds, when one of
    the two functions raises, and with Ctrl-C. `name` is what people are told of one that runs as somebody else.
    Raises ProgramError when it cannot be started or takes too long.
    """
    name = name or Path(args[0]).name
    with _with_ctrl_c(
        args,
        stdin=PIPE,
        stdout=PIPE,
        stderr=PIPE,
        env=plain_environment(),
        cwd="/",
    ) as process:
        _listen(process, args, name, text_input=text_input, timeout=timeout, on_stdout=on_stdout, on_stderr=on_stderr)
    return process.returncode


def _listen(
    process: subprocess.Popen[str],
    args: Sequence[Arg],
    name: str,
    *,
    text_input: str,
    timeout: Optional[float],
    on_stdout: Callable[[bytes], None],
    on_stderr: Callable[[bytes], None],
) -> None:
    """See a program to its end. It is ended when it takes too long, or one of the two functions raises.

    Raises ProgramError, and what they raise.
    """
    try:
        _exchange(process, text_input.encode("utf-8"), timeout, on_stdout, on_stderr)
    except TimeoutError:
        _kill(process, args)
        raise ProgramError(
            _("{program} did not end within {seconds} seconds", program=name, seconds=f"{timeout:g}")
        ) from None
    except KeyboardInterrupt:
        # The program has heard it from the terminal, as we have, or is told in `_with_ctrl_c`.
        raise
    except BaseException:
        _kill(process, args)
        raise


def _exchange(
    process: subprocess.Popen[str],
    data: bytes,
    timeout: Optional[float],
    on_stdout: Callable[[bytes], None],
    on_stderr: Callable[[bytes], None],
) -> None:
    """Write and read side by side until the program has ended; tests replace it. Raises TimeoutError."""
    import selectors

    assert process.stdin is not None and process.stdout is not None and process.stderr is not None
    deadline = None if timeout is None else time.monotonic() + timeout
    readers = {process.stdout.fileno(): on_stdout, process.stderr.fileno(): on_stderr}
    with selectors.DefaultSelector() as selector:
        for descriptor in readers:
            selector.register(descriptor, selectors.EVENT_READ)
        os.set_blocking(process.stdin.fileno(), False)
        selector.register(process.stdin.fileno(), selectors.EVENT_WRITE)
        while selector.get_map():
            left = None if deadline is None else deadline - time.monotonic()
            if left is not None and left <= 0:
                raise TimeoutError
            for key, _events in selector.select(left):
                if key.fd not in readers:
                    data = _write(key.fd, data)
                    done = not data
                else:
                    piece = os.read(key.fd, PIECE)
                    readers[key.fd](piece)
                    done = not piece
                if done:
                    selector.unregister(key.fd)
                    if key.fd not in readers:
                        process.stdin.close()
    from subprocess import TimeoutExpired

    try:
        process.wait(None if deadline is None else max(0.0, deadline - time.monotonic()))
    except TimeoutExpired:
        raise TimeoutError from None


def _write(descriptor: int, data: bytes) -> bytes:
    """Write what fits; returns the rest, nothing if nobody reads any more."""
    try:
        return data[os.write(descriptor, data[:PIECE]) :]
    except BlockingIOError:
        return data
    except BrokenPipeError:
        return b""


def _kill(process: subprocess.Popen[Any], args: Sequence[Arg]) -> None:
    """End a program that has written too much or takes too long; through sudo only sudo can be asked to do that."""
    with contextlib.suppress(OSError):
        if args[0] == SETSID and os.getpgid(process.pid) == process.pid:
            os.killpg(process.pid, signal.SIGKILL)
        process.terminate()
    for pipe in (process.stdin, process.stdout, process.stderr):
        # Whoever still writes there gets SIGPIPE.
        with contextlib.suppress(OSError):
            if pipe is not None:
                pipe.close()
    from subprocess import TimeoutExpired

    with contextlib.suppress(TimeoutExpired):
        process.wait(GRACE_PERIOD)
        return
    try:
        process.kill()
    except PermissionError:
        # sudo is root's and may never end: nobody waits for it.
        process.returncode = -signal.SIGKILL


def _not_started(name: str, error: OSError) -> ProgramError:
    return ProgramError(_("{program} could not be started: {reason}", program=name, reason=error.strerror))


def start_detached(args: Sequence[Arg], environment: Optional[Mapping[str, str]] = None) -> None:
    """Start a program that goes on by itself, in a session of its own, and says nothing. Raises ProgramError."""
    nothing = DEVNULL
    # setsid ends at once, so that the program becomes a child of init's and nobody has to wait for it.
    with _start(
        [SETSID, "--fork", *args],
        env=plain_environment(environment),
        cwd="/",
        stdin=nothing,
        stdout=nothing,
        stderr=nothing,
    ) as process:
        process.wait()
