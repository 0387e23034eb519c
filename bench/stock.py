"""The stock stack, as the documentation of its parts says, with what that leaves open chosen in its favour.

* JupyterHub's quickstart: `apt-get install nodejs npm`, `npm install -g configurable-http-proxy`, pip in a venv;
* "Run JupyterHub without root privileges using sudo": the account rhea in group shadow, sudospawner, sudoers;
* its sample of a systemd unit (which has no Restart=).

Each member has an environment of their own. sudospawner starts the server that lies beside its own script, so it is
installed there, too, and the one command that sudo allows is a wrapper that goes on to the member's copy.
Versions are those of our lock, so that only the way differs.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from pathlib import Path

from bench.stacks import PASSWORD, STOCK, member_names, wait_for_portal
from tests.machine.lib import roots, store
from tests.machine.lib.machine import Machine
from tests.machine.lib.places import REPOSITORY, digest

_RECIPE = "1"
_Work = Callable[["Stock", Machine], dict[str, float]]
#: Members with an environment of their own in the family's layer; those beyond share one, to spare the disk.
OWN_ENVIRONMENTS = 10
LARGEST_FAMILY = 100

# Certificates: pip and npm bring lists of their own, which know nothing of a network that filters.
_TRUST = "export PIP_CERT=/etc/ssl/certs/ca-certificates.crt NODE_EXTRA_CA_CERTS=/etc/ssl/certs/ca-certificates.crt; "
_QUIET = "</dev/null >>/var/log/bench.log 2>&1"

_CONFIGURATION = """
c.JupyterHub.bind_url = "http://:8000"
c.JupyterHub.spawner_class = "sudospawner.SudoSpawner"
c.SudoSpawner.sudospawner_path = "/usr/local/bin/sudospawner"
c.Authenticator.allowed_groups = {"jupyterhub"}
c.PAMAuthenticator.admin_groups = set()
# Not from the documentation: ten members who start at once on a small machine need more than the usual 30 seconds.
c.Spawner.start_timeout = 180
c.Spawner.http_timeout = 180
"""
_WRAPPER = """#!/bin/sh
exec "$HOME/venv/bin/sudospawner" "$@"
"""
_SUDOERS = """
Cmnd_Alias JUPYTER_CMD = /usr/local/bin/sudospawner
rhea ALL=(%jupyterhub) NOPASSWD:JUPYTER_CMD
"""
_UNIT = """
[Unit]
Description=JupyterHub
After=syslog.target network.target

[Service]
User=rhea
WorkingDirectory=/var/lib/rhea
Environment="PATH=/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/opt/jupyterhub/bin"
ExecStart=/opt/jupyterhub/bin/jupyterhub -f /etc/jupyterhub/jupyterhub_config.py

[Install]
WantedBy=multi-user.target
"""
UNIT = "jupyterhub.service"


def versions() -> dict[str, str]:
    """The versions of our lock for this Debian's Python: the newest of each."""
    found: dict[str, str] = {}
    for lock in ("hub.txt", "member.txt"):
        text = (REPOSITORY / "locks" / lock).read_text()
        for name, version in re.findall(r"^(jupyterhub|jupyterlab|notebook|sudospawner)==([0-9.]+)", text, re.M):
            found[name] = max(found.get(name, "0"), version, key=lambda word: [int(part) for part in word.split(".")])
    proxy = json.loads((REPOSITORY / "locks/proxy/package.json").read_text())
    return {**found, **proxy["dependencies"]}


def _pinned(*names: str) -> str:
    pins = versions()
    return " ".join(f"{name}=={pins[name]}" for name in names)


class Stock:
    """JupyterHub, configurable-http-proxy and sudospawner by pip and npm."""

    name = STOCK
    account = "rhea"

    def __init__(self, suite: str) -> None:
        self.suite = suite

    def install(self, machine: Machine) -> None:
        """Do what the documentation says, as root, until the service is started."""
        machine.run(f"apt -qq update {_QUIET}")
        machine.run(f"apt -qq -y install nodejs npm python3-venv sudo {_QUIET}")
        proxy = f"configurable-http-proxy@{versions()['configurable-http-proxy']}"
        machine.run(f"{_TRUST} npm install -g {proxy} {_QUIET}")
        machine.run(f"python3 -m venv /opt/jupyterhub {_QUIET}")
        wanted = _pinned("jupyterhub", "sudospawner")
        machine.run(f"{_TRUST} /opt/jupyterhub/bin/pip install {wanted} {_QUIET}")
        machine.run("groupadd jupyterhub; useradd -r -m -d /var/lib/rhea -G shadow rhea")
        machine.write("/etc/jupyterhub/jupyterhub_config.py", _CONFIGURATION)
        machine.write("/usr/local/bin/sudospawner", _WRAPPER, 0o755)
        machine.write("/etc/sudoers.d/jupyterhub", _SUDOERS, 0o440)
        machine.write(f"/etc/systemd/system/{UNIT}", _UNIT)
        machine.run(f"systemctl daemon-reload; systemctl enable --now {UNIT} {_QUIET}")

    def settle(self, machine: Machine) -> None:
        """Nothing goes on in the background."""

    def prepare_member(self, machine: Machine, name: str) -> None:
        """Let the account in, and make its environment as the account itself would."""
        machine.run(f"usermod -aG jupyterhub {name}")
        machine.run("python3 -m venv ~/venv", user=name)
        wanted = _pinned("jupyterhub", "jupyterlab", "notebook", "sudospawner")
        machine.run(f"{_TRUST} ~/venv/bin/pip install -q {wanted}", user=name)

    def restart_hub(self, machine: Machine) -> None:
        """Restart the unit; the hub starts its proxy itself."""
        machine.run(f"systemctl restart {UNIT}")

    def installed(self, init: str = "systemd") -> tuple[Path, ...]:
        """A layer with the stack and one member."""
        assert init == "systemd", "the stock stack's documentation knows systemd only"
        key = digest(_RECIPE, roots.root_key(self.suite, init), json.dumps(versions(), sort_keys=True), *_TEXTS)
        return (
            store.get("bench", f"stock-{self.suite}", key, _layer(self, (), _install_with_member), keep=1) / "tree",
        )

    def family_layers(self) -> tuple[Path, ...]:
        """The layers above, and all members that the bench ever needs."""
        below = self.installed()
        key = digest(_RECIPE, below[0].parent.name, str(LARGEST_FAMILY))
        work = _layer(self, below, _copy_members)
        return (*below, store.get("bench", f"stockfamily-{self.suite}", key, work, keep=1) / "tree")

    def family(self, machine: Machine, count: int) -> list[str]:
        """The members are in the layer."""
        return member_names(count)

    def python(self, member: str) -> str:
        """In the member's own venv."""
        return f"/home/{member}/venv/bin/python"


_TEXTS = (_CONFIGURATION, _WRAPPER, _SUDOERS, _UNIT)


def _layer(stack: Stock, below: tuple[Path, ...], work: _Work) -> Callable[[Path], None]:
    """Give a builder for the cache; how long its steps took is noted beside the layer."""

    def build(directory: Path) -> None:
        with Machine(stack.suite, below) as machine:
            seconds = work(stack, machine)
            machine.run("apt-get clean; rm -rf /root/.cache /root/.npm /home/*/.cache")
            machine.freeze_layer(directory / "tree")
        (directory / "seconds.json").write_text(json.dumps(seconds, indent=1) + "\n")

    return build


def _install_with_member(stack: Stock, machine: Machine) -> dict[str, float]:
    began = time.monotonic()
    stack.install(machine)
    wait_for_portal(machine)
    portal = time.monotonic()
    (name,) = member_names(1)
    machine.add_account(name, PASSWORD)
    stack.prepare_member(machine, name)
    return {"install until the portal answers": portal - began, "environment of a member": time.monotonic() - portal}


def _copy_members(_stack: Stock, machine: Machine) -> dict[str, float]:
    """What pip would make for each, copied: the same files, with the paths in the scripts' first lines changed."""
    began = time.monotonic()
    first, *others = member_names(LARGEST_FAMILY)
    own = others[: OWN_ENVIRONMENTS - 1]
    copies = {"/srv/venv": "root", **{f"/home/{name}/venv": name for name in own}}
    for name in others:
        machine.add_account(name, PASSWORD, ("jupyterhub",))
        if name not in own:
            machine.run(f"ln -s /srv/venv /home/{name}/venv")
    for place, owner in copies.items():
        machine.run(f"cp -a /home/{first}/venv {place} && chown -R {owner}: {place}")
        machine.run(f"grep -rlI '^#!/home/{first}/venv' {place}/bin | xargs sed -i '1s,/home/{first}/venv,{place},'")
    return {"copies of environments": time.monotonic() - began}
