"""hub.log_bounds: a flood of lines is counted, not written; everything else is written as ever."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator

import pytest

from jupyterhub4family.hub import log_bounds


class _Kept(logging.Handler):
    """Keeps what would be written."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


@pytest.fixture
def kept() -> Iterator[_Kept]:
    handler = _Kept()
    handler.addFilter(log_bounds.Bounds())
    logger = logging.getLogger("flooded")
    logger.setLevel(logging.INFO)
    logger.addHandler(handler)
    yield handler
    logger.removeHandler(handler)


def _bounds(kept: _Kept) -> log_bounds.Bounds:
    (found,) = kept.filters
    assert isinstance(found, log_bounds.Bounds)
    return found


def _flood(text: str, count: int) -> None:
    for number in range(count):
        logging.getLogger("flooded").warning(text, number)


def test_of_a_flood_so_many_lines_are_written_and_the_others_counted(kept: _Kept) -> None:
    _flood("line %d", 10_000)
    assert log_bounds.BURST <= len(kept.lines) <= log_bounds.BURST + 50
    left_out = 10_000 - len(kept.lines)
    _bounds(kept).write_counts()
    assert kept.lines[-1] == f"… {left_out:,} more like this: line 9999"
    _bounds(kept).write_counts()
    assert len(kept.lines) == 10_000 - left_out + 1, "told once"


def test_a_line_has_an_end(kept: _Kept) -> None:
    """The path of a request is as long as whoever asks wants it."""
    logging.getLogger("flooded").warning("404 GET %s", "/x%d" * 16_000)
    assert len(kept.lines[-1]) < log_bounds.LONGEST + 10 and kept.lines[-1].startswith("404 GET /x%d/x%d")
    logging.getLogger("flooded").warning("404 GET %s", "/short")
    assert kept.lines[-1] == "404 GET /short"


def test_other_lines_are_written_meanwhile(kept: _Kept) -> None:
    _flood("line %d", 10_000)
    logging.getLogger("flooded").warning("something else")
    assert kept.lines[-1] == "something else"


def test_each_status_of_a_request_is_a_kind_of_its_own(kept: _Kept) -> None:
    logger = logging.getLogger("flooded")
    for status in [403] * 5000 + [500]:
        logger.warning(f"{status} GET /hub/api (@192.0.2.7) 1.00ms")
    assert kept.lines[-1].startswith("500 ")


def test_after_a_while_lines_are_written_again(kept: _Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    _flood("line %d", 10_000)
    before = len(kept.lines)
    later = time.monotonic() + log_bounds.BURST / log_bounds.RATE
    monkeypatch.setattr(time, "monotonic", lambda: later)
    _flood("line %d", log_bounds.BURST)
    # Another place in the program would be another kind: `_flood` is one.
    assert len(kept.lines) >= before + log_bounds.BURST - 1
