"""Membership: who may change it, who can become a member, and what removal ends."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator

import pytest

from tests.machine.lib.family import PASSWORD, STATE, browser, logged_in, ready, shared_machine
from tests.machine.lib.machine import Machine
from tests.machine.lib.plugin import NewMachine

DOOR = "sudo -n /usr/lib/jupyterhub4family/members"


pytestmark = pytest.mark.any_debian


@pytest.fixture
def machine(new_machine: NewMachine, suite: str) -> Machine:
    """A machine with two people, and a delegate who is no member."""
    machine = ready(new_machine(suite, layer="installed"))
    for name in ("alice", "bob"):
        machine.add_account(name, PASSWORD)
    machine.add_account("mum", PASSWORD, groups=("jupyterhub_adm",))
    return machine


@pytest.fixture(scope="module")
def shared(suite: str) -> Iterator[Machine]:
    """One machine for all tests that leave it as it was."""
    with shared_machine(suite) as machine:
        machine.add_account("alice", PASSWORD)
        machine.add_account("mum", PASSWORD, groups=("jupyterhub_adm",))
        yield machine


def test_a_delegate_adds_lists_and_removes(machine: Machine) -> None:
    machine.run("jupyterhub4family members add alice bob", user="mum")
    listed = json.loads(machine.run("jh4f members list --json", user="mum"))["members"]
    assert [member["name"] for member in listed] == ["alice", "bob"]
    # The predecessor's command.
    assert "bob" in machine.run("jupyterhub-members show", user="mum")
    assert "already" in machine.run("jupyterhub-members add bob", user="mum")
    machine.run("jupyterhub-members remove bob", user="mum")
    assert "bob" not in machine.run("jupyterhub-members show", user="mum")
    assert "not a member" in machine.run("jh4f members remove bob", user="mum")
    with browser(machine) as window:
        assert not window.login("bob", PASSWORD).logged_in
        assert window.login("alice", PASSWORD).logged_in
    assert machine.exists("/home/bob"), "removing a member removes nothing else"
    assert "bob" in machine.run("getent passwd bob")


def test_removal_ends_servers_and_sessions(machine: Machine) -> None:
    machine.run("jupyterhub4family members add alice bob")
    with logged_in(machine, "alice") as alice, logged_in(machine, "bob") as bob:
        alice.start_server()
        alice.start_server("second")
        bob.start_server()
        alice.kernel().execute("import subprocess; subprocess.Popen(['sleep', '12345'], start_new_session=True)")
        cookies = alice.cookies
        machine.run("jupyterhub4family members remove alice", user="mum")
        left = machine.run("ps -u alice -o args --no-headers", check=False)
        assert left.strip() == "", f"left of alice's servers: {left}"
        assert bob.kernel().execute("1+1") == "2", "a neighbour notices nothing"

        with browser(machine, cookies) as replay:
            assert "login" in replay.get("/hub/home").path, "the cookie is worthless"
            assert replay.status("/hub/api/user", follow=False) == 403
            assert "login" in replay.get("/user/alice/lab").path
        # Added again she starts afresh: the old cookie does not come back to life.
        machine.run("jupyterhub4family members add alice")
        with browser(machine, cookies) as replay:
            assert "login" in replay.get("/hub/home").path
        with logged_in(machine, "alice") as again:
            assert again.servers() == {}


def test_removal_while_the_hub_is_down(machine: Machine) -> None:
    machine.run("jupyterhub4family members add alice")
    with logged_in(machine, "alice") as alice:
        alice.start_server()
        cookies = alice.cookies
        machine.run("jupyterhub4family stop")
        assert "jupyterhub-singleuser" in machine.run("ps -u alice -o args"), "stopping the hub stops no server"
        output = machine.run("jupyterhub4family members remove alice")
        assert "next start" in output
        assert machine.run("ps -u alice -o args --no-headers", check=False).strip() == ""
        machine.run("jupyterhub4family start")
        machine.wait_http("/hub/login")
        with browser(machine, cookies) as replay:
            assert "login" in replay.get("/hub/home").path
        database = "/var/lib/jupyterhub4family/state/jupyterhub.sqlite"
        machine.wait(
            f"python3 -c \"import sqlite3; assert not sqlite3.connect('file:{database}?mode=ro', uri=True)"
            ".execute('select name from users where name=?', ('alice',)).fetchall()\"",
            timeout=20,
        )


@pytest.mark.any_init
def test_a_group_edited_by_hand_counts_at_once(new_machine: NewMachine, suite: str, init: str) -> None:
    machine = ready(new_machine(suite, layer="installed", init=init))
    machine.add_account("alice", PASSWORD)
    machine.run("gpasswd -a alice jupyterhub")
    with logged_in(machine, "alice") as alice:
        machine.run("gpasswd -d alice jupyterhub; sleep 2.5")
        assert alice.status("/hub/api/user", follow=False) == 403
        assert "login" in alice.get("/hub/home").path


@pytest.mark.parametrize(
    ("name", "status", "helps"),
    [
        ("root", 3, "account of their own"),
        ("www-data", 3, "system account"),
        ("nobody", 3, "system account"),
        ("jupyterhub", 3, "runs the hub"),
        ("no-such-person", 5, "adduser no-such-person"),
        ("-- --allow-administrator", 3, "looks like an option"),
        ("-- -rf", 3, "looks like an option"),
        ("Alice", 3, "write alice"),
        ("'alice bob'", 3, "spaces"),
        ("'alice;id'", 3, "cannot be the name"),
        ("../alice", 3, "cannot be the name"),
        ("älice", 3, "cannot be the name"),
        ("''", 3, "cannot be the name"),
        ("alice --no-such-option", 2, "usage"),
    ],
)
def test_refused_names(shared: Machine, name: str, status: int, helps: str) -> None:
    for user in (None, "mum"):
        done = shared.execute(f"jupyterhub4family members add {name}", user=user)
        assert done.returncode == status, done
        assert helps in done.stderr, done.stderr
        assert "Traceback" not in done.stderr
    assert shared.run("getent group jupyterhub").strip().endswith(":"), "nobody has become a member"


@pytest.mark.parametrize("group", ["sudo", "docker", "disk", "shadow", "lxd", "libvirt", "adm"])
def test_administrators_are_refused(shared: Machine, group: str) -> None:
    name = f"x{group}"
    shared.run(f"groupadd -f {group}")
    shared.add_account(name, PASSWORD, groups=(group,))
    done = shared.execute(f"jupyterhub4family members add {name}", user="mum")
    if group == "adm":
        # adm reads logs; it does not lead to root.
        assert done.returncode == 0
        shared.run(f"jupyterhub4family members remove {name}")
        return
    assert done.returncode == 3 and group in done.stderr, done
    assert shared.execute(f"jupyterhub4family members add --allow-administrator {name}", user="mum").returncode == 4
    shared.run(f"jupyterhub4family members add --allow-administrator {name}")
    assert "administrator" in shared.run("jupyterhub4family members list")
    shared.run(f"jupyterhub4family members remove {name}")


def test_an_administrator_by_sudoers_is_refused(shared: Machine) -> None:
    shared.add_account("carol", PASSWORD)
    shared.write("/etc/sudoers.d/carol", "carol ALL=(root) NOPASSWD: /usr/bin/apt-get\n", 0o440)
    done = shared.execute("jupyterhub4family members add carol")
    assert done.returncode == 3 and "apt-get" in done.stderr, done
    shared.run("rm /etc/sudoers.d/carol; jupyterhub4family members add carol; jupyterhub4family members remove carol")


def test_a_delegate_may_be_a_member(shared: Machine) -> None:
    shared.run("jupyterhub4family members add mum")
    assert "(delegate)" in shared.run("jupyterhub4family members list")
    shared.run("jupyterhub4family members remove mum")


def test_several_names_all_or_nothing(shared: Machine) -> None:
    done = shared.execute("jupyterhub4family members add alice root")
    assert done.returncode == 3
    assert shared.run("getent group jupyterhub").strip().endswith(":")


def test_the_door_refuses_malformed_requests(shared: Machine) -> None:
    for request in (
        "",
        "{",
        "[]",
        "null",
        '{"action": "add"}',
        '{"action": "add", "names": "alice"}',
        '{"action": "add", "names": [1]}',
        '{"action": "add", "names": ["alice"], "more": 1}',
        '{"action": "add", "names": ["alice\\u0000"]}',
        '{"action": "add", "names": ["alice\\n"]}',
        '{"action": "rm -rf /", "names": []}',
        '{"action": "list", "action": "add", "names": ["alice"]}',
        '{"action": "add", "names": ["alice"], "allow_administrator": true}',
        "[" * 100000,
        '{"action": "' + "x" * 300000 + '"}',
    ):
        done = shared.execute(DOOR, user="mum", input=request)
        assert done.returncode in (2, 3, 4), (request[:60], done)
        assert json.loads(done.stdout)["ok"] is False
        assert "Traceback" not in done.stderr
    assert shared.run("getent group jupyterhub").strip().endswith(":")


def test_delegates_see_and_stop_servers_and_do_not_enter(machine: Machine) -> None:
    machine.run("jupyterhub4family members add alice mum")
    with logged_in(machine, "alice") as alice, logged_in(machine, "mum") as mum:
        alice.start_server()
        assert "alice" in {user["name"] for user in mum.fetch("GET", "/hub/api/users").json()}
        seen = mum.get("/hub/admin").expect().args()
        assert "You can start and stop them." in seen and "alice" in seen and "running" in seen, seen
        assert alice.status("/hub/admin") == 403
        assert mum.status("/user/alice/lab") == 403
        assert mum.status("/user/alice/api/contents") == 403
        assert mum.fetch("PATCH", "/hub/api/users/alice", {"admin": True}).status == 403
        assert mum.fetch("POST", "/hub/api/users/mum", {"admin": True}).status in (403, 409)
        assert mum.fetch("DELETE", "/hub/api/users/alice").status == 403
        assert mum.fetch("POST", "/hub/api/users/alice/tokens", {}).status in (403, 404)
        assert mum.fetch("DELETE", "/hub/api/users/alice/server").status in (202, 204)
        assert mum.fetch("POST", "/hub/api/users/alice/server").status in (201, 202, 400)
        # A member who is no delegate sees nobody else.
        assert alice.fetch("GET", "/hub/api/users").status == 403


def test_what_is_taken_away_is_gone_at_the_next_click(machine: Machine) -> None:
    """The hub remembers whom it has met (ADR 34), and not for a click longer than it may."""
    machine.run("jupyterhub4family members add alice bob")

    def status(token: str) -> int:
        with browser(machine) as program:
            headers = {"Authorization": f"token {token}"}
            return int(program.http.get(program._url("/hub/api/user"), headers=headers).status_code)

    with logged_in(machine, "alice") as alice, logged_in(machine, "bob") as bob:
        by_page, by_hand = (alice.fetch("POST", "/hub/api/users/alice/tokens", {}).expect().json() for _ in "12")
        assert [status(one["token"]) for one in (by_page, by_hand, by_page, by_hand)] == [200] * 4
        alice.fetch("DELETE", f"/hub/api/users/alice/tokens/{by_page['id']}").expect()
        assert [status(one["token"]) for one in (by_page, by_hand)] == [403, 200]
        # By another process, which the hub does not know of.
        delete = f"DELETE FROM api_tokens WHERE id = {by_hand['id'].lstrip('a')}"
        script = f"import sqlite3; d = sqlite3.connect('{STATE}/jupyterhub.sqlite'); d.execute('{delete}'); d.commit()"
        machine.run(f'python3 -c "{script}"', user="jupyterhub")
        assert status(by_hand["token"]) == 403
        # Groups are looked at every two seconds (hub/configuration.py).
        for option, may in (("-a", 200), ("-d", 403), ("-a", 200)):
            machine.run(f"gpasswd {option} bob jupyterhub_adm")
            time.sleep(2.1)
            assert bob.status("/hub/admin") == may, option
        machine.run("gpasswd -d alice jupyterhub")
        time.sleep(2.1)
        assert alice.status("/hub/api/user", follow=False) == 403
        assert bob.status("/hub/admin") == 200, "and nobody else notices anything"
