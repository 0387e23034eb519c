"""Any identity: the one way in which a program of ours is asked for something, and waited for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Optional

from jupyterhub4family.common.errors import UsageError
from jupyterhub4family.common.i18n.messages import _
from jupyterhub4family.common.protocol import json_lines, shapes
from jupyterhub4family.common.protocol.actions import Action, AnswerT, RequestT
from jupyterhub4family.common.protocol.responses import ProgressCallback, ResponseError, ResponseReader
from jupyterhub4family.common.system import programs


def call(
    action: Action[RequestT, AnswerT],
    request: RequestT,
    *,
    become: Sequence[str] = (),
    on_progress: Optional[ProgressCallback] = None,
) -> AnswerT:
    """Ask a program for `action` and return its answer; `become` are the arguments with which it runs as somebody else.

    Raises the FamilyError that it tells; ResponseError when it gives no answer, one that makes no sense, or more than
    it may; ProgramError when it cannot be started or takes too long.
    """
    reader = ResponseReader(action.program.name, action.bounds, on_progress)
    returncode = programs.stream(
        [*become, *action.command()],
        text_input=action.write_request(request),
        timeout=action.timeout,
        on_stdout=reader.feed_stdout,
        on_stderr=reader.feed_stderr,
        name=action.program.name,
    )
    return understood(action, json_lines.unwrap(reader.answer(returncode)))


def understood(action: Action[RequestT, AnswerT], untrusted: dict[str, Any]) -> AnswerT:
    """The answer of a program that says that it has done `action`. Raises ResponseError."""
    try:
        return shapes.decode_answer(action.answer, untrusted)
    except UsageError as error:
        raise ResponseError(_("{program} gave an answer that makes no sense", program=action.program.name)) from error
