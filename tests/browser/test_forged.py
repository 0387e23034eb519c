"""What chromium says to certificates that a thief of the authority's key would make: it knows the constraints, too."""

from __future__ import annotations

import datetime
import http.server
import ipaddress
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Callable

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from playwright.sync_api import Error, Playwright

from jupyterhub4family.common import paths
from jupyterhub4family.common.settings.model import Settings
from jupyterhub4family.service.certificates import ca
from tests.browser.lib import ARGUMENTS, start_chromium

HOSTS = ("example.org", "printer.local")


@pytest.fixture
def authority(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An authority as a machine makes it."""
    for name in ("TLS", "OWN_TLS", "AUTHORITY_CERTIFICATE", "CERTIFICATE_REPORT"):
        monkeypatch.setattr(paths, name, tmp_path / name)
    ca.ensure(Settings())
    return tmp_path / "TLS" / "ca.crt"


def forged(authority: Path, *names: x509.GeneralName) -> ssl.SSLContext:
    """A server's TLS with a certificate for these names, signed with the authority's key."""
    authority_key = ca._read_key(authority.with_suffix(".key"))
    issuer = ca._read_certificate(authority)
    assert authority_key is not None and issuer is not None
    key = ec.generate_private_key(ec.SECP256R1())
    now = datetime.datetime.now(datetime.timezone.utc)
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "forged")]))
        .issuer_name(issuer.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=30))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key()), critical=False)
    )
    pair = authority.with_name("forged.pem")
    signed = builder.sign(authority_key, hashes.SHA256())
    pair.write_text(ca._key_to_pem(key) + ca._to_pem(signed))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair)
    return context


@pytest.fixture
def server() -> Iterator[http.server.ThreadingHTTPServer]:
    """A web server of the thief."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"<title>forged</title>")

        def log_message(self, *_args: object) -> None:
            """Say nothing."""

    made = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    yield made
    made.shutdown()
    made.server_close()


@pytest.fixture
def visit(
    playwright: Playwright,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    authority: Path,
    server: http.server.ThreadingHTTPServer,
) -> Callable[[tuple[str, ...], str], str]:
    """Opens the thief's server, with a certificate for some names, under one of them; gives the page's title."""

    def visit(names: tuple[str, ...], host: str) -> str:
        wanted: list[x509.GeneralName] = [
            x509.IPAddress(ipaddress.ip_address(name)) if name[0].isdigit() else x509.DNSName(name) for name in names
        ]
        server.socket = forged(authority, *wanted).wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        rules = ", ".join(f"MAP {one} 127.0.0.1" for one in HOSTS)
        monkeypatch.setattr("tests.browser.lib.ARGUMENTS", [*ARGUMENTS, f"--host-resolver-rules={rules}"])
        chromium = start_chromium(playwright, tmp_path / "chromium", authority)
        try:
            page = chromium.new_page()
            page.goto(f"https://{host}:{server.server_address[1]}/")
            return page.title()
        finally:
            chromium.close()

    return visit


def test_the_home_can_be_signed_for(visit: Callable[[tuple[str, ...], str], str]) -> None:
    # It shows that the browser trusts the authority, and so that the tests below test something.
    assert visit(("printer.local", "127.0.0.1"), "printer.local") == "forged"


@pytest.mark.parametrize(
    ("names", "host"),
    [
        (("example.org",), "example.org"),
        (("printer.local", "example.org"), "printer.local"),
        (("printer.local", "1.1.1.1"), "printer.local"),
    ],
)
def test_nobody_else_can(visit: Callable[[tuple[str, ...], str], str], names: tuple[str, ...], host: str) -> None:
    with pytest.raises(Error, match="ERR_CERT_"):
        visit(names, host)
