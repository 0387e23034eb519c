"""A member who takes the ports that others' servers are about to listen on."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.machine.lib.client import Browser
from tests.machine.lib.family import add_member, logged_in, ready
from tests.machine.lib.machine import Machine
from tests.machine.lib.places import host
from tests.machine.lib.plugin import NewMachine

#: bind(0) draws from the odd half of these while it can, connect() from the even half (Linux since 4.2): whoever takes
#: the odd ones has whatever the hub has drawn, and the portal's own connections go on.
FIRST, LAST = 40000, 40999
NAME = "school"
#: What the kernel calls the process of a server that is prepared ahead.
PREPARED = "jupyter-waiting"
SQUAT = "setsid python3 -u ~/squat.py"

# With an argument it waits until somebody else's server is on its way. Takes every second port, and answers on all of
# them as if it were that server. Ends after five minutes.
SQUATTER = f"""
import os, selectors, socket, sys, time
def others():
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            words = open(f"/proc/{{pid}}/cmdline").read()
            if "bin/jupyterhub-singleuser" not in words or os.stat(f"/proc/{{pid}}").st_uid == os.getuid(): continue
            if open(f"/proc/{{pid}}/comm").read() != "{PREPARED}\\n": return True
        except OSError: pass
while sys.argv[1:] and not others(): time.sleep(0.005)
watch, taken = selectors.DefaultSelector(), 0
for port in range({FIRST} + 1, {LAST} + 1, 2):
    door = socket.socket()
    try:
        door.bind(("127.0.0.1", port)); door.listen()
    except OSError: continue
    watch.register(door, selectors.EVENT_READ); taken += 1
print("taken", taken, flush=True)
until = time.monotonic() + 300
while time.monotonic() < until:
    for key, _events in watch.select(0.1):
        visitor = key.fileobj.accept()[0]
        visitor.settimeout(1)
        try:
            print("caught", visitor.recv(65536)[:200], flush=True)
            head = b"HTTP/1.1 200 OK\\r\\nX-JupyterHub-Version: 6.1.1\\r\\nContent-Length: 7"
            visitor.sendall(head + b"\\r\\n\\r\\ngotcha!")
        except OSError: pass
        visitor.close()
"""


@pytest.mark.any_debian
def test_a_server_whose_port_is_taken_gets_another(new_machine: NewMachine, suite: str) -> None:
    machine = _with_alice_and_bob(new_machine(suite, layer="installed"))
    with logged_in(machine, "alice") as alice:
        # For a server that is prepared ahead no port is drawn yet: bob would come too early. None is prepared for one
        # that has a name, which leaves him half a second.
        machine.wait(f"pgrep -x -u alice {PREPARED}")
        machine.run(f"{SQUAT} until-one-starts >~/squat.log 2>&1 </dev/null &", user="bob")
        alice.start_server(NAME)
        _is_alices_alone(machine, alice, NAME)


@pytest.mark.any_debian
def test_nor_is_one_that_was_prepared_ahead_led_to_a_taken_port(new_machine: NewMachine, suite: str) -> None:
    machine = _with_alice_and_bob(new_machine(suite, layer="installed"))
    with logged_in(machine, "alice") as alice, ThreadPoolExecutor(1) as meanwhile:
        machine.wait(f"pgrep -x -u alice {PREPARED}")
        # What bob would need luck for: the port has been drawn, and the server takes its time.
        machine.run(f"pkill -STOP -x -u alice {PREPARED}")
        start = meanwhile.submit(alice.start_server)
        try:
            machine.wait("pgrep -u alice -f jupyterhub4family/mediator")
            machine.run(f"{SQUAT} >~/squat.log 2>&1 </dev/null &", user="bob")
            machine.wait("grep taken ~bob/squat.log")
        finally:
            machine.run(f"pkill -CONT -x -u alice {PREPARED}")
        start.result()
        _is_alices_alone(machine, alice, "")


def _with_alice_and_bob(machine: Machine) -> Machine:
    ready(machine)
    add_member(machine, "alice", "bob")
    # The machine may not do this itself; it has a network of its own, so that nobody else notices.
    setting = f"net.ipv4.ip_local_port_range={FIRST} {LAST}"
    host("nsenter", f"--target={machine.pid}", "--net", "sysctl", "-qw", setting)
    machine.write("/home/bob/squat.py", SQUATTER)
    return machine


def _is_alices_alone(machine: Machine, alice: Browser, name: str) -> None:
    """Bob had taken the port of her server `name`, and has got nothing of it."""
    bobs = machine.read("/home/bob/squat.log")
    assert int(bobs.split()[1]) > 400, f"bob did what the test is about: {bobs}"
    log = machine.run("jupyterhub4family logs hub")
    assert log.count(f"is taken by uid {machine.run('id -u bob').strip()}") == 1, log
    assert alice.kernel(name).execute("import getpass; getpass.getuser()") == "'alice'"
    assert "gotcha" not in alice.open_lab(name).text
    names = machine.run("pgrep -u alice -f bin/jupyterhub-singleuser | xargs -I% cat /proc/%/comm").splitlines()
    assert len(names) - names.count(PREPARED) == 1, "the first try has ended"
    assert "caught" not in machine.read("/home/bob/squat.log"), "not one request has reached bob"
    alice.stop_server(name)
