"""Attacks through apt: what comes from the family's source, from one that takes its name, and from old lists of it."""

from __future__ import annotations

import email.utils
import json
import re
import time
from pathlib import Path

import pytest

from tests.machine.lib.deb import altered_deb, field, foreign_deb
from tests.machine.lib.family import ready
from tests.machine.lib.machine import Machine
from tests.machine.lib.plugin import NewMachine
from tests.machine.lib.repository import Repository

PIN = "/etc/apt/preferences.d/jupyterhub4family-source"
NAMES = ("bash", "sudo")
#: Another source on this machine, at a host of its own.
THIRD = "/srv/third"
PORT = 8899
VERSIONS = "dpkg-query -W -f '${Package} ${Version}\\n' bash sudo jupyterhub4family"


def candidates(machine: Machine, *names: str) -> list[str]:
    return re.findall(r"Candidate: (\S+)", machine.run(f"apt-cache policy {' '.join(names)}"))


def upgraded_both_ways(machine: Machine, *names: str) -> None:
    """What somebody at the keyboard does, and what Debian does each day; neither has anything to do."""
    machine.run("apt-get -q update </dev/null 2>&1")
    machine.run(f"apt-get -qy install --only-upgrade {' '.join(names)} </dev/null 2>&1", timeout=300)
    assert "99" not in machine.run("apt-get -s -y dist-upgrade </dev/null 2>&1 | grep -E '^(Inst|Conf)' || true")
    output = machine.run("unattended-upgrade -v --debug </dev/null 2>&1", timeout=300)
    assert "origin=jupyterhub4family" in output, "it has looked"
    assert not machine.exists("/root/taken-over")


@pytest.mark.every_debian
def test_a_source_brings_our_package_and_no_other(
    new_machine: NewMachine, deb: Path, tmp_path: Path, suite: str
) -> None:
    """Neither the family's own source nor another one that calls itself so brings bash 99 or sudo 99."""
    machine = ready(new_machine(suite, layer="installed"))
    machine.run("apt-get install -qq -y --no-install-recommends unattended-upgrades </dev/null >/dev/null 2>&1")
    # Debian's own updates are not what is tried here.
    machine.write("/etc/apt/apt.conf.d/51only-ours", "#clear Unattended-Upgrade::Origins-Pattern;\n")
    foreign = [foreign_deb(name, "99", tmp_path) for name in NAMES]
    (tmp_path / "3").mkdir()
    with Repository(machine, tmp_path) as ours, Repository(machine, tmp_path / "3") as third:
        ours.publish(deb)
        ours.configure()
        machine.run("jupyterhub4family config set auto_upgrade on")
        spoilt = ours.keep(tmp_path / "spoilt")
        ours.add_others(spoilt, *foreign)
        ours.show(spoilt)
        upgraded_both_ways(machine, *NAMES)
        assert "99" not in candidates(machine, *NAMES)

        third.publish(altered_deb(deb, "99.9", tmp_path))
        named_ours = third.keep(tmp_path / "third")
        third.add_others(named_ours, *foreign)
        machine.put(named_ours, THIRD)
        ours.show(spoilt)
        machine.run(f"chmod -R go=rX {THIRD}; cp {THIRD}/jupyterhub4family.asc /etc/apt/trusted.gpg.d/third.asc")
        machine.run(f"cd {THIRD} && (setsid python3 -m http.server --bind 127.0.0.1 {PORT} >/dev/null 2>&1 &)")
        machine.wait(f"curl -sf http://127.0.0.1:{PORT}/InRelease >/dev/null")
        machine.write("/etc/apt/sources.list.d/third.list", f"deb http://127.0.0.1:{PORT}/ ./\n")
        before = machine.run(VERSIONS)
        upgraded_both_ways(machine, *NAMES, "jupyterhub4family")
        assert machine.run(VERSIONS) == before and " 99" not in before
        assert not {"99", "99.9"} & set(candidates(machine, *NAMES, "jupyterhub4family"))

        # The sources are good, and the pin is what keeps them out.
        machine.run(f"mv {PIN} /root/pin")
        assert candidates(machine, *NAMES, "jupyterhub4family") == ["99", "99", "99.9"]
        doctor = machine.execute("jupyterhub4family doctor upgrade")
        assert doctor.returncode == 1 and "do not match the settings" in doctor.stdout, doctor
        machine.run("jupyterhub4family restart")
        assert machine.run(f"cat {PIN}") == machine.run("cat /root/pin")


def valid_until(release: str, until: float) -> str:
    return re.sub("(?m)^Valid-Until: .*$", f"Valid-Until: {email.utils.formatdate(until)}", release)


@pytest.mark.every_debian
def test_an_old_list_of_the_source_is_not_taken(new_machine: NewMachine, deb: Path, tmp_path: Path, suite: str) -> None:
    """Somebody on the way shows the list of last week again, and after months one that was never renewed."""
    machine = ready(new_machine(suite, layer="installed"))

    def newer() -> str:
        return str(json.loads(machine.run("jupyterhub4family upgrade --check --json"))["newer"])

    with Repository(machine, tmp_path) as repository:
        repository.publish(altered_deb(deb, "99.1", tmp_path))
        repository.configure()
        assert newer() == "99.1"
        old = repository.keep(tmp_path / "old")
        repository.publish(altered_deb(deb, "99.2", tmp_path))
        assert newer() == "99.2"
        repository.show(old)
        assert newer() == "99.2", "apt keeps the newer list"

        last = repository.keep(tmp_path / "last")
        end = time.time() + 15
        repository.sign(last, lambda release: valid_until(release, end))
        machine.run("rm -rf /var/lib/apt/lists/*")
        repository.show(last)
        assert newer() == "99.2", "good until its last second"
        time.sleep(max(0.0, end + 2 - time.time()))
        expired = machine.execute("jupyterhub4family upgrade --check")
        assert expired.returncode == 1 and "has expired" in expired.stderr and "upgrade_source" in expired.stderr, (
            expired
        )
        tried = machine.execute("jupyterhub4family upgrade")
        assert tried.returncode == 1 and "has expired" in tried.stderr, tried
        assert machine.run("dpkg-query -W -f '${Version}' jupyterhub4family") == field(deb, "Version")
        doctor = json.loads(machine.execute("jupyterhub4family doctor --json upgrade").stdout)
        assert "has expired on" in json.dumps(doctor), doctor
        german = machine.execute("env -u LC_ALL LANG=de_DE.UTF-8 jupyterhub4family upgrade --check")
        assert "abgelaufen" in german.stderr, german
