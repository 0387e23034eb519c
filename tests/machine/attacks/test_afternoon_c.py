"""An afternoon of attacks by a third one who did not write the walls: Debian 11 and 13, systemd and cron."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import ssl
import statistics
import threading
import time
from collections import Counter
from collections.abc import Iterator
from http.client import HTTPException, HTTPSConnection

import pytest

from tests.machine.attacks.test_becoming_root import Way, login, start
from tests.machine.lib import health, layers, network
from tests.machine.lib.family import PASSWORD, add_member, browser, logged_in, proxy_pid, ready
from tests.machine.lib.machine import Machine
from tests.machine.lib.plugin import NewMachine

PAIRS = (("bullseye", "sysvinit"), ("trixie", "systemd"))
pytestmark = [pytest.mark.timeout(1500)]


@pytest.fixture(scope="module", params=PAIRS, ids="-".join)
def machine(request: pytest.FixtureRequest) -> Iterator[Machine]:
    suite, init = request.param
    with Machine(suite, layers.stack("installed", suite, init), init, in_memory=True) as machine:
        ready(machine)
        add_member(machine, "anna", "ben")
        yield machine
        health.check(machine)


# -- strangers' passwords that wait, by other addresses than the login page's ------------------------------------

#: What is asked for, and with which body.
BY_THE_API = ("/hub/api/users/anna/tokens", json.dumps({"auth": {"username": "child", "password": "sunshine"}}))
#: A form of one megabyte, of which each field is looked at.
FIELDS = "&".join(f"{number}=" for number in range(140_000))[: 2**20 - 10]
JSON, FORM = "application/json", "application/x-www-form-urlencoded"
FLOODS = {
    "a token for a password": (*BY_THE_API, JSON),
    "forms of many fields": ("/hub/login", FIELDS, FORM),
}


class Crowd:
    """Strangers who try passwords for as long as they are let: so many devices, so many connections each."""

    def __init__(self, machine: Machine, path: str, body: str, kind: str) -> None:
        self.machine, self.path, self.body, self.kind = machine, path, body, kind
        self.heard: Counter[str] = Counter()
        self.is_over = False
        self.threads = [
            threading.Thread(target=self._try, args=(network.stranger(3000 + number % 12), number))
            for number in range(12 * 8)
        ]

    def __enter__(self) -> Crowd:
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self.is_over = True
        for thread in self.threads:
            thread.join()

    def _try(self, source: str, number: int) -> None:
        trust = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        trust.check_hostname, trust.verify_mode = False, ssl.CERT_NONE
        headers = {"Content-Type": self.kind, "Sec-Fetch-Mode": "cors", "Sec-Fetch-Dest": "empty"}
        while not self.is_over:
            connection = HTTPSConnection(self.machine.ip, 8000, timeout=60, source_address=(source, 0), context=trust)
            try:
                body = self.body.replace("child", f"child{number}-{self.heard.total()}")
                connection.request("POST", self.path, body, headers)
                self.heard[str(connection.getresponse().status)] += 1
            except (OSError, HTTPException) as error:
                self.heard[type(error).__name__] += 1
            finally:
                connection.close()


def _most() -> float:
    """Seconds that a login may take: 3; beside other tests, which want both processors, less than any attack cost."""
    return 15 if os.getloadavg()[0] > 2 * (os.cpu_count() or 1) else 3


@pytest.mark.timed
@pytest.mark.in_turn(3)
@pytest.mark.parametrize("kind", FLOODS)
def test_what_strangers_send_keeps_no_device_out(machine: Machine, kind: str) -> None:
    with logged_in(machine, "anna") as anna:
        anna.logout()
        known = anna.cookies
    took, most = [], _most()
    with Crowd(machine, *FLOODS[kind]) as crowd:
        time.sleep(6)
        until = time.monotonic() + 40
        while time.monotonic() < until:
            began = time.monotonic()
            with browser(machine, known) as window:
                window.login("anna", PASSWORD).expect()
                took.append(round(time.monotonic() - began, 2))
                window.logout()
                known = window.cookies
    print(machine.suite, kind, took, crowd.heard, flush=True)
    assert statistics.median(took) < most, (took, crowd.heard)


# -- web sockets that are none --------------------------------------------------------------------------------------

UPGRADE = "Connection: Upgrade\r\nUpgrade: websocket"


def _as_a_web_socket(machine: Machine, path: str, source: str, *lines: str) -> ssl.SSLSocket:
    """A connection that asks for this as for a web socket, and reads nothing."""
    trust = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    trust.check_hostname, trust.verify_mode = False, ssl.CERT_NONE
    plain = socket.socket()
    plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    plain.settimeout(20)
    plain.bind((source, 0))
    plain.connect((machine.ip, 8000))
    secure = trust.wrap_socket(plain)
    head = "\r\n".join([f"GET {path} HTTP/1.1", f"Host: {machine.ip}:8000", UPGRADE, *lines, "", ""])
    secure.sendall(head.encode())
    return secure


@pytest.mark.timed
@pytest.mark.in_turn(3)
@pytest.mark.parametrize("kind", ["a body that never comes", "an answer that nobody reads"])
def test_web_sockets_to_the_hub_hold_nobodys_turns(machine: Machine, kind: str) -> None:
    with logged_in(machine, "anna") as anna:
        anna.logout()
        known = anna.cookies
    path, lines = ("/hub/login", ["Content-Length: 9"]) if "body" in kind else ("/hub/static/js/admin-react.js", [])
    took: list[float] = []
    most = _most()
    opened: list[ssl.SSLSocket] = []
    until = time.monotonic() + 30
    while time.monotonic() < until:
        for number in range(64):
            with contextlib.suppress(OSError):
                opened.append(_as_a_web_socket(machine, path, network.stranger(3100 + number % 8), *lines))
        began = time.monotonic()
        with browser(machine, known) as window:
            window.login("anna", PASSWORD).expect()
            took.append(round(time.monotonic() - began, 2))
            window.logout()
            known = window.cookies
    for one in opened:
        one.close()
    print(machine.suite, kind, len(opened), took, flush=True)
    assert statistics.median(took) < most and max(took) < most + 7, took


def test_a_file_that_is_asked_for_as_a_web_socket_fills_no_memory(machine: Machine) -> None:
    with logged_in(machine, "ben") as ben:
        ben.start_server()
        machine.run("truncate -s 3G ~/large.bin", user="ben")
        cookie = "; ".join(f"{one.name}={one.value}" for one in ben.http.cookies.jar if one.path in ("/", "/user/ben/"))
        before = _megabytes(machine)
        sockets = [
            _as_a_web_socket(machine, "/user/ben/files/large.bin", network.stranger(3200), f"Cookie: {cookie}")
            for _number in range(2)
        ]
        time.sleep(15)
        after = _megabytes(machine)
        for one in sockets:
            print(one.recv(200))
            one.close()
        print(machine.suite, "memory of the proxy", before, after, flush=True)
        machine.run("rm ~/large.bin", user="ben")
        ben.stop_server()
    assert after - before < 100


def _megabytes(machine: Machine) -> int:
    return int(machine.run(f"awk '/^VmRSS:/ {{print $2}}' /proc/{proxy_pid(machine)}/status")) // 1024


# -- what a member's request costs the hub ------------------------------------------------------------------------


@pytest.mark.timed
@pytest.mark.in_turn(3)
@pytest.mark.parametrize("count", [29000, 1500])
def test_no_request_of_a_member_keeps_the_hub_busy(machine: Machine, count: int) -> None:
    """A token with thousands of scopes, each of which is looked for among all others."""
    with logged_in(machine, "ben") as ben, logged_in(machine, "anna") as anna:
        scopes = [f"access:servers!server=ben/{number}" for number in range(count)]
        began = time.monotonic()
        headers = {"X-XSRFToken": ben.xsrf_token("/hub/api/"), **ben._headers("cors")}
        url = ben._url("/hub/api/users/ben/tokens")
        asking = threading.Thread(
            target=lambda: ben.http.post(url, json={"scopes": scopes}, headers=headers, timeout=120)
        )
        asking.start()
        time.sleep(0.3)
        anna.get("/hub/home").expect()
        took = time.monotonic() - began - 0.3
        asking.join()
        print(machine.suite, count, "page", took, "request", time.monotonic() - began, flush=True)
    assert took < 3


# -- backups ------------------------------------------------------------------------------------------------------

#: Files come and go, so fast that each look at the directory meets one that is not there any more.
CHURN = r"""
import os
os.chdir("/home/ben/churn")
for number in range(2000): os.close(os.open(f"{number:05}", os.O_CREAT))
while True:
    for number in range(2000):
        os.unlink(f"{number:05}"); os.close(os.open(f"{number:05}", os.O_CREAT))
"""


def _saved(machine: Machine) -> tuple[float, str]:
    began = time.monotonic()
    done = machine.execute("timeout -k 10 60 jupyterhub4family backup now", timeout=300)
    return round(time.monotonic() - began, 1), f"{done.returncode} {done.stdout[-400:]} {done.stderr[-500:]}"


def test_a_member_keeps_nobody_from_being_backed_up(machine: Machine) -> None:
    """One file under thousands of names; and a hollow one among files that vanish while they are looked at."""
    machine.run("apt-get -qq update && apt-get -qq -y install --no-install-recommends restic", timeout=300)
    machine.run("jupyterhub4family backup setup /srv/backup")
    seen = {"quiet": _saved(machine)}
    link = "import os\nfor n in range(8000): os.link('/home/ben/film', f'/home/ben/film{n}')\n"
    machine.run("head -c 200M /dev/urandom >film", user="ben")
    machine.run("python3 -", user="ben", input=link)
    seen["links"] = _saved(machine)
    machine.run("cd /home/ben && find . -name 'film*' -delete")
    machine.write("/usr/local/share/churn.py", CHURN)
    machine.run("mkdir churn; truncate -s 100T churn/notes.bin", user="ben")
    machine.run("(setsid nice python3 /usr/local/share/churn.py >/dev/null 2>&1 </dev/null &)", user="ben")
    time.sleep(2)
    seen["churn"] = _saved(machine)
    machine.execute("pkill -u ben -f churn.py; rm -rf /home/ben/churn")
    for name, one in seen.items():
        print(machine.suite, name, one, flush=True)
    assert all(one[1].startswith("0 ") for one in seen.values()), seen


# -- who can become root --------------------------------------------------------------------------------------------

BOT = "printf '#!/bin/sh\\nid\\n' > /home/ben/bot.sh; chmod 755 /home/ben/bot.sh; chown ben: /home/ben/bot.sh"
DIST = "/usr/local/lib/python3*/dist-packages"


def theirs(path: str, text: str = "#") -> Way:
    """A file of the machine's that was moved there and is ben's still."""
    return Way(f"mkdir -p $(dirname {path}); echo '{text}' > {path}; chown ben: {path}", f"rm {path}", path)


WAYS = {
    "an init script's program": Way(
        f"{BOT}; printf '#!/bin/sh\\nDAEMON=/home/ben/bot.sh\\n$DAEMON\\n' > /etc/init.d/bot",
        "rm /etc/init.d/bot /home/ben/bot.sh",
        "/home/ben/bot.sh",
    ),
    "inittab": Way(
        f"{BOT}; touch /etc/inittab; cp /etc/inittab /root/inittab;"
        " echo 'b1:2345:respawn:/home/ben/bot.sh' >> /etc/inittab",
        "cp /root/inittab /etc/inittab; rm /home/ben/bot.sh",
        "/home/ben/bot.sh",
    ),
    "anacron": Way(
        f"{BOT}; echo '1 5 bot /home/ben/bot.sh' > /etc/anacrontab",
        "rm /etc/anacrontab /home/ben/bot.sh",
        "/home/ben/bot.sh",
    ),
    "a network comes up": Way(
        f"{BOT}; mkdir -p /etc/network/if-up.d; printf '#!/bin/sh\\n/home/ben/bot.sh\\n' > /etc/network/if-up.d/bot",
        "rm /etc/network/if-up.d/bot /home/ben/bot.sh",
        "/home/ben/bot.sh",
    ),
    "udev": Way(
        f"{BOT}; mkdir -p /etc/udev/rules.d;"
        """ echo 'ACTION=="add", RUN+="/home/ben/bot.sh"' > /etc/udev/rules.d/9.rules""",
        "rm /etc/udev/rules.d/9.rules /home/ben/bot.sh",
        "/home/ben/bot.sh",
    ),
    "a service in a member's folder": Way(
        f"{BOT}; printf '[Service]\\nWorkingDirectory=/home/ben\\nExecStart=/bin/sh bot.sh\\n'"
        " > /etc/systemd/system/bot.service",
        "rm /etc/systemd/system/bot.service /home/ben/bot.sh",
        "/home/ben/bot.sh",
    ),
    "root's Python": Way(f"mkdir -p $(dirname {DIST}); chown ben {DIST}", f"chown root {DIST}", "dist-packages"),
    "a module of root's Python": Way(
        f"for d in {DIST}; do echo > $d/x.pth; chown ben $d/x.pth; done", f"rm {DIST}/x.pth", "x.pth"
    ),
    "a source of apt": theirs("/etc/apt/sources.list.d/ben.list"),
    "a key of apt": theirs("/etc/apt/trusted.gpg.d/ben.asc"),
    "dpkg": theirs("/etc/dpkg/dpkg.cfg.d/ben"),
    "defaults of a service": theirs("/etc/default/bot"),
    "sshd": theirs("/etc/ssh/sshd_config.d/ben.conf"),
    "sysctl": theirs("/etc/sysctl.d/ben.conf"),
    "a kernel that is installed": theirs("/etc/kernel/postinst.d/ben"),
    "a folder that was moved": Way(
        "mkdir -p /etc/systemd/system/cron.service.d; chown ben: /etc/systemd/system/cron.service.d",
        "rmdir /etc/systemd/system/cron.service.d",
        "/etc/systemd/system/cron.service.d",
    ),
    "an empty folder": Way(
        "mkdir -p /etc/logrotate.d; mv /etc/logrotate.d /root/; mkdir /etc/logrotate.d; chown ben: /etc/logrotate.d",
        "rmdir /etc/logrotate.d; mv /root/logrotate.d /etc/",
        "/etc/logrotate.d",
    ),
}


def test_more_ways_to_root_are_seen(machine: Machine) -> None:
    unseen = []
    for name, way in WAYS.items():
        machine.run(way.give)
        answer, refused = login(machine, "ben"), start(machine, "ben")
        print(machine.suite, name, "|", answer, refused[:300], flush=True)
        if answer.get("allowed") is not False or way.reported not in refused:
            unseen.append(name)
        machine.run(way.take)
    assert start(machine, "ben") == ""
    assert not unseen, unseen


# -- with cron --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suite", ["bullseye", "trixie"])
def test_a_members_folder_keeps_nothing_from_starting(new_machine: NewMachine, suite: str) -> None:
    """Where screen has its sockets anybody may make folders on Debian 11."""
    machine = ready(new_machine(suite, layer="installed", init="sysvinit"))
    add_member(machine, "ben")
    machine.run("echo '@reboot mkdir -m 700 /run/screen/S-jupyterhub' | crontab -u ben -")
    machine.reboot()
    print(machine.suite, machine.execute("sleep 20; ls -lad /run/screen /run/screen/*; ls -la /usr/bin/screen").stdout)
    ready(machine)
