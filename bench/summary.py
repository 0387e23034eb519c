"""Makes medians, ratios and verdicts of single values. What it returns is what performance.json holds."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from typing import Any

from bench.book import Value
from bench.figures import FIGURES, Figure
from bench.reasons import REASONS
from bench.stacks import OURS, STOCK


def summarise(values: Mapping[str, list[Value]], figure: Figure, date: str) -> dict[str, Any]:
    """One row: the values of both stacks, their medians, the ratio and whether the mark is reached."""
    ours, stock = values.get(OURS, []), values.get(STOCK, [])
    row: dict[str, Any] = {
        "title": figure.title,
        "unit": figure.unit,
        "how": figure.how,
        "mark": mark(figure),
        "date": date,
        OURS: {"median": median(ours), "values": ours},
        STOCK: {"median": median(stock), "values": stock},
        "ratio": ratio(ours, stock),
    }
    row["reached"] = reached(row, figure)
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
        value = row[OURS]["median"]
        return bool(value is not None and value <= figure.limit)
    return None


def add_reasons(rows: dict[str, dict[str, Any]]) -> None:
    """Say why a mark was missed, and what else must be known about a row."""
    for key, row in rows.items():
        row["reason"] = "" if row["reached"] in (True, None) else REASONS.get(key, "not yet looked into")


def in_order(rows: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """The rows in the order of the table."""
    return {key: rows[key] for key in FIGURES if key in rows}
