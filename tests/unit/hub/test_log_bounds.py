"""hub.log_bounds: a flood of lines is counted, not written; everything else is written as ever."""

from __future__ import annotations

import asyncio
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


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("500 GET /hub/x?_xsrf=2|a|b&page=3 (::1): no", "500 GET /hub/x?_xsrf=[secret]&page=3 (::1): no"),
        ("403 GET /user/a/?Token=abc%20d (::1)", "403 GET /user/a/?Token=[secret] (::1)"),
        (
            "x HTTPServerRequest(uri='/hub/y?a=1&auth_state=abc')",
            "x HTTPServerRequest(uri='/hub/y?a=1&auth_state=[secret]')",
        ),
        (
            "GET /hub/login?next=%2Fhub%2Faccept-share%3Fcode%3DaBc%26x%3D1",
            "GET /hub/login?next=%2Fhub%2Faccept-share%3Fcode%3D[secret]%26x%3D1",
        ),
        ("GET /hub/login?next=%252F%253Ftoken%253DaBc", "GET /hub/login?next=%252F%253Ftoken%253D[secret]"),
        ("GET /hub/z?state=[secret]", "GET /hub/z?state=[secret]"),
        ("100% of /hub/home?page=1 has=no token=here", "100% of /hub/home?page=1 has=no token=here"),
    ],
)
def test_secrets_in_addresses_are_left_out(kept: _Kept, line: str, expected: str) -> None:
    """Tornado writes down whole addresses of requests that fail; JupyterHub those that led somebody to the login."""
    logging.getLogger("flooded").warning("%s", line)
    assert kept.lines[-1] == expected


def test_nor_does_a_flood_tell_any(kept: _Kept) -> None:
    _flood("GET /hub/x?token=abc%d", 1000)
    _bounds(kept).write_counts()
    assert "=[secret]" in kept.lines[-1] and not any("abc" in line for line in kept.lines)


def test_a_mistake_in_a_line_is_no_mistake_of_the_request(kept: _Kept) -> None:
    record = logging.LogRecord("flooded", logging.WARNING, "x.py", 1, "%d of %s", ("two",), None)
    assert _bounds(kept).filter(record) and record.msg == "%d of %s"


def test_what_makes_the_look_long_is_short(kept: _Kept) -> None:
    began = time.monotonic()
    for text in ("&" + "token" * 13_000, "?token=" * 9_000, "%253F" * 13_000, "&_xsrf" * 11_000):
        logging.getLogger("flooded").warning("%s", text)
    assert time.monotonic() - began < 1 and len(kept.lines) == 4


def test_lines_that_no_handler_writes_are_not_made() -> None:
    logger = logging.Logger("hub", logging.DEBUG)
    log_bounds.spare_unwritten(logger)
    assert logger.level == logging.DEBUG, "whoever comes later may write it"
    for level in (logging.WARNING, logging.INFO):
        handler = logging.StreamHandler()
        handler.setLevel(level)
        logger.addHandler(handler)
    log_bounds.spare_unwritten(logger)
    assert logger.level == logging.DEBUG, "it has parents"
    logger.propagate = False
    led, other = logging.getLogger("test.led"), logging.getLogger("test.other")
    led.parent = logger
    for one in (led, other):
        one.setLevel(logging.DEBUG)
    log_bounds.spare_unwritten(logger)
    assert [one.level for one in (logger, led, other)] == [logging.INFO, logging.INFO, logging.DEBUG]


@pytest.mark.parametrize(("error", "written"), [(asyncio.CancelledError(), False), (ValueError("x"), True)])
def test_a_request_that_the_end_of_the_hub_has_cancelled_is_no_bug(
    kept: _Kept, error: BaseException, written: bool
) -> None:
    logger = logging.getLogger("asyncio")
    logger.addHandler(kept)
    try:
        logger.error("Exception in callback %s", "<Handle>", exc_info=error)
    finally:
        logger.removeHandler(kept)
    assert bool(kept.lines) is written
