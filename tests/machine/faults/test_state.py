"""The hub's database: damaged, not to be written, cut off from power in the middle of its work."""

from __future__ import annotations

import contextlib
import random
import shlex
import time
from collections.abc import Iterator

import pytest

from tests.machine.lib.chance import moments
from tests.machine.lib.client import Browser, Kernel
from tests.machine.lib.family import CURL, HEALTHY, STATE, add_member, hub_pid, logged_in, ready
from tests.machine.lib.machine import Machine
from tests.machine.lib.plugin import NewMachine, Scale

DATABASE = f"{STATE}/jupyterhub.sqlite"
COPY = (
    'runuser -u jupyterhub -- python3 -Ic \'import sys; sys.path.insert(0, "/usr/lib/jupyterhub4family");'
    " from jupyterhub4family.service.hub_state.database import copy_of_the_day; print(copy_of_the_day())'"
)
#: What lies in a page that a failing disk has swapped for nothing.
DAMAGE = f"dd if=/dev/zero of={DATABASE} bs=4096 seek=1 count=20 conv=notrunc status=none"
NOTEBOOK = "/home/alice/diary.txt"


def intact(machine: Machine) -> bool:
    """Whether sqlite finds nothing wrong with the database."""
    code = f'import sqlite3; print(sqlite3.connect("{DATABASE}").execute("PRAGMA integrity_check").fetchone()[0])'
    return machine.run(f"python3 -c '{code}'").strip() == "ok"


def still_there(kernel: Kernel) -> None:
    """The variable that the test has begun with."""
    kernel.reconnect()
    assert kernel.execute("kept") == "'since the beginning'"


def begun(alice: Browser) -> Kernel:
    """A kernel of hers with a variable."""
    alice.start_server()
    kernel = alice.kernel()
    kernel.execute("kept = 'since the beginning'")
    return kernel


@pytest.mark.any_debian
def test_a_damaged_database_is_replaced_by_its_last_copy_and_that_is_told(new_machine: NewMachine, suite: str) -> None:
    machine = ready(new_machine(suite, layer="installed"))
    add_member(machine, "alice")
    with logged_in(machine, "alice") as alice:
        kernel = begun(alice)
        assert machine.run(COPY).strip().endswith("-daily.sqlite")
        machine.run(f"systemctl stop jupyterhub4family-hub && {DAMAGE} && systemctl start jupyterhub4family-hub")
        machine.wait(HEALTHY, timeout=60)
        assert intact(machine)
        still_there(kernel)
        assert "" in alice.servers(), "the hub knows her server, and she is still logged in"
        assert "database was damaged" in machine.run("jupyterhub4family status")
        assert "database was damaged" in machine.execute("jupyterhub4family doctor").stdout
        assert machine.run(f"stat -c %s {DATABASE}.broken").strip() != "0", "nothing is thrown away"
        alice.stop_server()

    # And without any copy: it begins anew, with the same members.
    machine.run(f"systemctl stop jupyterhub4family-hub && rm -r {STATE}/database-copies && {DAMAGE}")
    machine.run("systemctl start jupyterhub4family-hub")
    machine.wait(HEALTHY, timeout=60)
    with logged_in(machine, "alice") as alice:
        alice.start_server()
        assert alice.kernel().execute("6 * 7") == "42"


@pytest.mark.any_debian
def test_a_state_that_cannot_be_written_takes_nobodys_work(new_machine: NewMachine, suite: str) -> None:
    """As ext4 does it after an error of the disk: read-only, until somebody mends it."""
    machine = ready(new_machine(suite, layer="installed"))
    add_member(machine, "alice")
    with logged_in(machine, "alice") as alice:
        kernel = begun(alice)
        machine.run(f"mount --bind {STATE} {STATE} && mount -o remount,ro,bind {STATE}")
        try:
            assert kernel.execute("kept") == "'since the beginning'"
            kernel.execute(f"open({NOTEBOOK!r}, 'w').write('still written')")
            machine.run("jupyterhub4family doctor >/dev/null || true")
        finally:
            machine.run(f"umount {STATE}")
        machine.expect_log("readonly database|Read-only file system")
        machine.run("jupyterhub4family restart")
        machine.wait(HEALTHY, timeout=60)
        still_there(kernel)
        assert machine.read(NOTEBOOK) == "still written"
        assert intact(machine)
    with logged_in(machine, "alice") as alice:
        alice.stop_server()


@pytest.mark.any_debian
def test_power_cuts_at_any_moment_of_daily_work(new_machine: NewMachine, suite: str, scale: Scale) -> None:
    """Each loses all that had not reached the disk. What people saved and were told is saved is there each time."""
    machine = ready(new_machine(suite, layer="installed", disk_mb=6000))
    add_member(machine, "alice")
    machine.run("sync")
    seed = random.randrange(10**6)
    for number, moment in enumerate(moments(0, 3, scale(3, 20), seed)):
        with logged_in(machine, "alice") as alice:
            machine.run(f"echo {number} >>{NOTEBOOK}; sync {NOTEBOOK}", user="alice")
            alice.fetch("POST", "/hub/api/users/alice/server", {})
            time.sleep(moment)
        machine.power_cut(lose_unsynced=True)
        machine.start()
        machine.wait(HEALTHY, timeout=120)
        assert intact(machine), (seed, number)
        assert machine.read(NOTEBOOK).split() == [str(one) for one in range(number + 1)], (seed, number)
        assert "alice" in machine.run("jupyterhub4family members list"), (seed, number)
    with logged_in(machine, "alice") as alice:
        alice.start_server()
        assert alice.kernel().execute("6 * 7") == "42"


@pytest.mark.any_debian
def test_what_was_taken_away_does_not_come_back_with_a_power_cut(
    new_machine: NewMachine, suite: str, scale: Scale
) -> None:
    """A token, a member: gone for good once somebody was told so, though other changes wait for the disk."""
    machine = ready(new_machine(suite, layer="installed", disk_mb=6000))
    for number in range(scale(1, 5)):
        add_member(machine, "alice", "ben")
        with logged_in(machine, "alice") as alice, logged_in(machine, "ben") as ben:
            revoked = alice.fetch("POST", "/hub/api/users/alice/tokens", {"note": "revoked"}).json()
            others = [
                browser.fetch("POST", f"/hub/api/users/{name}/tokens", {}).json()
                for name, browser in (("alice", alice), ("ben", ben))
            ]
            machine.run("sync")
            assert [answer(machine, token["token"]) for token in (revoked, *others)] == ["200"] * 3
            assert alice.fetch("DELETE", f"/hub/api/users/alice/tokens/{revoked['id']}").status == 204
        machine.run("jupyterhub4family members remove ben")
        machine.power_cut(lose_unsynced=True)
        machine.start()
        machine.wait(HEALTHY, timeout=120)
        assert intact(machine), number
        assert answer(machine, revoked["token"]) == "403", "revoked"
        assert answer(machine, others[0]["token"]) == "200", "and nothing else"
        assert answer(machine, others[1]["token"]) == "403", "a member no more"
        names = "SELECT name FROM users WHERE name IN ('alice', 'ben')"
        assert asked(machine, names) == "[('alice',)]", number
        assert "ben" not in machine.run("jupyterhub4family members list")
        machine.run("userdel -r ben; jupyterhub4family members remove alice; userdel -r alice")


def answer(machine: Machine, token: str) -> str:
    """How the portal answers a program with this token."""
    ask = f"{CURL} -o /dev/null -w '%{{http_code}}' -H 'Authorization: token {token}'"
    return machine.run(f"{ask} https://127.0.0.1:8000/hub/api/user").strip()


def asked(machine: Machine, question: str) -> str:
    """What the database says."""
    code = f'import sqlite3; print(sqlite3.connect("{DATABASE}").execute("{question}").fetchall())'
    return machine.run(f"python3 -c {shlex.quote(code)}").strip()


@pytest.mark.any_debian
def test_a_start_waits_for_no_disk(new_machine: NewMachine, suite: str) -> None:
    """Of the hub's one thread, and of all that it starts: counted from the press to JupyterLab's first page."""
    machine = ready(new_machine(suite, layer="installed"))
    add_member(machine, "alice")
    machine.run("apt-get install -qy --no-install-recommends strace >/dev/null 2>&1", timeout=300)
    with logged_in(machine, "alice") as alice:
        begun(alice)
        with counted(machine) as syncs:
            alice.stop_server()
        assert len(syncs) >= 1, "that a server is gone is on the disk; and so they are counted"
        for _start in range(3):
            with counted(machine) as syncs:
                alice.fetch("POST", "/hub/api/users/alice/server", {})
                for _event in alice.progress():
                    pass
                assert alice.open_lab().status == 200
            assert len(syncs) <= 5, syncs
            alice.stop_server()
        # Nobody has shared anything yet: what JupyterHub needs for that is not in memory (hub/lean_start.py).
        maps = f"/proc/{hub_pid(machine)}/maps"
        assert "sqlite" in machine.run(f"cat {maps}") and "pydantic" not in machine.run(f"cat {maps}")


@contextlib.contextmanager
def counted(machine: Machine) -> Iterator[list[str]]:
    """The list is afterwards filled with what the hub, and what it started, had written to the disk meanwhile."""
    syncs: list[str] = []
    calls = "fsync,fdatasync,sync,syncfs,sync_file_range,msync"
    strace = f"strace -f -y -o /root/syncs -e trace={calls} -p {hub_pid(machine)} >/dev/null 2>&1 </dev/null"
    machine.run(f"rm -f /root/syncs; {strace} & echo $! >/root/strace.pid")
    machine.wait(f"grep -q '^TracerPid:.*[1-9]' /proc/{hub_pid(machine)}/status")
    yield syncs
    machine.run("kill $(cat /root/strace.pid)")
    machine.wait("! [ -e /proc/$(cat /root/strace.pid) ]")
    syncs += [line for line in machine.run("cat /root/syncs").splitlines() if "sync" in line.split("(")[0]]
