"""What is done on the machines: installing, starting, killing, restarting. Each scene fills several rows of the table.

Both stacks take turns, and who begins changes with every repeat, so that whatever else the computer does at the time
meets both alike.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench import cpu, floor, measure, syncs
from bench.book import Book
from bench.notebook import Notebook
from bench.stacks import FLOOR, OURS, PASSWORD, Ours, Stack, log_in, start_until_lab, wait_for_portal
from bench.stock import UNIT, Stock
from tests.machine.lib.client import Browser
from tests.machine.lib.machine import Machine

#: Seconds until a server or a hub that nobody asks has come to rest.
REST = 5.0
#: Seconds for which somebody looks at the start page before they press start.
LOOKING = 3.0
#: Seconds for which a portal that does not come back is waited for.
AWAY = 15.0


@dataclass
class Stage:
    """A stack on a running machine."""

    stack: Stack
    machine: Machine
    address: str

    def browser(self, name: str) -> Browser:
        """A browser in which this member is logged in."""
        return log_in(self.address, name)


def taking_turns(stages: list[Stage], repeats: int) -> Iterator[Stage]:
    """Each stage so often, the first one of a round being the last one of the next."""
    for number in range(repeats):
        yield from stages if number % 2 == 0 else reversed(stages)


@contextmanager
def stage(stack: Stack, layers: tuple[Path, ...] | None = None, init: str = "systemd") -> Iterator[Stage]:
    """A machine on which the stack is installed and its portal answers."""
    with Machine(stack.suite, layers if layers is not None else stack.installed(init), init) as machine:
        yield Stage(stack, machine, wait_for_portal(machine))


@contextmanager
def both(ours: Ours, stock: Stock, family: bool = False) -> Iterator[list[Stage]]:
    """One machine of either."""
    with ExitStack() as stack:
        yield [
            stack.enter_context(stage(ours)),
            stack.enter_context(stage(stock, stock.family_layers() if family else None)),
        ]


# -- installing ---------------------------------------------------------------------------------------------------


def install(book: Book, stacks: list[Stack], repeats: int) -> None:
    """Install on a plain Debian and let in a member; the first time a second one, too, which costs minutes."""
    for number in range(repeats):
        for stack in stacks if number % 2 == 0 else reversed(stacks):
            with Machine(stack.suite) as machine:
                _install_once(book, stack, machine)
                if number == 0:
                    _second_member(book, stack, machine)


def _install_once(book: Book, stack: Stack, machine: Machine) -> None:
    name, before, received = stack.name, measure.packages(machine), measure.received_mb(machine)
    machine.add_account("ada", PASSWORD)  # whom it is installed for; that costs nothing on either side
    began = time.monotonic()
    stack.install(machine)
    here = Stage(stack, machine, wait_for_portal(machine))
    book.note("install_to_portal", name, time.monotonic() - began)
    first = _start_new(here, "ada")
    book.note("install_to_lab", name, time.monotonic() - began)
    stack.settle(machine)
    book.note("apt_packages", name, measure.packages(machine) - before)
    book.note("downloaded", name, measure.received_mb(machine) - received)
    book.note("disk_installed", name, measure.disk_mb(machine))
    if name == OURS:
        # What it did in the background was part of the first one's start; with stock nothing differs for the next.
        machine.add_account("eve", PASSWORD)
        first = _start_new(here, "eve")
    _note_new_member(book, name, first)


def _second_member(book: Book, stack: Stack, machine: Machine) -> None:
    machine.add_account("ben", PASSWORD)
    disk, received = measure.disk_mb(machine), measure.received_mb(machine)
    _note_new_member(book, stack.name, _start_new(Stage(stack, machine, wait_for_portal(machine)), "ben"))
    book.note("member_disk", stack.name, measure.disk_mb(machine) - disk)
    book.note("member_download", stack.name, measure.received_mb(machine) - received)


def _start_new(here: Stage, member: str) -> tuple[float, float]:
    """Let an account in and start its server: the seconds of the administrator's work, and those of the start."""
    began = time.monotonic()
    here.stack.prepare_member(here.machine, member)
    prepared = time.monotonic() - began
    with here.browser(member) as window:
        return prepared, start_until_lab(window)


def _note_new_member(book: Book, name: str, took: tuple[float, float]) -> None:
    prepared, started = took
    book.note("first_start", name, started if name == OURS else prepared + started)
    book.note("first_start_only", name, started)
    book.note("new_member", name, prepared + started)


# -- starting -----------------------------------------------------------------------------------------------------


@contextmanager
def warmed_up(stages: list[Stage]) -> Iterator[dict[str, tuple[Browser, str]]]:
    """By the name of the stack: a browser that is logged in, and the member, whose server has run once."""
    with ExitStack() as windows:
        browsers = {}
        for here in stages:
            (member,) = here.stack.family(here.machine, 1)
            window = windows.enter_context(here.browser(member))
            start_until_lab(window)  # the first one after a boot reads from the disk
            window.stop_server()
            browsers[here.stack.name] = (window, member)
        yield browsers


def warm(book: Book, stages: list[Stage], repeats: int) -> None:
    """Start and stop one member's server; where a new member costs no minutes, let one in and start theirs, too."""
    number = itertools.count()
    with warmed_up(stages) as browsers:
        for here in taking_turns(stages, repeats):
            window, member = browsers[here.stack.name]
            if here is stages[0]:
                note_floor(
                    book, here, [member], {"seconds": "warm_start", "cpu": "warm_cpu", "memory": "server_memory"}
                )
            took = _warm_start(book, here, window, member)
            book.note("server_memory", here.stack.name, measure.server_mb(here.machine, here.stack, [member]))
            window.stop_server()
            time.sleep(REST)
            for what, megabytes in measure.service_mb(here.machine, here.stack).items():
                book.note(f"{what}_memory", here.stack.name, megabytes)
            if here.stack.name == OURS:
                book.note("first_minus_warm", OURS, _first_start(here, f"new{next(number)}") - took)


def _warm_start(book: Book, here: Stage, window: Browser, member: str) -> float:
    """Open the start page, look at it, press start; the server runs in the end, and has come to rest."""
    everything = cpu.Meter(here.machine)
    hub = cpu.Meter(here.machine, measure.hub_pid(here.machine, here.stack))
    cpu.watch(everything, hub)
    window.get("/hub/home").expect()
    time.sleep(LOOKING)
    if here.stack.name == OURS:
        book.note("waiting_memory", OURS, measure.server_mb(here.machine, here.stack, [member]))
    before_press, hub_before = everything.used(), hub.used()
    took = start_until_lab(window)
    hub_used = hub.used() - hub_before
    time.sleep(REST)
    book.note("warm_start", here.stack.name, took)
    used = everything.used()
    book.note("warm_cpu", here.stack.name, used)
    book.note("pressed_cpu", here.stack.name, used - before_press)
    book.note("hub_cpu", here.stack.name, hub_used)
    return took


def note_floor(book: Book, here: Stage, members: list[str], figures: dict[str, str]) -> None:
    """Measure bare servers of these members; `figures` says which figure gets their `seconds`, `cpu`, `memory`."""
    found = floor.on_machine(here.machine, here.stack.python("{member}"), members)
    for what, figure in figures.items():
        book.note(figure, FLOOR, found[what])


def _first_start(here: Stage, member: str) -> float:
    here.machine.add_account(member, PASSWORD)
    here.stack.prepare_member(here.machine, member)
    with here.browser(member) as window:
        took = start_until_lab(window)
        window.stop_server()
    return took


def waits_for_disk(book: Book, stages: list[Stage], repeats: int) -> None:
    """Count what a start has the disk write at once. In a scene of its own: who is watched is slow."""
    with warmed_up(stages) as browsers:
        for here in taking_turns(stages, repeats):
            window, _ = browsers[here.stack.name]
            time.sleep(REST)
            hub = measure.pids_outside(here.machine)[measure.hub_pid(here.machine, here.stack)]
            counted = syncs.count(here.machine, lambda window=window: start_until_lab(window))  # type: ignore[misc]
            book.note("syncs", here.stack.name, sum(counted.values()))
            book.note("hub_syncs", here.stack.name, counted.get(hub, 0))
            window.stop_server()


# -- killing and restarting the hub -------------------------------------------------------------------------------


def killed(book: Book, stages: list[Stage], repeats: int) -> None:
    """Kill the hub under systemd: once as documented, then with the restart that the documented unit lacks."""
    for here in stages:
        if isinstance(here.stack, Stock):
            book.note("killed_documented", here.stack.name, _back_after_kill(here, AWAY))
            here.machine.write(f"/etc/systemd/system/{UNIT}.d/restart.conf", "[Service]\nRestart=always\n")
            here.machine.run(f"systemctl daemon-reload; systemctl restart {UNIT}")
            wait_for_portal(here.machine)
    for number, here in enumerate(taking_turns(stages, repeats)):
        time.sleep(2)
        took = _back_after_kill(here, 120)
        book.note("killed_systemd", here.stack.name, took)
        if here.stack.name == OURS and number < len(stages):
            book.note("killed_documented", here.stack.name, took)


def killed_with_cron(book: Book, ours: Ours, repeats: int) -> None:
    """Kill the hub where cron is the supervisor."""
    with stage(ours, init="sysvinit") as here:
        ours.settle(here.machine)
        for number in range(repeats):
            # At another second of the minute each time: cron looks every minute.
            time.sleep(3 + 7 * number)
            book.note("killed_cron", ours.name, _back_after_kill(here, 150))


def _back_after_kill(here: Stage, timeout: float) -> float | None:
    pid = measure.hub_pid(here.machine, here.stack)
    here.machine.run(f"kill -9 {pid}")
    began = time.monotonic()
    try:
        wait_for_portal(here.machine, timeout)
    except TimeoutError:
        return None
    return time.monotonic() - began


def restart(book: Book, stages: list[Stage], repeats: int) -> None:
    """Restart the hub while a notebook is open."""
    for here in taking_turns(stages, repeats):
        (member,) = here.stack.family(here.machine, 1)
        with here.browser(member) as window:
            start_until_lab(window)
            with Notebook(window.kernel()) as notebook:
                time.sleep(2)
                notebook.begin()
                here.stack.restart_hub(here.machine)
                wait_for_portal(here.machine)
                time.sleep(3)
            book.note("restart_silence", here.stack.name, notebook.silence())
            if not notebook.answers:
                # The hub has ended the server with itself; a new login finds none.
                continue
            window.stop_server()
