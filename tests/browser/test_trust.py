"""The trust page: reached over plain HTTP by a device that trusts nobody, green once the authority is installed."""

from __future__ import annotations

import plistlib
import re
import subprocess

import pytest
from playwright.sync_api import Browser, Error, ViewportSize, expect

from tests.browser.conftest import NewChromium
from tests.browser.lib import DESK, PHONE, SOON, Watcher, expect_good, in_german, portal
from tests.machine.lib.family import authority
from tests.machine.lib.machine import Machine
from tests.machine.lib.places import host

IPHONE = "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605 Version/17.5 Mobile/15E148 Safari/604"

pytestmark = pytest.mark.any_debian


@pytest.mark.parametrize("viewport", [PHONE, DESK], ids=["phone", "desk"])
def test_the_check_turns_green_where_the_authority_is_installed(
    family: Machine, chromium: Browser, viewport: ViewportSize
) -> None:
    page = chromium.new_context(viewport=viewport, locale="en-GB").new_page()
    watcher = Watcher(page, family)
    for address in (f"http://{family.ip}:8000/trust", f"{portal(family)}/hub/trust"):
        page.goto(address)
        expect(page.locator("#trust-check")).to_have_attribute("data-state", "good", timeout=SOON)
    expect_good(page, "trust")
    page.click("#trust-go")
    expect(page.locator("#login_submit")).to_be_visible(timeout=SOON)
    watcher.check()
    page.context.close()


def test_a_device_that_does_not_trust_the_portal_yet(family: Machine, new_chromium: NewChromium) -> None:
    context = new_chromium(None).new_context(viewport=PHONE, locale="de-DE", user_agent=IPHONE)
    page = context.new_page()
    # Plain HTTP leads to HTTPS, which this device refuses; but it gets to the trust page.
    with pytest.raises(Error, match="ERR_CERT_AUTHORITY_INVALID"):
        page.goto(f"http://{family.ip}:8000/")
    page.wait_for_url(re.compile("^chrome-error:"))  # the browser's own page about it comes a moment later
    page.goto(f"http://{family.ip}:8000/trust")
    assert page.url == f"http://{family.ip}:8000/hub/trust"
    expect(page.locator("html")).to_have_attribute("lang", "de")
    expect(page.get_by_role("heading", level=1)).to_have_text(in_german("Let this device trust the portal"))
    expect(page.locator("#trust-check")).to_have_attribute("data-state", "bad", timeout=SOON)
    assert page.locator(".trust-devices details[open]").get_attribute("id") == "device-ios"
    expect(page.locator(".qr-code")).to_be_visible()
    assert page.evaluate("document.querySelector('.qr-code').naturalWidth") > 0
    expect_good(page, "trust-not-yet")
    context.close()


def test_the_files_are_the_machines_authority(family: Machine) -> None:
    ca = authority(family)
    assert ca is not None
    shown = host("openssl", "x509", "-in", str(ca), "-noout", "-fingerprint", "-sha256").stdout.strip().split("=")[1]

    def get(path: str) -> bytes:
        url = f"http://{family.ip}:8000/hub/trust{path}"
        return subprocess.run(["curl", "-sf", url], capture_output=True, check=True, timeout=20).stdout

    assert shown in get("").decode().replace("<wbr>", "")
    der = subprocess.run(["openssl", "x509", "-outform", "DER"], input=get("/ca.crt"), capture_output=True, check=True)
    assert plistlib.loads(get("/ca.mobileconfig"))["PayloadContent"][0]["PayloadContent"] == der.stdout
    assert get("/qr.svg").lstrip().startswith(b"<?xml")
