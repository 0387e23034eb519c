"""Killed without a warning in the middle of a start, of an installation: what is left is complete or begun anew."""

from __future__ import annotations

import random
import time
from pathlib import Path

import pytest

from tests.machine.lib.chance import moments
from tests.machine.lib.client import SpawnFailed
from tests.machine.lib.family import STATE, add_member, logged_in, ready
from tests.machine.lib.machine import Machine
from tests.machine.lib.plugin import NewMachine, Scale

ENVIRONMENT = "/home/alice/.local/share/jupyterhub4family/env"
#: As pgrep takes them; the brackets keep it from finding itself. The server that a mediator becomes is another program.
MEDIATOR = "-u alice -f '[l]ib/jupyterhub4family/mediator'"
SETUP = "-f '[l]ib/jupyterhub4family/setup'"


def kill_soon(machine: Machine, processes: str, delay: float) -> None:
    """Kill these processes so many seconds after the first of them begins.

    The machine itself waits for it: a round trip from here would take longer than what is to be killed.
    """
    wait = f"for i in $(seq 2000); do pgrep {processes} && break; sleep 0.005; done"
    machine.run(f"({wait}; sleep {delay:.3f}; pkill -9 {processes}) >/dev/null 2>&1 </dev/null &")


@pytest.mark.any_debian
def test_the_mediator_killed_at_any_moment_of_a_start(new_machine: NewMachine, suite: str, scale: Scale) -> None:
    """She is told at once, not after a timeout, and presses start again; nothing half-made is used."""
    machine = ready(new_machine(suite, layer="installed"))
    add_member(machine, "alice")
    seed = random.randrange(10**6)
    failed = 0
    with logged_in(machine, "alice") as alice:
        for number, moment in enumerate(moments(0, 1.5, scale(4, 10), seed)):
            machine.run(f"rm -rf {ENVIRONMENT}", user="alice")
            kill_soon(machine, MEDIATOR, moment)
            began = time.monotonic()
            try:
                alice.start_server()
            except SpawnFailed as error:
                failed += 1
                assert time.monotonic() - began < 60, (seed, number, error)
                assert "Traceback" not in str(error), (seed, number, error)
                alice.start_server()
            assert alice.kernel().execute("6 * 7") == "42", (seed, number)
            alice.stop_server()
            assert machine.run("pgrep -u alice -fc mediator || true").strip() == "0", (seed, number)
    assert failed, f"the seed {seed} met no start at all"
    listing = machine.run("find /home/alice/.local/share/jupyterhub4family -mindepth 1 -maxdepth 1 -printf '%f\\n'")
    assert len(listing.split()) < 6, f"what is half-made does not pile up: {listing}"


@pytest.mark.any_debian
def test_setup_killed_at_any_moment(new_machine: NewMachine, deb: Path, suite: str, scale: Scale) -> None:
    """As when the window of an upgrade is closed; `dpkg --configure -a` then does the rest, as apt advises."""
    machine = ready(new_machine(suite, layer="installed"))
    add_member(machine, "alice", "ben")
    members = machine.run("jupyterhub4family members list")
    machine.put(deb, "/root/ours.deb")
    seed = random.randrange(10**6)
    with logged_in(machine, "alice") as alice:
        alice.start_server()
        kernel = alice.kernel()
        kernel.execute("kept = 42")
        killed = 0
        for number, moment in enumerate(moments(0, 1, scale(3, 10), seed)):
            kill_soon(machine, SETUP, moment)
            done = machine.execute("dpkg -i /root/ours.deb </dev/null 2>&1")
            killed += done.returncode != 0
            machine.run("dpkg --configure -a </dev/null 2>&1", timeout=120)
            ready(machine, 300)
            assert machine.run("jupyterhub4family members list") == members, (seed, number)
            assert machine.execute("visudo -c").returncode == 0, (seed, number)
        assert killed, f"the seed {seed} met no setup at all"
        assert kernel.execute("kept") == "42", seed
    done = machine.execute("jupyterhub4family doctor")
    assert done.returncode == 0, done.stdout
    assert "jupyterhub.sqlite" in machine.run(f"ls {STATE}")
