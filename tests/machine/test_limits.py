"""Limits: a server in its scope, a notebook that eats memory, what a stop ends, who may ask for what, a full disk."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from tests.machine.lib.client import Browser, ClientError, Kernel
from tests.machine.lib.family import (
    HEALTHY,
    PASSWORD,
    STATE,
    add_member,
    browser,
    hub_pid,
    logged_in,
    proxy_pid,
    ready,
)
from tests.machine.lib.machine import Machine
from tests.machine.lib.plugin import NewMachine

CONFINE = "/usr/lib/jupyterhub4family/confine"
MEBIBYTE = 2**20

#: In a kernel: take 20 MB again and again, in the background, so that the cell itself has an answer.
EATER = """
import threading, time
def eat():
    eaten = []
    while True:
        eaten.append(bytearray(b"x" * 20_000_000))
        time.sleep(0.01)
threading.Thread(target=eat, daemon=True).start()
"""
#: In a kernel: a daemon in a session of its own, with nothing in its environment that says where it comes from, which
#: may not be looked into (PR_SET_DUMPABLE).
DAEMON = """
import subprocess
hide = "import ctypes, time; ctypes.CDLL(None).prctl(4, 0); time.sleep(4711)"
words = ["setsid", "--fork", "env", "-i", "/usr/bin/python3", "-c", hide]
subprocess.run(words, stdin=-3, stdout=-3, stderr=-3, check=True)
"""
#: As a member in a process of the system's, as the hub starts them: be the leader of a group, ask the door, tell.
ASKER = f"""
import os, subprocess, sys
if os.getpgrp() != os.getpid():
    os.setpgid(0, 0)
done = subprocess.run(["sudo", "-nH", "{CONFINE}", *sys.argv[2:]], input=sys.argv[1].encode(), stdout=-1, stderr=-1)
print(done.returncode, done.stdout.decode(), done.stderr.decode())
print(open("/proc/self/cgroup").read())
"""
#: The same, and then as many sleeping children as the limit allows.
FORKER = (
    ASKER
    + """
children = []
try:
    for _number in range(400):
        children.append(subprocess.Popen(["sleep", "1000"]))
except OSError as error:
    print(type(error).__name__, len(children))
for child in children:
    child.kill()
    child.wait()
"""
)
#: As root: ask as alice, in the process group of another process, which is that of who is named.
LEADER = f"""
import os, pwd, subprocess, sys, time
leader = os.fork()
if leader == 0:
    os.setpgid(0, 0)
    os.setuid(pwd.getpwnam(sys.argv[1]).pw_uid)
    time.sleep(600)
os.setpgid(leader, leader)
def become():
    os.setpgid(0, leader)
    os.setuid(pwd.getpwnam("alice").pw_uid)
done = subprocess.run(["sudo", "-nH", "{CONFINE}"], input=b"{{}}", preexec_fn=become, stdout=-1, stderr=-1)
print(done.returncode, done.stdout.decode(), done.stderr.decode())
print(open(f"/proc/{{leader}}/cgroup").read())
os.kill(leader, 9)
"""


def alone(name: str, args: str) -> str:
    """A command that runs `args` as a process of the system's; not `login`: sessions stay apart."""
    return f"systemd-run --quiet --wait --pipe --collect -p User={name} -- {args}"


def server_pid(machine: Machine, name: str) -> int:
    return int(machine.run(f"pgrep -u {name} -f bin/jupyterhub-singleuser").split()[0])


def scope(machine: Machine, pid: int) -> str:
    """The path of the scope in which a process is; empty if it is in none."""
    groups = machine.run(f"cat /proc/{pid}/cgroup").splitlines()
    paths = {line.split(":", 2)[2] for line in groups if line.endswith(".scope")}
    assert len(paths) <= 1, groups
    return paths.pop() if paths else ""


def shown(machine: Machine, unit: str) -> dict[str, str]:
    return dict(line.split("=", 1) for line in machine.run(f"systemctl show {unit}").splitlines() if "=" in line)


def status(machine: Machine) -> dict[str, Any]:
    reported: dict[str, Any] = json.loads(machine.execute("jupyterhub4family status --json").stdout)
    return reported


def doctor(machine: Machine) -> str:
    """What `doctor` says about limits: state and sentence of each finding."""
    reported = json.loads(machine.execute("jupyterhub4family doctor limits --json").stdout)
    return "\n".join(f"{one['state']}: {one['sentence']}" for one in reported["findings"])


def _answers_again(kernel: Kernel, code: str) -> str:
    """What a kernel says that the server is just starting again."""
    until = time.monotonic() + 90
    while True:
        try:
            kernel.reconnect()
            return kernel.execute(code, timeout=15)
        except ClientError:
            assert time.monotonic() < until, "the kernel does not come back"
            time.sleep(0.5)


def _ends_before_the_portal(machine: Machine, pid: int) -> None:
    """When all memory runs out the kernel takes a server first, and its member cannot change that."""

    def score(process: int) -> int:
        return int(machine.read(f"/proc/{process}/oom_score_adj"))

    # Not every machine lets systemd give less than 0 (CAP_SYS_RESOURCE); where tests run in a container it cannot.
    assert "OOMScoreAdjust=-500" in machine.run("systemctl show -p OOMScoreAdjust jupyterhub4family-proxy")
    given = machine.run("systemd-run --quiet --pipe --wait -p OOMScoreAdjust=-500 cat /proc/self/oom_score_adj")
    assert (score(pid), score(proxy_pid(machine)), score(hub_pid(machine))) == (300, int(given), 0)
    # Without a session, whose own processes would stay for a while.
    as_alice = "setpriv --reuid=alice --regid=alice --init-groups sh -c"
    # What root gives without that right its owner may take back (proc(5)): on such a machine 300 cannot hold.
    for less in ("299", "0", "-500") if int(given) else ():
        assert machine.execute(f"{as_alice} 'echo {less} >/proc/{pid}/oom_score_adj'").returncode != 0
    assert score(pid) == 300
    # What the hub starts as a member has nothing of the proxy's.
    assert machine.execute(f"{as_alice} 'echo -1 >/proc/self/oom_score_adj'").returncode != 0


@pytest.mark.every_debian
def test_limits_hold(new_machine: NewMachine, suite: str) -> None:
    """A notebook that eats memory dies alone and its owner is told why; the neighbour notices nothing."""
    machine = ready(new_machine(suite, layer="installed", memory_cgroup=True))
    limits = "alice.memory=400M alice.cpu=50 alice.processes=150"
    response = machine.run(f"jupyterhub4family config set member_limits {limits}")
    assert "Nothing has to be restarted" in response
    add_member(machine, "alice", "bob")
    machine.write("/opt/forker.py", FORKER)
    forked = machine.run(alone("alice", "python3 /opt/forker.py '{}'")).split()
    assert forked[-2] == "BlockingIOError" and 100 < int(forked[-1]) < 150, forked
    with logged_in(machine, "alice") as alice, logged_in(machine, "bob") as bob:
        alice.start_server()
        bob.start_server()
        uid = machine.run("id -u alice").strip()
        pid = server_pid(machine, "alice")
        place = scope(machine, pid)
        assert place.startswith(
            f"/jupyterhub4family.slice/jupyterhub4family-{uid}.slice/jupyterhub4family-{uid}-{pid}-"
        )
        for unit in (place.rpartition("/")[2], f"jupyterhub4family-{uid}.slice"):
            about = shown(machine, unit)
            assert about["MemoryMax"] == str(400 * MEBIBYTE), about
            assert about["CPUWeight"] == "50" and about["TasksMax"] == "150", about
        _ends_before_the_portal(machine, pid)
        total = int(machine.run("grep MemTotal /proc/meminfo").split()[1]) * 1024
        assert shown(machine, "jupyterhub4family.slice")["MemoryMax"] == str(total * 75 // 100)
        assert scope(machine, server_pid(machine, "bob")) not in ("", place)

        eater, neighbour = alice.kernel(), bob.kernel()
        old = eater.execute("import os; os.getpid()")
        neighbour.execute("kept = 'untouched'; import os")
        others = neighbour.execute("os.getpid()")
        assert scope(machine, int(old)) == place, "what a server starts is in its scope"
        assert doctor(machine).startswith("ok: "), doctor(machine)

        # ipykernel, started anew by the server and asked for something before it is ready, says so like this.
        machine.expect_log("'_control_lock' trait")
        eater.execute(EATER)
        machine.wait(f"! kill -0 {old}", timeout=60)
        assert _answers_again(eater, "import os; os.getpid()") != old
        assert server_pid(machine, "alice") == pid, "the server itself lives"
        assert scope(machine, pid) == place
        assert neighbour.execute("kept") == "'untouched'" and neighbour.execute("os.getpid()") == others

        reported = {one["member"]: one for one in status(machine)["servers"]}
        assert reported["alice"]["killed"] == 1 and reported["alice"]["limit_megabytes"] == 400, reported
        assert reported["bob"]["killed"] == 0 and 20 < reported["bob"]["megabytes"] < 1000, reported
        assert "Server of alice" in machine.run("jupyterhub4family status")
        assert "server of alice needed too much memory" in doctor(machine)
        assert "needed more memory than the server may use" in alice.get("/hub/home").text
        assert "of 400 MB of memory" in alice.get("/hub/home").args()
        assert "needed more memory than the server may use" not in bob.get("/hub/home").text
        log = "/home/alice/.local/state/jupyterhub4family/server.log"
        # The hub looks every half minute.
        machine.wait(f"grep -q 'needed more memory' {log}", timeout=120)

        _stop_ends_everything(machine, alice)
        neighbour.execute(DAEMON)
        machine.run("pgrep -u bob -f 4711 && jupyterhub4family members remove bob")
        assert machine.execute("pgrep -u bob").stdout == "", machine.run("ps axfu")


def _stop_ends_everything(machine: Machine, alice: Browser) -> None:
    """Also what has made itself a daemon and hides; the next server starts in a scope of its own."""
    alice.kernel().execute(DAEMON)
    daemon = machine.run("pgrep -u alice -f 4711").split()
    assert len(daemon) == 1
    alice.stop_server()
    machine.wait("! pgrep -u alice", timeout=20)
    alice.start_server()
    assert scope(machine, server_pid(machine, "alice"))


@pytest.mark.any_debian
def test_the_door_confines_nobody_else(new_machine: NewMachine, suite: str) -> None:
    """Neither another member's process nor root's, nor with other limits; and no failure stops a server."""
    machine = ready(new_machine(suite, layer="installed"))
    add_member(machine, "alice", "bob")
    machine.add_account("stranger", PASSWORD)
    machine.write("/opt/asker.py", ASKER)
    machine.write("/opt/leader.py", LEADER)

    def ask(name: str, request: str = "{}", more: str = "") -> str:
        """What the door answers, and where the asker then is."""
        return machine.execute(alone(name, f"python3 /opt/asker.py '{request}' {more}")).stdout

    with logged_in(machine, "bob") as bob:
        bob.start_server()
        victim = server_pid(machine, "bob")
        before = machine.run(f"cat /proc/{victim}/cgroup /proc/1/cgroup")
        mine = ask("alice")
        assert mine.startswith("0 ") and "/jupyterhub4family.slice/" in mine, mine
        for request in (f'{{"pid": {victim}}}', '{"MemoryMax": 1}', '{"slice": "init.scope"}', "[]", "", "x"):
            assert ask("alice", request).startswith("2 "), request
        # sudo itself refuses.
        for refused in (ask("stranger"), ask("alice", more=str(victim)), ask("jupyterhub")):
            assert refused.startswith("1 ") and "slice/jupyterhub4family" not in refused, refused
        # The leader of the group is root's, or bob's, or alice's but not the one who asks.
        for leader in ("root", "bob", "alice"):
            response = machine.run(alone("root", f"python3 /opt/leader.py {leader}"))
            assert "only a member's own server can be limited" in response, response
            assert "slice/jupyterhub4family" not in response, response
        # A login session keeps the limits that it has.
        login = machine.login("alice", "python3 /opt/asker.py '{}'")
        assert "a login session stays where it is" in login and "slice/jupyterhub4family" not in login, login
        assert machine.run(f"cat /proc/{victim}/cgroup /proc/1/cgroup") == before
        # Who is in a scope stays in it: asked from within a server, the answer is where it is.
        terminal = bob.terminal()
        inside = terminal.run("python3 /opt/asker.py '{}'").output
        assert inside.startswith("0 ") and scope(machine, victim).rpartition("/")[2] in inside, inside

        # Without systemd's help there are no limits, but there is a server; and it is said.
        bob.stop_server()
        machine.run("chmod 0 /usr/bin/busctl")
        bob.start_server()
        assert scope(machine, server_pid(machine, "bob")) == ""
        assert "has no limits" in machine.read("/home/bob/.local/state/jupyterhub4family/server.log")
        assert "1 server runs without limits" in doctor(machine)
        assert "no limits" in machine.run("jupyterhub4family status")
        bob.stop_server()
        machine.run("chmod 755 /usr/bin/busctl")


@pytest.mark.with_cron
def test_without_systemd(new_machine: NewMachine, suite: str) -> None:
    machine = ready(new_machine(suite, layer="installed", init="sysvinit"))
    add_member(machine, "alice")
    with logged_in(machine, "alice") as alice:
        alice.start_server()
        assert alice.kernel().execute("6 * 7") == "42"
        assert "has no limits" not in machine.read("/home/alice/.local/state/jupyterhub4family/server.log")
        assert "because systemd is not running" in doctor(machine)
        assert [one["confined"] for one in status(machine)["servers"]] == [False]
        alice.stop_server()


@pytest.mark.any_debian
def test_a_full_disk(new_machine: NewMachine, suite: str) -> None:
    """Told before it happens; when it has happened people log in, and what is on screen can be saved later."""
    machine = ready(new_machine(suite, layer="installed", disk_mb=4000))
    add_member(machine, "alice", "bob")
    notebook: dict[str, Any] = {"cells": [], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
    with logged_in(machine, "alice") as alice:
        alice.start_server()
        kernel = alice.kernel()
        kernel.execute("kept = 1")
        save = "/user/alice/api/contents/diary.ipynb"
        assert alice.fetch("PUT", save, {"type": "notebook", "content": notebook}).status in (200, 201)
        assert "nearly full" not in alice.get("/hub/home").text
        _leave(machine, 1000)
        assert "nearly full" in alice.get("/hub/home").args()
        assert status(machine)["disk"], "administrators are told as well"
        assert "nearly full" in machine.execute("jupyterhub4family doctor disk").stdout

        hub = hub_pid(machine)
        _leave(machine, 20)
        machine.execute("cat /dev/zero > /var/tmp/rest; cat /dev/zero > /var/tmp/more")
        assert int(machine.run("df --output=avail -B1 / | tail -1")) < MEBIBYTE
        with logged_in(machine, "bob") as bob:
            assert "nearly full" in bob.get("/hub/home").args()
            assert bob.user_model()["name"] == "bob"
        assert logged_in(machine, "alice").status("/hub/home") == 200
        assert kernel.execute("kept") == "1"
        cell: dict[str, Any] = {"cell_type": "code", "id": "a", "metadata": {}, "outputs": [], "execution_count": None}
        # More than is left.
        longer = {**notebook, "cells": [{**cell, "source": "kept = 1\n" * 200_000}]}
        assert alice.fetch("PUT", save, {"type": "notebook", "content": longer}).status >= 500
        machine.expect_log("No space left on device|disk is full")
        assert machine.execute(HEALTHY).returncode == 0 and hub_pid(machine) == hub

        machine.run("rm /var/tmp/rest /var/tmp/more /var/tmp/fill-*")
        assert alice.fetch("PUT", save, {"type": "notebook", "content": longer}).status == 200
        saved = json.loads(machine.read("/home/alice/diary.ipynb"))
        assert saved["cells"][0]["source"] == (["kept = 1\n"] * 200_000)
        check = (
            f"import sqlite3; print(*sqlite3.connect('{STATE}/jupyterhub.sqlite').execute('PRAGMA integrity_check'))"
        )
        assert "ok" in machine.run(f'python3 -c "{check}"')
        assert hub_pid(machine) == hub
    with browser(machine) as again:
        again.login("bob", PASSWORD).expect()


@pytest.mark.any_debian
def test_a_hub_that_is_killed_on_a_full_disk_is_back(new_machine: NewMachine, suite: str) -> None:
    """Its database's log and index are made anew by each hub; their blocks were kept for that."""
    machine = ready(new_machine(suite, layer="installed", disk_mb=4000))
    add_member(machine, "alice", "bob")
    with logged_in(machine, "alice") as alice:
        alice.start_server()
        kernel = alice.kernel()
        kernel.execute("kept = 1")
        _leave(machine, 20)
        machine.execute("cat /dev/zero > /var/tmp/rest; cat /dev/zero > /var/tmp/more")
        for end in ("systemctl kill -s KILL jupyterhub4family-hub", "systemctl stop jupyterhub4family-hub"):
            machine.execute("cat /dev/zero > /var/tmp/again")
            assert int(machine.run("df --output=avail -B1 / | tail -1")) < MEBIBYTE
            before = hub_pid(machine)
            machine.run(f"{end}; sleep 1; systemctl start jupyterhub4family-hub")
            machine.wait(HEALTHY, timeout=60)
            assert hub_pid(machine) != before
            with logged_in(machine, "bob") as bob:
                assert bob.user_model()["name"] == "bob"
            # Before it the kernel may say that it cannot write its history.
            assert kernel.execute("kept").splitlines()[-1] == "1"
        alice.stop_server()
        assert "" not in alice.servers(), "written, too"
        machine.expect_log("No space left on device|disk is full")
    machine.run("rm /var/tmp/rest /var/tmp/more /var/tmp/again /var/tmp/fill-*")
    check = f"import sqlite3; print(*sqlite3.connect('{STATE}/jupyterhub.sqlite').execute('PRAGMA integrity_check'))"
    assert "ok" in machine.run(f'python3 -c "{check}"')


def _leave(machine: Machine, megabytes: int) -> None:
    """Fill the disk until so much is left."""
    size = f"$(( $(df --output=avail -B1 / | tail -1) - {megabytes * MEBIBYTE} ))"
    machine.run(f"fallocate -l {size} /var/tmp/fill-{megabytes}")
