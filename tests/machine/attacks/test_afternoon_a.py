"""A member whose server answers whatever it likes: the proxy goes on for everybody, and the gate stays shut."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from urllib.parse import quote

import httpx
import pytest

from tests.machine.lib.client import Browser, SpawnFailed
from tests.machine.lib.family import authority, logged_in, proxy_pid, ready, shared_machine
from tests.machine.lib.machine import Machine
from tests.machine.lib.network import stranger
from tests.machine.lib.plugin import NewMachine

pytestmark = pytest.mark.any_debian

#: Takes the place of Ben's jupyterhub-singleuser: answers with the bytes that stand in the address, or not at all.
ANSWERS_ANYTHING = r"""
import asyncio, base64, os, urllib.parse
url = urllib.parse.urlsplit(os.environ["JUPYTERHUB_SERVICE_URL"])
async def serve(reader, writer):
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin1")
        path = urllib.parse.unquote(head.split(" ")[1])
        if "/raw/" in path:
            for part in path.rpartition("/raw/")[2].split("."):
                writer.write(base64.urlsafe_b64decode(part)); await writer.drain(); await asyncio.sleep(0.1)
        elif path.endswith("/hang"):
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n: x\n\n"); await writer.drain()
            await asyncio.sleep(3600)
        else:
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nService-Worker-Allowed: /\r\n"
                         b"Connection: close\r\nContent-Length: 12\r\n\r\nThis is Ben.")
            await writer.drain()
    except Exception: pass
    writer.close()
async def main():
    server = await asyncio.start_server(serve, url.hostname, url.port, backlog=1000)
    await server.serve_forever()
asyncio.run(main())
"""
TWO = "Content-Length: 2\r\n\r\nhi"
#: What a program could say to a proxy; several parts with pauses between them.
STRANGE_ANSWERS: dict[str, list[str]] = {
    "a status that is none": [f"HTTP/1.1 099 x\r\n{TWO}"],
    "status 0": [f"HTTP/1.1 000 x\r\n{TWO}"],
    "status 999": [f"HTTP/1.1 999 x\r\n{TWO}"],
    "a control character in the reason": [f"HTTP/1.1 200 O\x01K\r\n{TWO}"],
    "a NUL in the reason": [f"HTTP/1.1 200 O\0K\r\n{TWO}"],
    "8 bit in the reason": [f"HTTP/1.1 200 \xe4\r\n{TWO}"],
    "a body that is too long": ["HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nhi-more"],
    "a body that is too long, later": ["HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nh", "i-more"],
    "a body that is too short": ["HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhi"],
    "a body of nothing": [f"HTTP/1.1 204 x\r\n{TWO}"],
    "a body of 304": [f"HTTP/1.1 304 x\r\n{TWO}"],
    "trailers of nothing": ["HTTP/1.1 204 x\r\nTrailer: X\r\n\r\n"],
    "trailers and a length": [f"HTTP/1.1 200 OK\r\nTrailer: X\r\n{TWO}"],
    "trailers": [
        "HTTP/1.1 200 OK\r\nTrailer: X\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: 1\r\nSet-Cookie: x=y\r\n\r\n"
    ],
    "both lengths": ["HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n2\r\nhi\r\n0\r\n\r\n"],
    "a broken chunk": ["HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n", "zz\r\n"],
    "a folded line": [f"HTTP/1.1 200 OK\r\nX-A: b\r\n Set-Cookie: x=y\r\n{TWO}"],
    "LF only": ["HTTP/1.1 200 OK\nContent-Length: 2\n\nhi"],
    "HTTP 0.9": ["hello"],
    "HTTP 2": [f"HTTP/2.0 200 OK\r\n{TWO}"],
    "an upgrade that nobody asked for": ["HTTP/1.1 101 x\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\nhi"],
    "hundreds of 1xx": [
        "HTTP/1.1 100 Continue\r\n\r\n" * 500 + f"HTTP/1.1 103 x\r\nLink: </x>\r\n\r\nHTTP/1.1 200 OK\r\n{TWO}"
    ],
    "words of JavaScript": [f"HTTP/1.1 200 OK\r\n__proto__: 1\r\nconstructor: 2\r\ntoString: 3\r\n{TWO}"],
    "an endless head": ["HTTP/1.1 200 OK\r\nX: " + "a" * 20000],
    "two answers": [f"HTTP/1.1 200 OK\r\n{TWO}HTTP/1.1 200 OK\r\n{TWO}"],
    "no answer": [""],
}


@pytest.fixture(scope="module")
def machine(suite: str) -> Iterator[Machine]:
    with shared_machine(suite, "anna", "ben") as machine:
        machine.write("/usr/local/share/anything.py", ANSWERS_ANYTHING)
        with logged_in(machine, "ben") as ben:
            ben.start_server()
            ben.stop_server()
            program = "/home/ben/.local/share/jupyterhub4family/env/bin/jupyterhub-singleuser"
            machine.run(f"rm {program} && cp /usr/local/share/anything.py {program}", user="ben")
        yield machine


@pytest.fixture
def ben(machine: Machine) -> Iterator[Browser]:
    with logged_in(machine, "ben") as window:
        if not window.servers().get("", {}).get("ready"):
            window.start_server()
        yield window


def test_no_answer_of_a_members_program_ends_the_proxy(machine: Machine, ben: Browser) -> None:
    """All browsers' connections would end with it."""
    pid, ended = proxy_pid(machine), []
    for name, parts in STRANGE_ANSWERS.items():
        words = ".".join(base64.urlsafe_b64encode(part.encode("latin1")).decode() for part in parts)
        for upgrade in (False, True):
            headers = {"Connection": "Upgrade", "Upgrade": "websocket"} if upgrade else {}
            path = f"/user/ben/raw/{words}" if len(words) < 8000 else "/user/ben/"
            try:
                ben.http.get(ben._url(path), headers={**ben._headers("navigate"), **headers}, timeout=3)
            except httpx.HTTPError as error:
                print(name, upgrade, repr(error)[:100])
            machine.execute("sleep 0.3")
            found = machine.execute("pgrep -u jupyterhub -f 'proxy/launch.js'").stdout.split()
            if found != [str(pid)]:
                ended.append((name, upgrade))
                machine.wait("pgrep -u jupyterhub -f 'proxy/launch.js'", timeout=30)
                machine.wait(
                    "ss -ltnH | grep -q :8000; curl -sk -m 5 -o /dev/null https://127.0.0.1:8000/hub/health", timeout=60
                )
                pid = proxy_pid(machine)
    assert not ended


@pytest.mark.parametrize("name", ["x\u2028y", "x\ny", "x\u2029", "x\ry"])
def test_the_gate_is_before_a_server_of_any_name(machine: Machine, ben: Browser, name: str) -> None:
    """JupyterHub 5 (Debian 11) takes every name but one with a slash."""
    try:
        ben.start_server(name)
    except SpawnFailed as error:
        assert "cannot have this name" in str(error) or "400" in str(error)
        return
    path = f"/user/ben/{quote(name)}/evil"
    assert "This is Ben." in ben.get(path).text
    try:
        with logged_in(machine, "anna") as anna:
            answer = anna.get(path)
            assert "This is Ben." not in answer.text, dict(answer.headers)
    finally:
        ben.stop_server(name, remove=True)


@pytest.mark.parametrize("name", ["..", "."])
def test_no_name_of_a_server_leads_all_members_to_it(machine: Machine, ben: Browser, name: str) -> None:
    """At the hub's own port nobody tidies up addresses: in the proxy `/user/ben/..` would be a route for `/user`."""
    token = str(ben._hub_api("POST", "/users/ben/tokens", {"note": "test"}).json()["token"])
    curl = f"curl -s --path-as-is -H 'Authorization: token {token}' http://127.0.0.1:8081/hub/api/users/ben/servers"
    print(machine.run(f"{curl}/{name} -X POST -w '%{{http_code}}'", user="ben"))
    machine.execute("sleep 20")
    try:
        with logged_in(machine, "anna") as anna:
            for path in ("/user/anna/lab", "/user/anna/", "/user/x"):
                answer = anna.get(path)
                assert "This is Ben." not in answer.text, (path, dict(answer.headers))
    finally:
        print(machine.execute(f"{curl}/{name} -X DELETE", user="ben").stdout)


@pytest.mark.parametrize(
    "content_type",
    [
        "text/plain; x=y, text/html",
        "text/plain;,text/html",
        "image/x+xml",
        'text/plain; x=", text/html',
        "text/plain , text/html",
    ],
)
def test_no_page_is_kept(machine: Machine, ben: Browser, content_type: str) -> None:
    text = f"HTTP/1.1 200 OK\r\nCache-Control: max-age=99\r\nContent-Type: {content_type}\r\n{TWO}"
    words = base64.urlsafe_b64encode(text.encode()).decode()
    answer = ben.http.get(ben._url(f"/user/ben/raw/{words}"), headers=ben._headers("navigate"))
    assert answer.headers["cache-control"] == "no-store", answer.headers


CROWD = r"""
import asyncio, resource, ssl, sys
resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
context = ssl.create_default_context(); context.check_hostname = False; context.verify_mode = ssl.CERT_NONE
opened = 0
async def one(source, cookie):
    global opened
    for again in range(20):
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", 8000, ssl=context, local_addr=(source, 0))
            writer.write(f"GET /user/ben/hang HTTP/1.1\r\nHost: x\r\nCookie: {cookie}\r\n\r\n".encode())
            line = await reader.readline()
            if b"200" not in line: print(line, flush=True); return
            opened += 1
            while await reader.read(100): pass
            opened -= 1
        except OSError as error: pass
        await asyncio.sleep(2)
async def main():
    cookie = sys.stdin.read().strip()
    tasks = []
    for number in range(2400):
        tasks.append(asyncio.create_task(one(f"127.0.0.{number % 8 + 2}", cookie)))
        await asyncio.sleep(0.012)
    while True:
        print("open", opened, flush=True); await asyncio.sleep(1)
asyncio.run(main())
"""


@pytest.mark.timed
def test_a_members_streams_keep_nobody_out(machine: Machine, ben: Browser) -> None:
    """As many connections as there may be, all of them answered by Ben's own program just now."""
    machine.expect_log(r"Errno 24|Too many open files")  # of Ben's own program
    machine.write("/usr/local/share/crowd.py", CROWD)
    cookie = "; ".join(f"{one.name}={one.value}" for one in ben.http.cookies.jar if one.path in ("/", "/user/ben/"))
    machine.write("/home/ben/cookie", cookie)
    machine.run("chown ben /home/ben/cookie")
    machine.run("setsid python3 -u /usr/local/share/crowd.py <~/cookie >~/crowd.log 2>&1 &", user="ben")
    try:
        machine.execute("sleep 60")
        print(machine.run("tail -3 /home/ben/crowd.log; ss -tnH state established 'sport = :8000' | wc -l"))
        print(machine.run("journalctl -u jupyterhub4family-proxy --no-pager | tail -5"))
        with Browser(f"https://{machine.ip}:8000", verify=authority(machine) or True, source=stranger(7)) as anna:
            anna.login("anna", "correct horse 7").expect()
    finally:
        machine.execute("pkill -u ben -f crowd.py")
        ben.stop_server()  # it has had more visitors than it can take


def test_nobody_takes_the_other_half_of_a_port(new_machine: NewMachine, suite: str) -> None:
    """IPv4, where the kernel is told that a port of IPv6 is one of IPv6 only."""
    machine = ready(new_machine(suite, layer="installed"))
    machine.write("/etc/sysctl.d/99-only.conf", "net.ipv6.bindv6only = 1\n")
    machine.reboot()
    machine.run("sysctl -w net.ipv6.bindv6only=1; systemctl stop jupyterhub4family-hub jupyterhub4family-proxy")
    machine.run("systemctl restart jupyterhub4family-ports.socket")
    machine.add_account("ben", "x")
    take = "import socket; one = socket.socket(); one.bind(('0.0.0.0', 8000)); one.listen(); print('taken')"
    done = machine.execute(f'python3 -c "{take}"', user="ben")
    assert "taken" not in done.stdout
    machine.run("systemctl start jupyterhub4family-proxy jupyterhub4family-hub")
    ready(machine)
