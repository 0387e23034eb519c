"""doctor with fifty members: what it costs, and that one broken environment among them is named whatever broke it."""

from __future__ import annotations

import json

import pytest

from tests.machine.lib.family import TEMPLATE, add_member, ready
from tests.machine.lib.machine import Machine
from tests.machine.lib.plugin import NewMachine
from tests.machine.test_doctor import LIBRARY, examine, findings

MEMBERS = [f"m{number}" for number in range(50)]
#: What all of doctor may cost, in looks at one environment: 3 seconds of processor time where one costs 0.55, which is
#: six tenths of what it did on the quiet machine of the mark (ADR 35). By itself each of the 50 would be one.
MOST_LOOKS = 5.5
#: Runs a command and prints the seconds of processor time that it took, with all that it started.
COUNTED = """
import resource, subprocess, sys
subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL, check=False)
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(used.ru_utime + used.ru_stime)
"""
PACKAGES = "/home/{name}/.local/share/jupyterhub4family/env/lib/python3*/site-packages"
#: What is done to whose environment, as that member, and a word of what is said of it.
DAMAGE = {
    "m3": ("rm notebook/app.py", "notebook.app"),
    "m7": ("cp notebook/app.py x; echo 1/0 > x; mv x notebook/app.py", "ZeroDivisionError"),
    "m11": ("rm -r tornado", "tornado"),
    "m19": ("chmod 0 tornado", "tornado"),
    "m23": ("echo 'import sys; sys.modules[\"tornado\"] = None' > bad.pth", "tornado"),
    "m29": ("rm pyzmq.libs/libzmq*", "libzmq"),
    "m31": ("echo 1/0 > ../../../notebook.py", "ZeroDivisionError"),
    "m47": ("ln -sf /bin/false ../../../bin/python", "python"),
}


def seconds(machine: Machine, command: str) -> float:
    """What a command costs; the least of three, for others use the same processors."""
    return min(float(machine.run(f"python3 -I -c '{COUNTED}' {command}")) for _number in range(3))


#: A member's program that looks for the child which looks at their environment, and reaches for what it holds.
LURKER = """
import ctypes, os, time
libc, met, got, until = ctypes.CDLL(None, use_errno=True), 0, [], time.monotonic() + 20
while time.monotonic() < until:
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            words, status = (open(f"/proc/{pid}/{name}").read() for name in ("cmdline", "status"))
            if "compare-environments" not in words or f"Uid:\\t{os.getuid()}\\t" not in status:
                continue
        except OSError:
            continue
        met += 1
        for name in ("mem", "environ", "fd/1", "maps"):
            try:
                # Of one that has ended they are empty.
                got += [name] if open(f"/proc/{pid}/{name}", "rb").read(1) else []
            except OSError:
                pass
        # PTRACE_SEIZE
        if libc.ptrace(0x4206, int(pid), None, None) == 0:
            got.append("ptrace")
print(met, got)
"""


@pytest.mark.any_debian
def test_nobody_gets_hold_of_what_looks_at_their_environment(new_machine: NewMachine, suite: str) -> None:
    """It was root a moment before, and holds a pipe of root's."""
    machine = ready(new_machine(suite, layer="installed"))
    add_member(machine, "alice", "ben")
    machine.write("/srv/lurker.py", LURKER)
    machine.run("setsid python3 /srv/lurker.py > /tmp/lurker.txt 2>&1 < /dev/null &", user="alice")
    directories = json.dumps({"names": ["alice"] * 100, "directories": ["bin"] * 400})
    machine.write("/root/request", directories)
    machine.run(f"{LIBRARY}/compare-environments < /root/request", timeout=120)
    machine.wait("test -s /tmp/lurker.txt", timeout=60)
    met, got = machine.read("/tmp/lurker.txt").split(" ", 1)
    assert int(met) > 0, "it was never met"
    assert got.strip() == "[]"


@pytest.mark.campaign
@pytest.mark.any_debian
@pytest.mark.timed
def test_fifty_members(new_machine: NewMachine, suite: str) -> None:
    machine = ready(new_machine(suite, layer="installed"))
    machine.run(f"for name in {' '.join(MEMBERS)}; do useradd -m -s /bin/bash $name; chmod 0700 /home/$name; done")
    machine.run(f"jupyterhub4family members add {' '.join(MEMBERS)}", timeout=600)
    assert machine.run("ls -d /home/*/.local/share/jupyterhub4family/env | wc -l").strip() == "50"

    reported = examine(machine, "environments")
    assert [one["sentence"] for one in reported["findings"]] == ["50 environments are in order"]
    one = seconds(machine, f"runuser -u m0 -- {LIBRARY}/own-environment examine")
    assert seconds(machine, "jupyterhub4family doctor") <= MOST_LOOKS * one

    for name, (damage, _words) in DAMAGE.items():
        machine.run(f"cd {PACKAGES.format(name=name)} && {damage}", user=name)
    reported = examine(machine, "environments")
    broken = findings(reported, "problem")
    assert len(broken) == len(DAMAGE), reported
    for (name, (_damage, words)), finding in zip(sorted(DAMAGE.items()), broken):
        assert f" {name} is broken" in finding["sentence"] and words in finding["sentence"], finding
    assert f"{50 - len(DAMAGE)} environments are in order" in json.dumps(reported)

    # What is damaged in the template is damaged in every link to it. Each is tried for itself: a few are enough.
    machine.run(f"for name in {' '.join(MEMBERS[5:])}; do gpasswd -d $name jupyterhub; done")
    machine.run(f"echo 1/0 > {TEMPLATE}/lib/python3*/site-packages/notebook/app.py")
    reported = examine(machine, "environments")
    assert len(findings(reported, "problem")) == 5, reported
