"""service.setup_page: from the first second something friendly answers, and nothing that is sent is used."""

from __future__ import annotations

import contextlib
import http.client
import json
import re
import socket
import ssl
import warnings
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import pytest

from jupyterhub4family.common import paths
from jupyterhub4family.common.errors import FamilyError
from jupyterhub4family.common.settings.model import Settings
from jupyterhub4family.common.state import ports
from jupyterhub4family.service.releases import progress, setup_page
from jupyterhub4family.service.releases.setup_page import SetupPage
from jupyterhub4family.service.run import handover
from tests.unit.helpers import DATA, free_port

PAGE = DATA / "usr/share/jupyterhub4family/setup-page.html"
EVENT = {"percent": 15, "message": "Fetching <b>JupyterHub</b> – „schön“", "at": 1}


@contextlib.contextmanager
def page_at(settings: Settings) -> Iterator[SetupPage]:
    """A setup page where the settings say."""
    with contextlib.closing(handover.take(ports.PORTAL, settings)) as port, SetupPage(settings, port, PAGE) as page:
        yield page


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    """Where a setup page answers on this machine only. One for all tests: none of them may disturb it."""
    number = free_port()
    with mock.patch.object(progress, "read_progress", lambda: EVENT):
        with page_at(Settings(port=number, listen="local", https=False)):
            yield number


def ask(port: int, method: str, path: str, body: bytes = b"") -> tuple[http.client.HTTPResponse, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request(method, path, body)
        answer = connection.getresponse()
        return answer, answer.read()
    finally:
        connection.close()


def send(port: int, raw: bytes) -> bytes:
    """What comes back for raw bytes, until the other side closes."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(raw)
        connection.shutdown(socket.SHUT_WR)
        answer = b""
        while True:
            part = connection.recv(65536)
            if not part:
                return answer
            answer += part


PATHS = [
    "/",
    "/hub/login",
    "/hub/health",
    "/user/anna/lab?x=1#y",
    "/setup-progress.json?x",
    "//",
    "/..%2f..%2fetc/passwd",
]


@pytest.mark.parametrize("path", PATHS)
def test_every_address_shows_the_page_and_is_not_taken_for_the_hub(port: int, path: str) -> None:
    answer, body = ask(port, "GET", path)
    assert answer.status == 503
    assert body == setup_page.in_language(PAGE.read_text("utf-8"), "en") and b"{{" not in body
    headers = {key.lower(): value for key, value in answer.getheaders()}
    assert headers["content-type"] == "text/html; charset=utf-8"
    assert headers["content-length"] == str(len(body))
    assert headers["cache-control"] == "no-store"
    assert headers["x-content-type-options"] == "nosniff"
    assert int(headers["retry-after"]) > 0
    assert "Python" not in headers["server"]


def test_the_policy_lets_the_page_do_what_it_does_and_nothing_more(port: int) -> None:
    answer, _ = ask(port, "GET", "/")
    rules = dict(rule.split(" ", 1) for rule in (answer.getheader("content-security-policy") or "").split("; "))
    assert rules["default-src"] == "'none'"
    assert rules["connect-src"] == "'self'"
    # default-src says nothing of these.
    assert rules["frame-ancestors"] == rules["form-action"] == rules["base-uri"] == "'none'"
    page = PAGE.read_text("utf-8")
    # Nothing from elsewhere, and no text of a build error becomes HTML.
    assert not re.search(r"""\s(?:src|href)\s*=|url\(|https?://|@import|innerHTML|insertAdjacentHTML|\beval\b""", page)


def test_the_progress(port: int) -> None:
    answer, body = ask(port, "GET", "/setup-progress.json")
    assert answer.status == 200
    assert answer.getheader("content-type") == "application/json"
    assert answer.getheader("cache-control") == "no-store"
    assert json.loads(body) == EVENT


def test_without_progress_there_is_an_empty_object(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "read_progress", dict)
    assert ask(port, "GET", "/setup-progress.json")[1] == b"{}"


@pytest.mark.parametrize(("path", "status"), [("/hub/login", 503), ("/setup-progress.json", 200)])
def test_head_has_no_body(port: int, path: str, status: int) -> None:
    answer = send(port, f"HEAD {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    assert answer.startswith(f"HTTP/1.0 {status} ".encode())
    assert answer.endswith(b"\r\n\r\n") and b"<html" not in answer


def test_a_login_that_is_sent_shows_the_page(port: int) -> None:
    answer, body = ask(port, "POST", "/hub/login", b"username=anna&password=secret")
    assert answer.status == 503 and b"secret" not in body


def test_the_page_says_nothing_that_is_missing_in_the_catalogue() -> None:
    reported = re.findall(r"\{\{(.*?)\}\}", PAGE.read_text("utf-8"), re.DOTALL)
    assert sorted(reported) == sorted(message.id for message in setup_page.sentences())


def test_the_page_in_german(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(setup_page, "translated", lambda message, language: f"<{language}> {message}")
    page = setup_page.in_language(PAGE.read_text("utf-8"), "de")
    assert b'<html lang="de">' in page and b"&lt;de&gt; Progress" in page


@pytest.mark.parametrize(
    ("preferred", "language"),
    [("de-AT,de;q=0.9,en;q=0.8", "de"), ("fr,de;q=0.5", "de"), ("en,de", "en"), ("", "en"), ("x" * 9999, "en")],
)
def test_the_language_is_the_browsers(port: int, preferred: str, language: str) -> None:
    raw = f"GET / HTTP/1.1\r\nHost: x\r\nAccept-Language: {preferred}\r\n\r\n"
    assert f'<html lang="{language}">'.encode() in send(port, raw.encode())


GARBAGE = {
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    "nothing": b"",
    "line feeds": b"\r\n\r\n",
    "an unknown word": b"BREW / HTTP/1.1\r\n\r\n",
    "no version": b"GET /\r\n\r\n",
    "a wrong version": b"GET / HTTP/9.9\r\n\r\n",
    "a long address": b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\n\r\n",
    "many headers": b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 500 + b"\r\n",
    "a script": b"<script>alert(1)</script> / HTTP/1.1\r\n\r\n",
    "half a header": b"GET / HTTP/1.1\r\nHos",
}


@pytest.mark.parametrize("raw", GARBAGE.values(), ids=list(GARBAGE))
def test_garbage_disturbs_nobody(port: int, raw: bytes, capfd: pytest.CaptureFixture[str]) -> None:
    try:
        answer = send(port, raw)
    except OSError:
        answer = b""  # what was not read before the end is answered with a reset
    assert b"<script>alert" not in answer.partition(b"\r\n\r\n")[2]
    assert ask(port, "GET", "/")[0].status == 503
    assert capfd.readouterr().err == "", "the log would be filled by whoever likes to"


def test_who_says_nothing_keeps_nobody_waiting(port: int) -> None:
    silent = [socket.create_connection(("127.0.0.1", port), timeout=10) for _ in range(20)]
    try:
        assert ask(port, "GET", "/")[0].status == 503
    finally:
        for connection in silent:
            connection.close()


def test_the_port_stays_open_afterwards() -> None:
    settings = Settings(port=free_port(), listen="local", https=False)
    with contextlib.closing(handover.take(ports.PORTAL, settings)) as port:
        for _ in range(2):
            with SetupPage(settings, port, PAGE):
                assert ask(settings.port, "GET", "/")[0].status == 503
        waiting = socket.create_connection(("127.0.0.1", settings.port), timeout=10)
        with SetupPage(settings, port, PAGE):
            waiting.sendall(b"HEAD / HTTP/1.0\r\n\r\n")
            assert b" 503 " in waiting.recv(100), "who came in between is answered by the next one"
        waiting.close()
    with pytest.raises(ConnectionRefusedError):
        ask(settings.port, "GET", "/")


def test_the_lan_is_answered_on_ipv4_and_ipv6() -> None:
    number = free_port()
    with page_at(Settings(port=number, listen="lan", https=False, allow_plain_http=True)):
        assert ask(number, "GET", "/")[0].status == 503
        try:
            with socket.create_connection(("::1", number), timeout=10) as connection:
                connection.sendall(b"HEAD / HTTP/1.0\r\n\r\n")
                assert b" 503 " in connection.recv(100)
        except OSError:
            assert not ipv6_works(), "IPv6 works on this machine, and the page does not answer there"


def ipv6_works() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


def test_a_missing_page_is_an_error(tmp_path: Path) -> None:
    with socket.socket() as port, pytest.raises(FileNotFoundError):
        SetupPage(Settings(listen="local", https=False), port, tmp_path / "none.html")


# -- with TLS ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def secure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[int, ssl.SSLContext]]:
    """A setup page as it is by default, and a client that trusts exactly the family's authority."""
    pytest.importorskip("cryptography")
    from jupyterhub4family.service.certificates import ca

    directory = tmp_path_factory.mktemp("secure")
    number = free_port()
    with mock.patch.multiple(
        paths,
        TLS=directory,
        OWN_TLS=directory / "own",
        AUTHORITY_CERTIFICATE=directory / "x" / "x",
        CERTIFICATE_REPORT=directory / "x" / "y",
    ):
        ca.ensure(Settings())
    with mock.patch.object(progress, "read_progress", lambda: EVENT):
        with mock.patch.multiple(paths, TLS=directory, OWN_TLS=directory / "own"):
            with page_at(Settings(port=number, listen="local")):
                yield number, ssl.create_default_context(cafile=str(directory / "ca.crt"))


def test_tls_with_a_certificate_that_can_be_verified(secure: tuple[int, ssl.SSLContext]) -> None:
    for host in ("127.0.0.1", "localhost"):
        connection = http.client.HTTPSConnection(host, secure[0], timeout=10, context=secure[1])
        connection.request("GET", "/setup-progress.json")
        answer = connection.getresponse()
        assert answer.status == 200 and json.loads(answer.read()) == EVENT
        connection.close()


def test_old_versions_of_tls_are_refused(secure: tuple[int, ssl.SSLContext]) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_ciphers("DEFAULT:@SECLEVEL=0")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        context.minimum_version, context.maximum_version = ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1
    with pytest.raises(OSError):
        with socket.create_connection(("127.0.0.1", secure[0]), timeout=10) as raw:
            context.wrap_socket(raw)


REDIRECTS = [
    ("localhost", "/hub/login?next=%2Fhub", "https://localhost:{port}/hub/login?next=%2Fhub"),
    ("localhost:8443", "/", "https://localhost:8443/"),
    ("192.168.1.7:8000", "/", "https://192.168.1.7:8000/"),
    ("[::1]:8000", "/", "https://[::1]:8000/"),
    ("example.org", "/", "https://127.0.0.1:{port}/"),
    ("1.1.1.1", "/", "https://127.0.0.1:{port}/"),
    ("localhost@example.org", "/", "https://127.0.0.1:{port}/"),
    ("localhost/@example.org", "/", "https://127.0.0.1:{port}/"),
    ("", "/", "https://127.0.0.1:{port}/"),
    ("localhost", "//example.org", "https://localhost:{port}"),
]


@pytest.mark.parametrize(("host", "path", "target"), REDIRECTS)
def test_without_tls_one_is_led_there_and_nowhere_else(
    secure: tuple[int, ssl.SSLContext], host: str, path: str, target: str
) -> None:
    answer = send(secure[0], f"GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode()).decode()
    assert answer.startswith("HTTP/1.0 307 ")
    location = re.search(r"^Location: (.*)\r$", answer, re.MULTILINE)
    assert location and location[1].startswith(target.format(port=secure[0])), answer


def test_a_form_without_tls_is_refused(secure: tuple[int, ssl.SSLContext]) -> None:
    answer = send(secure[0], b"POST /hub/login HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\npassword=x")
    assert answer.startswith(b"HTTP/1.0 403 ") and b"https://" in answer


@pytest.mark.parametrize("raw", GARBAGE.values(), ids=list(GARBAGE))
def test_garbage_disturbs_nobody_here_either(
    secure: tuple[int, ssl.SSLContext], raw: bytes, capfd: pytest.CaptureFixture[str]
) -> None:
    with contextlib.suppress(OSError):
        send(secure[0], raw)
    assert send(secure[0], b"GET / HTTP/1.0\r\n\r\n").startswith(b"HTTP/1.0 307 ")
    assert capfd.readouterr().err == ""


def test_without_a_certificate_there_is_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paths, "TLS", tmp_path)
    monkeypatch.setattr(paths, "OWN_TLS", tmp_path)
    with pytest.raises(FamilyError, match="no certificate"):
        page_at(Settings(port=free_port(), listen="local")).__enter__()
