"""root.auto_upgrade: apt's files follow the settings, twice is as good as once, and nothing else is touched."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from jupyterhub4family.common import paths
from jupyterhub4family.common.errors import FamilyError
from jupyterhub4family.common.settings.model import Settings
from jupyterhub4family.common.system.programs import CompletedProcess
from jupyterhub4family.root.upgrade import apt_sources
from tests.unit.fakes import Call, FakePrograms

KEY = b"-----BEGIN PGP PUBLIC KEY BLOCK-----\n\nmQ==\n-----END PGP PUBLIC KEY BLOCK-----\n"


class Apt:
    """Apt's folders, and what apt-config says."""

    def __init__(self, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.directory = directory
        self.source, self.keys, self.drop_in = directory / "ours.list", directory / "keys", directory / "52ours"
        self.pin = directory / "pin"
        self.key = directory / "given.key"
        self.key.write_bytes(KEY)
        self.periodic = ""
        monkeypatch.setattr(paths, "SOURCE_LIST", self.source)
        monkeypatch.setattr(paths, "SOURCE_KEYS", self.keys)
        monkeypatch.setattr(paths, "AUTO_UPGRADE", self.drop_in)
        monkeypatch.setattr(paths, "SOURCE_PIN", self.pin)
        monkeypatch.setattr(apt_sources, "UNATTENDED", directory / "unattended-upgrade")
        FakePrograms(monkeypatch).answer("*", self._run)
        (directory / "unattended-upgrade").touch()

    def settings(self, auto: bool = True) -> Settings:
        return Settings(upgrade_source="https://example.org/x/", upgrade_key=str(self.key), auto_upgrade=auto)

    def _run(self, call: Call) -> CompletedProcess:
        arguments = call.args
        ours = self.drop_in.read_text("utf-8") if self.drop_in.exists() else ""
        return CompletedProcess(0, "1\n" if f'{arguments[-1]} "1"' in ours else self.periodic, "")


@pytest.fixture
def apt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Apt:
    return Apt(tmp_path, monkeypatch)


def test_nothing_is_written_by_default(apt: Apt) -> None:
    apt_sources.ensure_sources(Settings())
    assert sorted(path.name for path in apt.directory.iterdir()) == ["given.key", "unattended-upgrade"]


def test_files_follow_the_settings(apt: Apt) -> None:
    for _twice in range(2):
        apt_sources.ensure_sources(apt.settings())
        line = apt.source.read_text("utf-8").splitlines()[-1]
        assert line == f"deb [signed-by={apt.keys}/source.asc] https://example.org/x/ ./"
        assert (apt.keys / "source.asc").read_bytes() == KEY
        text = apt.drop_in.read_text("utf-8")
        assert 'Unattended-Upgrade::Origins-Pattern:: "origin=jupyterhub4family,site=example.org";' in text
        assert 'Pin: origin "example.org"' in apt.pin.read_text("utf-8")
        assert 'APT::Periodic::Unattended-Upgrade "1";' in text and 'Update-Package-Lists "1";' in text
    apt.key.write_bytes(b"\x99\x01 another one")
    apt_sources.ensure_sources(apt.settings(auto=False))
    assert not apt.drop_in.exists() and [path.name for path in apt.keys.iterdir()] == ["source.gpg"]
    assert "source.gpg" in apt.source.read_text("utf-8")
    apt_sources.ensure_sources(Settings())
    assert not apt.source.exists() and not apt.keys.exists() and not apt.pin.exists()


@pytest.mark.parametrize(
    ("address", "site"),
    [
        ("https://packages.example.org/x/", "packages.example.org"),
        ("http://nas.home.arpa:8080/", "nas.home.arpa"),
        ("http://[fd00::1]:8080/x/", "fd00::1"),
        ("file:/srv/repository/", ""),
    ],
)
def test_the_host_is_what_apt_calls_it(address: str, site: str) -> None:
    """tests/machine/test_sources.py shows it with apt itself."""
    assert apt_sources.site(address) == site


def test_nothing_but_our_package_may_come_from_the_source(apt: Apt) -> None:
    apt_sources.ensure_sources(apt.settings(auto=False))
    assert apt.pin.read_text("utf-8").split("\n\n")[1:] == [
        "Package: jupyterhub4family\nPin: release o=jupyterhub4family\nPin-Priority: -1",
        "Package: *\nPin: release o=jupyterhub4family\nPin-Priority: -1\n",
    ]


def test_apt_which_gives_up_root_can_read_the_key_however_setup_was_called(apt: Apt) -> None:
    os.umask(0o077)
    apt_sources.ensure_sources(apt.settings())
    assert (apt.keys / "source.asc").stat().st_mode & 0o777 == 0o644


def test_who_has_switched_it_off_for_the_machine_finds_it_off(apt: Apt) -> None:
    apt.periodic = "0\n"
    apt_sources.ensure_sources(apt.settings())
    assert "Periodic" not in apt.drop_in.read_text("utf-8")


def test_what_is_missing_is_told(apt: Apt) -> None:
    (apt.directory / "unattended-upgrade").unlink()
    with pytest.raises(FamilyError, match="unattended-upgrades is missing") as caught:
        apt_sources.ensure_sources(apt.settings())
    assert "apt-get install unattended-upgrades" in caught.value.hint


@pytest.mark.parametrize("content", [None, b"", b"-----BEGIN PGP PRIVATE KEY BLOCK-----\n"])
def test_a_key_that_is_none(apt: Apt, content: bytes | None) -> None:
    if content is None:
        apt.key.unlink()
    else:
        apt.key.write_bytes(content)
    with pytest.raises(FamilyError, match="key"):
        apt_sources.ensure_sources(apt.settings())
    assert not apt.source.exists()
