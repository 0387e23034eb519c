"""Logging in and working, as a browser does it, on each Debian."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from tests.machine.lib.client import SocketRefused
from tests.machine.lib.family import PASSWORD, add_member, browser, logged_in, ready, shared_machine
from tests.machine.lib.machine import Machine
from tests.machine.lib.plugin import NewMachine

pytestmark = pytest.mark.any_debian


@pytest.fixture(scope="module")
def machine(suite: str) -> Iterator[Machine]:
    """With a member, for tests that leave it as it was."""
    with shared_machine(suite, "alice") as machine:
        yield machine


@pytest.mark.any_debian
def test_a_member_works_in_jupyterlab(new_machine: NewMachine, suite: str) -> None:
    machine = ready(new_machine(suite, layer="installed"))
    add_member(machine, "bob")
    # Not through `members add`, which makes the environment in advance: the first start shall do it.
    machine.add_account("alice", PASSWORD, groups=("jupyterhub",))
    machine.add_account("stranger", PASSWORD)

    _who_may_not_log_in(machine)
    with logged_in(machine, "alice") as alice:
        events = alice.start_server()
        assert any("only this first time" in event.message for event in events), "the first start tells what it does"
        assert [event.progress for event in events] == sorted(event.progress for event in events)
        assert alice.open_lab().status == 200
        kernel = alice.kernel()
        assert kernel.execute("2+2") == "4"
        assert kernel.execute("import os; print(os.getcwd(), os.environ['LANG'])").split()[0] == "/home/alice"
        path = kernel.execute("import os; print(os.environ['PATH'])")
        assert path.startswith("/home/alice/.local/share/jupyterhub4family/env/bin:")
        assert "" not in path.split(":"), "an empty entry in PATH is the current directory"
        _others_stay_out(machine, kernel.id)

        alice.stop_server()
        events = alice.start_server()
        assert not any("only this first time" in event.message for event in events), "the second start makes nothing"

        cookies = alice.cookies
        alice.logout()
        assert alice.status("/hub/home", follow=False) == 302
        assert cookies is not None


def _who_may_not_log_in(machine: Machine) -> None:
    for name, password in (
        ("alice", "wrong"),
        ("alice", ""),
        ("stranger", PASSWORD),
        ("root", ""),
        ("jupyterhub", ""),
        ("nobody", "x"),
        ("no-such-person", "x"),
        ("alice\n", "wrong"),
        ("../alice", PASSWORD),
    ):
        with browser(machine) as window:
            result = window.login(name, password)
            assert not result.logged_in, (name, password)
            assert result.status < 500, (name, result)
            assert window.status("/hub/home", follow=False) == 302


def _others_stay_out(machine: Machine, kernel_id: str) -> None:
    with logged_in(machine, "bob") as bob:
        assert bob.status("/user/alice/lab") in (403, 404)
        assert bob.status("/user/alice/api/kernels") in (403, 404)
        assert bob.status("/hub/api/users/alice") in (403, 404)
        assert bob.fetch("DELETE", "/hub/api/users/alice/server").status in (403, 404)
        with pytest.raises(SocketRefused):
            bob.websocket(f"/user/alice/api/kernels/{kernel_id}/channels")
    with browser(machine) as nobody:
        assert "login" in nobody.get("/user/alice/lab").path


def test_names_are_taken_as_telephones_write_them(machine: Machine) -> None:
    with browser(machine) as window:
        assert window.login("Alice ", PASSWORD).logged_in
        assert window.name == "alice"


@pytest.mark.every_debian
def test_pam_refuses_expired_locked_and_empty(new_machine: NewMachine, suite: str) -> None:
    machine = ready(new_machine(suite, layer="installed"))
    add_member(machine, "expired", "locked", "stale", "empty", "good")
    machine.run("chage -E 2020-01-01 expired; usermod -L locked; chage -d 0 stale; passwd -d empty")
    for name, password in (("expired", PASSWORD), ("locked", PASSWORD), ("stale", PASSWORD), ("empty", "")):
        with browser(machine) as window:
            assert not window.login(name, password).logged_in, name
    with browser(machine) as window:
        assert window.login("good", PASSWORD).logged_in
    # What a module of the machine's own says may be anything: an umlaut in Latin-1 crashes other bindings.
    machine.write("/etc/says", "#!/bin/sh\necho said >>/run/said\nprintf 'bis \\334bermorgen\\n'\n")
    machine.run("chmod 755 /etc/says")
    machine.run("echo 'account optional pam_exec.so stdout /etc/says' >>/etc/pam.d/jupyterhub4family")
    with browser(machine) as window:
        assert window.login("good", PASSWORD).logged_in
    assert machine.read("/run/said") == "said\n"
    log = machine.run("journalctl --no-pager -t jupyterhub4family")
    assert "'expired'" in log and "account-expired" in log
    assert "password-expired" in log
    assert PASSWORD not in machine.run("journalctl --no-pager"), "a password stands in the log"


@pytest.mark.any_debian
def test_guessing_is_slowed_down_and_recorded_and_ends(new_machine: NewMachine, suite: str) -> None:
    machine = ready(new_machine(suite, layer="installed"))
    add_member(machine, "alice", "bob")
    with browser(machine) as guesser:
        for number in range(5):
            assert not guesser.login("alice", f"guess {number}").logged_in
        assert not guesser.login("alice", PASSWORD).logged_in, "after five wrong passwords even the right one waits"
    with browser(machine) as window:
        assert window.login("bob", PASSWORD).logged_in, "guessing at one account does not hinder another"
    # The machine's own logins are another count.
    assert "alice" not in machine.run("ls /run/faillock 2>/dev/null; true")
    log = machine.run("journalctl --no-pager -t jupyterhub4family")
    assert log.count("refused 'alice' from 10.") >= 5, log
    # A minute after the last try that was looked at it is over.
    time.sleep(61)
    with browser(machine) as window:
        assert window.login("alice", PASSWORD).logged_in


def test_strange_requests_get_no_server_error(machine: Machine) -> None:
    with browser(machine) as window:
        for path in (
            "/",
            "/hub/",
            "/hub/login",
            "/nothing",
            "/hub/nothing",
            "/user/alice/",
            "/user/nobody/lab",
            "/%00",
        ):
            assert window.status(path) < 500, path
