"""Builds that are interrupted: by power cuts, killed programs, a full disk, a pulled cable."""

from __future__ import annotations

import random
import time
from pathlib import Path

import pytest

from tests.machine.lib.chance import moments
from tests.machine.lib.family import HEALTHY, add_member, hub_pid, logged_in, proxy_pid, ready
from tests.machine.lib.machine import Machine
from tests.machine.lib.plugin import NewMachine, Scale

HOME = "/var/lib/jupyterhub4family"
#: The hub's log on one line, because a message and its hint are two.
JOURNAL = "journalctl -u jupyterhub4family-hub --no-pager -o cat | tr '\\n' ' '"
#: Prints every file of the environments named on the command line that is not what its package's RECORD says.
VERIFY = r"""
import base64, csv, glob, hashlib, os, sys
for environment in sys.argv[1:]:
    checked = 0
    for record in glob.glob(environment + "/lib/python3*/site-packages/*.dist-info/RECORD"):
        folder = os.path.dirname(os.path.dirname(record))
        for name, expected, size in csv.reader(open(record)):
            if not expected.startswith("sha256="):
                continue
            checked += 1
            content = open(os.path.join(folder, name), "rb").read()
            found = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
            if found != expected[7:]:
                print(environment, name, len(content), size)
    assert checked > 1000, (environment, checked)
"""


def verify(machine: Machine, *environments: str) -> None:
    machine.write("/root/verify.py", VERIFY)
    assert machine.run(f"python3 /root/verify.py {' '.join(environments)}").strip() == ""


@pytest.mark.any_debian
@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_power_cuts_at_random_moments(new_machine: NewMachine, deb: Path, suite: str, scale: Scale) -> None:
    """Each loses all that had not reached the disk. Afterwards everything completes, and every byte is right."""
    machine = new_machine(suite, layer="deps", disk_mb=6000)
    machine.put(deb, "/root/j.deb")
    machine.add_account("alice", "correct horse 7")
    machine.run("dpkg -i /root/j.deb >/dev/null 2>&1; gpasswd -a alice jupyterhub; sync")
    seed = random.randrange(10**6)
    for number, seconds in enumerate(moments(0.5, 25, scale(3, 10), seed)):
        time.sleep(seconds)
        before = machine.run(f"ls -a {HOME}/releases {HOME}/templates 2>&1 | tr '\\n' ' '")
        machine.power_cut(lose_unsynced=True)
        machine.start()
        print(f"seed {seed}, cut {number} after {seconds:.1f} s: {before}", flush=True)
    machine.wait(f"{HEALTHY} && test -e {HOME}/templates/current/.complete", timeout=400)
    verify(machine, f"{HOME}/releases/current/venv", f"{HOME}/templates/current/env")
    assert "building" not in machine.run(f"ls -a {HOME}/releases {HOME}/templates")
    with logged_in(machine, "alice") as alice:
        alice.start_server()
        assert alice.kernel().execute("1+1") == "2"


@pytest.mark.any_debian
@pytest.mark.slow
def test_power_cuts_while_members_are_given_environments(new_machine: NewMachine, suite: str, scale: Scale) -> None:
    machine = ready(new_machine(suite, layer="installed", disk_mb=4000))
    names = [f"kid{number}" for number in range(scale(3, 5))]
    for name in names:
        machine.add_account(name, "correct horse 7")
    machine.run(f"sync; for n in {' '.join(names)}; do gpasswd -a $n jupyterhub; done; sync")
    for name, seconds in zip(names, moments(0.1, 1.2, len(names), random.randrange(10**6))):
        machine.wait(HEALTHY)
        prepare = '{"action": "prepare"}'
        machine.run(
            f"(echo '{prepare}' | runuser -u {name} -- /usr/lib/jupyterhub4family/mediator >/dev/null 2>&1 &);"
            f" sleep {seconds:.2f}"
        )
        machine.power_cut(lose_unsynced=True)
        machine.start()
        machine.wait(HEALTHY)
        with logged_in(machine, name) as window:
            window.start_server()
            assert window.kernel().execute("1+1") == "2"
        verify(machine, f"/home/{name}/.local/share/jupyterhub4family/env")
    verify(machine, f"{HOME}/templates/current/env")


@pytest.mark.any_debian
def test_killed_at_any_moment(new_machine: NewMachine, deb: Path, suite: str, scale: Scale) -> None:
    """SIGKILL for everything of the service's, again and again while it builds."""
    machine = new_machine(suite, layer="deps")
    machine.put(deb, "/root/j.deb")
    machine.run("dpkg -i /root/j.deb >/dev/null 2>&1")
    for seconds in moments(0.3, 8, scale(4, 10), random.randrange(10**6)):
        time.sleep(seconds)
        machine.run("pkill -9 -u jupyterhub || true")
    machine.wait(f"{HEALTHY} && test -e {HOME}/templates/current/.complete", timeout=400)
    verify(machine, f"{HOME}/releases/current/venv", f"{HOME}/templates/current/env")


def _ask_for_another_release(machine: Machine) -> str:
    """As an upgrade of the package does that brings other lock files. Returns the release that was current."""
    machine.run("echo '# changed' >>/usr/share/jupyterhub4family/locks/hub.txt")
    return machine.run(f"readlink {HOME}/releases/current")


def test_a_failing_build_leaves_the_old_release_serving(new_machine: NewMachine) -> None:
    """First without internet, then with a full disk; at last it succeeds, and notebooks notice nothing."""
    machine = ready(new_machine("bookworm", layer="installed", disk_mb=2500))
    add_member(machine, "alice")
    with logged_in(machine, "alice") as alice:
        alice.start_server()
        kernel = alice.kernel()
        kernel.execute("kept = 1")
        old = _ask_for_another_release(machine)
        machine.internet(False)
        machine.run("jupyterhub4family restart")
        machine.wait(HEALTHY, timeout=60)
        machine.wait(f"{JOURNAL} | grep -q 'stays in use.*internet connection'", timeout=300)
        assert machine.run(f"readlink {HOME}/releases/current") == old
        machine.internet(True)

        machine.run("fallocate -l $(($(df --output=avail -B1 / | tail -1) - 30000000)) /filler")
        machine.run("jupyterhub4family restart")
        machine.wait(HEALTHY, timeout=60)
        machine.wait(f"{JOURNAL} | grep -q 'stays in use.*disk is full'", timeout=300)
        assert machine.run(f"readlink {HOME}/releases/current") == old
        machine.run("rm /filler")

        before, proxy = hub_pid(machine), proxy_pid(machine)
        machine.run("jupyterhub4family restart")
        machine.wait(f"[ $(readlink {HOME}/releases/current) != {old.strip()} ]", timeout=200)
        # The new release brings its own hub and proxy; the old ones go on until it is complete.
        machine.wait(f"! test -e /proc/{proxy} && {HEALTHY}", timeout=60)
        assert hub_pid(machine) != before
        assert machine.run(f"readlink {HOME}/releases/previous") == old
        kernel.reconnect()
        assert kernel.execute("kept") == "1"
        until = time.monotonic() + 20
        while alice.status("/user/alice/api/status") != 200:
            assert time.monotonic() < until, "the proxy of the new release has learnt the old routes"
            time.sleep(0.3)
