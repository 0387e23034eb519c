"""cli.checks.certificates: looks at a real TLS server as a browser would."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("cryptography")

from jupyterhub4family.cli.doctor.base.finding import OK, PROBLEM, UNKNOWN, WARNING, CheckContext, Finding
from jupyterhub4family.cli.doctor.checks import certificates as check
from jupyterhub4family.common import paths
from jupyterhub4family.common.settings.model import Settings
from jupyterhub4family.common.state import certificates as certificates_state
from jupyterhub4family.common.state.certificates import read_authority
from jupyterhub4family.common.system import network
from jupyterhub4family.service.certificates import ca
from tests.unit.helpers import free_port


class Portal:
    """A portal on a port of its own, with a certificate of an authority of the test's."""

    def __init__(self, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (directory / "public").mkdir()
        monkeypatch.setattr(paths, "TLS", directory / "tls")
        monkeypatch.setattr(paths, "OWN_TLS", directory / "own")
        monkeypatch.setattr(paths, "OWN_TLS", directory / "own")
        monkeypatch.setattr(paths, "AUTHORITY_CERTIFICATE", directory / "public/ca.crt")
        monkeypatch.setattr(paths, "CERTIFICATE_REPORT", directory / "public/certificate.json")
        monkeypatch.setattr(network, "host_names", lambda: ["box", "box.local"])
        monkeypatch.setattr(network, "lan_addresses", lambda: ["192.168.0.7"])
        ca.ensure(Settings())
        monkeypatch.setattr(certificates_state, "read_authority", lambda: read_authority(directory / "public/ca.crt"))
        monkeypatch.setattr(network, "host_names", lambda: ["box", "box.local"])
        monkeypatch.setattr(network, "lan_addresses", lambda: ["192.168.0.7"])
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(directory / "tls/portal.crt", directory / "tls/portal.key")
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self.listener.getsockname()[1])
        threading.Thread(target=self._serve, args=(context,), daemon=True).start()

    def _serve(self, context: ssl.SSLContext) -> None:
        while True:
            try:
                connection, _address = self.listener.accept()
            except OSError:
                return
            try:
                with context.wrap_socket(connection, server_side=True):
                    pass
            except OSError:
                continue


@pytest.fixture
def portal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Portal]:
    made = Portal(tmp_path, monkeypatch)
    yield made
    made.listener.shutdown(socket.SHUT_RDWR)
    made.listener.close()


def look(port: int, **different: object) -> list[Finding]:
    return list(check.check_certificate(CheckContext(settings=Settings(port=port, **different))))  # type: ignore[arg-type]


def test_a_good_certificate(portal: Portal) -> None:
    assert [one.state for one in look(portal.port)] == [OK]


def test_the_computer_has_another_name_or_address_now(portal: Portal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(network, "host_names", lambda: ["attic"])
    (found,) = look(portal.port)
    assert found.state == PROBLEM and "attic" in found.message
    assert [one.state for one in look(portal.port, listen="local")] == [OK], "nobody else asks for that name"


def test_one_that_ends_soon(portal: Portal, monkeypatch: pytest.MonkeyPatch) -> None:
    real = time.time()
    monkeypatch.setattr(time, "time", lambda: real + 385 * 86400)
    (found,) = look(portal.port)
    assert found.state == WARNING and found.hint


def test_another_authority_is_not_trusted(portal: Portal, monkeypatch: pytest.MonkeyPatch) -> None:
    ca.ensure(Settings(), new_authority=True)
    (found,) = look(portal.port)
    assert found.state == PROBLEM


def test_nobody_answers_or_no_authority(portal: Portal, monkeypatch: pytest.MonkeyPatch) -> None:
    assert [one.state for one in look(free_port())] == [UNKNOWN]
    monkeypatch.setattr(certificates_state, "read_authority", lambda: None)
    (found,) = look(portal.port)
    assert found.state == PROBLEM and found.repair == "start"


def test_without_https() -> None:
    assert [one.state for one in look(8000, https=False, allow_plain_http=True)] == [WARNING]
    assert look(8000, https=False, listen="local") == []


def test_a_certificate_of_the_familys_own_is_good_if_it_is_for_one_of_the_names(
    portal: Portal, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "own").mkdir()
    (tmp_path / "own/portal.crt").touch()
    monkeypatch.setattr(network, "host_names", lambda: ["attic", "box"])
    assert [one.state for one in look(portal.port)] == [OK]
    monkeypatch.setattr(network, "lan_addresses", lambda: ["192.168.0.9"])
    ca.ensure(Settings(), new_authority=True)
    assert [one.state for one in look(portal.port)] == [PROBLEM]
