"""HOST.local, with Debian's avahi: announced, found by another machine at home, and told truly when it is not ours."""

from __future__ import annotations

import json
import re

from tests.machine.lib.family import ready
from tests.machine.lib.machine import Machine
from tests.machine.lib.plugin import NewMachine

#: Time for avahi to ask whether a name is taken, under load.
TIMEOUT = 60


def install_avahi(machine: Machine) -> None:
    """avahi and what lets programs find names in .local; a package may not have it started here."""
    machine.run("apt-get install -qy --no-install-recommends avahi-daemon avahi-utils libnss-mdns", timeout=300)
    machine.run("systemctl restart avahi-daemon")


def wait_for_name(machine: Machine, name: str) -> None:
    machine.wait(f"grep -aqF 'running [{name}]' /proc/$(cat /run/avahi-daemon/pid)/cmdline", timeout=TIMEOUT)


def addresses(machine: Machine) -> list[str]:
    return list(json.loads(machine.execute("jupyterhub4family status --json").stdout)["addresses"])


def reported(machine: Machine) -> str:
    """What doctor says of names."""
    return machine.execute("jupyterhub4family doctor names").stdout


def test_the_name_in_local(new_machine: NewMachine) -> None:
    box = ready(new_machine("bookworm", layer="installed"))
    other = ready(new_machine("trixie", layer="installed"))
    # One that no other test on this computer uses at the same time.
    name = f"box{box.name}".lower()
    for machine in (box, other):
        machine.run(f"hostnamectl set-hostname {name} && echo 127.0.1.1 {name} >>/etc/hosts")

    assert f"avahi is not running, so {name}.local does not lead here" in reported(box)
    assert addresses(box)[0] == f"https://{box.ip}:8000/"
    install_avahi(box)
    wait_for_name(box, f"{name}.local")
    assert addresses(box)[0] == f"https://{name}.local:8000/"
    assert f"avahi announces {name}.local at home" in reported(box)
    assert f"https://{name}.local:8000/   https://{box.ip}:8000/" in box.run("run-parts /etc/update-motd.d")
    # What a new device is sent to is an address that every device can find.
    assert f"http://{box.ip}:8000/trust" in box.run("jupyterhub4family status")
    box.run("jupyterhub4family restart")

    install_avahi(other)
    wait_for_name(other, f"{name}-2.local")
    assert box.ip in other.run(f"avahi-resolve -4 -n {name}.local")
    other.wait(f"avahi-browse -rpt _https._tcp | grep -F ';{box.ip};8000;'", timeout=TIMEOUT)
    # As a browser there does it: by name, with the authority that it has been told.
    other.write("/root/ca.crt", box.read("/var/lib/jupyterhub4family/ca.crt"))
    portal = f"curl -sf --cacert /root/ca.crt -o /dev/null https://{name}.local:8000/hub/health"
    box.wait(portal.replace("/root/ca.crt", "/var/lib/jupyterhub4family/ca.crt"), timeout=TIMEOUT)
    other.wait(portal, timeout=TIMEOUT)

    assert f"another device at home is called {name}, too, and {name}.local leads to that one" in reported(other)
    assert addresses(other)[0] == f"https://{other.ip}:8000/"
    assert ".local" not in other.run("run-parts /etc/update-motd.d")

    # The way out that doctor names, and what it says half-way.
    other.run(f"hostnamectl set-hostname {name}x && echo 127.0.1.1 {name}x >>/etc/hosts")
    if re.search("avahi announces another name", reported(other)):
        other.run("service avahi-daemon restart")
    wait_for_name(other, f"{name}x.local")
    assert f"avahi announces {name}x.local at home" in reported(other)
    assert addresses(other)[0] == f"https://{name}x.local:8000/"

    # systemd keeps avahi's socket when avahi is stopped.
    box.run("systemctl stop avahi-daemon 2>/dev/null")
    assert box.exists("/run/avahi-daemon/socket")
    assert addresses(box)[0] == f"https://{box.ip}:8000/"
