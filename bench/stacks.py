"""What the bench asks of either stack, and ours. The other one is in `stock.py`."""

from __future__ import annotations

import ssl
import time
from pathlib import Path
from typing import Protocol

import httpx

from tests.machine.lib import layers, store
from tests.machine.lib.client import Browser
from tests.machine.lib.machine import Machine
from tests.machine.lib.places import digest, host

SUITES = ("bookworm", "trixie")
PASSWORD = "correct horse 7"  # noqa: S105 (of accounts that live for minutes)
#: The third column: a bare tornado server through sudo, or whatever else is the least that a row can cost.
OURS, STOCK, FLOOR = "ours", "stock", "floor"


class Stack(Protocol):
    """One way to have JupyterHub on a plain Debian."""

    name: str
    suite: str
    """The release of Debian it stands on."""
    account: str
    """The service's account."""

    def install(self, machine: Machine) -> None:
        """What an administrator does on a plain machine until the service is told to start."""

    def settle(self, machine: Machine) -> None:
        """Wait until everything that goes on in the background after an installation is done."""

    def prepare_member(self, machine: Machine, name: str) -> None:
        """What an administrator does so that an existing Debian account may start a server."""

    def restart_hub(self, machine: Machine) -> None:
        """The command an administrator restarts the hub with, after changing its settings."""

    def installed(self, init: str = "systemd") -> tuple[Path, ...]:
        """Layers of a machine on which it is installed."""

    def family(self, machine: Machine, count: int) -> list[str]:
        """Make sure of so many members with environments; return their names."""

    def python(self, member: str) -> str:
        """The Python of a member's environment, which has tornado; with `{member}`, a pattern for all of them."""


class Ours:
    """jupyterhub4family, installed from its package."""

    name = OURS
    account = "jupyterhub"

    def __init__(self, deb: Path, suite: str, own_layers: bool = True) -> None:
        self.deb, self.suite = deb, suite
        self._own_layers = own_layers

    def install(self, machine: Machine) -> None:
        """Install the package as its README says."""
        machine.put(self.deb, f"/tmp/{self.deb.name}")  # noqa: S108 (of the machine)
        machine.run("apt -qq update </dev/null >/var/log/bench.log 2>&1")
        machine.run(f"apt -qq -y install /tmp/{self.deb.name} </dev/null >>/var/log/bench.log 2>&1")

    def settle(self, machine: Machine) -> None:
        """Wait for the template, which is built after the portal is up, and until nothing is compressed any more."""
        layers.wait_until_ready(machine, 400)
        layers.wait_until_compressed(machine, 400)

    def prepare_member(self, machine: Machine, name: str) -> None:
        """Let the account in; that also makes its environment."""
        machine.run(f"jupyterhub4family members add {name}")

    def restart_hub(self, machine: Machine) -> None:
        """Restart the hub only."""
        machine.run("jupyterhub4family restart")

    def installed(self, init: str = "systemd") -> tuple[Path, ...]:
        """Copy the layers that the machine tests use.

        A page that two machines share counts half in each one's PSS; the stock stack's layers are the bench's alone.
        """
        shared = layers.stack("installed", self.suite, init, self.deb)
        if not self._own_layers:
            return shared

        def copy(directory: Path) -> None:
            for number, layer in enumerate(shared):
                host("cp", "-a", layer, directory / str(number))

        key = digest(*(layer.parent.name for layer in shared))
        own = store.get("bench", f"ours-{self.suite}-{init}", key, copy, keep=1)
        return tuple(own / str(number) for number in range(len(shared)))

    def family(self, machine: Machine, count: int) -> list[str]:
        """Add the members that are missing."""
        self.settle(machine)
        names = member_names(count)
        for name in names:
            if machine.execute(f"id {name}").returncode:
                machine.add_account(name, PASSWORD)
                self.prepare_member(machine, name)
        return names

    def python(self, member: str) -> str:
        """In the environment that was made of the template."""
        return f"/home/{member}/.local/share/jupyterhub4family/env/bin/python"


def member_names(count: int) -> list[str]:
    """The first so many members."""
    return [f"member{number:02d}" for number in range(1, count + 1)]


def wait_for_portal(machine: Machine, timeout: float = 600) -> str:
    """Ask twenty times a second until the login page answers with 200; return the portal's address."""
    trusting = ssl.create_default_context()
    trusting.check_hostname = False
    trusting.verify_mode = ssl.CERT_NONE
    until = time.monotonic() + timeout
    addresses = [f"{scheme}://{machine.ip}:8000" for scheme in ("http", "https")]
    with httpx.Client(verify=trusting, trust_env=False, timeout=5) as client:
        while time.monotonic() < until:
            for address in addresses:
                if _login_page(client, address):
                    return address
            time.sleep(0.05)
    raise TimeoutError(f"{machine.name}: no login page after {timeout:.0f} s")


def _login_page(client: httpx.Client, address: str) -> bool:
    try:
        return client.get(f"{address}/hub/login").status_code == 200
    except httpx.HTTPError:
        return False


def log_in(address: str, name: str) -> Browser:
    """A browser in which this member is logged in."""
    window = Browser(address, verify=False, timeout=180)
    window.login(name, PASSWORD).expect()
    return window


def start_until_lab(window: Browser) -> float:
    """Press start; the seconds until JupyterLab's page has come."""
    began = time.monotonic()
    window.start_server(timeout=300)
    window.open_lab().expect()
    return time.monotonic() - began
