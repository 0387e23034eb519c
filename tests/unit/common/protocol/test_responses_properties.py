"""common.protocol.responses: whatever comes, in whatever pieces, the same comes of it, and never a traceback."""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("hypothesis")

from hypothesis import example, given
from hypothesis import strategies as st

from jupyterhub4family.common.protocol.responses import Bounds, ResponseError, ResponseReader
from tests.unit.properties import thorough

SMALL = Bounds(line=40, lines=5, stderr=30)
LINES = st.sampled_from(
    [
        *(b'{"ok": true}', b'{"ok": false, "error": "no"}', b'{"percent": 5, "message": "m"}', b'{"percent": 900}'),
        *(b'{"percent": "x"}', b"", b"{}", b"[]", b"sudo: no", b"\xff", b"[" * 39, b"x" * 40, b"x" * 41),
    ]
)
WRITTEN = st.lists(LINES, max_size=7).map(b"\n".join) | st.binary(max_size=200)


def cut(data: bytes, places: list[int]) -> list[bytes]:
    """`data` in pieces, some of which may be empty."""
    ends = sorted(min(place, len(data)) for place in places)
    return [data[begin:end] for begin, end in zip([0, *ends], [*ends, len(data)])]


def read(stdout: list[bytes], stderr: list[bytes]) -> tuple[Any, list[tuple[int, str]]]:
    """What comes of these pieces, and the progress that was told."""
    reported: list[tuple[int, str]] = []
    reader = ResponseReader("door", SMALL, lambda percent, message: reported.append((percent, message)))
    try:
        for piece in stderr:
            reader.feed_stderr(piece)
        for piece in stdout:
            reader.feed_stdout(piece)
            assert len(reader._rest) <= SMALL.line
        return reader.answer(0), reported
    except ResponseError as error:
        return (type(error), str(error.message)), reported


@thorough
@given(WRITTEN, st.binary(max_size=40), st.lists(st.integers(0, 200), max_size=6))
@example(b'{"percent": 5}\n{"ok": true}\n', b"", list(range(30)))
@example(b"x" * 41 + b'\n{"ok": true}', b"", [40])
def test_the_size_of_the_pieces_makes_no_difference(stdout: bytes, stderr: bytes, places: list[int]) -> None:
    whole = read([stdout], [stderr])
    assert read(cut(stdout, places), cut(stderr, places)) == whole
    assert read([bytes([one]) for one in stdout], [bytes([one]) for one in stderr]) == whole
    _outcome, reported = whole
    assert all(0 <= percent <= 100 for percent, _message in reported)


@thorough
@given(WRITTEN, st.binary(max_size=40))
def test_nothing_beyond_the_bounds_is_an_answer(stdout: bytes, stderr: bytes) -> None:
    outcome, _reported = read([stdout], [stderr])
    lines = stdout.split(b"\n")
    count = len(lines) - (lines[-1] == b"")
    too_much = len(stderr) > SMALL.stderr or count > SMALL.lines or any(len(line) > SMALL.line for line in lines)
    assert too_much is (isinstance(outcome, tuple) and outcome[0] is ResponseError)
