"""Members' servers: several at once, and what they survive."""

from __future__ import annotations

import re
import time

import pytest

from tests.machine.lib.client import Browser, Kernel
from tests.machine.lib.deb import build_deb
from tests.machine.lib.family import CURL, HEALTHY, add_member, digest_of_template, hub_pid, logged_in, proxy_pid, ready
from tests.machine.lib.machine import Machine
from tests.machine.lib.plugin import NewMachine

ENVIRONMENT = ".local/share/jupyterhub4family/env"
#: Half of what Jupyter's servers let through in a second, on and on.
TALK = """
import threading, time

def talk():
    while True:
        print("x" * 5000, flush=True)
        time.sleep(0.01)

threading.Thread(target=talk, daemon=True).start()
"""
TURNS = 10


@pytest.mark.any_debian
def test_two_named_servers_side_by_side(new_machine: NewMachine, suite: str) -> None:
    machine = ready(new_machine(suite, layer="installed"))
    add_member(machine, "alice")
    with logged_in(machine, "alice") as alice:
        alice.start_server("school")
        alice.start_server("music-2")
        school, music = alice.kernel("school"), alice.kernel("music-2")
        school.execute("x = 'school'")
        music.execute("x = 'music'")
        assert set(alice.servers()) == {"school", "music-2"}
        alice.stop_server("school")
        assert music.execute("x") == "'music'"
        assert "music-2" in alice.servers()
        logs = machine.run("ls ~alice/.local/state/jupyterhub4family/").split("\n")
        assert "server-school.log" in logs
        # Nothing of the stopped server is left, nothing of the mediator stays beside the other one.
        processes = machine.run("ps -u alice -o comm,args --no-headers").splitlines()
        # One that waits (ADR 36) is the default server's, and none yet.
        servers = [one for one in processes if "jupyterhub-singleuser" in one and not one.startswith("jupyter-waiting")]
        assert len(servers) == 1, processes
        assert "mediator" not in machine.run("ps axo args")


def _doors_opened(machine: Machine, since: str) -> list[tuple[str, str]]:
    """As whom and which doors were opened since then, as sudo has noted it."""
    noted = machine.run(f"journalctl -q -o cat -t sudo --since '{since}'")
    return sorted(re.findall(r"USER=(\S+) ; (?:ENV=\S+ ; )?COMMAND=/usr/lib/jupyterhub4family/(\S+)", noted))


@pytest.mark.every_debian
def test_a_usual_start_opens_one_door_as_the_member_and_one_as_root(new_machine: NewMachine, suite: str) -> None:
    machine = ready(new_machine(suite, layer="installed"))
    add_member(machine, "alice")
    with logged_in(machine, "alice") as alice:
        # Logging in has led to the start page, so the first one is prepared, and in its scope already (ADR 36).
        for is_prepared, broken in ((True, False), (False, False), (False, True), (False, False)):
            if broken:
                machine.run(f"rm -r ~alice/{ENVIRONMENT}/lib/python3*/site-packages/notebook")
            since = machine.run("sleep 1.1; date '+%Y-%m-%d %H:%M:%S'").strip()
            messages = [event.message for event in alice.start_server()]
            opened = _doors_opened(machine, since)
            if broken:
                assert any("Repairing your environment" in message for message in messages), messages
                assert opened.count(("alice", "mediator")) == 3, opened
                assert ("root", "confine") in opened and ("root", "environment") in opened, opened
            else:
                of_root = [] if is_prepared else [("root", "confine")]
                assert opened == [("alice", "mediator"), *of_root], messages
                assert "Starting your server" in messages, messages
            assert alice.kernel().execute("6 * 7") == "42"
            alice.stop_server()


def _kernel_with_variable(browser: Browser) -> tuple[Kernel, str]:
    kernel = browser.kernel()
    kernel.execute("kept = 'since the beginning'")
    return kernel, kernel.execute("import os; os.getpid()")


def _still_there(machine: Machine, kernel: Kernel, pid: str) -> None:
    kernel.reconnect()
    assert kernel.execute("kept") == "'since the beginning'"
    assert kernel.execute("os.getpid()") == pid
    # And the hub knows the server: it is listed, and can be stopped.
    machine.wait_http("/hub/login")


@pytest.mark.every_init
def test_kernels_survive_the_hub(new_machine: NewMachine, init: str, suite: str) -> None:
    """Hub killed, restarted, upgraded in place: the same process, the same variable."""
    machine = ready(new_machine(suite, layer="installed", init=init))
    add_member(machine, "alice")
    with logged_in(machine, "alice") as alice:
        alice.start_server()
        kernel, pid = _kernel_with_variable(alice)

        old_hub, old_proxy = hub_pid(machine), proxy_pid(machine)
        machine.run(f"kill -9 {old_hub}")
        # The open notebook does not even notice: it goes through the proxy.
        assert kernel.execute("kept") == "'since the beginning'"
        took = machine.wait(HEALTHY, timeout=60)
        assert took < (20 if init == "systemd" else 70), took
        assert hub_pid(machine) != old_hub
        assert proxy_pid(machine) == old_proxy
        _still_there(machine, kernel, pid)

        machine.run("jupyterhub4family restart")
        machine.wait(HEALTHY, timeout=60)
        _still_there(machine, kernel, pid)

        before = hub_pid(machine)
        newer = build_deb("0.1.0+test1")
        machine.put(newer, "/root/newer.deb")
        machine.run("apt-get install -y /root/newer.deb </dev/null >/dev/null 2>&1")
        machine.wait(f"pgrep -u jupyterhub -f 'bin/jupyterhub -f' | grep -v '^{before}$'", timeout=90)
        machine.wait(HEALTHY, timeout=60)
        assert proxy_pid(machine) == old_proxy, "an upgrade that brings no new proxy leaves it running"
        _still_there(machine, kernel, pid)

        assert "" in alice.servers()
        alice.stop_server()
        # The hub says "stopped" when the server is gone; whatever it had started ends within seconds.
        machine.wait("! ps -o args --no-headers -u alice | grep -E 'ipykernel|singleuser'", timeout=10)


@pytest.mark.every_init
def test_a_killed_proxy_comes_back_with_its_routes(new_machine: NewMachine, init: str, suite: str) -> None:
    machine = ready(new_machine(suite, layer="installed", init=init))
    add_member(machine, "alice")
    with logged_in(machine, "alice") as alice:
        alice.start_server()
        kernel, pid = _kernel_with_variable(alice)
        machine.run(f"kill -9 {proxy_pid(machine)}")
        began = time.monotonic()
        machine.wait(f"{CURL} -f https://127.0.0.1:8000/user/alice/api/status || [ $? = 22 ]", timeout=70)
        while alice.status("/user/alice/api/status") != 200:
            assert time.monotonic() - began < 70
            time.sleep(0.2)
        took = time.monotonic() - began
        assert took < (15 if init == "systemd" else 70), took
        _still_there(machine, kernel, pid)


@pytest.mark.any_debian
def test_a_browser_that_vanishes_takes_nobody_along(new_machine: NewMachine, suite: str) -> None:
    """A laptop that is closed while its kernel prints: the proxy must not stumble over the connection's end."""
    machine = ready(new_machine(suite, layer="installed"))
    # Her own server's opinion of it.
    machine.expect_log("tornado.websocket.WebSocketClosedError")
    add_member(machine, "alice", "bob")
    with logged_in(machine, "alice") as alice, logged_in(machine, "bob") as bob:
        alice.start_server()
        bob.start_server()
        other = bob.kernel()
        other.execute("kept = 42")
        talker = alice.kernel()
        talker.execute(TALK)
        proxy = proxy_pid(machine)
        for _turn in range(TURNS):
            talker.heard_and_lost(after=100_000)
        machine.wait("journalctl -q -o cat -u jupyterhub4family-proxy --grep='A connection broke'", timeout=60)
        assert proxy_pid(machine) == proxy
        assert other.execute("kept") == "42", "the very same connection goes on"


@pytest.mark.any_debian
def test_a_killed_server_is_noticed_and_starts_again(new_machine: NewMachine, suite: str) -> None:
    machine = ready(new_machine(suite, layer="installed"))
    add_member(machine, "alice")
    with logged_in(machine, "alice") as alice:
        alice.start_server()
        machine.run("pkill -9 -u alice -f jupyterhub-singleuser")
        until = time.monotonic() + 60
        while "" in alice.servers():
            assert time.monotonic() < until, "the hub believes in a dead server"
            time.sleep(1)
        alice.start_server()
        assert alice.kernel().execute("1") == "1"


@pytest.mark.any_debian
def test_pip_changes_only_the_members_own_environment(new_machine: NewMachine, suite: str) -> None:
    machine = ready(new_machine(suite, layer="installed"))
    add_member(machine, "alice", "bob")
    template = digest_of_template(machine)
    with logged_in(machine, "alice") as alice, logged_in(machine, "bob") as bob:
        alice.start_server()
        bob.start_server()
        terminal = alice.terminal()
        assert terminal.run("command -v pip").output.strip().endswith(f"/home/alice/{ENVIRONMENT}/bin/pip")
        done = terminal.run("pip install -q six==1.16.0 'jupyterlab<4.6' && echo installed", timeout=180)
        assert "installed" in done.output, done
        kernel = alice.kernel()
        assert "1.16.0" in kernel.execute("import six; print(six.__version__)")
        kernel.execute("%pip install -q iniconfig==2.0.0", timeout=120)
        assert "2.0.0" in kernel.execute("import importlib.metadata as m; print(m.version('iniconfig'))")

        bobs = bob.kernel().execute("import importlib.util as u; print(u.find_spec('iniconfig'))")
        assert bobs.strip() == "None"
        assert digest_of_template(machine) == template

        # The next start leaves all that alone: nothing that a server needs is missing.
        alice.stop_server()
        alice.start_server()
        kernel = alice.kernel()
        assert kernel.execute("import importlib.metadata as m; print(m.version('jupyterlab'))").startswith("4.5")


@pytest.mark.any_debian
def test_a_broken_environment_is_mended_with_its_extras(new_machine: NewMachine, suite: str) -> None:
    machine = ready(new_machine(suite, layer="installed"))
    add_member(machine, "alice")
    with logged_in(machine, "alice") as alice:
        alice.start_server()
        alice.terminal().run("pip install -q iniconfig==2.0.0; echo 'precious' > ~/notes.txt", timeout=120)
        alice.stop_server()
        machine.run(f"rm -r ~alice/{ENVIRONMENT}/lib/python3*/site-packages/jupyterlab", user="alice")
        events = alice.start_server()
        assert any("Repairing" in event.message for event in events), events
        kernel = alice.kernel()
        assert "2.0.0" in kernel.execute("import importlib.metadata as m; print(m.version('iniconfig'))")
        assert machine.read("/home/alice/notes.txt") == "precious\n"
        assert machine.run("ls -d ~alice/.local/share/jupyterhub4family/env.aside-*").strip()


@pytest.mark.any_debian
def test_a_failing_start_says_why(new_machine: NewMachine, suite: str) -> None:
    machine = ready(new_machine(suite, layer="installed"))
    add_member(machine, "alice")
    with logged_in(machine, "alice") as alice:
        alice.start_server()
        alice.stop_server()
        machine.run("mkdir ~/.jupyter", user="alice")
        machine.write("/home/alice/.jupyter/jupyter_server_config.py", "raise SystemExit('my own mistake')\n")
        began = time.monotonic()
        try:
            alice.start_server()
        except Exception as error:
            assert "my own mistake" in str(error), error
        else:
            raise AssertionError("the server started")
        assert time.monotonic() - began < 20, "an early death is seen at once"
        machine.run("rm ~/.jupyter/jupyter_server_config.py", user="alice")
        alice.start_server()
