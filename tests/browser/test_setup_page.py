"""The page that answers while the service is being built, in a real browser."""

from __future__ import annotations

from pathlib import Path

from playwright.sync_api import Browser, expect

from tests.browser.first_day import SOON, picture
from tests.machine.lib.plugin import NewMachine


def test_the_setup_page_becomes_the_login_page(new_machine: NewMachine, chromium: Browser, deb: Path) -> None:
    machine = new_machine("bookworm", layer="deps")
    machine.put(deb, "/root/j.deb")
    machine.run("dpkg -i /root/j.deb >/dev/null 2>&1")
    machine.wait("curl -s -o /dev/null http://127.0.0.1:8000/", timeout=20)
    page = chromium.new_page(viewport={"width": 360, "height": 640})
    page.goto(f"http://{machine.ip}:8000/")
    expect(page.locator("#message")).to_contain_text("Fetching", timeout=SOON)
    picture(page, "setup")
    # Nobody touches anything: it turns into the login page by itself.
    expect(page.locator("#login_submit")).to_be_visible(timeout=600_000)
    picture(page, "login-phone")
    page.close()
