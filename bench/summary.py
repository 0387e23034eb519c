"""Makes medians, ratios and verdicts of single values. What it returns is what performance.json holds."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from typing import Any

from bench.book import BUSY, Value
from bench.figures import FIGURES, Figure
from bench.reasons import REASONS
from bench.stacks import FLOOR, OURS, STOCK

COLUMNS = (OURS, STOCK, FLOOR)


def summarise(key: str, measured: Mapping[str, Any]) -> dict[str, Any]:
    """One row: what was measured (values by column, date, commit, package, loads) with what follows from it."""
    figure = FIGURES[key]
    row: dict[str, Any] = {
        **measured,
        "title": figure.title,
        "unit": figure.unit,
        "how": figure.how,
        "floor_is": figure.floor,
        "mark": mark(figure),
        "median": {column: median(values) for column, values in measured["values"].items()},
        "ratio": ratio(measured["values"].get(OURS, []), measured["values"].get(STOCK, [])),
        "busy": measured["load"]["begin"] > BUSY,
    }
    row["reached"] = reached(row, figure)
    row["reason"] = REASONS.get(key, "not yet looked into") if row["reached"] is False else ""
    return row


def median(values: list[Value]) -> Value:
    """The median; None when most of them came to no end, or there are none."""
    if not values:
        return None
    middle = statistics.median_low([float("inf") if value is None else value for value in values])
    known = [value for value in values if value is not None]
    return None if middle == float("inf") else statistics.median(known) if len(known) == len(values) else middle


def ratio(ours: list[Value], stock: list[Value]) -> Value:
    """The median of the ratios of neighbours: what disturbed one repeat disturbed both of its values.

    Beside a stock value without an end everything is nothing.
    """
    if not ours or not stock:
        return None
    if len(ours) != len(stock):
        return _divide(median(ours), median(stock))
    pairs = [_divide(mine, other) for mine, other in zip(ours, stock)]
    known = [pair for pair in pairs if pair is not None]
    return statistics.median(known) if known else None


def _divide(ours: Value, stock: Value) -> Value:
    if ours is None:
        return None
    return ours / stock if stock else 0.0


def mark(figure: Figure) -> str:
    """The mark, for people."""
    if figure.mark:
        return figure.mark
    if figure.ratio is not None:
        return f"≤ {figure.ratio:.2f}"
    return "" if figure.limit is None else f"{figure.limit:g} {figure.unit}"


def reached(row: Mapping[str, Any], figure: Figure) -> bool | None:
    """Whether the mark is reached; None if there is none, or nothing to compare."""
    if figure.ratio is not None:
        return None if row["ratio"] is None else bool(row["ratio"] <= figure.ratio)
    if figure.limit is not None:
        value = row["median"].get(OURS)
        return bool(value is not None and value <= figure.limit)
    return None
