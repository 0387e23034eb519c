"""Kernels are for their owners: who listens on this computer hears nothing, debugs nobody else's, and no page does."""

from __future__ import annotations

import json

import pytest

from tests.machine.lib.client import Browser, Kernel
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


# Debugs whatever listens as alice on 127.0.0.1, as an editor does (Debug Adapter Protocol): prints what her kernel says
# to the expression that is given, one line for each port.
DEBUGGER = """
import json, pwd, socket, sys
uid = str(pwd.getpwnam("alice").pw_uid)
rows = [line.split() for line in open("/proc/net/tcp").readlines()[1:]]
ports = sorted({int(row[1].split(":")[1], 16) for row in rows if row[3] == "0A" and row[7] == uid})

class Adapter:
    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port), 5)
        self.file, self.number = self.socket.makefile("rb"), 0

    def read(self):
        size = 0
        while (line := self.file.readline()).strip():
            size = int(line.split(b":")[1])
        if not size: raise EOFError("closed")
        return json.loads(self.file.read(size))

    def send(self, command, **arguments):
        self.number += 1
        message = {"type": "request", "seq": self.number, "command": command, "arguments": arguments}
        data = json.dumps(message).encode()
        self.socket.sendall(b"Content-Length: %d\\r\\n\\r\\n" % len(data) + data)
        return self.number

    def answer(self, number):
        while True:
            message = self.read()
            if message.get("request_seq") == number:
                if not message["success"]: raise ValueError(message["message"])
                return message.get("body")

    def attach(self):
        self.answer(self.send("initialize", clientID="x", adapterID="x"))
        attach = self.send("attach", justMyCode=False)
        while (message := self.read()).get("event") != "initialized":
            if not message.get("success", True): raise ValueError(message["message"])
        self.answer(self.send("configurationDone"))
        self.answer(attach)

for port in ports:
    try:
        adapter = Adapter(port)
        adapter.attach()
        thread = adapter.answer(adapter.send("threads"))["threads"][0]["id"]
        adapter.answer(adapter.send("pause", threadId=thread))
        print(port, "SAID", adapter.answer(adapter.send("evaluate", expression=sys.argv[1], context="repl"))["result"])
    except Exception as error:
        print(port, type(error).__name__, error)
"""
#: What bob would have alice's kernel do.
EXPRESSION = "__import__('os').popen('id -un').read()"
STARTUP = "/home/alice/.local/share/jupyterhub4family/env/etc/ipython/startup"


@pytest.mark.every_debian
def test_nobody_else_debugs_a_kernel(new_machine: NewMachine, suite: str) -> None:
    """While JupyterLab's debugger is on, and after it was."""
    machine = ready(new_machine(suite, layer="installed"))
    add_member(machine, "alice", "bob")
    machine.write("/usr/local/share/debugger.py", DEBUGGER)

    def debugged_by(user: str) -> str:
        return machine.run(f"timeout 120 python3 /usr/local/share/debugger.py {json.dumps(EXPRESSION)}", user=user)

    with logged_in(machine, "alice") as alice:
        alice.start_server()
        kernel = alice.kernel()
        _switched_on(kernel)
        tried = debugged_by("bob")
        assert "SAID" not in tried and len(tried.splitlines()) >= 4, tried
        assert kernel.debug("disconnect", restart=False, terminateDebuggee=False)["success"]
        assert "SAID" not in debugged_by("bob"), "debugpy goes on listening when the debugger was switched off"
        assert "SAID alice" in debugged_by("alice"), "she could, with an editor of hers"
        assert kernel.execute("6 * 7") == "42"

        # Without what the template brings, bob has her kernel do as he likes: so the test means something.
        machine.run(f"mv {STARTUP} {STARTUP}.away", user="alice")
        kernel = alice.kernel()
        _switched_on(kernel)
        kernel.debug("disconnect", restart=False, terminateDebuggee=False)
        assert "SAID alice" in debugged_by("bob")


def _switched_on(kernel: Kernel) -> None:
    """Switch the debugger on as JupyterLab does, with a breakpoint."""
    for command, arguments in (
        ("initialize", {"clientID": "x", "adapterID": "", "pathFormat": "path", "linesStartAt1": True}),
        ("attach", {}),
    ):
        assert kernel.debug(command, **arguments)["success"], command
    path = kernel.debug("dumpCell", code="word = 'seen'\nlength = len(word)\n")["body"]["sourcePath"]
    reply = kernel.debug("setBreakpoints", source={"path": path}, breakpoints=[{"line": 2}], sourceModified=False)
    assert reply["body"]["breakpoints"][0]["verified"], reply
    assert kernel.debug("configurationDone")["success"]
    assert kernel.debug("debugInfo")["body"]["isStarted"]


#: What a notebook from elsewhere may bring. Shown as a page, its scripts could do all that its reader can.
NOTEBOOK = {
    "cells": [
        {
            "cell_type": "code",
            "execution_count": 1,
            "metadata": {},
            "source": "1",
            "outputs": [
                {
                    "output_type": "display_data",
                    "metadata": {},
                    "data": {"text/html": "<script>document.cookie</script>"},
                }
            ],
        }
    ],
    "metadata": {},
    "nbformat": 4,
    "nbformat_minor": 5,
}


@pytest.mark.any_debian("bullseye")  # whose jupyter-server does not see to it
def test_a_notebook_shown_as_a_page_is_in_a_sandbox(new_machine: NewMachine, suite: str) -> None:
    machine = ready(new_machine(suite, layer="installed"))
    add_member(machine, "alice")
    machine.write("/home/alice/found.ipynb", json.dumps(NOTEBOOK))
    with logged_in(machine, "alice") as alice:
        alice.start_server()
        page = alice.get("/user/alice/nbconvert/html/found.ipynb")
        assert page.status == 200 and "document.cookie" in page.text
        policies = page.headers["content-security-policy"].split(", ")
        assert "sandbox allow-scripts" in policies and "frame-ancestors" in policies[0]
        assert "sandbox" not in alice.get("/user/alice/lab").headers.get("content-security-policy", "")
