"""Many at once, and for a long time: fifty people who log in together, thousands of requests, starts and stops."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.machine.lib.client import Browser
from tests.machine.lib.family import PASSWORD, add_member, browser, hub_pid, logged_in, proxy_pid, ready
from tests.machine.lib.machine import Machine
from tests.machine.lib.plugin import NewMachine, Scale

PEOPLE = 50
NAMES = ("alice", "ben")


def memory(machine: Machine, pid: int) -> float:
    """Megabytes that a process has written to (proc(5)): pages of its program come and go as the kernel likes."""
    text = machine.run(f"cat /proc/{pid}/smaps_rollup")
    written = [line.split()[1] for line in text.splitlines() if line.startswith(("Private_Dirty:", "Swap:"))]
    return sum(map(int, written)) / 1024


@pytest.mark.timed
@pytest.mark.any_debian
def test_fifty_people_log_in_at_once(new_machine: NewMachine, suite: str) -> None:
    machine = ready(new_machine(suite, layer="installed"))
    names = [f"child{number}" for number in range(PEOPLE)]
    for name in names:
        machine.add_account(name, PASSWORD)
    machine.run(f"for name in {' '.join(names)}; do gpasswd -a $name jupyterhub >/dev/null; done")
    windows = [browser(machine) for _name in names]
    try:
        with ThreadPoolExecutor(PEOPLE) as crowd:
            began = time.monotonic()
            results = list(crowd.map(lambda pair: pair[0].login(pair[1], PASSWORD), zip(windows, names)))
            took = time.monotonic() - began
        for result in results:
            result.expect()
        print(f"{PEOPLE} logins in {took:.1f} s", flush=True)
        assert took < 60, "ten seconds on a computer that does nothing else"
    finally:
        for window in windows:
            window.close()


@pytest.mark.any_debian
def test_memory_stays_flat_for_thousands_of_requests(new_machine: NewMachine, suite: str, scale: Scale) -> None:
    """The first ones fill caches; what comes then may not."""
    machine = ready(new_machine(suite, layer="installed"))
    add_member(machine, "alice")
    with logged_in(machine, "alice") as alice:
        alice.start_server()
        _ask(alice, scale(400, 2000))
        before = memory(machine, hub_pid(machine)), memory(machine, proxy_pid(machine))
        _ask(alice, scale(1000, 10_000))
        after = memory(machine, hub_pid(machine)), memory(machine, proxy_pid(machine))
        print(f"hub {before[0]:.1f} to {after[0]:.1f} MB, proxy {before[1]:.1f} to {after[1]:.1f} MB", flush=True)
        assert after[0] < before[0] + 10, "the hub"
        assert after[1] < before[1] + 10, "the proxy"
        alice.stop_server()


def _ask(alice: Browser, requests: int) -> None:
    paths = ("/hub/home", "/user/alice/api/status", "/hub/api/users/alice", "/hub/login")
    for number in range(requests):
        assert alice.status(paths[number % len(paths)]) == 200


@pytest.mark.any_debian
@pytest.mark.timeout(1800)
def test_starts_and_stops_leave_nothing_behind(new_machine: NewMachine, suite: str, scale: Scale) -> None:
    """Twenty of them, in a campaign two hundred, by two members at a time."""
    cycles = scale(10, 100)
    machine = ready(new_machine(suite, layer="installed"))
    add_member(machine, *NAMES)
    with logged_in(machine, NAMES[0]) as one, logged_in(machine, NAMES[1]) as other, ThreadPoolExecutor(2) as both:
        list(both.map(_start_and_stop, (one, other), (1, 1)))
        before, memory_before = _leftovers(machine), memory(machine, hub_pid(machine))
        list(both.map(_start_and_stop, (one, other), (cycles, cycles)))
        after = _leftovers(machine)
        # A moment for what is just ending.
        until = time.monotonic() + 20
        while _grown(before, after) and time.monotonic() < until:
            time.sleep(0.5)
            after = _leftovers(machine)
        assert not _grown(before, after), (before, after)
        memory_after = memory(machine, hub_pid(machine))
        print(f"hub {memory_before:.1f} to {memory_after:.1f} MB", flush=True)
        assert memory_after < memory_before + 10


def _start_and_stop(member: Browser, cycles: int) -> None:
    for _cycle in range(cycles):
        member.start_server()
        member.stop_server()


def _grown(before: dict[str, int], after: dict[str, int]) -> list[str]:
    """What there is more of than before. The hub keeps a connection or two for a while; a leak would be hundreds."""
    spare = {"open files of the hub": 5}
    return [what for what, count in after.items() if count > before[what] + spare.get(what, 0)]


def _leftovers(machine: Machine) -> dict[str, int]:
    """How much there is of what could leak."""
    hub = hub_pid(machine)
    homes = " ".join(f"~{name}/.local/share/jupyter/runtime" for name in NAMES)
    return {
        "processes of theirs": int(machine.run(f"pgrep -cu {','.join(NAMES)} || true")),
        "listening ports": int(machine.run("grep -c ' 0A ' /proc/net/tcp")),
        "open files of the hub": int(machine.run(f"ls /proc/{hub}/fd | wc -l")),
        "files in their runtime folders": int(machine.run(f"ls {homes} | wc -l")),
        "scopes": int(machine.run("systemctl list-units --all --no-legend 'jupyterhub4family-*.scope' | wc -l")),
    }
