"""Any identity: what a program of another identity writes, read within bounds, be it waited for or in an event loop.

Whoever runs as a member can write into the pipes of the member's mediator (pidfd_getfd(2)): what is read there must
end no hub, fill no memory and say no more than a person can read.
"""

from __future__ import annotations

import json
from typing import Any, Callable, Optional

from jupyterhub4family.common import records
from jupyterhub4family.common.errors import FamilyError
from jupyterhub4family.common.i18n.messages import _, from_json
from jupyterhub4family.common.system import programs

#: Gets a percentage and a sentence.
ProgressCallback = Callable[[int, str], None]


@records.dataclass(frozen=True)
class Bounds:
    """How much a program may write: bytes of a line, lines, bytes on stderr."""

    line: int = 64 * 1024
    lines: int = 1000
    stderr: int = 256 * 1024


#: What a member's program may write.
DEFAULT = Bounds()
#: Characters of a sentence of progress.
_LONGEST_PROGRESS = 500


class ResponseError(FamilyError):
    """A program wrote more than it may, or no answer, or one that makes no sense."""


class NoAnswer(ResponseError):
    """A program ended without an answer: sudo refuses, or it was ended itself."""


class ResponseReader:
    """Takes what a program writes as it comes: progress is passed on, the last object that is none is the answer."""

    def __init__(self, name: str, bounds: Bounds, on_progress: Optional[ProgressCallback] = None) -> None:
        self._name, self._bounds, self._on_progress = name, bounds, on_progress
        self._rest = bytearray()
        self._lines = 0
        self._stderr = bytearray()
        self._answer: dict[str, Any] = {}

    def feed_stdout(self, untrusted: bytes) -> None:
        """Take a piece of stdout. Raises ResponseError beyond the bounds; the program is to be ended then."""
        *whole, rest = untrusted.split(b"\n")
        for piece in whole:
            self._rest += piece
            self._take_line()
        self._rest += rest
        self._check_line()

    def feed_stderr(self, untrusted: bytes) -> None:
        """Take a piece of stderr. Raises ResponseError beyond the bounds."""
        self._stderr += untrusted
        if len(self._stderr) > self._bounds.stderr:
            self._stderr.clear()
            raise self._too_long()

    def answer(self, returncode: Optional[int]) -> dict[str, Any]:
        """The answer of a program that has ended so. Raises NoAnswer when there is none."""
        if self._rest:
            self._take_line()
        if self._answer:
            return self._answer
        written = programs.last_lines(self._stderr.decode("utf-8", "replace"), 3)[:1000]
        if written:
            message = _(
                "{program} gave no answer (status {status}): {output}",
                program=self._name,
                status=returncode,
                output=written,
            )
        else:
            message = _("{program} gave no answer (status {status})", program=self._name, status=returncode)
        raise NoAnswer(message)

    def _take_line(self) -> None:
        self._check_line()
        self._lines += 1
        if self._lines > self._bounds.lines:
            raise self._too_long()
        event = _object(bytes(self._rest))
        self._rest.clear()
        if "percent" not in event:
            self._answer = event or self._answer
        elif self._on_progress is not None and type(event["percent"]) is int:
            message = from_json(event.get("message"))
            # A sentence of ours is shorter, and stays one that can be told in another language.
            self._on_progress(
                max(0, min(100, event["percent"])),
                message if len(message) <= _LONGEST_PROGRESS else message[:_LONGEST_PROGRESS],
            )

    def _check_line(self) -> None:
        if len(self._rest) > self._bounds.line:
            self._rest.clear()
            raise self._too_long()

    def _too_long(self) -> ResponseError:
        return ResponseError(_("{name} gave an answer that is too long", name=self._name))


def _object(untrusted_line: bytes) -> dict[str, Any]:
    """The object in a line; empty for anything else, such as what sudo or a shell has to say."""
    try:
        event = json.loads(untrusted_line.decode("utf-8"))
    except (ValueError, RecursionError):
        return {}
    return event if isinstance(event, dict) else {}
