"""The gate for what is no page: programs with tokens, named servers, plain HTTP, IPv6, and a hub that is away."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest
from websockets.exceptions import InvalidStatus

from tests.machine.lib.client import Browser, SocketRefused
from tests.machine.lib.family import PASSWORD, logged_in, ready, shared_machine
from tests.machine.lib.machine import Machine
from tests.machine.lib.plugin import NewMachine
from tests.machine.lib.websocket import WebSocket

pytestmark = pytest.mark.every_debian


@pytest.fixture(scope="module")
def machine(suite: str) -> Iterator[Machine]:
    with shared_machine(suite, "anna", "ben") as machine:
        with logged_in(machine, "anna") as anna:
            anna.start_server()
        yield machine


@pytest.fixture
def anna(machine: Machine) -> Iterator[Browser]:
    with logged_in(machine, "anna") as window:
        yield window


def token_of(window: Browser) -> str:
    """A token as the page "Tokens for programs" makes it."""
    return str(window._hub_api("POST", f"/users/{window.name}/tokens", {"note": "test"}).json()["token"])


def program(window: Browser, token: str = "") -> httpx.Client:
    """A program without cookies, and without what browsers say of requests."""
    headers = {"Authorization": f"token {token}"} if token else {}
    return httpx.Client(base_url=window.base_url, verify=window.ssl, headers=headers, trust_env=False, timeout=60)


def test_programs_with_tokens_go_on(machine: Machine, anna: Browser) -> None:
    """As VS Code and others do it: REST with the token in a header, and a web socket with it in the address."""
    token = token_of(anna)
    with program(anna, token) as client:
        assert client.get("/user/anna/api").status_code == 200
        assert client.get("/user/anna/api/contents").json()["type"] == "directory"
        made = client.post("/user/anna/api/kernels", json={"name": "python3"})
        assert made.status_code == 201
        url = f"wss{anna.base_url[5:]}/user/anna/api/kernels/{made.json()['id']}/channels?token={token}"
        # JupyterHub itself wants to hear that it is one.
        plain = {"User-Agent": "program", "Sec-Fetch-Mode": "websocket"}
        WebSocket(url, anna.base_url, plain, anna.ssl, 60).close()
        with_header = {"User-Agent": "program", "Authorization": f"token {token}"}
        WebSocket(url.partition("?")[0], anna.base_url, with_header, anna.ssl, 60).close()
        assert client.delete(f"/user/anna/api/kernels/{made.json()['id']}").status_code == 204
        page = {"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
        assert client.get("/user/anna/lab", headers=page).status_code == 302, "no page is opened like that"
        assert client.get("/user/anna/lab", headers={"Sec-Fetch-Mode": "no-cors"}).status_code == 403
        wrong = client.get("/user/anna/api/contents", headers={"Authorization": "token x"})
        assert wrong.status_code == 403 and "browser" not in wrong.text, "her server's own word"
        assert client.get("/user/anna/api/contents", headers={"Authorization": "Basic YTpi"}).status_code == 403
    with program(anna) as nobody:
        refused = nobody.get("/user/anna/api/contents")
        assert refused.status_code == 403 and "Load the page again" in refused.json()["message"]
        assert nobody.get("/user/anna/files/x").status_code == 403
        led = nobody.get("/user/anna/lab", headers={"Accept": "text/html"})
        assert led.status_code == 302 and led.headers["location"] == "/hub/gate?next=%2Fuser%2Fanna%2Flab"


def test_what_a_browser_does_goes_on(machine: Machine, anna: Browser) -> None:
    """Notebook, terminal, upload and download, and the addresses that lead to whoever is logged in."""
    assert anna.get("/hub/user-redirect/lab/tree/x").path == "/user/anna/lab/tree/x"
    assert anna.get("/user/anna/tree").status == 200
    assert anna.kernel().execute("6 * 7") == "42"
    assert anna.terminal().run("echo $((6 * 7))").output == "42"
    model = {"type": "file", "format": "text", "content": "mine\n"}
    anna.fetch("PUT", "/user/anna/api/contents/mine.txt", model).expect()
    assert anna.get("/user/anna/files/mine.txt").text == "mine\n"
    for page in (anna.get("/user/anna/lab"), anna.get("/hub/home")):
        assert not any("/hub/gate" in step for step in page.passed), "no detour"


def test_named_servers(machine: Machine, anna: Browser) -> None:
    anna.start_server("school")
    page = anna.get("/user/anna/school/lab")
    assert page.status == 200 and not any("/hub/gate" in step for step in page.passed)
    assert anna.kernel("school").execute("6 * 7") == "42"
    with logged_in(machine, "ben") as ben:
        for path in ("/user/anna/school/lab", "/user/anna/lab", "/user/anna/"):
            refused = ben.get(path)
            assert refused.status == 403 and refused.path == "/hub/gate", path
        assert ben.fetch("GET", "/user/anna/school/api/contents").status == 403
        with pytest.raises(SocketRefused) as caught:
            ben.websocket("/user/anna/school/api/events/subscribe")
        assert caught.value.status == 403
    anna.stop_server("school", remove=True)


def test_origins_are_exact(machine: Machine, anna: Browser) -> None:
    """Of web sockets and of what changes something; at the hub and at servers."""
    host = anna.base_url.partition("//")[2]
    anna.open_lab()
    for origin, is_ours in (
        (f"https://{host}", True),
        (f"http://{host}", False),
        (f"https://{host.partition(':')[0]}", False),
        (f"https://{host}.evil.example", False),
        ("https://evil.example", False),
        ("null", False),
        (f"https://{host.partition(':')[0]}:9999", False),
        (f"https://x@{host}", False),
    ):
        headers = {"Origin": origin, "X-XSRFToken": anna.xsrf_token("/user/anna/")}
        url = anna._url("/user/anna/api/terminals")
        modes = {"Sec-Fetch-Mode": "cors", "Sec-Fetch-Dest": "empty"}
        status = anna.http.post(url, headers={**headers, **modes}).status_code
        assert (status == 200) is is_ours, (origin, status)
        headers = {"Origin": origin, "X-XSRFToken": anna.xsrf_token("/hub/api"), "Sec-Fetch-Mode": "cors"}
        status = anna.http.post(anna._url("/hub/api/users/anna/tokens"), headers=headers, json={}).status_code
        assert (status == 201) is is_ours, (origin, status)
        path = "/user/anna/api/events/subscribe"
        sent = {**anna._websocket_headers(anna._url(path)), "User-Agent": "x"}
        if is_ours:
            WebSocket(f"wss://{host}{path}", origin, sent, anna.ssl, 60).close()
        else:
            with pytest.raises(InvalidStatus, match="403"):
                WebSocket(f"wss://{host}{path}", origin, sent, anna.ssl, 60)


def test_an_open_notebook_outlives_hub_and_proxy(machine: Machine, anna: Browser) -> None:
    kernel = anna.kernel()
    kernel.execute("kept = 1")
    machine.run("systemctl stop jupyterhub4family-hub")
    machine.run("systemctl restart jupyterhub4family-proxy")
    machine.wait("systemctl stop jupyterhub4family-hub; ss -ltnH | grep -q :8000")
    machine.run("systemctl start jupyterhub4family-hub")
    ready(machine)
    kernel.reconnect()
    assert kernel.execute("kept") == "1"
    assert anna.status("/user/anna/lab") == 200


def test_an_open_page_of_before_the_gate_goes_on(machine: Machine, anna: Browser) -> None:
    kernel = anna.kernel()
    for cookie in [one for one in anna.http.cookies.jar if "jupyterhub4family" in one.name]:
        anna.http.cookies.jar.clear(cookie.domain, cookie.path, cookie.name)
    kernel.reconnect()
    assert kernel.execute("6 * 7") == "42"
    assert anna.fetch("GET", "/user/anna/api/contents").status == 200
    led = anna.get("/user/anna/lab")
    assert led.status == 200 and any("/hub/gate" in step for step in led.passed), "the next page brings a pass"
    anna.logout()
    assert anna.fetch("GET", "/user/anna/api/contents").status == 403


def test_an_account_that_was_made_again_is_somebody_else(machine: Machine) -> None:
    machine.add_account("carl", PASSWORD)
    machine.run("jupyterhub4family members add carl")
    with logged_in(machine, "carl") as carl:
        carl.start_server()
        assert carl.get("/user/carl/lab").status == 200
        machine.run("jupyterhub4family members remove carl; deluser -q carl")
        machine.run("adduser -q --disabled-password --gecos '' --uid 2345 carl; chown -R carl: /home/carl")
        machine.run(f"echo 'carl:{PASSWORD}' | chpasswd; jupyterhub4family members add carl")
        with logged_in(machine, "carl") as again:
            again.start_server()
            assert again.get("/user/carl/lab").status == 200
            old = carl.get("/user/carl/lab", follow=False)
            assert old.status == 302 and old.headers["location"].startswith("/hub/gate")
            again.stop_server()
    machine.run("jupyterhub4family members remove carl")


def test_ipv6(machine: Machine) -> None:
    """The name in the address is another: so are cookies and origin."""
    code = """
import sys
sys.path.insert(0, "/usr/lib/jupyterhub4family")
from jupyterhub4family.service.smoke_test.portal import PortalClient
client = PortalClient("https://[::1]:8000")
client._tls.check_hostname = False
client.log_in("anna", sys.argv[1])
client.calculate("anna")
print("calculated")
"""
    machine.write("/usr/local/share/ipv6.py", code)
    output = machine.run(f"python3 /usr/local/share/ipv6.py '{PASSWORD}'", user="anna")
    assert "calculated" in output


def test_plain_http(new_machine: NewMachine, suite: str) -> None:
    """Switched on by hand, for the machine itself: no Sec-Fetch headers, no Secure, and the gate all the same."""
    machine = ready(new_machine(suite, layer="installed"))
    machine.write("/etc/jupyterhub4family/config.yaml", "https: false\nlisten: local\n")
    machine.run("chmod 644 /etc/jupyterhub4family/config.yaml; jupyterhub4family restart --all")
    machine.wait("curl -sf -o /dev/null http://127.0.0.1:8000/hub/health", timeout=60)
    machine.add_account("anna", PASSWORD)
    machine.run("jupyterhub4family members add anna")
    code = """
import sys
sys.path.insert(0, "/usr/lib/jupyterhub4family")
from jupyterhub4family.service.smoke_test.portal import PortalClient
client = PortalClient("http://127.0.0.1:8000")
client.log_in("anna", sys.argv[1])
client.start_server("anna")
client.calculate("anna")
print(sorted(one.name for one in client._jar))
"""
    machine.write("/usr/local/share/plain.py", code)
    output = machine.run(f"python3 /usr/local/share/plain.py '{PASSWORD}'", user="anna")
    assert "'jupyterhub4family-browser'" in output and "'jupyterhub4family-gate'" in output
    curl = "curl -s -o /dev/null -w '%{http_code} %{redirect_url}' http://127.0.0.1:8000/user/anna"
    assert machine.run(f"{curl}/api/contents").startswith("403 ")
    assert "/hub/gate?next=" in machine.run(f"{curl}/lab -H 'Accept: text/html'")
