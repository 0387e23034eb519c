"""Many members: ten who press start at once, and what grows with their number."""

from __future__ import annotations

import statistics
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

from bench import measure
from bench.book import Book, load
from bench.scenes import REST, Stage, note_floor, taking_turns
from bench.stacks import start_until_lab
from tests.machine.lib.client import Browser, ClientError

TEN = 10
#: Members with running servers at which the growth is looked at.
STEPS = (1, 5, 20, 50, 100)
#: Servers started at the same time on the way to the next step.
TOGETHER = 4
#: Starts of the last server of a step, of which the median counts.
OFTEN = 3
#: MB of this computer's memory that stay free, whatever is measured: it must live on.
RESERVE_MB = 2500.0
#: MB that a server may take while it starts, of which we know nothing before the first one runs.
GUESS_MB = 250.0


def ten(book: Book, stages: list[Stage], repeats: int) -> None:
    """Ten members with environments press start in the same instant."""
    with ExitStack() as stack:
        windows = {here.stack.name: _windows(stack, here, TEN) for here in stages}
        for here in stages:  # once before it counts: their files are read from the disk, as nowhere else
            _start_all(windows[here.stack.name], TOGETHER)
            _stop_all(windows[here.stack.name])
        for here in taking_turns(stages, repeats):
            mine = windows[here.stack.name]
            if here is stages[0]:
                names = [window.name for window in mine]
                note_floor(book, here, names, {"seconds": "ten_at_once", "memory": "server_memory_of_ten"})
            try:
                book.note("ten_at_once", here.stack.name, _start_all(mine, TEN))
            except ClientError as error:
                # One server that did not start spoils this repeat, not the figure.
                book.problem(f"ten at once, {here.stack.name}: {str(error).splitlines()[0]}")
                _stop_all(mine)
                continue
            time.sleep(REST)
            names = [window.name for window in mine]
            book.note("server_memory_of_ten", here.stack.name, measure.server_mb(here.machine, here.stack, names) / TEN)
            _stop_all(mine)


def _windows(stack: ExitStack, here: Stage, count: int) -> list[Browser]:
    return [stack.enter_context(here.browser(name)) for name in here.stack.family(here.machine, count)]


def _start_all(windows: list[Browser], together: int) -> float:
    """Start all servers; the seconds until the last one's page has come."""
    began = time.monotonic()
    with ThreadPoolExecutor(together) as pool:
        list(pool.map(start_until_lab, windows))
    return time.monotonic() - began


def _stop_all(windows: list[Browser]) -> None:
    with ThreadPoolExecutor(TOGETHER) as pool:
        list(pool.map(Browser.stop_server, windows))
    time.sleep(REST)


def _starts(window: Browser, count: int) -> list[float]:
    """Start a server so often; it runs in the end."""
    took = [start_until_lab(window)]
    for _ in range(count - 1):
        window.stop_server()
        took.append(start_until_lab(window))
    return took


def growth(book: Book, here: Stage, steps: tuple[int, ...] = STEPS) -> None:
    """Start more and more members' servers, and look at what the next start and the hub then cost.

    It ends before this computer has no memory left.
    """
    grown: dict[str, Any] = {"steps": [], "ended": "", "whole": False}
    book.growth[here.stack.name] = grown
    with ExitStack() as stack:
        windows = _windows(stack, here, steps[-1])
        start_until_lab(windows[0])  # reads from the disk
        windows[0].stop_server()
        running, each_mb = 0, GUESS_MB
        for count in steps:
            running += _start_while_it_fits(windows[running : count - 1], each_mb)
            if running < count - 1 or not _fits(each_mb):
                grown["ended"] = (
                    f"{running} servers ran when {measure.available_mb():.0f} MB were left of this computer's memory:"
                    f" {count} do not fit"
                )
                break
            time.sleep(REST)
            start = statistics.median(_starts(windows[count - 1], OFTEN))
            running = count
            time.sleep(REST)
            row = _step(here, windows[:count], start)
            if gone := [window.name for window in windows[:count] if not window.servers()]:
                # Where memory is short, or a limit is reached, servers may have been stopped meanwhile.
                grown["ended"] = f"of {count} servers {len(gone)} had been ended when all were to run"
                break
            # What they take now, and the kernel's share of it that PSS does not show.
            each_mb = 1.25 * row["servers"] / count
            grown["steps"].append(row)
            book.loads["growth"].append(load())
            book.say(f"growth {here.stack.name} { ({key: round(value, 2) for key, value in row.items()}) }")
    grown["whole"] = True
    book.say(f"growth {here.stack.name}: {grown['ended'] or 'to the end'}")


def _step(here: Stage, windows: list[Browser], start: float) -> dict[str, float]:
    service = measure.service_mb(here.machine, here.stack)
    servers = measure.server_mb(here.machine, here.stack, [window.name for window in windows])
    row: dict[str, float] = {"members": len(windows), "start": start}
    return {**row, "hub": service["hub"], "proxy": service["proxy"], "servers": servers}


def _fits(each_mb: float) -> bool:
    """Whether the next servers that are started together leave this computer what it needs."""
    return measure.available_mb() - TOGETHER * each_mb > RESERVE_MB


def _start_while_it_fits(windows: list[Browser], each_mb: float) -> int:
    """Start servers, some at a time; how many there was memory for."""
    for number in range(0, len(windows), TOGETHER):
        if not _fits(each_mb):
            return number
        _start_all(windows[number : number + TOGETHER], TOGETHER)
    return len(windows)
