"""A server that is prepared ahead (ADR 36): it is the member's own, confined, gone by itself, never stale."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator

import pytest

from tests.machine.lib.family import PASSWORD, browser, logged_in, ready, shared_machine
from tests.machine.lib.machine import Machine

PLACE = ".local/share/jupyterhub4family"
#: Finds those that wait, by the name that the kernel has for them.
WAITS = "pgrep -x jupyter-waiting"
SOCKET = ".local/state/jupyterhub4family/waiting.sock"
#: Asks the door as the service does, for a server that waits.
AHEAD = """runuser -u jupyterhub -- sudo -nH -u {name} /usr/lib/jupyterhub4family/mediator <<'END'
{{"action": "ahead", "env": {{"JUPYTERHUB_SERVICE_PREFIX": "/user/{name}/"}}, "seconds": {seconds}}}
END"""
#: What a kernel finds around itself.
AROUND = "import json, os, sys; print(json.dumps([dict(os.environ), sys.path, sys.executable]))"
#: Which variables of a server are read while its modules are imported ahead.
READ_EARLY = """
import os, sys
sys.path.insert(0, "/usr/lib/jupyterhub4family")
read, plain = set(), type(os.environ).__getitem__
def note(self, key):
    read.add(key if isinstance(key, str) else os.fsdecode(key))
    return plain(self, key)
type(os.environ).__getitem__ = note
sys.path.insert(0, "")
from jupyterhub4family.lean import deferrals, launch
launch.prepare(sys.argv[1], ahead=True)
missing = [name for names in deferrals.AHEAD.values() for name in names if name not in sys.modules]
import json
print(json.dumps({"read": sorted(read), "missing": missing}))
"""


@pytest.fixture(scope="module")
def machine(suite: str) -> Iterator[Machine]:
    """A machine with two members whose servers have run; tests put back what they change."""
    with shared_machine(suite, "alice", "bob") as machine:
        for name in ("alice", "bob"):
            with logged_in(machine, name) as window:
                window.start_server()
                window.stop_server()
        restart_hub(machine)
        yield machine


def waiting(machine: Machine, name: str) -> list[int]:
    """The pids of servers that wait for a member."""
    return [int(pid) for pid in machine.execute(f"{WAITS} -u {name}").stdout.split()]


def until_one_waits(machine: Machine, name: str) -> int:
    machine.wait(f"{WAITS} -u {name}", timeout=30)
    (pid,) = waiting(machine, name)
    return pid


def nobody_waits(machine: Machine) -> None:
    """End those that were begun. The hub counts on them for two minutes: who asks it for one needs a new hub."""
    for name in ("alice", "bob"):
        machine.execute(f"pkill -u {name}")
        machine.wait(f"! pgrep -u {name}", timeout=30)


def restart_hub(machine: Machine) -> None:
    nobody_waits(machine)
    machine.run("jupyterhub4family restart")
    ready(machine)


def pid_of_server(machine: Machine, name: str) -> int:
    return int(machine.run(f"pgrep -u {name} -o -f bin/jupyterhub-singleuser"))


@pytest.mark.every_debian
def test_the_start_page_has_one_prepared_and_start_takes_it(machine: Machine) -> None:
    with logged_in(machine, "alice") as window:
        window.get("/hub/home").expect()
        pid = until_one_waits(machine, "alice")
        before = machine.run(f"tr '\\0' '\\n' </proc/{pid}/environ")
        assert "TOKEN" not in before and "SERVICE_URL" not in before, "no secret, no port"
        assert machine.run(f"stat -c %a ~alice/{SOCKET}").strip() == "600"
        assert str(pid) not in machine.run("ss -Hltnp"), "it listens nowhere"
        assert "alice" not in machine.run("jupyterhub4family status"), "it is no server yet"
        scope = machine.run(f"cat /proc/{pid}/cgroup")
        assert re.search(rf"jupyterhub4family-\d+-{pid}-\d+\.scope", scope), scope
        window.start_server()
        assert pid_of_server(machine, "alice") == pid and waiting(machine, "alice") == []
        assert "alice" in machine.run("jupyterhub4family status")
        # What its kernels do is to be known, although its first variables do not say where to ask.
        asked = json.dumps({"action": "activity", "pid": pid, "start_time": 0})
        mediator = "runuser -u jupyterhub -- sudo -nH -u alice /usr/lib/jupyterhub4family/mediator"
        assert json.loads(machine.run(f"echo '{asked}' | {mediator}"))["known"] is True
        assert machine.execute(f"test -e ~alice/{SOCKET}").returncode != 0
        assert window.get("/user/alice/lab").expect().status == 200
        kernel = window.kernel()
        found = json.loads(kernel.execute(AROUND))
        kernel.close()
        window.stop_server()
        # The same as in a server from nothing.
        window.start_server()
        assert pid_of_server(machine, "alice") != pid
        kernel = window.kernel()
        usual = json.loads(kernel.execute(AROUND))
        kernel.close()
        differ = {name for name in {*found[0], *usual[0]} if found[0].get(name) != usual[0].get(name)}
        # The last is there while somebody is logged in at the machine, as this test itself is at times.
        of_each = {
            "JPY_PARENT_PID",
            "JUPYTERHUB_API_TOKEN",
            "JPY_API_TOKEN",
            "JUPYTERHUB_SERVICE_URL",
            "XDG_RUNTIME_DIR",
        }
        assert differ <= of_each, differ
        assert found[1:] == usual[1:]
        window.stop_server()
        log = machine.run("cat ~alice/.local/state/jupyterhub4family/server.log")
        assert "Traceback" not in log and "plain, not lean" not in log


@pytest.mark.any_debian
def test_a_known_device_has_one_prepared_while_the_password_is_typed(machine: Machine) -> None:
    with browser(machine) as window, browser(machine) as stranger:
        window.login("bob", PASSWORD).expect()
        window.get("/hub/logout").expect()
        restart_hub(machine)
        stranger.get("/hub/login").expect()
        time.sleep(3)
        assert waiting(machine, "bob") == []
        window.get("/hub/login").expect()
        pid = until_one_waits(machine, "bob")
        window.login("bob", PASSWORD).expect()
        window.start_server()
        assert pid_of_server(machine, "bob") == pid
        window.stop_server()


@pytest.mark.any_debian
def test_it_ends_by_itself_and_leaves_nothing(machine: Machine) -> None:
    nobody_waits(machine)
    answer = machine.run(AHEAD.format(name="alice", seconds=4))
    assert '"waits": true' in answer, answer
    until_one_waits(machine, "alice")
    machine.wait(f"! {WAITS} -u alice", timeout=30)
    assert machine.execute(f"test -e ~alice/{SOCKET}").returncode != 0
    assert machine.execute("pgrep -u alice").stdout == ""
    machine.wait("! systemctl list-units --type=scope --no-legend --plain | grep jupyterhub4family-", timeout=30)


@pytest.mark.any_debian
def test_what_was_installed_meanwhile_is_in_the_server(machine: Machine) -> None:
    nobody_waits(machine)
    machine.run(AHEAD.format(name="alice", seconds=120))
    pid = until_one_waits(machine, "alice")
    site = machine.run(f"ls -d ~alice/{PLACE}/env/lib/python3*/site-packages").strip()
    machine.run(f"mkdir {site}/something-1.0.dist-info", user="alice")
    with logged_in(machine, "alice") as window:
        window.start_server()
        assert pid_of_server(machine, "alice") != pid
        machine.wait(f"! {WAITS} -u alice", timeout=30)
        window.stop_server()
    machine.run(f"rmdir {site}/something-1.0.dist-info", user="alice")


@pytest.mark.any_debian
def test_members_cannot_reach_each_others(machine: Machine) -> None:
    nobody_waits(machine)
    machine.run(AHEAD.format(name="alice", seconds=120))
    pid = until_one_waits(machine, "alice")
    attack = f"""
import socket
try:
    with socket.socket(socket.AF_UNIX) as one:
        one.connect("/home/alice/{SOCKET}")
        print("reached")
except OSError as error:
    print("kept out")
"""
    assert machine.run("python3 -", user="bob", input=attack).strip() == "kept out"
    # Neither by a door: it looks in the home of whoever it runs as.
    taken = """runuser -u jupyterhub -- sudo -nH -u bob /usr/lib/jupyterhub4family/mediator <<'END'
{"action": "start", "env": {"JUPYTERHUB_SERVICE_PREFIX": "/user/alice/", "JUPYTERHUB_SERVICE_URL": "http://127.0.0.1:1/"}}
END"""
    answer = json.loads(machine.run(taken).strip().splitlines()[-1])
    assert answer.get("pid") != pid and waiting(machine, "alice") == [pid]
    nobody_waits(machine)


@pytest.mark.any_debian
def test_a_removed_member_keeps_none(machine: Machine) -> None:
    nobody_waits(machine)
    machine.run(AHEAD.format(name="bob", seconds=120))
    until_one_waits(machine, "bob")
    machine.run("jupyterhub4family members remove bob")
    assert waiting(machine, "bob") == [] and machine.execute("pgrep -u bob").stdout == ""
    refused = machine.execute(AHEAD.format(name="bob", seconds=120)).stdout
    assert '"waits": true' not in refused and waiting(machine, "bob") == []
    machine.run("jupyterhub4family members add bob")


@pytest.mark.any_debian
def test_who_can_become_root_has_none(machine: Machine) -> None:
    nobody_waits(machine)
    machine.run("echo 'bob ALL=(ALL) NOPASSWD: ALL' >/etc/sudoers.d/bob")
    try:
        refused = machine.execute(AHEAD.format(name="bob", seconds=120)).stdout
        assert '"ok": false' in refused and waiting(machine, "bob") == [], refused
    finally:
        machine.run("rm /etc/sudoers.d/bob")


@pytest.mark.any_debian
def test_who_wants_plain_servers_has_none(machine: Machine) -> None:
    nobody_waits(machine)
    choice = ".config/jupyterhub4family/plain-server"
    machine.run(f"mkdir -p ~/.config/jupyterhub4family && touch ~/{choice}", user="alice")
    try:
        assert '"waits": false' in machine.run(AHEAD.format(name="alice", seconds=120))
        assert waiting(machine, "alice") == []
    finally:
        machine.run(f"rm ~alice/{choice}")


@pytest.mark.every_debian
def test_no_module_reads_early_what_a_start_decides(machine: Machine) -> None:
    """Else a server that was prepared ahead would be another one than a server from nothing."""
    from jupyterhub4family.user.server import HUB_VARIABLES

    program = f"~/{PLACE}/env/bin/jupyterhub-singleuser"
    machine.write("/opt/read_early.py", READ_EARLY)
    found = json.loads(
        machine.run(f"~/{PLACE}/env/bin/python /opt/read_early.py {program}", user="alice").splitlines()[-1]
    )
    assert HUB_VARIABLES & set(found["read"]) <= {"JUPYTERHUB_SERVICE_PREFIX", "JUPYTERHUB_API_URL"}, found
    assert found["missing"] == []
