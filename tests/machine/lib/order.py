"""The order of tests: the longest first, so that no worker is left alone with a long one at the end.

How long each takes is known from earlier runs (`results.remember`); a missing file only costs time. Tests that share a
machine stay together. xdist's `worksteal` gives each worker an equal number of tests, in the order of the list: so the
list is made of as many parts as there are workers, each of them beginning with its longest.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.machine.lib.results import expected, remembered

#: What nobody has measured yet might be long.
UNKNOWN = 30.0
#: Tests as short as that may be moved to where there is room.
SHORT = 3.0
_KEY = "j4f_seconds"


@dataclass
class Unit:
    """Tests that run one after the other on one worker."""

    seconds: float = 0.0
    items: list[Any] = field(default_factory=list)


class Order:
    """The plugin."""

    def __init__(self, config: pytest.Config) -> None:
        worker = getattr(config, "workerinput", None)
        if worker is not None:
            self._known: dict[str, float] = json.loads(worker[_KEY])
            self._workers = int(worker["workercount"])
        else:
            self._known = remembered(config.getoption("times")) if config.getoption("times") else {}
            self._workers = 1

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node: Any) -> None:
        """All workers must have the same order, so they are given what is known."""
        node.workerinput[_KEY] = json.dumps(self._known)

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Put them in order. Without measured times they stay as they are."""
        if self._known:
            items[:] = [item for part in parts(self._units(items), self._workers) for item in part]

    def _units(self, items: Sequence[pytest.Item]) -> list[Unit]:
        units: dict[str, Unit] = {}
        for item in items:
            seconds = expected(self._known, item.nodeid)
            unit = units.setdefault(shared(item) or item.nodeid, Unit())
            unit.seconds += UNKNOWN if seconds is None else seconds
            unit.items.append(item)
        return list(units.values())


def shared(item: pytest.Item) -> str:
    """A name for what a test shares with others of its file; empty if it shares nothing."""
    about = getattr(item, "_fixtureinfo", None)
    fixtures = about.name2fixturedefs if about is not None else {}
    callspec = getattr(item, "callspec", None)
    values = callspec.params if callspec is not None else {}
    for name in sorted(fixtures):
        if name not in values and fixtures[name][-1].scope == "module":
            return f"{item.nodeid.partition('::')[0]} {name} {values.get('suite', '')}"
    return ""


def parts(units: Sequence[Unit], count: int) -> list[list[Any]]:
    """As many lists as there are workers, about equally long in time, with equally many tests in each."""
    made = [Unit() for _worker in range(count)]
    for unit in sorted(units, key=lambda unit: -unit.seconds):
        least = min(made, key=lambda part: part.seconds)
        if unit.seconds < SHORT:
            least = min(made, key=lambda part: len(part.items))
        least.seconds += unit.seconds
        least.items += unit.items
    _even_out([part.items for part in made])
    return [part.items for part in made]


def _even_out(lists: list[list[Any]]) -> None:
    """Move tests from the ends of long lists to those of short ones: xdist will cut by number.

    They keep their order: the last test of a shared machine may well be the one that ends what the others need.
    """
    total, left = sum(map(len, lists)), len(lists)
    surplus: list[Any] = []
    sizes: list[int] = []
    for _one in lists:
        sizes.append((total - sum(sizes)) // left)
        left -= 1
    for one, size in zip(lists, sizes):
        surplus += one[size:]
        del one[size:]
    for one, size in zip(lists, sizes):
        while len(one) < size:
            one.append(surplus.pop(0))
