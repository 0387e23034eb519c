"""What was measured: every single value, with the circumstances, until the report makes medians of them."""

from __future__ import annotations

import os
import time
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

#: None: it did not come to an end (a portal that stays away, a notebook whose server is gone).
Value = float | None


@dataclass
class Book:
    """Values by figure and stack, in the order of the repeats: the n-th of ours and of stock are neighbours."""

    values: dict[str, dict[str, list[Value]]] = field(default_factory=lambda: defaultdict(lambda: defaultdict(list)))
    growth: dict[str, list[dict[str, float]]] = field(default_factory=lambda: defaultdict(list))
    loads: list[float] = field(default_factory=list)
    troubles: list[str] = field(default_factory=list)
    began: float = field(default_factory=time.monotonic)

    def note(self, figure: str, stack: str, value: Value) -> None:
        """Keep a value, and show it."""
        self.values[figure][stack].append(value)
        self.loads.append(os.getloadavg()[0])
        shown = "no end" if value is None else f"{value:.2f}"
        print(f"{time.monotonic() - self.began:7.0f} s  {figure:24} {stack:6} {shown}", flush=True)

    def put_before(self, rows: Mapping[str, Any]) -> None:
        """Count the values of an earlier report, too, of the figures that were measured again."""
        for figure, stacks in self.values.items():
            for stack, values in stacks.items():
                values[:0] = rows.get(figure, {}).get(stack, {}).get("values", [])

    def problem(self, what: str) -> None:
        """Keep what went wrong: a repeat that failed is missing, and the report says so."""
        self.troubles.append(what)
        print(f"{time.monotonic() - self.began:7.0f} s  FAILED {what}", flush=True)
