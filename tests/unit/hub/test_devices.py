"""hub.devices: which section of the trust page is opened, and Apple's format for the certificate."""

from __future__ import annotations

import plistlib

import pytest

from jupyterhub4family.hub.devices import DEVICES, apple_profile, device

CHROME = "AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0 Safari/537.36"


@pytest.mark.parametrize(
    ("user_agent", "expected"),
    [
        (
            "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605 Version/17.5 Safari/604",
            "ios",
        ),
        ("Mozilla/5.0 (iPad; CPU OS 12_5 like Mac OS X) AppleWebKit/605 Version/12.1 Mobile Safari/604", "ios"),
        (f"Mozilla/5.0 (Linux; Android 14; Pixel 8) {CHROME}", "android"),
        ("Mozilla/5.0 (Android 14; Mobile; rv:127.0) Gecko/127.0 Firefox/127.0", "android"),
        (f"Mozilla/5.0 (Windows NT 10.0; Win64; x64) {CHROME}", "windows"),
        ("Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:127.0) Gecko/20100101 Firefox/127.0", "windows"),
        ("Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605 Version/17.5 Safari/605", "macos"),
        ("Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0", "firefox"),
        (f"Mozilla/5.0 (X11; Linux x86_64) {CHROME}", "linux"),
        (f"Mozilla/5.0 (X11; CrOS x86_64 14541.0.0) {CHROME}", "linux"),
        ("", "windows"),
        ("x" * 100_000, "windows"),
    ],
)
def test_devices(user_agent: str, expected: str) -> None:
    assert device(user_agent) == expected
    assert expected in DEVICES


def test_apples_profile_holds_the_certificate() -> None:
    profile = plistlib.loads(apple_profile(b"\x30\x82DER", "The <Millers> & Co", "en"))
    assert profile["PayloadType"] == "Configuration"
    assert "The <Millers> & Co" in profile["PayloadDisplayName"]
    (certificate,) = profile["PayloadContent"]
    assert certificate["PayloadType"] == "com.apple.security.root"
    assert certificate["PayloadContent"] == b"\x30\x82DER"
    assert certificate["PayloadUUID"] != profile["PayloadUUID"]


def test_the_same_certificate_has_the_same_identity() -> None:
    one, again, other = (plistlib.loads(apple_profile(der, "", "en")) for der in (b"one", b"one", b"other"))
    assert one["PayloadUUID"] == again["PayloadUUID"] != other["PayloadUUID"]
    assert one["PayloadIdentifier"] == again["PayloadIdentifier"] != other["PayloadIdentifier"]
