"""The page that answers while the service is being built, in a real browser."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import NewChromium
from tests.browser.lib import PHONE, SOON, picture, portal
from tests.machine.lib.family import CA
from tests.machine.lib.plugin import NewMachine


@pytest.mark.any_debian
def test_the_setup_page_becomes_the_login_page(
    new_machine: NewMachine, new_chromium: NewChromium, deb: Path, suite: str
) -> None:
    machine = new_machine(suite, layer="deps")
    machine.put(deb, "/root/j.deb")
    machine.run("dpkg -i /root/j.deb >/dev/null 2>&1")
    machine.wait(f"test -s {CA} && curl -s -o /dev/null --cacert {CA} https://127.0.0.1:8000/", timeout=30)
    page = new_chromium(machine).new_page(viewport=PHONE, locale="en-GB")
    page.goto(portal(machine))
    expect(page.locator("#message")).to_contain_text("Fetching", timeout=SOON)
    picture(page, "setup")
    # Nobody touches anything: it turns into the login page by itself.
    expect(page.locator("#login_submit")).to_be_visible(timeout=600_000)
