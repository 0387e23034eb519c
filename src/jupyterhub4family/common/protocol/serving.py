"""Any identity: the one way in which a program of ours reads a request, reports progress, answers and ends.

Lines of JSON on stdout: progress first, the answer last. The exit status is that of the answer
(docs/reference/exit-status.md).
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterable, Sequence
from typing import Any, Callable, Generic, TypeVar

from jupyterhub4family.common import records
from jupyterhub4family.common.errors import FamilyError, UsageError
from jupyterhub4family.common.i18n.messages import _
from jupyterhub4family.common.protocol import json_lines, shapes
from jupyterhub4family.common.protocol.actions import Action, AnswerT, RequestT
from jupyterhub4family.common.system import disk_space

CallerT = TypeVar("CallerT")


@records.dataclass(frozen=True)
class Handler(Generic[CallerT]):
    """An action and what does it, for a caller who may ask for it."""

    action: Action[Any, Any]
    function: Callable[[CallerT, Any], Any]


def on(action: Action[RequestT, AnswerT], function: Callable[[CallerT, RequestT], AnswerT]) -> Handler[CallerT]:
    """Have `function` do `action`; it gets what `admit` returned, and the request."""
    return Handler(action, function)


def serve(admit: Callable[[], CallerT], handlers: Sequence[Handler[CallerT]]) -> int:
    """Answer the one request on stdin; returns the exit status.

    The handlers are those of one program. `admit` looks at who calls before anything is read, and raises the
    FamilyError with which others are refused.
    """

    def work() -> Any:
        caller = admit()
        untrusted = json_lines.read_request(sys.stdin.buffer)
        handler, request = choose(handlers, untrusted)
        return handler.function(caller, request)

    status = answer(work)
    return 0 if handlers[0].action.program.always_ends_with_0 else status


def choose(handlers: Iterable[Handler[CallerT]], untrusted: dict[str, Any]) -> tuple[Handler[CallerT], Any]:
    """Who handles this request, and the request as it expects it. Raises UsageError."""
    by_name = {handler.action.name: handler for handler in handlers}
    name = ""
    if "" not in by_name:
        name = str(untrusted.pop("action", ""))
    if name not in by_name:
        raise UsageError(_("the action must be one of {actions}", actions=", ".join(sorted(by_name))))
    return by_name[name], shapes.decode_request(by_name[name].action.request, untrusted)


def answer(work: Callable[[], Any]) -> int:
    """Do `work` and write the answer that it returns, or the error that it raises; returns the exit status."""
    try:
        done = work()
    except (FamilyError, OSError) as error:
        failure = error if isinstance(error, FamilyError) else system_error(error)
        return _write_last(json_lines.error_answer(failure), int(failure.status))
    return _write_last({"ok": True, **shapes.encode(done)}, 0)


def _write_last(answer_line: dict[str, Any], status: int) -> int:
    """Write the answer; the exit status is its own, or that of a stdout that takes none."""
    try:
        json_lines.write_line(answer_line)
    except BrokenPipeError:
        raise
    except OSError as error:
        # What could not be written would be tried again when Python ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        failure = system_error(error)
        print(f"jupyterhub4family: {failure}", file=sys.stderr)
        return int(failure.status)
    return status


def report(percent: int, message: str) -> None:
    """Write a line of progress. Whoever listened may have gone, or never have been; what has begun goes on."""
    with contextlib.suppress(OSError):
        json_lines.write_line({"percent": percent, "message": message})


def system_error(error: OSError) -> FamilyError:
    """What the kernel refused, as a sentence about the file that it was about."""
    what = str(error.filename) if error.filename else _("the system")
    message = _("{what}: {reason}", what=what, reason=error.strerror or str(error))
    return FamilyError(message, status=disk_space.exit_status(error))
