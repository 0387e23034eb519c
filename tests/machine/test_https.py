"""HTTPS by default: every name and address, verified by programs that know nothing of us; and what must not work."""

from __future__ import annotations

import json
import ssl
import subprocess
import time

import pytest

from tests.machine.lib.client import Browser
from tests.machine.lib.family import CA, CURL, HEALTHY, PASSWORD, STATE, add_member, browser, logged_in, ready
from tests.machine.lib.machine import Machine
from tests.machine.lib.plugin import NewMachine

HOME = "/var/lib/jupyterhub4family"
#: Makes a certificate as a thief of the authority's key would.
FORGE = f"""
cd /root && openssl ecparam -genkey -name prime256v1 -out forged.key 2>/dev/null
openssl req -new -key forged.key -subj /CN=forged -out forged.csr 2>/dev/null
echo "subjectAltName=$NAMES" > forged.ext
openssl x509 -req -in forged.csr -CA {STATE}/tls/ca.crt -CAkey {STATE}/tls/ca.key -CAcreateserial \
    -CAserial /root/serial -days 30 -extfile forged.ext -out forged.crt 2>/dev/null
openssl verify -CAfile {CA} forged.crt 2>&1
"""
#: There is one clock for all machines here, so a test cannot turn it; the program is told another time instead.
AT_ANOTHER_TIME = """
import sys
sys.path.insert(0, "/usr/lib/jupyterhub4family")
import datetime
from jupyterhub4family.common.settings.model import load_settings
from jupyterhub4family.service.certificates.ca import ensure
now = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(days={days})
print(*ensure(load_settings(), now), sep=chr(10))
"""


def names(machine: Machine) -> list[str]:
    """Names and addresses that the certificate in use is good for, as the command says."""
    return list(json.loads(machine.run("jupyterhub4family cert show --json"))["certificate"]["names"])


def served(machine: Machine, what: str = "-serial") -> str:
    """What openssl sees of the certificate that the portal shows."""
    show = "openssl s_client -connect 127.0.0.1:8000 </dev/null 2>/dev/null | openssl x509 -noout"
    return machine.run(f"{show} {what}").strip()


def inside_network(machine: Machine, *args: str) -> None:
    """Run a network tool of the developer's machine in the network of this one."""
    subprocess.run(["nsenter", "-t", str(machine.pid), "-n", *args], check=True)


def reaches(name: str) -> str:
    """A command that succeeds if the portal answers under this name and its certificate is good for it."""
    host = f"[{name}]" if ":" in name else name
    known = "" if name.replace(".", "").isdigit() or ":" in name else f"--resolve {name}:8000:127.0.0.1"
    return f"{CURL} -m 5 -f -o /dev/null {known} 'https://{host}:8000/hub/health'"


@pytest.mark.any_debian
def test_https_by_default(new_machine: NewMachine, suite: str) -> None:
    machine = ready(new_machine(suite, layer="installed"))
    machine.wait_http("/hub/login")
    _every_name_and_address(machine)
    _keys_are_the_accounts(machine)
    _others_cannot_be_signed_for(machine)
    _plain_http_leads_to_https(machine)
    add_member(machine, "alice")
    with logged_in(machine, "alice") as alice:
        assert alice.get("/", follow=False).headers["location"].startswith(("/", f"https://{machine.ip}:8000/"))
        alice.start_server()
        kernel = alice.kernel()
        _cookies_are_for_https_only(alice)
        kernel.execute("kept = 42")
        _renewed_while_a_notebook_is_open(machine)
        assert kernel.execute("kept") == "42", "the very same connection goes on"
    with logged_in(machine, "alice") as later:
        assert later.status("/hub/home") == 200


def _cookies_are_for_https_only(alice: Browser) -> None:
    """Those of the hub and of the member's own server, _xsrf among them."""
    cookies = {f"{cookie.path}{cookie.name}": cookie for cookie in alice.cookies.jar}
    assert {"/hub/_xsrf", "/user/alice/_xsrf"} <= set(cookies) and len(cookies) > 4, sorted(cookies)
    assert [name for name, cookie in cookies.items() if not cookie.secure] == []
    assert [name for name, cookie in cookies.items() if not cookie.has_nonstandard_attr("SameSite")] == []


def _every_name_and_address(machine: Machine) -> None:
    found = names(machine)
    host = machine.run("hostname").strip().lower()
    assert {host, f"{host}.local", "localhost", "127.0.0.1", "::1", machine.ip} <= set(found), found
    for name in found:
        machine.run(reaches(name))
        option = "-verify_ip" if name.replace(".", "").isdigit() or ":" in name else "-verify_hostname"
        machine.run(f"openssl verify -x509_strict -CAfile {CA} {option} {name} {STATE}/tls/portal.crt")
    assert machine.execute(reaches("example.org")).returncode == 60, "a name that is not ours is no good"
    assert machine.execute("curl -s https://127.0.0.1:8000/").returncode == 60, "nobody trusts it without being told"
    old = "openssl s_client -connect 127.0.0.1:8000 -tls1_1 -cipher DEFAULT:@SECLEVEL=0 </dev/null"
    assert machine.execute(old).returncode != 0
    output = machine.run("jupyterhub4family status")
    assert f"https://{machine.ip}:8000/" in output


def _keys_are_the_accounts(machine: Machine) -> None:
    modes = machine.run(f"stat -c '%U %a %n' {STATE} {STATE}/tls {STATE}/tls/*").splitlines()
    assert len(modes) >= 6
    for line in modes:
        owner, mode, _name = line.split()
        assert owner == "jupyterhub" and mode in ("600", "700"), line
    assert machine.execute(f"runuser -u nobody -- cat {STATE}/tls/ca.key").returncode != 0
    assert "PRIVATE" not in machine.run(f"cat {HOME}/public/* {CA}")
    assert "PRIVATE" not in machine.run("journalctl --no-pager -o cat")
    machine.run(f"runuser -u nobody -- cat {CA}")


def _others_cannot_be_signed_for(machine: Machine) -> None:
    assert "OK" in machine.run(f"NAMES=DNS:printer.local,IP:192.168.1.1; {FORGE}"), "the test itself"
    for wanted in (
        "DNS:example.org",
        "DNS:local.example.org",
        "IP:1.1.1.1",
        "IP:2001:db8::1",
        "DNS:printer.local,DNS:a.org",
    ):
        done = machine.execute(f"NAMES={wanted}; {FORGE}")
        assert done.returncode != 0 and "permitted subtree violation" in done.stdout, (wanted, done)


def _plain_http_leads_to_https(machine: Machine) -> None:
    def head(path: str, *headers: str) -> str:
        more = " ".join(f"-H '{header}'" for header in headers)
        return machine.run(f"curl -sS --path-as-is -D - -o /dev/null {more} 'http://{machine.ip}:8000{path}'")

    assert f"Location: https://{machine.ip}:8000/hub/login?next=%2Fhub%2F" in head("/hub/login?next=%2Fhub%2F")
    for host in ("evil.example", "evil.example:8000", f"{machine.ip}@evil.example", "evil.example/", "a b", ""):
        answer = head("/hub/", f"Host: {host}")
        assert "evil" not in answer and (f"https://{machine.ip}:8000/hub/" in answer or " 400 " in answer), answer
    for path in ("/hub/static/../login", "/hub/trust/../login", "/hub/trust/..%2flogin", "/hub/loginx", "/hub/api"):
        assert " 307 " in head(path), path
    # What helps to trust the certificate has to be there before it is trusted, and brings no session.
    answer = head("/hub/logo", "Cookie: jupyterhub-session-id=x")
    assert " 200 " in answer and "set-cookie" not in answer.lower()
    form = f"-d 'username=alice&password={PASSWORD}'"
    answer = machine.run(f"curl -sS -D - {form} -H 'Accept-Language: de' http://{machine.ip}:8000/hub/login")
    assert " 403 " in answer and "https://" in answer
    time.sleep(1)
    log = machine.run("journalctl --no-pager -o cat -u jupyterhub4family-hub -u jupyterhub4family-proxy")
    assert "POST /hub/login" not in log, "the form has gone no further"


def _renewed_while_a_notebook_is_open(machine: Machine) -> None:
    before = served(machine)
    machine.run("jupyterhub4family cert renew")
    machine.wait(f"openssl s_client -connect 127.0.0.1:8000 </dev/null 2>/dev/null | openssl x509 -noout -serial"
                 f" | grep -qv '^{before}$'", timeout=20)  # fmt: skip
    machine.run(HEALTHY)
    # A year later, by the clock of the program that makes certificates.
    before = served(machine)
    machine.run(f"runuser -u jupyterhub -- /usr/bin/python3 -B - <<'END'\n{AT_ANOTHER_TIME.format(days=398)}\nEND")
    machine.wait(f"openssl s_client -connect 127.0.0.1:8000 </dev/null 2>/dev/null | openssl x509 -noout -serial"
                 f" | grep -qv '^{before}$'", timeout=20)  # fmt: skip
    ends = ssl.cert_time_to_seconds(served(machine, "-enddate").partition("=")[2])
    assert abs(ends - time.time() - (398 - 1 + 397) * 86400) < 3600
    # By the real clock that one is not valid yet, and so replaced.
    output = machine.run("runuser -u jupyterhub -- /usr/lib/jupyterhub4family/certificates ensure")
    assert "not valid yet" in output
    machine.wait(HEALTHY, timeout=20)


@pytest.mark.any_init
def test_https_follows_the_machine(new_machine: NewMachine, suite: str, init: str) -> None:
    """Another address, another name, damage, and a certificate from elsewhere; under both supervisors."""
    machine = ready(new_machine(suite, layer="installed", init=init))
    if init == "systemd":
        machine.run(HEALTHY)
    _another_address(machine)
    _another_name(machine)
    _damage(machine)
    _a_certificate_from_elsewhere(machine)
    _trusted_by_the_machine_itself(machine)


def _another_address(machine: Machine) -> None:
    link = machine.run("ls /sys/class/net | grep -vx lo").split()[0]
    assert machine.execute(reaches("10.77.0.7")).returncode != 0
    inside_network(machine, "ip", "address", "add", "10.77.0.7/24", "dev", link)
    machine.wait(reaches("10.77.0.7"), timeout=30)
    assert "10.77.0.7" in names(machine)
    inside_network(machine, "ip", "address", "del", "10.77.0.7/24", "dev", link)


def _another_name(machine: Machine) -> None:
    machine.run("hostname pantry")
    machine.wait(reaches("pantry.local"), timeout=30)
    output = machine.run("jupyterhub4family cert show")
    assert "--new-authority" in output, "the bare new name needs another authority, and that is told"
    assert machine.execute(reaches("pantry")).returncode == 60
    machine.run("jupyterhub4family cert renew --new-authority")
    machine.wait(reaches("pantry"), timeout=30)


def _damage(machine: Machine) -> None:
    machine.run(f"truncate -s 0 {STATE}/tls/portal.crt")
    machine.run("jupyterhub4family restart --all")
    machine.wait(HEALTHY, timeout=60)
    machine.run(f"rm -r {STATE}/tls")
    machine.run("jupyterhub4family restart --all")
    machine.wait(HEALTHY, timeout=60)


def _a_certificate_from_elsewhere(machine: Machine) -> None:
    machine.run(
        "openssl req -x509 -newkey rsa:2048 -nodes -keyout /root/own.key -out /root/own.crt -days 30 -subj /CN=x"
        " -addext subjectAltName=IP:127.0.0.1,DNS:jupyter.example.net 2>/dev/null"
    )
    assert machine.execute(f"jupyterhub4family cert use /root/own.crt {STATE}/tls/ca.key").returncode == 3
    assert "not valid for" in machine.run("jupyterhub4family cert use /root/own.crt /root/own.key")
    own = "curl -sf --cacert /root/own.crt -o /dev/null https://127.0.0.1:8000/hub/health"
    machine.wait(own, timeout=20)
    assert machine.run("stat -c '%U %a' /etc/jupyterhub4family/tls/portal.key").split() == ["jupyterhub", "400"]
    assert json.loads(machine.run("jupyterhub4family cert show --json"))["source"] == "own"
    machine.run("jupyterhub4family restart --all")
    machine.wait(own, timeout=60)
    machine.run("jupyterhub4family cert use --reset")
    machine.wait(HEALTHY, timeout=20)


def _trusted_by_the_machine_itself(machine: Machine) -> None:
    plain = "curl -sf -o /dev/null https://localhost:8000/hub/health"
    assert machine.execute(plain).returncode == 60
    machine.run("jupyterhub4family cert trust")
    machine.run(plain)
    machine.run("jupyterhub4family cert trust --remove")
    assert machine.execute(plain).returncode == 60
    assert "BEGIN CERTIFICATE" in machine.run("jupyterhub4family cert export")


@pytest.mark.any_debian
def test_https_can_be_switched_off_for_this_computer(new_machine: NewMachine, suite: str) -> None:
    machine = ready(new_machine(suite, layer="installed"))
    machine.write("/etc/jupyterhub4family/config.yaml", "https: false\nlisten: local\n")
    machine.run("jupyterhub4family restart --all")
    machine.wait("curl -sf -o /dev/null http://127.0.0.1:8000/hub/health", timeout=60)
    with pytest.raises(TimeoutError):
        machine.wait_http("/hub/login", timeout=1, scheme="http")
    assert "http://127.0.0.1:8000/" in machine.run("jupyterhub4family status")
    cookie = machine.run("curl -sf -D - -o /dev/null http://127.0.0.1:8000/hub/login | grep -i ^set-cookie")
    assert "_xsrf" in cookie and "secure" not in cookie.lower(), "no browser would send it back"
    with browser(machine) as window, pytest.raises(Exception, match="refused"):
        window.get("/hub/login")
