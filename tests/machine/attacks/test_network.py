"""What somebody on the home network without an account cannot do: TLS, ports, forged headers, pages, guessing."""

from __future__ import annotations

import concurrent.futures
import json
import re
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from urllib.parse import quote, urlsplit

import pytest

from tests.machine.lib.family import CA, PASSWORD, browser, logged_in, ready, shared_machine
from tests.machine.lib.machine import Machine

#: Logs in at the machine itself: another address than that of the tests.
FROM_THE_MACHINE = f"""
import http.cookiejar, ssl, sys, urllib.parse, urllib.request
jar = http.cookiejar.CookieJar()
trust = urllib.request.HTTPSHandler(context=ssl.create_default_context(cafile="{CA}"))
opener = urllib.request.build_opener(trust, urllib.request.HTTPCookieProcessor(jar), urllib.request.ProxyHandler({{}}))
page = opener.open("https://127.0.0.1:8000/hub/login?next=/hub/home").read().decode()
token = page.split('name="_xsrf" value="')[1].split('"')[0]
form = urllib.parse.urlencode({{"username": "alice", "password": "{PASSWORD}", "_xsrf": token}}).encode()
print(opener.open("https://127.0.0.1:8000/hub/login?next=/hub/home", form).url)
"""


pytestmark = pytest.mark.any_debian


@pytest.fixture(scope="module")
def machine(suite: str) -> Iterator[Machine]:
    with shared_machine(suite, "alice") as machine:
        yield machine


def test_only_the_portal_can_be_reached(machine: Machine) -> None:
    """Not the hub, not the proxy's control port, not a member's server: whatever listens here."""
    with logged_in(machine, "alice") as alice:
        alice.start_server()
        rows = [line.split() for line in machine.run("ss -ltnH").splitlines()]
        ports = {int(row[3].rsplit(":", 1)[1]) for row in rows}
        assert {8000, 8081} <= ports and len(ports) >= 3, "portal, hub and a server"
        open_ports = {port for port in ports if _connects(machine.ip, port)}
        assert open_ports == {8000}
        alice.stop_server()


def _connects(address: str, port: int) -> bool:
    try:
        socket.create_connection((address, port), timeout=5).close()
    except OSError:
        return False
    return True


def test_old_protocols_and_weak_ciphers_are_refused(machine: Machine) -> None:
    """Every cipher that this computer's OpenSSL knows is offered, one at a time."""
    accepted = {name for name in _ciphers() if _handshake(machine, ssl.TLSVersion.TLSv1_2, name)}
    assert accepted and all(re.fullmatch(r"ECDHE-\w+-(AES\d+-GCM-SHA\d+|CHACHA20-POLY1305)", name) for name in accepted)
    assert _handshake(machine, ssl.TLSVersion.TLSv1_3)
    for version in ("ssl3", "tls1", "tls1_1"):
        args = ["openssl", "s_client", "-connect", f"{machine.ip}:8000", f"-{version}", "-cipher", "ALL:@SECLEVEL=0"]
        assert "BEGIN CERTIFICATE" not in _output(args), version
    assert "BEGIN CERTIFICATE" in _output(["openssl", "s_client", "-connect", f"{machine.ip}:8000"]), "the test itself"


def _ciphers() -> list[str]:
    return (
        subprocess.run(
            ["openssl", "ciphers", "-tls1_2", "ALL:COMPLEMENTOFALL:@SECLEVEL=0"],
            check=True,
            capture_output=True,
            text=True,
        )
        .stdout.strip()
        .split(":")
    )


def _output(args: list[str]) -> str:
    return subprocess.run(args, check=False, capture_output=True, text=True, input="", timeout=60).stdout


def _handshake(machine: Machine, version: ssl.TLSVersion, cipher: str = "") -> bool:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.minimum_version = context.maximum_version = version
    try:
        if cipher:
            context.set_ciphers(f"{cipher}:@SECLEVEL=0")
        with socket.create_connection((machine.ip, 8000), timeout=20) as connection:
            with context.wrap_socket(connection) as secure:
                # TLS 1.3 brings ciphers of its own, also unasked.
                return secure.version() == {"TLSv1_2": "TLSv1.2", "TLSv1_3": "TLSv1.3"}[version.name]
    except OSError:
        return False


def test_every_page_of_ours_defends_itself(machine: Machine) -> None:
    """No frames, nothing loaded from elsewhere, no guessing of types, no forms to elsewhere."""
    with logged_in(machine, "alice") as alice, browser(machine) as nobody:
        pages = [nobody.get(path) for path in ("/hub/login", "/trust", "/hub/nothing", "/hub/login?next=/hub/home")]
        pages += [alice.get(path) for path in ("/hub/home", "/hub/token", "/hub/nothing", "/hub/user/alice/lab")]
        pages.append(alice.get("/hub/spawn/alice", follow=False))
        pages.append(alice.get("/hub/spawn-pending/alice"))
        for page in pages:
            policy = page.headers.get("content-security-policy", "")
            for word in ("frame-ancestors 'none'", "default-src 'self'", "object-src 'none'", "base-uri 'none'"):
                assert word in policy, (page.path, page.status, policy)
            assert "form-action 'self'" in policy and "*" not in policy, (page.path, policy)
            assert page.headers.get("x-content-type-options") == "nosniff", page.path
            assert page.headers.get("referrer-policy") == "same-origin", page.path
            for cookie in page.headers.get("set-cookie", "").split(","):
                assert not cookie or "secure" in page.headers["set-cookie"].lower(), page.path
        for path in ("/hub/api/user", "/hub/api/users", "/hub/api"):
            assert "frame-ancestors 'none'" in nobody.get(path, follow=False).headers["content-security-policy"], path
        alice.start_server()
        assert "frame-ancestors 'none'" in alice.get("/user/alice/lab").headers["content-security-policy"]
        alice.stop_server()
        # What the proxy itself says, when nobody is behind it.
        machine.run("systemctl stop jupyterhub4family-hub")
        page = nobody.get("/hub/login")
        assert page.status == 503 and "frame-ancestors 'none'" in page.headers["content-security-policy"], page
        machine.run("systemctl start jupyterhub4family-hub")
        machine.wait_http("/hub/login", timeout=120)


@pytest.mark.parametrize("cookie", ["", "jupyterhub-session-id=x", "jupyterhub-hub-login=2|1:0|x", "_xsrf=x"])
def test_a_login_cannot_be_sent_by_another_page(machine: Machine, cookie: str) -> None:
    headers = f"-H 'Sec-Fetch-Mode: navigate' -H 'Cookie: {cookie}'"
    form = f"-d username=alice --data-urlencode 'password={PASSWORD}' -d _xsrf=x"
    for origin in ("https://evil.example", "null", f"https://{machine.ip}:8000"):
        output = machine.run(
            f"curl -s -o /dev/null -D - --cacert {CA} {headers} {form} -H 'Origin: {origin}'"
            " https://127.0.0.1:8000/hub/login"
        )
        assert " 403 " in output.splitlines()[0], output
        assert not re.search(r'jupyterhub-hub-login="?[^";]', output), output


def test_nobody_is_led_elsewhere_after_a_login(machine: Machine) -> None:
    """Neither from the login page nor when already logged in."""
    machine.expect_log("Unsafe header value")  # tornado's own refusal of line feeds in an address
    targets = (
        *(
            "https://evil.example/",
            "//evil.example/",
            "/\\evil.example",
            "\\\\evil.example",
            "///evil.example",
            "////evil.example",
        ),
        *(
            "http:evil.example",
            "https:/evil.example",
            "javascript:alert(1)",
            "data:text/html,x",
            " //evil.example",
            "\t//evil.example",
        ),
        *("/%09/evil.example", "/%5cevil.example", "/hub/..//evil.example", f"https://{machine.ip}:8000@evil.example/"),
        *(
            f"https://{machine.ip}.evil.example/",
            "/\n//evil.example",
            "%2f%2fevil.example",
            "/hub/%0d%0aLocation: //evil.example",
        ),
    )
    with logged_in(machine, "alice") as alice:
        for target in targets:
            for path in ("/hub/login", "/hub/"):
                page = alice.get(f"{path}?next={quote(target)}", follow=False)
                _stays(machine, page.headers.get("location", ""), target)
    for target in targets[:4]:
        with browser(machine) as window:
            result = window.login("alice", PASSWORD, then=target)
            for step in (*result.page.passed, result.page.url):
                _stays(machine, step, target)


def _stays(machine: Machine, location: str, target: str) -> None:
    """Fail if a browser that follows this location would leave the portal."""
    # As browsers do: backslashes are slashes, and tabs and line feeds are not there.
    read = re.sub(r"[\t\r\n]", "", location.strip()).replace("\\", "/")
    parts = urlsplit(read)
    assert parts.scheme in ("", "https") and parts.netloc in ("", f"{machine.ip}:8000"), (target, location)


def test_the_log_names_the_address_that_a_password_came_from(machine: Machine) -> None:
    """And not what a request claims about itself, over our own proxy."""
    with browser(machine) as window:
        forged = {"X-Forwarded-For": "198.51.100.7", "X-Real-IP": "198.51.100.8", "Forwarded": "for=198.51.100.9"}
        window.http.headers.update(forged)
        for name in ("alice", "root", "no-such-person"):
            assert not window.login(name, "wrong").logged_in
    log = machine.run("journalctl --no-pager -o cat -t jupyterhub4family")
    hub = machine.run("journalctl --no-pager -o cat -u jupyterhub4family-hub")
    address = "10.93.0.1"  # this computer, as the machine sees it
    for name in ("alice", "root", "no-such-person"):
        assert f"refused '{name}' from {address}" in log, log
        assert f"'{name}' from {address} refused" in hub
    assert "198.51.100." not in log + hub


def test_guessing_is_slowed_down_for_each_address_too(machine: Machine) -> None:
    """One password tried on every name; the members themselves get in from elsewhere, and the machine stays calm."""
    machine.run("jupyterhub4family restart")  # the tests before have guessed as well
    ready(machine)

    windows = [browser(machine) for _ in range(36)]

    def guess(number: int) -> str:
        with windows[number] as window:
            return window.login(f"child{number}", "sunshine").error

    began = time.monotonic()
    crowd: list[int] = []
    with concurrent.futures.ThreadPoolExecutor(12) as pool:
        guesses = [pool.submit(guess, number) for number in range(36)]
        while not all(one.done() for one in guesses):
            crowd.append(int(machine.run("pgrep -fc '^/usr/bin/python3 .*lib/jupyterhub4family/authenticate' || true")))
            time.sleep(0.2)
    answers = [one.result() for one in guesses]
    slowed = [answer for answer in answers if "Too many tries from your device" in answer]
    # At most four are looked at at a time, so at most three more than the twenty.
    assert 36 - 23 <= len(slowed) <= 36 - 20, (time.monotonic() - began, answers)
    # Four at a time, and some that have answered and are just ending; twelve have come at once.
    assert 1 <= max(crowd) <= 8, crowd
    with browser(machine) as window:
        assert "Too many tries from your device" in window.login("alice", PASSWORD).error, (
            "not even the right one, from here"
        )
    machine.write("/root/login.py", FROM_THE_MACHINE)
    assert "/hub/home" in machine.run("python3 /root/login.py"), "alice herself, from her own device"
    log = machine.run("journalctl --no-pager -o cat -u jupyterhub4family-hub")
    assert "from 10.93.0.1 refused: too many wrong passwords from there" in log
    users = json.loads(machine.run("jupyterhub4family members list --json"))["members"]
    assert [user["name"] for user in users] == ["alice"]
