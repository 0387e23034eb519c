"""cli.cert: shows what the service says, gives away the public half, and takes a certificate from elsewhere."""

from __future__ import annotations

import datetime
import json
import os
import pwd
import subprocess
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("cryptography")

from jupyterhub4family.cli.certificates import command as cert
from jupyterhub4family.cli.main import main
from jupyterhub4family.common import paths
from jupyterhub4family.common.errors import ExitStatus, FamilyError, PermissionRefused, RefusedError, UsageError
from jupyterhub4family.common.settings import effective
from jupyterhub4family.common.settings.model import Settings
from jupyterhub4family.common.state.certificates import fingerprint, read_authority, read_report
from jupyterhub4family.common.system import network
from jupyterhub4family.service.certificates import ca
from tests.unit.fakes import FakePrograms
from tests.unit.helpers import account

DAY = datetime.timedelta(days=1)
NOW = datetime.datetime.now(datetime.timezone.utc)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine called portal with an authority; nothing is asked of its service, only noted."""
    public = tmp_path / "public"
    public.mkdir()
    for module, name, path in (
        (paths, "TLS", tmp_path / "tls"),
        (paths, "OWN_TLS", tmp_path / "own"),
        (paths, "AUTHORITY_CERTIFICATE", public / "ca.crt"),
        (paths, "CERTIFICATE_REPORT", public / "certificate.json"),
        (cert, "TRUSTED", tmp_path / "trusted" / "j.crt"),
    ):
        monkeypatch.setattr(module, name, path)
    monkeypatch.setattr(read_report, "__defaults__", (public / "certificate.json",))
    monkeypatch.setattr(read_authority, "__defaults__", (public / "ca.crt",))
    monkeypatch.setattr(network, "host_names", lambda: ["portal", "portal.local"])
    monkeypatch.setattr(network, "lan_addresses", lambda: ["192.168.1.5"])
    monkeypatch.setattr(effective, "settings_in_use", lambda: (Settings(), None))
    ca.ensure(Settings())
    return tmp_path


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, ...]]:
    """What root asks the service for."""
    found: list[tuple[str, ...]] = []
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(os, "chown", lambda *_args: None)
    monkeypatch.setattr(cert, "call_service", lambda *arguments: found.append(arguments))
    monkeypatch.setattr(pwd, "getpwnam", lambda name: account(name, 120))
    return found


def test_show(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cert", "show"]) == 0
    output = capsys.readouterr().out
    der = read_authority(home / "public" / "ca.crt")
    assert der and fingerprint(der) in output and "portal.local" in output and "395 days" in output
    assert main(["cert", "show", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["source"] == "authority"


def test_show_before_there_is_one(home: Path) -> None:
    (home / "public" / "certificate.json").unlink()
    with pytest.raises(FamilyError, match="no certificate yet") as caught:
        main(["cert", "show"])
    assert caught.value.status == ExitStatus.NOT_RUNNING


def test_export(home: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    der = read_authority(home / "public" / "ca.crt")
    for arguments, content in (([], (home / "tls" / "ca.crt").read_bytes()), (["--der"], der)):
        assert main(["cert", "export", str(home / "file"), *arguments]) == 0
        assert (home / "file").read_bytes() == content
    capfdbinary.readouterr()
    with pytest.raises(FamilyError, match="cannot be written"):
        main(["cert", "export", str(home / "none" / "file")])


@pytest.mark.parametrize("arguments", [["renew"], ["trust"], ["use", "--reset"], ["use", "a", "b"]])
def test_only_root_may(home: Path, arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(PermissionRefused, match="only root"):
        main(["cert", *arguments])


def test_renew(home: Path, asked: list[tuple[str, ...]], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cert", "renew"]) == 0 and main(["cert", "renew", "--new-authority"]) == 0
    assert asked == [("renew",), ("renew", "--new-authority")]
    assert "import" in capsys.readouterr().out


# -- trust -------------------------------------------------------------------------------------------


def test_trust_and_not(home: Path, asked: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = FakePrograms(monkeypatch)
    fake.let_run("openssl")
    fake.answer(Path(cert.UPDATE).name)
    assert main(["cert", "trust"]) == 0
    trusted = home / "trusted" / "j.crt"
    assert trusted.read_bytes() == (home / "tls" / "ca.crt").read_bytes()
    assert main(["cert", "trust", "--remove"]) == 0
    assert not trusted.exists() and [call.args for call in fake.calls] == [[cert.UPDATE], [cert.UPDATE, "--fresh"]]


def openssl(*arguments: str | Path, text: str = "") -> str:
    command = ["openssl", *map(str, arguments)]
    return subprocess.run(command, input=text, capture_output=True, encoding="utf-8", check=True).stdout


def authority_for(directory: Path, *constraints: str) -> str:
    """An authority that somebody else has put in the place of ours."""
    extra = [word for one in constraints for word in ("-addext", f"nameConstraints={one}")]
    key, out = directory / "x.key", directory / "x.crt"
    openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", out, "-subj", "/CN=x", *extra)
    return out.read_text()


@pytest.mark.parametrize(
    "constraints",
    [
        (),
        ("permitted;DNS:local,permitted;IP:10.0.0.0/255.0.0.0",),
        ("critical,permitted;DNS:local",),
        ("critical,permitted;IP:10.0.0.0/255.0.0.0",),
        ("critical,permitted;DNS:local,permitted;DNS:org,permitted;IP:10.0.0.0/255.0.0.0",),
        ("critical,permitted;DNS:local,permitted;IP:0.0.0.0/0.0.0.0",),
        ("critical,permitted;DNS:local,permitted;IP:0:0:0:0:0:0:0:0/0:0:0:0:0:0:0:0",),
        ("critical,excluded;DNS:org,excluded;IP:8.8.8.8/255.255.255.255",),
    ],
)
def test_this_computer_does_not_trust_an_authority_for_everything(home: Path, constraints: tuple[str, ...]) -> None:
    with pytest.raises(RefusedError, match="may sign for others"):
        cert.check_constraints(authority_for(home, *constraints))


def test_the_test_above_can_make_a_good_one(home: Path) -> None:
    cert.check_constraints(authority_for(home, "critical,permitted;DNS:local,permitted;IP:10.0.0.0/255.0.0.0"))


# -- use ---------------------------------------------------------------------------------------------


@pytest.fixture
def own(tmp_path: Path) -> tuple[Path, Path]:
    """A certificate from elsewhere, and its key."""
    key, crt = tmp_path / "own.key", tmp_path / "own.crt"
    names = "subjectAltName=DNS:jupyter.example.net,DNS:portal.local"
    arguments = ["-subj", "/CN=x", "-addext", names, "-days", "30"]
    openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", crt, *arguments)
    return crt, key


def use(*arguments: Path) -> int:
    return main(["cert", "use", *map(str, arguments)])


def test_a_certificate_from_elsewhere(
    home: Path, own: tuple[Path, Path], asked: list[tuple[str, ...]], capsys: pytest.CaptureFixture[str]
) -> None:
    assert use(*own) == 0
    output = capsys.readouterr().out
    assert "not valid for portal, 192.168.1.5;" in output
    directory = home / "own"
    assert (directory / "portal.crt").read_bytes() == own[0].read_bytes()
    assert (directory / "portal.key").stat().st_mode & 0o777 == 0o400
    assert directory.stat().st_mode & 0o777 == 0o755
    assert asked == [("ensure",)]
    assert main(["cert", "use", "--reset"]) == 0 and not directory.exists()
    assert main(["cert", "use", "--reset"]) == 0, "twice is no error"


def test_a_key_of_another_certificate(home: Path, own: tuple[Path, Path], asked: Any) -> None:
    with pytest.raises(RefusedError, match="another certificate"):
        use(own[0], home / "tls" / "ca.key")
    assert not (home / "own").exists()


def test_what_is_no_certificate_and_no_key(home: Path, own: tuple[Path, Path], asked: Any) -> None:
    crt, key = own
    with pytest.raises(RefusedError, match="no certificate"):
        use(key, key)
    with pytest.raises(RefusedError, match="no key"):
        use(crt, crt)
    with pytest.raises(FamilyError, match="cannot be read"):
        use(crt, home / "none")
    (home / "text").write_text("hello")
    with pytest.raises(FamilyError, match="is not a PEM file"):
        use(home / "text", key)
    locked = home / "locked"
    openssl("pkey", "-in", key, "-aes128", "-passout", "pass:secret", "-out", locked)
    with pytest.raises(RefusedError, match="without a passphrase"):
        use(crt, locked)


def test_an_expired_one(home: Path, asked: Any) -> None:
    ca.ensure(Settings(), NOW - 1000 * DAY, renew=True)
    with pytest.raises(RefusedError, match="has expired"):
        use(home / "tls" / "portal.crt", home / "tls" / "portal.key")


@pytest.mark.parametrize("arguments", [[], ["a"], ["a", "b", "c"], ["a", "b", "--reset"]])
def test_wrong_words(home: Path, asked: Any, arguments: list[str]) -> None:
    with pytest.raises(UsageError):
        main(["cert", "use", *arguments])
