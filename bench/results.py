"""What has been measured so far: read from performance.json, added to, written back after each scene.

A run may end at any moment, so nothing is kept for its end. A row says of which package, commit and day it is. Values
are added to those of an earlier run only if that measured the same package, in the same way; else they replace them.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.book import BUSY, Book, Value
from bench.figures import FIGURES, GROWTH, ONCE, OURS_ALONE, SCENES
from bench.stacks import OURS, STOCK
from bench.summary import summarise

NAME = "performance"


@dataclass(frozen=True)
class Origin:
    """Of what a run's values are, and from when."""

    date: str
    commit: str
    package: str
    """Changes with anything that is in the package."""

    def as_json(self) -> dict[str, str]:
        """For a row."""
        return {"date": self.date, "commit": self.commit, "package": self.package}


def read(directory: Path) -> dict[str, Any]:
    """What is there, by release of Debian; nothing of the days before that was told apart."""
    try:
        found = json.loads((directory / f"{NAME}.json").read_text())
    except (OSError, ValueError):
        return {}
    suites = found.get("suites", {})
    return suites if isinstance(suites, dict) else {}


def write(directory: Path, suites: dict[str, Any], about: dict[str, Any]) -> None:
    """Write the JSON; `about` is what holds for all rows."""
    directory.mkdir(parents=True, exist_ok=True)
    text = json.dumps(_rounded({**about, "suites": suites}), indent=1, ensure_ascii=False)
    (directory / f"{NAME}.json").write_text(text + "\n")


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, 4)
    if isinstance(value, dict):
        return {key: _rounded(each) for key, each in value.items()}
    return [_rounded(each) for each in value] if isinstance(value, list) else value


def missing(suite: dict[str, Any], scene: str, package: str, repeats: int) -> int:
    """How many repeats of a scene are still to be done for this package."""
    if scene == GROWTH:
        return 0 if _whole_growth(suite.get("growth", {}), package) else 1
    rows = suite.get("figures", {})
    # The figure that has fewest tells how often a scene was done to its end: some come twice in the first repeat.
    done = min(_values_kept(rows.get(key), key, package) for key in SCENES[scene] if key not in ONCE)
    return max(0, repeats - done)


def _values_kept(row: dict[str, Any] | None, key: str, package: str) -> int:
    if row is None or row["busy"] or not _goes_on(row, key, package):
        return 0
    columns = (OURS,) if key in OURS_ALONE else (OURS, STOCK)
    return min(len(row["values"].get(column, [])) for column in columns)


def _goes_on(row: dict[str, Any], key: str, package: str) -> bool:
    """Whether values may be added to this row's."""
    return bool(row["package"] == package and row["how"] == FIGURES[key].how)


def _whole_growth(growth: dict[str, Any], package: str) -> bool:
    return len(growth) > 1 and all(
        each["whole"] and each["package"] == package and each["load"]["begin"] <= BUSY for each in growth.values()
    )


def add(suite: dict[str, Any], scene: str, book: Book, origin: Origin, again: bool = False) -> None:
    """Add a scene's values; `again` forgets earlier ones of its figures, whatever they are of."""
    rows = suite.setdefault("figures", {})
    problems = suite.setdefault("problems", {})
    problems[scene] = [*([] if again else problems.get(scene, [])), *book.problems]
    for key, values in book.values.items():
        earlier = rows.get(key)
        if earlier and (again or earlier["busy"] or not _goes_on(earlier, key, origin.package)):
            earlier = None
        rows[key] = summarise(key, _measured(key, values, book, origin, earlier))
    suite["figures"] = {key: rows[key] for key in FIGURES if key in rows}
    for stack, grown in book.growth.items():
        load = {"begin": book.began_at_load, "most": max([book.began_at_load, *book.loads["growth"]])}
        suite.setdefault("growth", {})[stack] = {**grown, **origin.as_json(), "load": load}


def _measured(
    key: str, values: dict[str, list[Value]], book: Book, origin: Origin, earlier: dict[str, Any] | None
) -> dict[str, Any]:
    before = earlier["values"] if earlier else {}
    loads = [*book.loads[key], book.began_at_load]
    begin = book.began_at_load
    if earlier:
        loads.append(earlier["load"]["most"])
        begin = max(begin, earlier["load"]["begin"])
    columns = [column for column in (*before, *values) if column]
    return {
        **origin.as_json(),
        "load": {"begin": begin, "most": max(loads)},
        "values": {column: [*before.get(column, []), *values.get(column, [])] for column in dict.fromkeys(columns)},
    }


def judged_anew(suites: dict[str, Any]) -> None:
    """Compare all rows with the marks of today, and drop those of figures that there are no more."""
    kept = ("date", "commit", "package", "load", "values")
    for suite in suites.values():
        rows = suite.get("figures", {})
        suite["figures"] = {
            # How it was measured is kept: it may have been another way than today's.
            key: {**summarise(key, {name: rows[key][name] for name in kept}), "how": rows[key]["how"]}
            for key in FIGURES
            if key in rows
        }
