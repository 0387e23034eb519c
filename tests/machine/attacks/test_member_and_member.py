"""What a member cannot do to another one: files, processes, kernels, ports, and what goes through the browser."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.machine.lib.client import Browser, ClientError, Kernel
from tests.machine.lib.family import STATE, logged_in, shared_machine, variables_of_server
from tests.machine.lib.machine import Machine

#: Tries to look into a process, and to write into it, as a debugger does; prints what it could do.
DEBUGGER = """
import ctypes, os, sys
libc, pid = ctypes.CDLL(None, use_errno=True), int(sys.argv[1])
for name in ("environ", "mem", "maps", "auxv", "stack", "syscall"):
    try: print("read", name, len(open(f"/proc/{pid}/{name}", "rb").read(64)))
    except OSError: pass
for name in ("fd", "task/%d/fd" % pid, "map_files"):
    try: print("looked", name, len(os.listdir(f"/proc/{pid}/{name}")))
    except OSError: pass
for name in ("cwd", "root", "exe"):
    try: print("followed", name, os.readlink(f"/proc/{pid}/{name}"))
    except OSError: pass
if libc.ptrace(0x4206, pid, None, None) == 0: print("traced")  # PTRACE_SEIZE, which stops nothing
buffer = ctypes.create_string_buffer(8)
class Piece(ctypes.Structure): _fields_ = [("base", ctypes.c_void_p), ("length", ctypes.c_size_t)]
here, there = Piece(ctypes.addressof(buffer), 8), Piece(0x400000, 8)
got = libc.process_vm_readv(pid, ctypes.byref(here), 1, ctypes.byref(there), 1, 0)
if got >= 0 or ctypes.get_errno() != 1: print("memory", got)
for number in (0, 19, 18):  # SIGSTOP and SIGCONT, which do no harm where they get through
    try: os.kill(pid, number); print("signalled", number)
    except OSError: pass
"""
# Takes a port the very moment it is free, and answers as if it were a server that wants to hear more.
SQUATTER = """
import socket, sys, time
until = time.monotonic() + 300
while time.monotonic() < until:
    door = socket.socket()
    door.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try: door.bind(("127.0.0.1", int(sys.argv[1]))); door.listen()
    except OSError: door.close(); time.sleep(0.001); continue
    break
print("taken", flush=True)
door.settimeout(300)
while True:
    visitor = door.accept()[0]
    visitor.settimeout(1)
    try:
        print("caught", visitor.recv(65536), flush=True)
        visitor.sendall(b"HTTP/1.1 200 OK\\r\\nContent-Length: 7\\r\\n\\r\\ngotcha!")
    except OSError: pass
    visitor.close()
"""
# A member's own server, changed by its owner to speak for the whole portal.
GREEDY = """
import http.server, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        for header, value in {"Service-Worker-Allowed": "/", "Clear-Site-Data": "*", "X-Mine": "yes",
                              "Strict-Transport-Security": "max-age=9"}.items():
            self.send_header(header, value)
        self.send_header("Content-Length", "2"); self.end_headers(); self.wfile.write(b"ok")
http.server.HTTPServer.allow_reuse_address = True
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""


@dataclass
class House:
    """A machine on which alice works, and bob is curious."""

    machine: Machine
    alice: Browser
    kernel: Kernel

    def pid(self, name: str, args: str = "bin/jupyterhub-singleuser") -> int:
        return int(self.machine.run(f"pgrep -u {name} -f {args}").split()[0])

    def port(self, name: str) -> int:
        """Where this member's server listens."""
        variables = variables_of_server(self.machine, self.pid(name))
        return int(variables["JUPYTERHUB_SERVICE_URL"].split(":")[2].split("/")[0])

    def as_bob(self, command: str) -> tuple[int, str]:
        done = self.machine.execute(command, user="bob")
        return done.returncode, done.stdout + done.stderr


pytestmark = pytest.mark.any_debian


@pytest.fixture(scope="module")
def house(suite: str) -> Iterator[House]:
    with shared_machine(suite, "alice", "bob") as machine:
        for name, text in (("debugger", DEBUGGER), ("squatter", SQUATTER), ("greedy", GREEDY)):
            machine.write(f"/usr/local/share/{name}.py", text)
        with logged_in(machine, "alice") as alice:
            alice.start_server()
            kernel = alice.kernel()
            kernel.execute("diary = 'dear diary'; import os; os.makedirs('private', 0o700, exist_ok=True)")
            yield House(machine, alice, kernel)


def test_files(house: House) -> None:
    """The log, connection files and cookie secrets are closed, also where the home is open (Debian 11)."""
    house.machine.run("chmod 755 /home/alice")
    found = house.machine.run(
        "find ~alice/.local/state/jupyterhub4family ~alice/.local/share/jupyter/runtime -type f -o -type s"
    ).split()
    kinds = {path.rsplit("/", 1)[1].split("-")[0].split(".")[0] for path in found}
    assert {"server", "kernel", "jupyter_cookie_secret", "jpserver"} <= kinds, found
    for path in found:
        assert house.as_bob(f"cat {path}")[0] != 0, path
        assert house.as_bob(f"python3 -c 'import socket; socket.socket(socket.AF_UNIX).connect(\"{path}\")'")[0] != 0
    assert house.as_bob("ls ~alice/private")[0] != 0
    house.machine.run("chmod 700 /home/alice")
    for place in ("", ".local/share/jupyterhub4family/env/bin", ".bashrc"):
        assert house.as_bob(f"cat ~alice/{place} || ls ~alice/{place}")[0] != 0, place
    for attempt in ("touch ~alice/x", "ln ~alice/.bashrc ~/stolen", "mv ~alice ~/hers", "rm -r ~alice/private"):
        assert house.as_bob(attempt)[0] != 0, attempt


def test_processes(house: House) -> None:
    """Memory, environment and descriptors of server and kernel; and signals."""
    for args in ("bin/jupyterhub-singleuser", "ipykernel_launcher"):
        pid = house.pid("alice", args)
        own = house.machine.run(f"python3 /usr/local/share/debugger.py {pid}", user="alice")
        assert "read environ" in own and "looked fd" in own, "the test itself: she can"
        status, output = house.as_bob(f"python3 /usr/local/share/debugger.py {pid}")
        assert (status, output) == (0, ""), output
    assert house.kernel.execute("diary") == "'dear diary'"


def test_secrets_are_in_no_list_of_processes(house: House) -> None:
    token = variables_of_server(house.machine, house.pid("alice"))["JUPYTERHUB_API_TOKEN"]
    (connection,) = house.machine.run("ls ~alice/.local/share/jupyter/runtime/kernel-*.json").split()
    key = json.loads(house.machine.read(connection))["key"]
    assert len(token) > 20 and len(key) > 20
    shown = house.machine.run(
        "ps axeww -o args; journalctl --no-pager; cat ~alice/.local/state/jupyterhub4family/*.log;"
        " cat /var/log/*.log 2>/dev/null || true"
    )
    # `ps e` shows the environment to its owner and to root, who asks here.
    listed = "\n".join(line for line in shown.splitlines() if "JUPYTERHUB_SERVICE_PREFIX=" not in line)
    assert token not in listed and key not in listed
    status, listed = house.as_bob("ps axeww -o args")
    assert status == 0 and "ipykernel_launcher" in listed and token not in listed and key not in listed


def test_no_core_file_is_left_by_a_crash(house: House) -> None:
    """Not by hub, proxy, server and kernel: what they hold in memory are passwords, tokens, notebooks."""
    for args, user in (
        ("bin/jupyterhub -f", "jupyterhub"),
        ("proxy/launch.js", "jupyterhub"),
        ("bin/jupyterhub-singleuser", "alice"),
        ("ipykernel_launcher", "alice"),
    ):
        pid = house.machine.run(f"pgrep -u {user} -f '{args}'").split()[0]
        limits = house.machine.run(f"grep 'core file' /proc/{pid}/limits").split()
        assert limits[4] == "0", (args, limits)


def test_her_server_asks_who_comes_by_the_side_door(house: House) -> None:
    """Bob is on the same machine and reaches the port without the proxy: with nothing, and with what he can make up."""
    base = f"http://127.0.0.1:{house.port('alice')}/user/alice"
    for headers in (
        "",
        "-H 'Authorization: token x'",
        "-H 'Cookie: jupyterhub-user-alice=x'",
        "-H 'X-Forwarded-User: alice'",
    ):
        for path in ("/api/contents", "/api/kernels", "/api/sessions", "/files/.bashrc", "/terminals/websocket/1"):
            status, code = house.as_bob(f"curl -s -o /dev/null -w '%{{http_code}}' {headers} {base}{path}")
            assert status == 0 and code in ("302", "403", "404"), (headers, path, code)
            if code == "404":  # of a terminal that does not exist; everything else asks first
                assert "terminals" in path, (headers, path)
        status, code = house.as_bob(f"curl -s -o /dev/null -w '%{{http_code}}' {headers} {base}/lab")
        assert status == 0 and code in ("302", "403"), (headers, code)
    code, route = "curl -s -o /dev/null -w '%{http_code}'", '{"target": "http://127.0.0.1:1"}'
    assert house.as_bob(f"{code} http://127.0.0.1:8081/hub/api/users") == (0, "403")
    for name in ("hub", "proxy-api"):
        for path in ("/hub/api/users", "/api/routes", "/api/routes/user/alice"):
            socket = f"--unix-socket {STATE}/sockets/{name}"
            status, _output = house.as_bob(f"{code} -d '{route}' {socket} http://localhost{path}")
            assert status == 7, f"he does not even reach the socket {name}: curl ends with {status}"


def test_pages_of_another_member_get_nowhere_without_a_token(house: House) -> None:
    """A script on a page of bob's, in alice's browser: it comes from the same origin, with her cookies."""
    alice = house.alice
    for method, path, body in (
        ("GET", "/hub/home", None),
        ("GET", "/hub/login", None),
        ("GET", "/hub/token", None),
        ("GET", "/hub/spawn/alice", None),
        ("GET", "/hub/api/user", None),
        ("POST", "/hub/api/users/alice/tokens", {}),
        ("DELETE", "/hub/api/users/alice/server", None),
        ("POST", "/hub/api/users/alice/servers/x", None),
        ("GET", "/user/alice/api/contents", None),
        ("PUT", "/user/alice/api/contents/x.txt", {"type": "file", "format": "text", "content": "bob was here"}),
        ("POST", "/user/alice/api/kernels", {}),
        ("POST", "/user/alice/api/terminals", {}),
    ):
        page = alice.fetch(method, path, body, xsrf=False)
        assert page.status == 403, (method, path, page.status)
    for path in ("/hub/spawn", "/hub/login"):
        assert alice.post(path, {"username": "alice", "password": "x"}, follow=False).status == 403, "a form without it"
    # The token is in a cookie for one member's pages alone: no script on another's is shown it.
    paths = {cookie.path for cookie in alice.cookies.jar if cookie.name == "_xsrf"}
    assert paths == {"/hub/", "/user/alice/"}, paths
    assert alice.status("/user/alice/api/kernels") == 200
    assert house.kernel.execute("diary") == "'dear diary'"


def test_a_member_speaks_for_the_own_pages_only(house: House) -> None:
    """Not for the whole portal: a service worker for all of it would read everybody's passwords."""
    with logged_in(house.machine, "bob") as bob:
        bob.start_server()
        port = house.port("bob")
        house.machine.run(f"kill -9 {house.pid('bob')}")
        house.machine.run(f"setsid python3 /usr/local/share/greedy.py {port} >/dev/null 2>&1 </dev/null &", user="bob")
        until = time.monotonic() + 60
        while (page := bob.get("/user/bob/worker.js")).headers.get("x-mine") != "yes":
            assert time.monotonic() < until, "his program answers in place of his server"
            time.sleep(0.2)
        for header in ("service-worker-allowed", "clear-site-data", "strict-transport-security"):
            assert header not in page.headers, header
        house.machine.run("pkill -u bob -f greedy.py")
        bob.stop_server()


def test_a_server_that_has_ended_leaves_its_address_to_nobody(house: House) -> None:
    """Bob takes alice's port as soon as her server is gone; her open page goes on asking, with her cookies."""
    port = house.port("alice")
    house.machine.run(
        f"setsid python3 -u /usr/local/share/squatter.py {port} >~/squat.log 2>&1 </dev/null &", user="bob"
    )
    house.machine.wait("pgrep -u bob -f squatter.py")
    house.machine.run(f"kill -9 {house.pid('alice')}")
    house.machine.wait("grep -q taken /home/bob/squat.log", timeout=30)
    for _ in range(20):
        for path in ("/user/alice/lab", "/user/alice/api/kernels"):
            page = house.alice.get(path, follow=False)
            assert page.status in (302, 424, 503), "until the hub has noticed 503, then its own words"
            assert "gotcha" not in page.text
    with pytest.raises(ClientError):
        house.alice.websocket(f"/user/alice/api/kernels/{house.kernel.id}/channels")
    assert "caught" not in house.machine.read("/home/bob/squat.log"), "not one request has reached bob"
    house.machine.run("pkill -u bob -f squatter.py")
    log = house.machine.run("journalctl --no-pager -o cat -u jupyterhub4family-proxy")
    assert "where no server of this member's listens" in log
