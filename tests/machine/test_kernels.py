"""What a kernel says is for its owner: a member who listens on this computer hears nothing."""

from __future__ import annotations

import json

from tests.machine.lib.client import Browser
from tests.machine.lib.family import add_member, logged_in, ready
from tests.machine.lib.machine import Machine
from tests.machine.lib.plugin import NewMachine

SECRET = "my diary, page one"

# Subscribes to whatever the kernel's publisher could be: every TCP port that alice listens on, and the sockets in her
# folder. A subscriber needs no key.
LISTENER = """
import glob, pwd, time, zmq
uid = str(pwd.getpwnam("alice").pw_uid)
rows = [line.split() for line in open("/proc/net/tcp").readlines()[1:]]
ports = {int(row[1].split(":")[1], 16) for row in rows if row[3] == "0A" and row[7] == uid}
ear = zmq.Context().socket(zmq.SUB)
ear.subscribe(b"")
for port in ports: ear.connect(f"tcp://127.0.0.1:{port}")
for path in glob.glob("/home/alice/.local/share/jupyter/runtime/*-ipc-*"): ear.connect(f"ipc://{path}")
print("ports", len(ports), flush=True)
until = time.monotonic() + 120
while time.monotonic() < until:
    if ear.poll(200): print(ear.recv_multipart(), flush=True)
"""


def test_nobody_else_hears_what_a_kernel_says(new_machine: NewMachine) -> None:
    machine = ready(new_machine("bullseye", layer="installed"))  # where homes are open for all to read
    add_member(machine, "alice", "bob")
    machine.write("/home/bob/listen.py", LISTENER)
    with logged_in(machine, "alice") as alice:
        alice.start_server()
        heard = _heard_by_bob(machine, alice)
        # Her server's, and one on which a kernel takes what its child processes print; it says nothing there.
        assert heard.startswith("ports 2\n")
        assert SECRET not in heard
        runtime = "/home/alice/.local/share/jupyter/runtime"
        assert len(machine.run(f"find {runtime} -type s").split()) == 5, "the kernel's sockets are there"
        assert machine.execute(f"ls {runtime}", user="bob").returncode != 0

        # Her own choice, for a kernel that cannot do without: then bob hears every word, so the test means something.
        alice.stop_server()
        machine.run("mkdir -p ~/.jupyter", user="alice")
        choice = json.dumps({"ServerKernelManager": {"transport": "tcp"}})
        machine.write("/home/alice/.jupyter/jupyter_server_config.json", choice)
        alice.start_server()
        heard = _heard_by_bob(machine, alice)
        assert heard.startswith("ports 7\n")
        assert SECRET in heard


def _heard_by_bob(machine: Machine, alice: Browser) -> str:
    """What bob's ear has written down while a cell of alice's told her secret."""
    kernel = alice.kernel()
    python = "~/.local/share/jupyterhub4family/env/bin/python"
    machine.run(f"{python} -u ~/listen.py >~/heard 2>&1 </dev/null & echo $! >~/pid", user="bob")
    machine.wait("grep -q ports ~bob/heard", timeout=60)
    # Subscribing takes a moment that nobody can see from outside; said often, something of it is heard.
    for _ in range(10):
        assert kernel.execute(f"import time; time.sleep(0.1); print({SECRET!r})").strip() == SECRET
    machine.run("kill $(cat ~bob/pid)")
    return machine.read("/home/bob/heard")
