"""common.protocol.responses: what a program may write is bounded, in pieces of whatever size it comes."""

from __future__ import annotations

import json
from typing import Any, Optional

import pytest

from jupyterhub4family.common.errors import FamilyError
from jupyterhub4family.common.i18n.messages import Message, _, to_json
from jupyterhub4family.common.protocol.responses import DEFAULT, Bounds, NoAnswer, ResponseError, ResponseReader

SMALL = Bounds(line=40, lines=5, stderr=20)


class Told:
    """A reader, and the progress that it has passed on."""

    def __init__(self, bounds: Bounds = DEFAULT) -> None:
        self.progress: list[tuple[int, str]] = []
        self.reader = ResponseReader("door", bounds, lambda percent, message: self.progress.append((percent, message)))

    def read(self, *pieces: bytes, status: Optional[int] = 0) -> dict[str, Any]:
        for piece in pieces:
            self.reader.feed_stdout(piece)
        return self.reader.answer(status)


@pytest.mark.parametrize(
    ("written", "wanted"),
    [
        (b'{"ok": true}\n', {"ok": True}),
        # Ended before it could end the line.
        (b'{"ok": true}', {"ok": True}),
        (b'{"percent": 5}\n{"ok": true}\n', {"ok": True}),
        (b'{"ok": true}\n{"percent": 5}\n', {"ok": True}),
        (b'{"ok": false}\n{"ok": true}\n', {"ok": True}),
        (b'{"ok": true}\nsudo: a word of warning\n\n[]\nnull\n5\n"x"\n{}\n', {"ok": True}),
        (b'\xff\xfe\n{"ok": true}\n{"ok": "\xff"}\n', {"ok": True}),
        (b'{"ok": true}\n{"ok": fal\n', {"ok": True}),
        (b'  {"ok": true}  \r\n', {"ok": True}),
    ],
)
def test_the_last_object_that_is_no_progress_is_the_answer(written: bytes, wanted: dict[str, Any]) -> None:
    assert Told().read(written) == wanted


@pytest.mark.parametrize("written", [b"", b"\n", b"sudo: no\n", b"[]", b"null", b"5", b"{}", b'{"percent": 1}\n', b"{"])
def test_what_is_no_answer(written: bytes) -> None:
    with pytest.raises(NoAnswer, match=r"^door gave no answer \(status 3\)$"):
        Told().read(written, status=3)


@pytest.mark.parametrize(
    "line",
    [b"[" * 60_000, b'{"a":' * 10_000, b'{"a":' * 10_000 + b"1" + b"}" * 10_000, b'{"ok":' + b"[" * 60_000],
    ids=["lists", "objects", "whole objects", "an answer with lists"],
)
def test_what_is_nested_too_deeply_is_no_answer_and_ends_nothing(line: bytes) -> None:
    with pytest.raises(NoAnswer):
        Told().read(line)
    assert Told().read(b'{"ok": true}\n' + line + b"\n") == {"ok": True}


def test_without_an_answer_the_end_of_stderr_is_told() -> None:
    reported = Told()
    reported.reader.feed_stderr(b"one\ntwo\n\nthr")
    reported.reader.feed_stderr(b"ee\nfo\xffur\n")
    with pytest.raises(NoAnswer) as caught:
        reported.read(b"nonsense\n", status=1)
    assert caught.value.message == "door gave no answer (status 1): two\nthree\nfo\ufffdur"


def test_not_more_of_stderr_than_a_person_can_read() -> None:
    reported = Told()
    reported.reader.feed_stderr(b"x" * 100_000)
    with pytest.raises(NoAnswer) as caught:
        reported.read(status=None)
    assert len(caught.value.message) < 1100


def test_with_an_answer_stderr_says_nothing() -> None:
    reported = Told()
    reported.reader.feed_stderr(b"a word of warning\n")
    assert reported.read(b'{"ok": true}\n', status=1) == {"ok": True}


@pytest.mark.parametrize(
    ("percent", "reported"),
    [("0", 0), ("100", 100), ("7", 7), ("-1", 0), ("101", 100), ("-" + "9" * 1000, 0), ("9" * 1000, 100)],
)
def test_progress_is_between_nothing_and_all(percent: str, reported: int) -> None:
    reader = Told()
    reader.read(b'{"percent": %s, "message": "m"}\n{"ok": true}\n' % percent.encode())
    assert reader.progress == [(reported, "m")]


@pytest.mark.parametrize("percent", ['"many"', '"5"', "null", "[]", "1.5", "{}", "true", "NaN"])
def test_progress_that_is_none_is_passed_over(percent: str) -> None:
    reader = Told()
    assert reader.read(b'{"percent": %s, "message": 1}\n{"ok": true}\n' % percent.encode()) == {"ok": True}
    assert reader.progress == []


@pytest.mark.parametrize(
    ("message", "reported"), [("", ""), (', "message": null', ""), (', "message": ["x"]', ""), (', "message": 1', "1")]
)
def test_odd_sentences_of_progress(message: str, reported: str) -> None:
    reader = Told()
    reader.read(b'{"percent": 5%s}\n{"ok": true}\n' % message.encode())
    assert reader.progress == [(5, reported)]


def test_sentences_of_progress_can_be_told_again() -> None:
    reader = Told()
    line = json.dumps({"percent": 5, "message": to_json(_("{name}: {reason}", name="a", reason="b"))})
    reader.read(line.encode() + b'\n{"ok": true}\n')
    ((_percent, message),) = reader.progress
    assert message == "a: b" and isinstance(message, Message) and message.values == {"name": "a", "reason": "b"}


def test_progress_is_passed_on_as_soon_as_its_line_is_there() -> None:
    reported = Told()
    reported.reader.feed_stdout(b'{"percent": 5, "message": "m"}')
    assert reported.progress == []
    reported.reader.feed_stdout(b"\n")
    assert reported.progress == [(5, "m")]


def test_nobody_has_to_listen() -> None:
    reader = ResponseReader("door", DEFAULT)
    reader.feed_stdout(b'{"percent": 5}\n{"ok": true}\n')
    assert reader.answer(0) == {"ok": True}


TOO_LONG = "door gave an answer that is too long"


def test_the_bound_of_a_line_is_exact() -> None:
    longest = b'{"a": "' + b"x" * 31 + b'"}'
    assert len(longest) == SMALL.line and Told(SMALL).read(longest + b"\n") == {"a": "x" * 31}
    for pieces in ([b" " + longest + b"\n"], [b" " + longest], [b" ", longest], [b"{}\n", longest, b" "]):
        with pytest.raises(ResponseError, match=TOO_LONG):
            Told(SMALL).read(*pieces)


def test_a_line_that_never_ends_fills_no_memory() -> None:
    reported = Told()
    with pytest.raises(ResponseError, match=TOO_LONG):
        for _piece in range(1000):
            reported.reader.feed_stdout(b"x" * 1000)
            assert len(reported.reader._rest) <= DEFAULT.line
    assert not reported.reader._rest


def test_the_bound_of_lines_is_exact() -> None:
    assert Told(SMALL).read(b"\n" * 4 + b'{"ok": true}\n') == {"ok": True}
    assert Told(SMALL).read(b"\n" * 4 + b'{"ok": true}') == {"ok": True}
    for pieces in ([b"\n" * 6], [b"\n"] * 6, [b"\n" * 5, b"x"], [b'{"percent": 1}\n' * 6]):
        with pytest.raises(ResponseError, match=TOO_LONG):
            Told(SMALL).read(*pieces)


def test_the_bound_of_stderr_is_exact() -> None:
    reported = Told(SMALL)
    reported.reader.feed_stderr(b"x" * 15)
    reported.reader.feed_stderr(b"x" * 5)
    assert reported.read(b'{"ok": true}') == {"ok": True}
    with pytest.raises(ResponseError, match=TOO_LONG):
        reported.reader.feed_stderr(b"x")
    assert not reported.reader._stderr, "it is not kept"


def test_too_much_is_no_missing_answer() -> None:
    """Who may not open a door is told by the latter (cli/members.py)."""
    with pytest.raises(ResponseError) as caught:
        Told(SMALL).read(b"x" * 41)
    assert not isinstance(caught.value, NoAnswer) and isinstance(caught.value, FamilyError)
