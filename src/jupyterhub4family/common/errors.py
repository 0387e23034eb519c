"""Any identity: errors that carry a sentence for people, what to try next, and an exit status."""

from __future__ import annotations

import contextlib
import io
import os
import sys
from enum import IntEnum
from typing import Any, Callable, NoReturn, Optional, TextIO, cast

from jupyterhub4family.common.i18n.messages import _
from jupyterhub4family.common.i18n.safe_text import PrintableOutput


class ExitStatus(IntEnum):
    """Exit statuses of every program of this project (documented in docs/reference/exit-status.md)."""

    OK = 0
    FAILURE = 1
    USAGE = 2
    REFUSED = 3
    PERMISSION = 4
    UNKNOWN_ACCOUNT = 5
    NOT_RUNNING = 6
    NETWORK = 7
    CONFIGURATION = 8
    PORT_TAKEN = 9
    DISK_FULL = 10


class FamilyError(Exception):
    """Something a person can cause or meet.

    `message` says what is wrong, `hint` what to do next, `status` is the exit status.
    """

    status = ExitStatus.FAILURE

    def __init__(self, message: str, hint: str = "", status: Optional[ExitStatus] = None):
        super().__init__(message)
        self.message = message
        self.hint = hint
        if status is not None:
            self.status = status

    def __str__(self) -> str:
        return _("{message}\nTry: {hint}", message=self.message, hint=self.hint) if self.hint else self.message


class UsageError(FamilyError):
    """The arguments of a command or the keys of a request are off."""

    status = ExitStatus.USAGE


class RefusedError(FamilyError):
    """The request is understood and not allowed."""

    status = ExitStatus.REFUSED


class PermissionRefused(FamilyError):
    """The caller lacks the rights."""

    status = ExitStatus.PERMISSION


class UnknownAccountError(FamilyError):
    """There is no such Debian account."""

    status = ExitStatus.UNKNOWN_ACCOUNT


class ConfigurationError(FamilyError):
    """A settings file cannot be used."""

    status = ExitStatus.CONFIGURATION


def run_program(main: Callable[[], int]) -> int:
    """Run `main` and turn a FamilyError into its sentence on stderr and its exit status.

    Whatever is printed meanwhile, a traceback of Python's own included, does nothing to a terminal.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        # In an old locale (ISO 8859) a character that cannot be shown is no reason to end.
        sys.stdout.reconfigure(errors="replace")
    sys.stdout, sys.stderr = _printable(sys.stdout), _printable(sys.stderr)
    try:
        status = int(main())
        # Here, and not when Python ends: then a reader that has gone could no longer be met below.
        print(end="", flush=True)
        return status
    except FamilyError as error:
        print(f"jupyterhub4family: {error}", file=sys.stderr)
        return int(error.status)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # The reader (head, less) has gone: nothing is wrong, and nothing more can be said.
        # Python flushes stdout once more when it ends, so that has to lead somewhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141


def run_and_end(main: Callable[[], int]) -> NoReturn:
    """As `run_program`, for what lives for a moment: the process ends at once with that status.

    Python would first take apart all that it has loaded, which takes longer than many a door's work. What was opened is
    closed by the kernel; nothing of ours waits for the end in any other way (atexit).
    """
    status = run_program(main)
    for stream in (sys.stdout, sys.stderr):
        # What was printed before an error waits in them. A reader that has gone gets nothing.
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(status)


def _printable(stream: Any) -> TextIO:
    # A program without a stderr has None there.
    wrapped = stream is None or isinstance(stream, PrintableOutput)
    return cast("TextIO", stream if wrapped else PrintableOutput(stream))
