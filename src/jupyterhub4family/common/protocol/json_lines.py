"""Any identity: the JSON that crosses doors. Reads one bounded object."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from typing import IO, Any

from jupyterhub4family.common.errors import ExitStatus, FamilyError, UsageError
from jupyterhub4family.common.i18n.messages import Message, _, from_json, to_json

#: Bytes; a server's environment is a few kilobytes, so this leaves ample room.
MAXIMUM_REQUEST = 256 * 1024
#: Characters of an error that an answer tells.
LONGEST_ERROR = 4000


def read_request(stream: IO[bytes]) -> dict[str, Any]:
    """Read one JSON object from `stream` until its end.

    Raises UsageError for anything else: too long, no JSON, no object, a key that stands twice, NaN.
    """
    untrusted_bytes = stream.read(MAXIMUM_REQUEST + 1)
    if len(untrusted_bytes) > MAXIMUM_REQUEST:
        raise UsageError(_("the request is longer than {count} bytes", count=MAXIMUM_REQUEST))
    try:
        untrusted = json.loads(
            untrusted_bytes.decode("utf-8"),
            object_pairs_hook=_without_duplicates,
            parse_constant=_no_constant,
        )
    except (ValueError, RecursionError) as error:
        raise UsageError(_("the request is not a JSON object")) from error
    if not isinstance(untrusted, dict):
        raise UsageError(_("the request is not a JSON object"))
    return untrusted


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise ValueError("a key stands twice")
    return result


def _no_constant(word: str) -> Any:
    raise ValueError(f"{word} is no JSON")


def clean_text(untrusted: str, what: str, maximum: int) -> str:
    """Return `untrusted` if it is at most `maximum` characters of printable text; raise UsageError if not."""
    if len(untrusted) > maximum or not untrusted.isprintable():
        raise UsageError(_("{what} is too long or contains control characters", what=what))
    return untrusted


def write_line(answer: Mapping[str, Any]) -> None:
    """Write one answer as a line of JSON to stdout, at once; Messages in it can be told again at the other end."""
    sys.stdout.write(json.dumps(_serializable(answer)) + "\n")
    sys.stdout.flush()


def error_answer(error: FamilyError) -> dict[str, Any]:
    """What a door answers when it refuses or fails: sentence, hint and exit status."""
    return {"ok": False, "error": error.message, "hint": error.hint, "status": int(error.status)}


def error_of(untrusted: Mapping[str, Any]) -> FamilyError:
    """The error that a door's answer tells, in the language of whoever reads it here: `error_answer` undone."""
    try:
        status = ExitStatus(untrusted.get("status", 1))
    except ValueError:
        status = ExitStatus.FAILURE
    message, hint = (from_json(untrusted.get(key)) for key in ("error", "hint"))
    if len(message) > LONGEST_ERROR or len(hint) > LONGEST_ERROR:
        message, hint = message[:LONGEST_ERROR], hint[:LONGEST_ERROR]
    return FamilyError(message or _("no reason was given"), hint, status)


def unwrap(untrusted: Mapping[str, Any]) -> dict[str, Any]:
    """A door's answer that says that it was done. Raises the error that any other answer tells."""
    if not untrusted.get("ok"):
        raise error_of(untrusted)
    return dict(untrusted)


def _serializable(value: Any) -> Any:
    """`value` for JSON, with every Message in it as `to_json` makes it."""
    if isinstance(value, Mapping):
        return {key: _serializable(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_serializable(one) for one in value]
    return to_json(value) if isinstance(value, Message) else value
