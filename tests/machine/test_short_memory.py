"""Memory is short: the server that nobody has used for longest is stopped, and no other; its member is told why."""

from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.machine.lib.client import Browser
from tests.machine.lib.family import add_member, hub_pid, logged_in, ready
from tests.machine.lib.machine import Machine
from tests.machine.lib.plugin import NewMachine

MEBIBYTE = 2**20
EXPERT_FILE = "/etc/jupyterhub4family/jupyterhub_config.d/50-soon.py"
#: Nobody waits ten minutes in a test. What memory is short of is `memory_limit_total`.
SOON = """
from jupyterhub4family.hub import short_memory
short_memory.QUIET, short_memory.LONG_QUIET, short_memory.PAUSE = 20.0, 20.0, 1.0
"""
WHY = "Your server was stopped because this computer was short of memory. Your files are saved."
#: In a kernel: hold so many bytes until there is a file, then go on calculating.
EATER = """
import os, time
held = bytearray({size})
for place in range(0, {size}, 4096):
    held[place] = 1
open("/tmp/eaten", "w").close()
while not os.path.exists("/tmp/enough"):
    time.sleep(0.05)
del held
open("/tmp/freed", "w").close()
while not os.path.exists("/tmp/end"):
    time.sleep(0.2)
"""
#: On the machine: how many bytes more fit, as the hub reckons.
ROOM = """
import sys
sys.path.insert(0, "/usr/lib/jupyterhub4family")
from jupyterhub4family.common.system import cgroups
print(min(one.room for one in cgroups.free_memory(int(sys.argv[1]))))
"""


def server(machine: Machine, name: str) -> int:
    """The pid of a member's server; 0 if it has none."""
    found = machine.execute(f"pgrep -u {name} -f 'jupyterhub-singleuser|serve'").stdout.split()
    return int(found[0]) if found else 0


def log_of_hub(machine: Machine) -> str:
    return machine.run("jupyterhub4family logs -n 400")


def _in_short_memory(new_machine: NewMachine, suite: str) -> Machine:
    machine = ready(new_machine(suite, layer="installed", memory_cgroup=True))
    machine.write(EXPERT_FILE, SOON)
    machine.write("/opt/room.py", ROOM)
    machine.run("jupyterhub4family config set memory_limit_total 900M")
    machine.run("jupyterhub4family restart")
    ready(machine)
    add_member(machine, *"alice bob carl dora".split())
    return machine


@pytest.mark.any_debian
def test_the_one_that_nobody_has_used_for_longest_goes(new_machine: NewMachine, suite: str) -> None:
    machine = _in_short_memory(new_machine, suite)
    # Browsers that are closed: nobody shows these servers, and no connection of the proxy's is left after a while.
    for name in ("dora", "alice", "bob"):
        with logged_in(machine, name) as window:
            window.start_server()
            if name == "dora":
                # Not used for longest of all, but something runs in it.
                window.terminal().run("sleep 4711 &")
        time.sleep(5)
    hub, alices, bobs, doras = hub_pid(machine), *(server(machine, name) for name in ("alice", "bob", "dora"))
    _says_nothing_of_others(machine, "alice", bobs)
    machine.run("printf 'precious' >/home/alice/diary.txt && chown alice: /home/alice/diary.txt")
    with logged_in(machine, "carl") as carl, ThreadPoolExecutor(1) as beside:
        carl.start_server()
        carls = server(machine, "carl")
        kernel = carl.kernel()
        kernel.execute("1")
        # Longer than what counts as quiet, and than the proxy keeps a connection that nobody uses (20 seconds).
        time.sleep(45)
        assert server(machine, "alice") == alices and server(machine, "bob") == bobs, "nothing is short yet"
        room = int(machine.run(f"/usr/bin/python3 -I /opt/room.py {carls}"))
        assert room > 200 * MEBIBYTE, room
        eating = beside.submit(kernel.execute, EATER.format(size=room - 100 * MEBIBYTE), 240)
        machine.wait("test -e /tmp/eaten", timeout=60)
        machine.wait("! pgrep -u alice -f singleuser", timeout=60)
        machine.run("touch /tmp/enough")
        machine.wait("test -e /tmp/freed", timeout=30)
        log = log_of_hub(machine)
        assert "stopping alice" in log and "Memory is short" in log, log
        # There is room again: nobody else goes, and nothing else has changed.
        time.sleep(15)
        assert [server(machine, name) for name in ("bob", "carl", "dora")] == [bobs, carls, doras], log
        assert hub_pid(machine) == hub and machine.run("pgrep -u dora -f 4711")
        assert not eating.done()
        machine.run("touch /tmp/end")
        eating.result(timeout=60)
        assert kernel.execute("6 * 7") == "42"
    _is_told_why(machine)


def _says_nothing_of_others(machine: Machine, member: str, pid: int) -> None:
    """Attack: what one member's programs answer can never be about another's server."""
    mediator = f"runuser -u jupyterhub -- sudo -nH -u {member} /usr/lib/jupyterhub4family/mediator"
    request = json.dumps({"action": "activity", "pid": pid, "start_time": 0})
    assert json.loads(machine.run(f"echo '{request}' | {mediator}")) == {
        "ok": True,
        "known": False,
        "open": 0,
        "busy": 0,
    }
    # Nor does the door open for members themselves.
    for caller in ("bob", member):
        asked = machine.execute(f"echo '{request}' | runuser -u {caller} -- {mediator.partition(' -- ')[2]}")
        assert asked.returncode != 0 and "known" not in asked.stdout, asked


def _is_told_why(machine: Machine) -> None:
    with logged_in(machine, "alice") as alice, logged_in(machine, "bob") as bob:
        assert WHY in alice.get("/hub/home").args() and WHY not in bob.get("/hub/home").args()
        assert WHY in alice.get("/user/alice/lab").args()
        # A hub that has been started anew still knows.
        machine.run("jupyterhub4family restart")
        ready(machine)
        assert WHY in alice.get("/hub/home").args()
        found = json.loads(machine.execute("jupyterhub4family doctor small-memory --json").stdout)
        assert "1 server that nobody used was stopped" in json.dumps(found), found
        events = alice.start_server()
        assert WHY in " ".join(str(event) for event in events), events
        assert machine.read("/home/alice/diary.txt") == "precious"
        _forgotten(alice)
        alice.stop_server()
        assert WHY not in alice.get("/hub/home").args()


def _forgotten(alice: Browser) -> None:
    """The hub has looked once more since the server runs again."""
    time.sleep(3)
    assert alice.kernel().execute("1 + 1") == "2"
