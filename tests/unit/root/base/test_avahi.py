"""root.announcement: avahi is told where the portal is, if there is avahi."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from jupyterhub4family.common.settings.model import Settings
from jupyterhub4family.root.base import avahi as base_avahi
from jupyterhub4family.root.base.avahi import ensure_service_file


@pytest.fixture
def avahi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    directory = tmp_path / "services"
    directory.mkdir()
    monkeypatch.setattr(base_avahi, "AVAHI_SERVICES", directory)
    return directory / base_avahi.NAME


@pytest.mark.parametrize(("https", "kind"), [(True, "_https._tcp"), (False, "_http._tcp")])
def test_the_port_follows_the_settings(avahi: Path, https: bool, kind: str) -> None:
    for port in (8000, 8443):
        ensure_service_file(Settings(port=port, https=https, allow_plain_http=not https))
        service = ET.fromstring(avahi.read_text("utf-8")).find("service")
        assert service is not None
        assert (service.findtext("type"), service.findtext("port")) == (kind, str(port))
    assert avahi.stat().st_mode & 0o777 == 0o644


def test_what_is_right_is_left_alone(avahi: Path) -> None:
    ensure_service_file(Settings())
    before = avahi.stat()
    ensure_service_file(Settings())
    assert avahi.stat().st_ino == before.st_ino


def test_a_portal_for_this_computer_is_not_announced(avahi: Path) -> None:
    ensure_service_file(Settings())
    for _ in range(2):
        ensure_service_file(Settings(listen="local"))
        assert not avahi.exists()


def test_without_avahi_nothing_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(base_avahi, "AVAHI_SERVICES", tmp_path / "none")
    ensure_service_file(Settings())
    assert list(tmp_path.iterdir()) == []
