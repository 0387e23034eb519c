"""What one scene measured: every single value, with the circumstances, until the report makes medians of them."""

from __future__ import annotations

import os
import time
from collections import defaultdict
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Any

from bench.stacks import OURS, STOCK

#: None: it did not come to an end (a portal that stays away, a notebook whose server is gone).
Value = float | None

#: The load average from which on somebody else has something to do.
BUSY = 1.0
#: Seconds between two looks at it.
_LOOK = 5.0


def load() -> float:
    """The computer's load average of the last minute."""
    return os.getloadavg()[0]


def wait_until_quiet(
    patience: float, look: Callable[[], float] = load, sleep: Callable[[float], None] = time.sleep
) -> float:
    """Wait until the computer has nothing to do, but not longer; the load average then."""
    until = time.monotonic() + patience
    while (now := look()) > BUSY and time.monotonic() < until:
        sleep(_LOOK)
    return now


@dataclass
class Book:
    """Values by figure and column, in the order of the repeats: the n-th of ours and of stock are neighbours."""

    began_at_load: float = field(default_factory=load)
    values: dict[str, dict[str, list[Value]]] = field(default_factory=lambda: defaultdict(lambda: defaultdict(list)))
    growth: dict[str, dict[str, Any]] = field(default_factory=dict)
    loads: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    problems: list[str] = field(default_factory=list)
    _began: float = field(default_factory=time.monotonic)

    def note(self, figure: str, column: str, value: Value) -> None:
        """Keep a value, and show it."""
        self.values[figure][column].append(value)
        self.loads[figure].append(load())
        self.say(f"{figure:24} {column:6} {'no end' if value is None else f'{value:.3f}'}")

    def problem(self, what: str) -> None:
        """Keep what went wrong: a repeat that failed is missing, and the report says so."""
        self.problems.append(what)
        self.say(f"FAILED {what}")

    def keep_pairs(self, figures: Collection[str]) -> None:
        """Drop what had no neighbour yet when a scene broke off: what is added later would stand beside it."""
        for figure in self.values.keys() & set(figures):
            columns = self.values[figure]
            pairs = min(len(columns[OURS]), len(columns[STOCK]))
            for column in (OURS, STOCK):
                del columns[column][pairs:]
            if not pairs:
                del self.values[figure]

    def say(self, what: str) -> None:
        """Show how it goes."""
        print(f"{time.monotonic() - self._began:7.0f} s  {what}", flush=True)
