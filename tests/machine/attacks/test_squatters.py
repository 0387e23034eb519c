"""Members who lie in wait for the service's own ports, to answer in its place and catch what is sent there."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from tests.machine.lib.client import Browser, Kernel
from tests.machine.lib.family import CURL, HEALTHY, STATE, add_member, health, hub_pid, logged_in, proxy_pid, ready
from tests.machine.lib.machine import Machine
from tests.machine.lib.plugin import NewMachine, Scale

SQUATTERS = ("bob", "carl", "dora")
#: The portal's; the proxy's control port of 0.1.0; the hub's.
PORTS = (8000, 8001, 8081)

# Tries every address, for ever and as fast as it can; whoever connects is answered kindly, and written down.
SQUATTER = f"""
import os, selectors, socket, time
watch, taken = selectors.DefaultSelector(), set()
places = [(family, address, port) for port in {PORTS} for family, address in (
    (socket.AF_INET, "127.0.0.1"), (socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::"), (socket.AF_INET6, "::1"))]
print("lurking", flush=True)
while True:
    for place in places:
        if place in taken: continue
        door = socket.socket(place[0])
        door.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if os.getpid() % 2: door.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if place[0] == socket.AF_INET6: door.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, os.getpid() // 2 % 2)
        try:
            door.bind(place[1:]); door.listen()
        except OSError:
            door.close(); continue
        watch.register(door, selectors.EVENT_READ); taken.add(place)
        print("taken", place[1], place[2], flush=True)
    for key, _events in watch.select(0.001):
        visitor = key.fileobj.accept()[0]
        visitor.settimeout(1)
        try:
            print("caught", visitor.getsockname()[1], visitor.recv(65536), flush=True)
            visitor.sendall(b"HTTP/1.1 200 OK\\r\\nX-JupyterHub-Version: 6.1.1\\r\\nContent-Length: 2\\r\\n\\r\\n{{}}")
        except OSError: pass
        visitor.close()
"""


def lie_in_wait(machine: Machine) -> None:
    """Each of them begins now, and at every boot."""
    machine.write("/usr/local/share/squat.py", SQUATTER)
    start = "setsid python3 -u /usr/local/share/squat.py >>~/squat.log 2>&1 </dev/null &"
    for name in SQUATTERS:
        machine.run(start, user=name)
        machine.run(f"echo '@reboot {start}' | crontab -u {name} -")
        machine.wait(f"grep -q lurking /home/{name}/squat.log")


def prey(machine: Machine) -> str:
    """What they have caught. The control port of 0.1.0 is anybody's now: nobody comes there."""
    return "".join(machine.run(f"grep -a '^caught' /home/{name}/squat.log || true") for name in SQUATTERS)


def taken(machine: Machine) -> set[str]:
    """The places that they have got, as `ADDRESS PORT`."""
    lines = "".join(machine.run(f"grep -a '^taken' /home/{name}/squat.log || true") for name in SQUATTERS)
    return {line.removeprefix("taken ") for line in lines.splitlines()}


def tokens(machine: Machine) -> str:
    """The service's own secrets, as digests."""
    return machine.run(f"cd {STATE} && sha256sum proxy_token routes_token membership_token")


def stop_and_start(machine: Machine) -> None:
    """The portal is away for a while, and nobody takes its place."""
    machine.run("jupyterhub4family stop --yes")
    for port in (8000, 8081):
        status = machine.execute(f"{CURL} -k -m 1 https://127.0.0.1:{port}/hub/login").returncode
        assert status == 28, f"port {port} is held open, and nobody answers: curl ends with {status}"
    assert "not running" in machine.run("timeout 9 jupyterhub4family status --json || true")
    machine.run("jupyterhub4family start")


def kill_both(machine: Machine) -> None:
    """As the kernel does when there is no memory."""
    machine.run(f"kill -9 {hub_pid(machine)} {proxy_pid(machine)}")


def start_another_with_the_sockets(machine: Machine) -> None:
    """Hub and proxy go on: what systemd does to the sockets for another unit is done to theirs."""
    machine.run("[ ! -d /run/systemd/system ] || systemctl restart jupyterhub4family-ports.service")


#: One after the other.
SETTINGS = ("supervisor cron", "hub_port 8082", "port 8010", "supervisor auto")
DISTURBANCES: tuple[Callable[[Machine], object], ...] = (
    lambda machine: machine.run("jupyterhub4family restart"),
    lambda machine: machine.run("jupyterhub4family restart --all"),
    lambda machine: machine.run(f"kill -9 {hub_pid(machine)}"),
    lambda machine: machine.run(f"kill -9 {proxy_pid(machine)}"),
    kill_both,
    stop_and_start,
    start_another_with_the_sockets,
)


def still_there(machine: Machine, alice: Browser, number: object) -> None:
    """The portal is the family's, and her notebook has survived."""
    machine.wait(HEALTHY, timeout=120)
    machine.wait(f"{CURL} -m 5 -f -o /dev/null http://127.0.0.1:8081/hub/api", timeout=30)
    assert prey(machine) == "", number
    assert not {place for place in taken(machine) if place.split()[1] == "8000"}, (number, taken(machine))
    assert "127.0.0.1 8081" not in taken(machine), number
    assert alice.status("/hub/home") == 200, number


@pytest.mark.any_debian
def test_nobody_takes_a_port_that_the_settings_change(new_machine: NewMachine, suite: str) -> None:
    """Other ports, and cron in place of systemd. A server that runs meanwhile finds nobody else where its hub was."""
    machine = ready(new_machine(suite, layer="installed"))
    add_member(machine, "alice", *SQUATTERS)
    lie_in_wait(machine)
    with logged_in(machine, "alice") as alice:
        alice.start_server()
    portal, hub = 8000, 8081
    for setting in SETTINGS:
        machine.run(f"jupyterhub4family config set {setting} </dev/null", timeout=120)
        machine.run("jupyterhub4family restart --all")
        portal, hub = (8010 if setting == "port 8010" else portal), (8082 if setting == "hub_port 8082" else hub)
        for _again in range(2):
            machine.wait(health(portal), timeout=120)
            machine.wait(f"{CURL} -m 5 -f -o /dev/null http://127.0.0.1:{hub}/hub/api", timeout=30)
            assert "127.0.0.1 8081" not in taken(machine), "her server still sends there"
            assert prey(machine) == "", setting
            machine.run(f"kill -9 {hub_pid(machine)} {proxy_pid(machine)}")
    machine.wait(health(portal), timeout=120)
    refused = machine.execute("jupyterhub4family config set port 8000 </dev/null")
    assert refused.returncode == 9 and "a program of " in refused.stderr, "which has been somebody else's since"
    machine.run(f"jupyterhub4family config set port {portal} </dev/null; jupyterhub4family restart --all", timeout=120)
    machine.wait(health(portal), timeout=120)


@pytest.mark.every_init
# Five to ten restarts a minute, of which the campaign makes 200.
@pytest.mark.timeout(5400)
def test_nobody_takes_a_port_of_the_service(new_machine: NewMachine, suite: str, init: str, scale: Scale) -> None:
    """Restarts, crashes and a stop, in any order, while three members try all the time; then a boot."""
    machine = ready(new_machine(suite, layer="installed", init=init))
    add_member(machine, "alice", *SQUATTERS)
    lie_in_wait(machine)
    seed = random.randrange(10**6)
    chance = random.Random(seed)
    with logged_in(machine, "alice") as alice:
        alice.start_server()
        kernel = alice.kernel()
        kernel.execute("kept = 42")
        seen = {tokens(machine)}
        for number in range(scale(8, 200)):
            chance.choice(DISTURBANCES)(machine)
            still_there(machine, alice, (seed, number))
            seen.add(tokens(machine))
        assert len(seen) > 1, "secrets are new at every start of the hub"
        # Asked anew: a proxy that is restarted cuts its connections, and a browser makes another one.
        assert Kernel(alice, alice.home(""), kernel.id).execute("kept") == "42", seed
    machine.reboot()
    with logged_in(ready(machine), "alice") as alice:
        alice.start_server()
        still_there(machine, alice, "after a boot")
        assert alice.kernel().execute("6 * 7") == "42"
