"""What a run has found out about its tests: how long each took, which were unsteady. Kept for the next run, and told.

`./test` gives each part a file in one folder; the last words of a run are about all of them:

    python -m tests.machine.lib.results FOLDER
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

SLOWEST = 20


@dataclass
class Results:
    """Of one part: seconds and last outcome per test, and those that passed only when they ran once more, alone.

    Of these, `timed` are those that measure time; `unsteady` are the others, of which few are borne with.
    """

    seconds: dict[str, float] = field(default_factory=dict)
    outcomes: dict[str, str] = field(default_factory=dict)
    unsteady: list[str] = field(default_factory=list)
    timed: list[str] = field(default_factory=list)

    def add(self, test: str, outcome: str, seconds: float) -> None:
        """Count a phase of a test: its setup, its call, its teardown."""
        self.seconds[test] = self.seconds.get(test, 0.0) + seconds
        # Once failed, always failed; a setup or teardown that passed says nothing about the call.
        if self.outcomes.get(test) != "failed" and (outcome != "passed" or test not in self.outcomes):
            self.outcomes[test] = outcome

    def write(self, file: Path) -> None:
        """Keep it."""
        file.parent.mkdir(parents=True, exist_ok=True)
        _replace(file, json.dumps(asdict(self)))


def read(file: Path) -> Results:
    """What a part has kept; nothing if it has not come so far."""
    try:
        return Results(**json.loads(file.read_text()))
    except (OSError, ValueError, TypeError):
        return Results()


def read_all(directory: Path) -> list[Results]:
    """What all parts of this run have kept."""
    return [read(file) for file in sorted(directory.glob("*.json"))]


def slowest(parts: Iterable[Results], count: int = SLOWEST) -> list[str]:
    """Lines about the tests that took longest, setup and teardown included."""
    together = {test: seconds for part in parts for test, seconds in part.seconds.items()}
    ranked = sorted(together.items(), key=lambda pair: -pair[1])
    return [f"{seconds:8.1f} s  {test}" for test, seconds in ranked[:count]]


def remember(file: Path, now: Results) -> None:
    """Add what this run took to what earlier ones did, for the order of the next. A test that failed says nothing."""
    known = remembered(file)
    passed = {test: round(now.seconds[test], 2) for test, outcome in now.outcomes.items() if outcome != "failed"}
    file.parent.mkdir(parents=True, exist_ok=True)
    _replace(file, json.dumps({**known, **passed}, indent=1, sort_keys=True))


def remembered(file: Path) -> dict[str, float]:
    """Seconds per test of earlier runs."""
    try:
        return {str(test): float(seconds) for test, seconds in json.loads(file.read_text()).items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}


def expected(known: Mapping[str, float], test: str) -> float | None:
    """How long a test will take: as it did, or as it did with other parameters."""
    if test in known:
        return known[test]
    stem = test.partition("[")[0]
    others = [seconds for name, seconds in known.items() if name.partition("[")[0] == stem]
    return max(others, default=None)


def _replace(file: Path, text: str) -> None:
    staging = file.with_name(f".{file.name}.{os.getpid()}")
    staging.write_text(text)
    staging.replace(file)


def main() -> int:
    """Tell about the parts whose results are in the folder that is named."""
    parts = read_all(Path(sys.argv[1]))
    if any(part.seconds for part in parts):
        print(f"\n== the {SLOWEST} slowest tests", *slowest(parts), sep="\n")
    for test in [test for part in parts for test in part.unsteady]:
        print(f"UNSTEADY: {test}")
    for test in [test for part in parts for test in part.timed]:
        print(f"passed alone only, as it measures time: {test}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
