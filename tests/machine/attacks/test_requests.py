"""Hundreds of strange requests at every door, through the real sudo, by those who may open it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from jupyterhub4family.common.protocol import doors
from tests.machine.lib.family import PASSWORD, STATE, TEMPLATE, shared_machine
from tests.machine.lib.machine import Machine
from tests.unit import hostile

LIBRARY = "/usr/lib/jupyterhub4family"
HOSTILE = Path(hostile.__file__)
#: Sends requests to a door, two at a time, and prints what came of them as JSON.
SENDER = """
import collections, concurrent.futures, itertools, json, os, subprocess, sys
sys.path.insert(0, "/usr/local/share")
import hostile
seed, count, own, *words = sys.argv[1:]
mostly = [hostile.SHAPES[number] for number in json.loads(own)]
environment = {**os.environ, **hostile.ENVIRONMENT}
def send(data):
    command = ["/usr/bin/sudo", "-n", *words]
    done = subprocess.run(command, input=data, capture_output=True, timeout=120, env=environment)
    try: answer = json.loads(done.stdout.splitlines()[-1])
    except Exception: answer = {}
    proper = isinstance(answer, dict) and type(answer.get("ok")) is bool and b"Traceback" not in done.stderr
    return data, done.returncode, done.stderr.decode("utf-8", "replace"), answer, proper
def tame(data):
    # Nothing that takes its time on purpose: who is no member waits two seconds for the answer.
    try: request = json.loads(data)
    except Exception: return True
    return not (isinstance(request, dict) and {"name", "password"} <= set(request) and request.get("password") != "")
def action(data):
    try: request = json.loads(data)
    except Exception: return "no JSON"
    return str(request.get("action", "")) if isinstance(request, dict) else "no object"
wanted = itertools.islice(filter(tame, hostile.endless(int(seed), mostly)), int(count))
kinds, odd, actions = collections.Counter(), [], collections.Counter()
with concurrent.futures.ThreadPoolExecutor(2) as pool:
    for data, status, said, answer, proper in pool.map(send, wanted):
        kinds["done" if answer.get("ok") else "refused"] += 1
        actions[action(data)] += 1
        if not proper: odd.append([repr(data[:300]), status, said[-500:], answer])
print(json.dumps({"kinds": kinds, "odd": odd[:5], "actions": actions}))
"""
#: Everything that none of these requests may change: names, owners, modes, sizes.
KEPT = f"""
getent passwd; getent shadow; getent group
find /etc /usr/local /root {STATE}/cookie_secret {STATE}/proxy_token {TEMPLATE}/bin ! -name '*-' \\
    -printf '%p %m %u %g %s %l\\n' | sort
"""


pytestmark = pytest.mark.any_debian


@pytest.fixture(scope="module")
def machine(suite: str) -> Iterator[Machine]:
    """A machine with a member, somebody who can become root, and a delegate."""
    with shared_machine(suite, "bob") as machine:
        machine.add_account("alice", PASSWORD)
        machine.add_account("mum", PASSWORD, groups=("jupyterhub_adm",))
        machine.put(HOSTILE, "/usr/local/share/hostile.py")
        machine.write("/usr/local/share/door_shapes.json", json.dumps(hostile.SHAPES))
        machine.write("/usr/local/share/sender.py", SENDER)
        # sudo takes nothing of the caller's environment away: the doors have to.
        machine.run(hostile.LAY_EVIL)
        machine.write("/etc/sudoers.d/00-hostile", hostile.sudo_keeps(*hostile.ENVIRONMENT), 0o440)
        yield machine
        machine.run("rm /etc/sudoers.d/00-hostile")


#: Who may open what: somebody on this machine for every account and group of the registry.
OPENERS = {"jupyterhub": "jupyterhub", "%jupyterhub": "bob", "%jupyterhub_adm": "mum"}


@pytest.mark.parametrize("door", doors.DOORS, ids=lambda door: door.name)
def test_every_request_gets_an_answer_and_changes_nothing(machine: Machine, door: doors.Door) -> None:
    """Every action of the registry is asked for, in an environment that leads to somebody else's code."""
    own = [number for number, action in enumerate(doors.ACTIONS) if action.program == door]
    user, count = OPENERS[door.opened_by], max(70, 16 * len(own))
    args = f"{door.path}" if door.runs_as == doors.ROOT else f"-u bob {door.path}"
    before = machine.run(KEPT)
    output = machine.run(f"python3 -B /usr/local/share/sender.py {len(user)} {count} '{own}' {args}", user=user)
    found = json.loads(output.splitlines()[-1])
    assert found["odd"] == [], found["odd"]
    assert sum(found["kinds"].values()) == count and found["kinds"]["refused"] > count / 4, found
    for action in doors.actions_of(door):
        assert found["actions"].get(action.name, 0) >= 3, (action.name, found["actions"])
    assert "0" not in machine.run(f"cat {hostile.RAN}").split(), "root has run what lay in the caller's folder"
    # alice, who is an ordinary account, may have become a member and been removed again; nobody else may.
    machine.run("gpasswd -d alice jupyterhub 2>/dev/null || true")
    assert machine.run(KEPT) == before
    # Of what was asked for, some may have been a server of bob's own.
    machine.run("pkill -u bob -f bin/jupyterhub-singleuser || true")
    # And it ended with a traceback of JupyterHub's, which misses the variables that the hub has for it.
    machine.wait("! pgrep -u bob -f bin/jupyterhub-singleuser")
    machine.run("rm -f /home/bob/.local/state/jupyterhub4family/server*.log*")


def test_a_delegate_makes_nobody_an_administrator(machine: Machine) -> None:
    """Neither the hub's nor the machine's, and not by the own account's name either."""
    for request in (
        {"action": "add", "names": ["root"]},
        {"action": "add", "names": ["jupyterhub"]},
        {"action": "add", "names": ["alice"], "allow_administrator": True},
        {"action": "remove", "names": ["root"]},
        {"action": "add", "names": ["alice", "-a"]},
        {"action": "add", "names": ["alice\nroot"]},
        {"action": "add", "names": ["alice,root"]},
        {"action": "add", "names": ["#0"]},
        {"action": "add", "names": ["+1000"]},
    ):
        done = machine.execute(f"sudo -n {LIBRARY}/members", user="mum", input=json.dumps(request))
        assert json.loads(done.stdout)["ok"] is False, (request, done)
    for command in (
        f"sudo -n {LIBRARY}/mediator",
        f"sudo -n -u bob {LIBRARY}/mediator",
        f"sudo -n {LIBRARY}/authenticate",
        f"sudo -n {LIBRARY}/environment",
        f"sudo -n {LIBRARY}/repair",
        f"sudo -n {LIBRARY}/members --help",
        f"sudo -n -u bob {LIBRARY}/members",
        f"sudo -n -E PYTHONPATH=/tmp {LIBRARY}/members",
        f"BASH_ENV=/tmp/x sudo -n BASH_ENV=/tmp/x {LIBRARY}/members",
        "sudo -n gpasswd -a mum sudo",
        f"cat {STATE}/jupyterhub.sqlite",
        "cat /home/bob/.bash_history ~bob/.local/state/jupyterhub4family/server.log",
    ):
        assert machine.execute(command, user="mum", input="{}").returncode != 0, command
    assert machine.run("id -nG mum").split() == ["mum", "jupyterhub_adm"]
