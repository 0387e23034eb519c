"""common.protocol.json_lines: a door survives whatever is sent to it."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest

from jupyterhub4family.common.errors import ExitStatus, FamilyError, RefusedError, UsageError
from jupyterhub4family.common.i18n.messages import Message, _
from jupyterhub4family.common.protocol.json_lines import (
    MAXIMUM_REQUEST,
    clean_text,
    error_answer,
    error_of,
    read_request,
    write_line,
)

BAD_REQUESTS = {
    "nothing": b"",
    "spaces": b"  \n",
    "no JSON": b"action=add",
    "half": b'{"action": "a',
    "two objects": b"{}{}",
    "something after it": b"{} x",
    "a list": b"[]",
    "a text": b'"add"',
    "a number": b"1",
    "null": b"null",
    "a key twice": b'{"name": "anna", "name": "root"}',
    "a key twice, deep inside": b'{"env": {"A": "1", "A": "2"}}',
    "a key twice, spelled differently": b'{"name": "anna", "n\\u0061me": "root"}',
    "NaN": b'{"pid": NaN}',
    "Infinity": b'{"pid": Infinity}',
    "-Infinity": b'{"pid": -Infinity}',
    "not UTF-8": b'{"name": "\xff"}',
    "UTF-16": '{"name": "anna"}'.encode("utf-16"),
    "a byte order mark": b"\xef\xbb\xbf{}",
    "a bare NUL": b'{"name": "a\0b"}',
    "a NUL behind it": b"{}\0",
    "a bare line feed in a text": b'{"name": "a\nb"}',
    "single quotes": b"{'name': 'anna'}",
    "100,000 brackets": b"[" * 100_000,
    "50,000 objects": b'{"a":' * 50_000,
    "brackets inside an object": b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
}


@pytest.mark.parametrize("request_bytes", BAD_REQUESTS.values(), ids=list(BAD_REQUESTS))
def test_bad_requests_are_refused_with_a_sentence(request_bytes: bytes) -> None:
    with pytest.raises(UsageError, match="not a JSON object"):
        read_request(io.BytesIO(request_bytes))


@pytest.mark.parametrize(
    ("request_bytes", "wanted"),
    [
        (b"{}", {}),
        (b' \n{"names": ["anna"], "n": 1, "b": true, "x": null}\n', {"names": ["anna"], "n": 1, "b": True, "x": None}),
        ('{"name": "Jürgen"}'.encode(), {"name": "Jürgen"}),
        # Written as an escape, a NUL is good JSON: those who use the text have to look.
        (b'{"name": "a\\u0000b"}', {"name": "a\0b"}),
    ],
)
def test_good_requests_are_read(request_bytes: bytes, wanted: dict[str, Any]) -> None:
    assert read_request(io.BytesIO(request_bytes)) == wanted


def test_the_limit_is_exact() -> None:
    frame = b'{"a":""}'
    longest = b'{"a":"' + b"x" * (MAXIMUM_REQUEST - len(frame)) + b'"}'
    assert len(read_request(io.BytesIO(longest))["a"]) == MAXIMUM_REQUEST - len(frame)
    with pytest.raises(UsageError, match="longer than"):
        read_request(io.BytesIO(longest + b" "))


def test_an_endless_request_is_not_read_to_its_end() -> None:
    class Endless(io.RawIOBase):
        given = 0

        def read(self, size: int = -1) -> bytes:
            assert size >= 0, "somebody wants all of an endless stream"
            self.given += size
            return b"x" * size

    stream = Endless()
    with pytest.raises(UsageError, match="longer than"):
        read_request(stream)  # type: ignore[arg-type]  # it reads, and that is all that is asked for
    assert stream.given <= MAXIMUM_REQUEST + 1


@pytest.mark.parametrize("text", ["", "anna", "192.168.0.7", "Jürgen Groß", "x" * 64])
def test_clean_text_passes_what_people_can_read(text: str) -> None:
    assert clean_text(text, "the address", 64) is text


@pytest.mark.parametrize(
    "text", ["x" * 65, "a\nb", "a\0b", "a\tb", "\x1b[31mred", "a\x7f", "a\u202eb", "\ud800", "a\u2028b"]
)
def test_clean_text_refuses_what_would_forge_a_line_of_a_log(text: str) -> None:
    with pytest.raises(UsageError, match="the address is too long or contains control characters"):
        clean_text(text, "the address", 64)


def test_an_answer_is_one_line_of_plain_ascii(capsys: pytest.CaptureFixture[str]) -> None:
    answer = {"ok": True, "name": "Jürgen\nGroß", "odd": "\ud800"}
    write_line(answer)
    written = capsys.readouterr().out
    assert written.count("\n") == 1 and written.endswith("\n") and written.isascii()
    assert json.loads(written) == answer


def test_an_error_becomes_an_answer_with_sentence_hint_and_status() -> None:
    assert error_answer(RefusedError("no", "ask")) == {"ok": False, "error": "no", "hint": "ask", "status": 3}
    full = error_answer(FamilyError("full", status=ExitStatus.DISK_FULL))
    assert full == {"ok": False, "error": "full", "hint": "", "status": 10}
    assert type(full["status"]) is int


def test_sentences_cross_a_door(capsys: pytest.CaptureFixture[str]) -> None:
    refused = RefusedError(_("{name} is not a member", name="anna"), _("try again later"))
    write_line({**error_answer(refused), "notes": [{"note": _("free some space")}]})
    answer = json.loads(capsys.readouterr().out)
    reported = error_of(answer)
    assert (reported.message, reported.hint, reported.status) == (
        "anna is not a member",
        "try again later",
        ExitStatus.REFUSED,
    )
    assert isinstance(reported.message, Message) and reported.message.values == {"name": "anna"}
    assert answer["notes"][0]["note"]["id"] == "free some space"


@pytest.mark.parametrize(
    ("answer", "reported"),
    [
        ({"error": "plain", "hint": "help", "status": 3}, ("plain", "help", ExitStatus.REFUSED)),
        ({}, ("no reason was given", "", ExitStatus.FAILURE)),
        ({"error": None, "status": 99}, ("no reason was given", "", ExitStatus.FAILURE)),
        ({"error": ["x"], "status": "x"}, ("no reason was given", "", ExitStatus.FAILURE)),
    ],
)
def test_errors_of_older_doors_and_odd_ones(answer: dict[str, Any], reported: tuple[str, str, ExitStatus]) -> None:
    error = error_of(answer)
    assert (error.message, error.hint, error.status) == reported
