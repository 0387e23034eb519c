"""Servers that start lean (ADR 27): as usable as plain ones, and plain where anything is not as it was tried."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator

import pytest

from tests.machine.lib.client import Browser
from tests.machine.lib.family import add_member, logged_in, ready, shared_machine
from tests.machine.lib.machine import Machine
from tests.machine.lib.plugin import NewMachine

PLACE = ".local/share/jupyterhub4family"
LOG = ".local/state/jupyterhub4family/server.log"
#: Of Debian 11's Python pip knows no certificates but its own, so behind a filtering proxy it has to be told.
PIP = f"PIP_CERT=/etc/ssl/certs/ca-certificates.crt ~/{PLACE}/env/bin/python -m pip"
START = "/usr/lib/jupyterhub4family/jupyterhub4family/lean/start.py"
#: An extension of the member's own: what was loaded before it, and what it gets when it imports.
EXTENSION = """
import json, sys
LOADED = sorted(sys.modules)
from sqlalchemy import create_engine, text
from sqlalchemy.exc import OperationalError, SQLAlchemyError
import requests, IPython, httpx, jupyterhub.orm
try:
    import aiohttp
except ImportError:  # JupyterHub 5 does without
    aiohttp = None
from jupyter_server.base.handlers import JupyterHandler
import tornado.web

class Probe(JupyterHandler):
    @tornado.web.authenticated
    async def get(self):
        try:
            with create_engine("sqlite://").connect() as connection:
                three = connection.execute(text("select 1 + 2")).scalar()
                connection.execute(text("select nonsense"))
        except SQLAlchemyError as error:
            caught = isinstance(error, OperationalError)
        by_aiohttp = None
        if aiohttp is not None:
            async with aiohttp.ClientSession() as session:
                async with session.get("http://127.0.0.1:8081/hub/api") as answer:
                    by_aiohttp = (await answer.json())["version"]
        self.finish(json.dumps({
            "early": [one for one in LOADED if one.split(".")[0] in ("sqlalchemy", "alembic", "aiohttp", "requests")],
            "three": three, "caught": caught, "table": jupyterhub.orm.User.__tablename__, "hub": by_aiohttp,
            "requests": requests.get("http://127.0.0.1:8081/hub/api").json()["version"],
            "httpx": httpx.get("http://127.0.0.1:8081/hub/api").json()["version"],
            "IPython": IPython.InteractiveShell.__name__, "argv": sys.argv, "path": sys.path[0],
        }))

def _load_jupyter_server_extension(app):
    app.web_app.add_handlers(".*", [(app.base_url + "lean-probe", Probe)])

def _jupyter_server_extension_points():
    return [{"module": "lean_probe"}]
"""
SETTINGS = {
    "ServerApp": {"jpserver_extensions": {"lean_probe": True}},
    # In place of five minutes.
    "JupyterHubSingleUser": {"hub_activity_interval": 1},
}


def command_line(machine: Machine, name: str) -> str:
    return machine.run(f"pgrep -a -u {name} -f bin/jupyterhub-singleuser")


def log_of(machine: Machine, name: str) -> str:
    return machine.run(f"cat ~{name}/{LOG}")


def restart(browser: Browser) -> None:
    browser.stop_server()
    browser.start_server()


@pytest.fixture(scope="module")
def machine(suite: str) -> Iterator[Machine]:
    """A machine with two members; tests put back what they change."""
    with shared_machine(suite, "alice", "bob") as machine:
        yield machine


@pytest.mark.every_debian
def test_a_lean_server_is_as_good_as_a_plain_one(new_machine: NewMachine, suite: str) -> None:
    machine = ready(new_machine(suite, layer="installed"))
    add_member(machine, "alice")
    machine.run(f"cat > $(echo ~/{PLACE}/env/lib/python3*/site-packages)/lean_probe.py", user="alice", input=EXTENSION)
    machine.run(
        "mkdir -p ~/.jupyter && cat > ~/.jupyter/jupyter_server_config.json", user="alice", input=json.dumps(SETTINGS)
    )
    with logged_in(machine, "alice") as alice:
        alice.start_server()
        assert START in command_line(machine, "alice")
        assert alice.open_lab().status == 200
        assert alice.kernel().execute("6 * 7") == "42"
        _probe_is_real(machine, alice)
        _programs_know_nothing(machine, alice)
        reported = alice.servers()[""]["last_activity"]
        machine.wait("sleep 1.5")
        alice.kernel().execute("1")
        deadline = time.monotonic() + 20
        while alice.servers()[""]["last_activity"] <= reported:
            assert time.monotonic() < deadline, "the server reports activity to the hub"
            time.sleep(0.5)
        log = log_of(machine, "alice")
        assert "plain, not lean" not in log and not re.search(r"^\[E |Error notifying Hub", log, re.MULTILINE), log
        assert "alice" in machine.run("jupyterhub4family status")
        alice.stop_server()
        assert machine.execute("pgrep -u alice -f bin/jupyterhub-singleuser").returncode == 1


def _probe_is_real(machine: Machine, alice: Browser) -> None:
    program = f"/home/alice/{PLACE}/env/bin/jupyterhub-singleuser"
    version = machine.run(
        f"~alice/{PLACE}/env/bin/python -c 'import jupyterhub; print(jupyterhub.__version__)'"
    ).strip()
    found = alice.get(alice.home() + "lean-probe").expect().json()
    assert found == {
        "early": [],
        "three": 3,
        "caught": True,
        "table": "users",
        "hub": None if version.startswith("5.") else version,
        "requests": version,
        "httpx": version,
        "IPython": "InteractiveShell",
        "argv": [program],
        "path": program.rpartition("/")[0],
    }


def _programs_know_nothing(machine: Machine, alice: Browser) -> None:
    """Kernels, shells and what is started in them."""
    names = "[one for one in (*os.environ, *sys.modules, *sys.path) if 'lean' in one]"
    probe = f"import gc, os, sys; print(gc.get_threshold()[0], {names})"
    in_kernel = alice.kernel().execute(probe)
    shell = alice.terminal()
    in_shell = shell.run(f'python -c "{probe}"').output
    plain = machine.run(f'~/{PLACE}/env/bin/python -c "{probe}"', user="alice").strip()
    assert in_kernel.strip() == in_shell == plain and plain.endswith("[]")
    assert "jupyterhub 6" in shell.run("pip list 2>/dev/null | tr -s ' '").output.replace(
        "jupyterhub 5", "jupyterhub 6"
    )
    assert shell.run("jupyter server list >/dev/null; echo $?").output == "0"


@pytest.mark.any_debian
def test_the_setting_and_the_members_file_make_servers_plain(machine: Machine) -> None:
    with logged_in(machine, "alice") as alice, logged_in(machine, "bob") as bob:
        alice.start_server()
        assert START in command_line(machine, "alice")
        machine.run(
            "mkdir -p ~/.config/jupyterhub4family && touch ~/.config/jupyterhub4family/plain-server", user="bob"
        )
        bob.start_server()
        assert START not in command_line(machine, "bob") and bob.kernel().execute("1 + 1") == "2"
        machine.run("rm ~/.config/jupyterhub4family/plain-server", user="bob")
        machine.run("jupyterhub4family config set lean_servers false")
        machine.wait_http("/hub/login")
        for one, name in ((alice, "alice"), (bob, "bob")):
            restart(one)
            assert START not in command_line(machine, name), name
        assert alice.kernel().execute("1 + 1") == "2"
        machine.run("jupyterhub4family config unset lean_servers")
        machine.wait_http("/hub/login")
        restart(bob)
        assert START in command_line(machine, "bob")
        bob.stop_server()
        alice.stop_server()


@pytest.mark.any_debian
def test_another_jupyterhub_of_the_members_own_starts_plain(new_machine: NewMachine, suite: str) -> None:
    machine = ready(new_machine(suite, layer="installed"))
    add_member(machine, "alice")
    other = "5.5.3" if suite == "bullseye" else "6.1.0"
    with logged_in(machine, "alice") as alice:
        alice.start_server()
        done = alice.terminal().run(f"{PIP} install -q jupyterhub=={other} && echo done", 180)
        assert "done" in done.output, done
        restart(alice)
        (line,) = [line for line in log_of(machine, "alice").splitlines() if "plain, not lean" in line]
        assert line.endswith(f"NotTested: JupyterHub {other} has not been tried with it")
        assert alice.kernel().execute("6 * 7") == "42"
        pid = int(machine.run("pgrep -u alice -f bin/jupyterhub-singleuser").split()[0])
        assert START not in command_line(machine, "alice"), "it has become the plain program, with the same pid"
        alice.stop_server()
        assert machine.execute(f"test -d /proc/{pid}").returncode == 1
