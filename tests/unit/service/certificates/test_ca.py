"""service.certificates: made at the first start, renewed when it has to be, mended when damaged; and constrained."""

from __future__ import annotations

import datetime
import ipaddress
import json
import os
import stat
import subprocess
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("cryptography")

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from jupyterhub4family.common import paths
from jupyterhub4family.common.errors import FamilyError
from jupyterhub4family.common.settings.model import Settings, parse_settings
from jupyterhub4family.common.state.certificates import (
    fingerprint,
    first_certificate,
    read_authority,
    read_report,
    to_pem,
)
from jupyterhub4family.common.system import files, network
from jupyterhub4family.service.certificates import ca, names
from jupyterhub4family.service.certificates.ca import ensure, names_in, validity

NOW = datetime.datetime(2026, 11, 1, 12, tzinfo=datetime.timezone.utc)
DAY = datetime.timedelta(days=1)
HOSTS = ["portal", "portal.fritz.box", "portal.local", "localhost"]
ADDRESSES = ["127.0.0.1", "::1", "192.168.178.20", "fd00::20"]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine called portal, with its service's folders below the test's own."""
    monkeypatch.setattr(paths, "TLS", tmp_path / "tls")
    monkeypatch.setattr(paths, "OWN_TLS", tmp_path / "own")
    monkeypatch.setattr(paths, "AUTHORITY_CERTIFICATE", tmp_path / "public" / "ca.crt")
    monkeypatch.setattr(paths, "CERTIFICATE_REPORT", tmp_path / "public" / "certificate.json")
    (tmp_path / "public").mkdir()
    rename(monkeypatch, "portal")
    monkeypatch.setattr(network, "lan_addresses", lambda: ["192.168.178.20", "fd00::20"])
    return tmp_path


def rename(monkeypatch: pytest.MonkeyPatch, host: str) -> None:
    monkeypatch.setattr(network, "host_names", lambda: [host, f"{host}.fritz.box", f"{host}.local"])


def portal(home: Path) -> x509.Certificate:
    return x509.load_pem_x509_certificate((home / "tls" / "portal.crt").read_bytes())


def authority(home: Path) -> x509.Certificate:
    return x509.load_pem_x509_certificate((home / "tls" / "ca.crt").read_bytes())


def contents(home: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (home / "tls").iterdir()}


def verify(home: Path, certificate: Path, *args: str) -> subprocess.CompletedProcess[str]:
    """What openssl, which knows nothing of us, thinks of a certificate at NOW."""
    command = ["openssl", "verify", "-x509_strict", "-purpose", "sslserver", "-attime", str(int(NOW.timestamp()))]
    command += ["-CAfile", str(home / "tls" / "ca.crt"), *args, str(certificate)]
    return subprocess.run(command, capture_output=True, encoding="utf-8", check=False)


# -- made --------------------------------------------------------------------------------------------


def test_the_first_call_makes_everything_and_the_second_nothing(home: Path) -> None:
    output = ensure(Settings(), NOW)
    assert len(output) == 2
    before = contents(home)
    assert set(before) == {"ca.key", "ca.crt", "portal.key", "portal.crt", "lock"}
    assert ensure(Settings(), NOW) == [] and contents(home) == before


def test_only_the_account_can_read_keys(home: Path) -> None:
    ensure(Settings(), NOW)
    assert stat.S_IMODE((home / "tls").stat().st_mode) == 0o700
    for path in (home / "tls").iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path
    (home / "tls" / "portal.key").chmod(0o644)
    ensure(Settings(), NOW)
    assert stat.S_IMODE((home / "tls" / "portal.key").stat().st_mode) == 0o600


def test_what_everybody_may_read(home: Path) -> None:
    ensure(Settings(), NOW)
    public = home / "public" / "ca.crt"
    assert public.read_bytes() == (home / "tls" / "ca.crt").read_bytes()
    assert {stat.S_IMODE(path.stat().st_mode) for path in public.parent.iterdir()} == {0o644}
    der = read_authority(public)
    assert der is not None
    report = read_report(home / "public" / "certificate.json")
    assert report["source"] == "authority" and report["left_out"] == []
    assert report["authority"]["fingerprint"] == fingerprint(der)
    assert set(report["certificate"]["names"]) == {*HOSTS, *ADDRESSES}
    assert b"PRIVATE" not in b"".join(path.read_bytes() for path in public.parent.iterdir())


def test_it_is_good_for_every_name_and_address_and_not_for_too_long(home: Path) -> None:
    ensure(Settings(), NOW)
    assert set(names_in(portal(home))) == {*HOSTS, *ADDRESSES}
    begins, ends = validity(portal(home))
    assert ends - begins <= datetime.timedelta(days=397) and begins < NOW < ends
    for host in HOSTS:
        assert verify(home, home / "tls" / "portal.crt", "-verify_hostname", host).returncode == 0, host
    for address in ADDRESSES:
        assert verify(home, home / "tls" / "portal.crt", "-verify_ip", address).returncode == 0, address
    assert verify(home, home / "tls" / "portal.crt", "-verify_hostname", "example.org").returncode != 0


def test_a_machine_without_name_and_network_has_one_as_well(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(network, "host_names", list)
    monkeypatch.setattr(network, "lan_addresses", list)
    ensure(Settings(), NOW)
    assert verify(home, home / "tls" / "portal.crt", "-verify_ip", "127.0.0.1").returncode == 0


@pytest.mark.parametrize("host", ["com", "de", "family", "school"])
def test_a_machine_that_is_called_like_a_public_domain(home: Path, monkeypatch: pytest.MonkeyPatch, host: str) -> None:
    rename(monkeypatch, host)
    ensure(Settings(), NOW)
    assert host not in names_in(portal(home)) and f"{host}.local" in names_in(portal(home))
    constraints = authority(home).extensions.get_extension_for_class(x509.NameConstraints).value
    assert host not in [one.value for one in constraints.permitted_subtrees or []]


# -- what the authority cannot do ----------------------------------------------------------------------


def forge(home: Path, *wanted: x509.GeneralName) -> Path:
    """A certificate that a thief of the authority's key makes."""
    key = ca._read_key(home / "tls" / "ca.key")
    assert key is not None
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "forged")]))
        .issuer_name(authority(home).subject)
        .public_key(ec.generate_private_key(ec.SECP256R1()).public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(NOW - DAY)
        .not_valid_after(NOW + DAY)
        .add_extension(x509.SubjectAlternativeName(wanted), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key()), critical=False)
    )
    path = home / "forged.crt"
    path.write_text(ca._to_pem(builder.sign(key, hashes.SHA256())))
    return path


@pytest.mark.parametrize(
    "host",
    ["example.org", "www.example.org", "portal.example.org", "org", "local.org", "xlocal", "fritz.box", "xportal"],
)
def test_it_cannot_sign_other_names(home: Path, host: str) -> None:
    ensure(Settings(), NOW)
    done = verify(home, forge(home, x509.DNSName(host)))
    assert done.returncode != 0 and "permitted subtree violation" in done.stderr + done.stdout


@pytest.mark.parametrize("address", ["1.1.1.1", "192.169.0.1", "11.0.0.1", "2001:db8::1", "::2", "fe00::1"])
def test_it_cannot_sign_other_addresses(home: Path, address: str) -> None:
    ensure(Settings(), NOW)
    done = verify(home, forge(home, x509.IPAddress(ipaddress.ip_address(address))))
    assert done.returncode != 0 and "permitted subtree violation" in done.stderr + done.stdout


def test_one_forbidden_name_among_good_ones_is_enough(home: Path) -> None:
    ensure(Settings(), NOW)
    assert verify(home, forge(home, x509.DNSName("portal.local"))).returncode == 0, "the test itself"
    assert verify(home, forge(home, x509.DNSName("portal.local"), x509.DNSName("example.org"))).returncode != 0


def test_the_constraints_are_critical_and_there_is_no_authority_below(home: Path) -> None:
    ensure(Settings(), NOW)
    extensions = authority(home).extensions
    assert extensions.get_extension_for_class(x509.NameConstraints).critical
    basic = extensions.get_extension_for_class(x509.BasicConstraints)
    assert basic.critical and basic.value.ca and basic.value.path_length == 0
    assert not portal(home).extensions.get_extension_for_class(x509.BasicConstraints).value.ca


# -- renewed -----------------------------------------------------------------------------------------


def test_a_new_address_is_in_a_new_certificate(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ensure(Settings(), NOW)
    before = contents(home)
    monkeypatch.setattr(network, "lan_addresses", lambda: ["192.168.178.99"])
    output = ensure(Settings(), NOW)
    assert len(output) == 1 and "192.168.178.99" in output[0]
    assert "192.168.178.99" in names_in(portal(home)) and "192.168.178.20" not in names_in(portal(home))
    after = contents(home)
    assert [name for name in after if after[name] != before[name]] == ["portal.crt"]


def test_a_renamed_machine(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ensure(Settings(), NOW)
    rename(monkeypatch, "server")
    output = ensure(Settings(), NOW)
    # Every device goes on trusting the authority, so what that may not sign is left out, and told.
    assert set(names_in(portal(home))) == {"server.local", "localhost", *ADDRESSES}
    assert "server.fritz.box" in output[-1] and "--new-authority" in output[-1]
    assert read_report(home / "public" / "certificate.json")["left_out"] == ["server", "server.fritz.box"]
    ensure(Settings(), NOW, renew=True, new_authority=True)
    assert {"server", "server.fritz.box"} <= set(names_in(portal(home)))
    assert read_report(home / "public" / "certificate.json")["left_out"] == []


def test_further_names(home: Path) -> None:
    names = ["Jupyter.example.net", "203.0.113.7", "printer.local", "2001:db8::7"]
    settings = parse_settings({"extra_names": names}, "test")
    ensure(settings, NOW)
    assert {"jupyter.example.net", "203.0.113.7", "printer.local", "2001:db8::7"} <= set(names_in(portal(home)))
    assert verify(home, home / "tls" / "portal.crt", "-verify_hostname", "jupyter.example.net").returncode == 0
    assert verify(home, forge(home, x509.DNSName("example.net"))).returncode != 0
    assert verify(home, forge(home, x509.IPAddress(ipaddress.ip_address("203.0.113.8")))).returncode != 0


@pytest.mark.parametrize(("days", "renewed"), [(0, False), (300, False), (335, False), (337, True), (398, True)])
def test_before_it_ends_there_is_a_new_one(home: Path, days: int, renewed: bool) -> None:
    ensure(Settings(), NOW)
    later = NOW + days * DAY
    assert bool(ensure(Settings(), later)) is renewed
    begins, ends = validity(portal(home))
    assert begins < later < ends


@pytest.mark.parametrize("years", [-30, -5, 5, 12])
def test_a_clock_that_jumps(home: Path, years: int) -> None:
    ensure(Settings(), NOW)
    known = authority(home)
    other = NOW + years * 365 * DAY
    assert ensure(Settings(), other)
    begins, ends = validity(portal(home))
    assert begins < other < ends
    assert ensure(Settings(), NOW), "and back"
    # Whatever the clock said, no device has to be told anything.
    assert authority(home) == known
    assert verify(home, home / "tls" / "portal.crt").returncode == 0


def test_a_first_start_with_a_clock_at_zero(home: Path) -> None:
    ensure(Settings(), datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc))
    known = authority(home)
    ensure(Settings(), NOW)
    assert authority(home) == known and verify(home, home / "tls" / "portal.crt").returncode == 0


def test_renewed_on_request(home: Path) -> None:
    ensure(Settings(), NOW)
    before = contents(home)
    assert ensure(Settings(), NOW, renew=True)
    after = contents(home)
    assert after["portal.crt"] != before["portal.crt"] and after["ca.crt"] == before["ca.crt"]


# -- damaged -----------------------------------------------------------------------------------------

DAMAGE = {
    "missing": None,
    "empty": b"",
    "zeros": bytes(700),
    "garbage": b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
    "no text": b"\xff\xfe" * 100,
}


def damage(path: Path, content: bytes | None) -> None:
    path.unlink()
    if content is not None:
        path.write_bytes(content)


@pytest.mark.parametrize("content", DAMAGE.values(), ids=list(DAMAGE))
@pytest.mark.parametrize("name", ["portal.crt", "portal.key"])
def test_a_damaged_certificate_is_made_anew(home: Path, name: str, content: bytes | None) -> None:
    ensure(Settings(), NOW)
    known = authority(home)
    damage(home / "tls" / name, content)
    assert ensure(Settings(), NOW)
    assert authority(home) == known
    assert verify(home, home / "tls" / "portal.crt").returncode == 0
    assert ensure(Settings(), NOW) == []


@pytest.mark.parametrize("content", DAMAGE.values(), ids=list(DAMAGE))
@pytest.mark.parametrize("name", ["ca.crt", "ca.key"])
def test_a_damaged_authority_is_made_anew_and_told(home: Path, name: str, content: bytes | None) -> None:
    ensure(Settings(), NOW)
    damage(home / "tls" / name, content)
    assert ensure(Settings(), NOW)
    assert verify(home, home / "tls" / "portal.crt").returncode == 0
    assert (home / "public" / "ca.crt").read_bytes() == (home / "tls" / "ca.crt").read_bytes()
    assert ensure(Settings(), NOW) == []


def test_a_half_written_file_of_a_power_cut_is_no_obstacle(home: Path) -> None:
    ensure(Settings(), NOW)
    (home / "tls" / f".portal.crt.{os.getpid()}").write_text("half")
    assert ensure(Settings(), NOW, renew=True)
    assert verify(home, home / "tls" / "portal.crt").returncode == 0


def test_a_full_disk_is_a_sentence_and_leaves_everything(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ensure(Settings(), NOW)
    before = contents(home)

    def full(*_args: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files, "write_atomically", full)
    with pytest.raises(FamilyError, match="No space left"):
        ensure(Settings(), NOW, renew=True)
    assert contents(home) == before


def test_a_missing_public_folder_keeps_nobody_from_being_served(home: Path) -> None:
    (home / "public").rmdir()
    ensure(Settings(), NOW)
    assert (home / "tls" / "portal.crt").exists()


def test_an_own_certificate_is_reported(home: Path) -> None:
    ensure(Settings(), NOW)
    (home / "own").mkdir()
    (home / "own" / "portal.crt").write_bytes((home / "tls" / "ca.crt").read_bytes())
    ensure(Settings(), NOW)
    assert json.loads((home / "public" / "certificate.json").read_text())["source"] == "own"


# -- the public half -----------------------------------------------------------------------------------


def test_the_public_certificate_is_read_as_a_strangers_file(home: Path) -> None:
    ensure(Settings(), NOW)
    public = home / "public" / "ca.crt"
    der = read_authority(public)
    assert der is not None and first_certificate(to_pem(der)) == der
    link = home / "link"
    link.symlink_to(public)
    os.mkfifo(home / "fifo")
    (home / "long").write_text(public.read_text() * 100)
    for path in (link, home / "fifo", home / "long", home, home / "none"):
        assert read_authority(path) is None, path
    assert read_report(public) == {}


def test_a_fingerprint_is_what_openssl_says(home: Path) -> None:
    ensure(Settings(), NOW)
    args = ["openssl", "x509", "-noout", "-fingerprint", "-sha256", "-in", str(home / "tls" / "ca.crt")]
    output = subprocess.run(args, capture_output=True, encoding="utf-8", check=True).stdout
    der = read_authority(home / "public" / "ca.crt")
    assert der is not None and output.strip().partition("=")[2] == fingerprint(der)


def test_every_home_network_is_one(home: Path) -> None:
    for text in names.HOME_NETWORKS:
        network = ipaddress.ip_network(text)
        assert not network.is_global, text
