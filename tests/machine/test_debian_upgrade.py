"""Debian 12 becomes 13 in place, as Debian's release notes tell it, on a machine with a family on it."""

from __future__ import annotations

import json

import pytest

from tests.machine.lib.family import add_member, logged_in, ready
from tests.machine.lib.machine import Machine
from tests.machine.lib.plugin import NewMachine

APT = "apt-get -qq -y -o Dpkg::Use-Pty=0 -o Dpkg::Options::=--force-confold"
QUIET = "</dev/null >/root/upgrade.log 2>&1 || { tail -n 40 /root/upgrade.log >&2; false; }"


def become_trixie(machine: Machine) -> None:
    """Debian's own steps: other sources, what can be upgraded alone, everything; then what nobody needs goes."""
    machine.run("sed -i s/bookworm/trixie/g $(find /etc/apt -name '*.list' -o -name '*.sources')")
    machine.run(f"apt-get -qq update {QUIET}", timeout=300)
    machine.run(f"{APT} upgrade --without-new-pkgs {QUIET}", timeout=900)
    machine.run(f"{APT} full-upgrade {QUIET}", timeout=900)
    machine.run(f"{APT} autoremove --purge {QUIET}", timeout=300)


@pytest.mark.campaign
@pytest.mark.slow
@pytest.mark.timeout(2400)
def test_debian_12_becomes_13_under_a_family(new_machine: NewMachine) -> None:
    machine = ready(new_machine("bookworm", layer="installed"))
    add_member(machine, "alice", "ben")
    with logged_in(machine, "alice") as alice:
        alice.start_server()
        terminal = alice.terminal()
        terminal.run("echo 'for homework' > ~/homework.txt")
        terminal.run("pip install iniconfig", timeout=120)
        kernel = alice.kernel()
        assert "3.11" in kernel.execute("import sys, iniconfig; kept = 1; sys.version")
        fingerprint = json.loads(machine.run("jupyterhub4family status --json"))["fingerprint"]
        # A server that is up while its Debian is exchanged under it: its owner may lose it, but not be left without.
        become_trixie(machine)
        assert not machine.exists("/usr/bin/python3.11"), "the old Python is gone, as on a family's machine"
    machine.reboot()

    ready(machine)
    assert json.loads(machine.run("jupyterhub4family status --json"))["fingerprint"] == fingerprint
    found = machine.execute("jupyterhub4family doctor")
    assert "The environment of alice is broken" in found.stdout, "its Python is gone; the next start mends it"
    assert found.stdout.count("PROBLEM") == 2, found.stdout
    with logged_in(machine, "alice") as alice:
        events = alice.start_server()
        assert any("iniconfig" in event.message or "environment" in event.message for event in events), events
        kernel = alice.kernel()
        assert "3.13" in kernel.execute("import sys, iniconfig; sys.version"), "with the package of her own"
        assert alice.terminal().run("cat ~/homework.txt").output == "for homework"
    with logged_in(machine, "ben") as ben:
        ben.start_server()
        assert ben.kernel().execute("6 * 7") == "42"
    done = machine.execute("jupyterhub4family doctor")
    assert done.returncode == 0, done.stdout
