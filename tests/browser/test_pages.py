"""The hub's pages: on a telephone and at a desk, light and dark, in German, for screen readers; a start watched."""

from __future__ import annotations

import re
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, ViewportSize, expect

from jupyterhub4family.hub import authenticator
from tests.browser.lib import DESK, LATER, PHONE, SOON, Watcher, expect_good, in_german, log_in, portal
from tests.machine.lib.family import PASSWORD
from tests.machine.lib.machine import Machine

CONFIGURATION = "/home/bob/.jupyter/jupyter_server_config.py"
#: Keeps a server on its way up until the test says so.
WAIT = "import os, time\nwhile not os.path.exists('/home/bob/go'):\n    time.sleep(0.2)\n"

pytestmark = pytest.mark.any_debian


@pytest.fixture(autouse=True)
def _bobs_server_is_as_it_should_be(family: Machine) -> None:
    family.run(f"mkdir -p ~/.jupyter; rm -f {CONFIGURATION} ~/go", user="bob")


@pytest.mark.parametrize("viewport", [PHONE, DESK], ids=["phone", "desk"])
def test_every_page(family: Machine, chromium: Browser, viewport: ViewportSize) -> None:
    page = chromium.new_context(viewport=viewport, locale="en-GB").new_page()
    watcher = Watcher(page, family)
    page.goto(f"{portal(family)}/hub/login")
    expect(page).to_have_title("Log in – The Millers")
    expect_good(page, "login")
    log_in(page, family, "bob", password="wrong")
    expect(page.locator(".login_error")).to_be_visible(timeout=SOON)
    expect_good(page, "wrong-password")

    log_in(page, family, "bob")
    expect(page.locator(".server-card").first).to_be_visible(timeout=SOON)
    expect_good(page, "home")
    page.goto(f"{portal(family)}/hub/token")
    expect_good(page, "token")
    page.goto(f"{portal(family)}/hub/nothing/of/the/kind")
    expect_good(page, "404")
    page.goto(f"{portal(family)}/hub/spawn/alice")
    expect_good(page, "others-server")
    family.write(CONFIGURATION, WAIT + "raise SystemExit('no more electricity')\n")
    page.goto(f"{portal(family)}/hub/spawn/bob/broken")
    page.wait_for_url(re.compile("/spawn-pending/"), timeout=SOON)
    expect(page.locator("#progress-log li")).not_to_have_count(0, timeout=SOON)
    expect_good(page, "pending")
    page.goto(f"{portal(family)}/hub/home")
    expect(page.locator("[data-server-name=broken]")).to_have_attribute("data-state", "starting")
    # A server that does not come up: why, and what to do.
    family.run("touch /home/bob/go")
    page.goto(f"{portal(family)}/hub/spawn-pending/bob/broken")
    expect(page.get_by_role("heading", level=1)).to_have_text("Your server could not be started", timeout=LATER)
    expect_good(page, "failed")
    watcher.check()
    page.context.close()


def test_a_failed_start_says_why_and_starts_again(family: Machine, chromium: Browser) -> None:
    page = chromium.new_context(viewport=PHONE, locale="de-DE").new_page()
    family.write(CONFIGURATION, "raise SystemExit('no more electricity')\n")
    log_in(page, family, "bob", then="/hub/spawn/bob/school")
    expect(page.locator(".log-lines")).to_contain_text("no more electricity", timeout=LATER)
    expect(page.get_by_role("heading", level=1)).to_have_text(in_german("Your server could not be started"))
    family.run(f"rm {CONFIGURATION}")
    page.click("main a.btn-primary")
    page.wait_for_url(re.compile("/user/bob/school/lab"), timeout=LATER)
    page.goto(f"{portal(family)}/hub/home")
    page.locator("[data-server-name=school] .stop-server").click()
    expect(page.locator("[data-server-name=school]")).to_have_attribute("data-state", "stopped", timeout=LATER)
    page.context.close()


def test_german_by_the_browser_and_english_by_choice(family: Machine, chromium: Browser) -> None:
    page = chromium.new_context(viewport=PHONE, color_scheme="dark", locale="de-AT").new_page()
    log_in(page, family, "alice", password="wrong")
    expect(page.locator(".login_error")).to_have_text(in_german("Invalid username or password"), timeout=SOON)
    expect(page.locator("html")).to_have_attribute("lang", "de")
    expect(page.locator("#login_submit")).to_have_value(in_german("Log in"))
    expect_good(page, "login-german")

    page.click("[data-language=en]")
    expect(page.locator("html")).to_have_attribute("lang", "en", timeout=SOON)
    expect(page.locator("#login_submit")).to_have_value("Log in")
    log_in(page, family, "alice")
    expect(page.get_by_role("heading", level=1)).to_have_text("Hello Alice Miller", timeout=SOON)
    page.click("[data-language=de]")
    expect(page.locator("html")).to_have_attribute("lang", "de", timeout=SOON)
    expected = in_german("Hello %(name)s") % {"name": "Alice Miller"}
    expect(page.get_by_role("heading", level=1)).to_have_text(expected)
    expect_good(page, "home-german")
    page.context.close()


@pytest.mark.parametrize("locale", ["en-GB", "de-DE"])
def test_the_login_page_says_why(family: Machine, chromium: Browser, locale: str) -> None:
    """To who is no member and knows the password; and after the fifth wrong one, whatever the name is."""
    language, reported = ("english", str) if locale == "en-GB" else ("german", in_german)
    name = f"uncle-{language}"
    family.add_account(name, PASSWORD)
    page = chromium.new_context(viewport=PHONE, locale=locale).new_page()
    log_in(page, family, name)
    expected = reported(authenticator._NO_MEMBER).format(
        name=name, command=f"sudo jupyterhub4family members add {name}"
    )
    expect(page.locator(".login_error")).to_have_text(expected, timeout=LATER)
    expect_good(page, f"no-member-{language}")
    for _time in range(6):
        log_in(page, family, f"nobody-{language}", password="wrong")
        expect(page.locator(".login_error")).to_be_visible(timeout=LATER)
    expect(page.locator(".login_error")).to_have_text(reported(authenticator._EXPLAINED["too-many"]))
    expect_good(page, f"too-many-{language}")
    page.context.close()


def test_no_script_can_toss_the_cookie_of_a_device(family: Machine, chromium: Browser) -> None:
    """Every page of the portal is of the same origin: what a page of another member's could do to it."""
    page = chromium.new_context(viewport=PHONE).new_page()
    log_in(page, family, "bob")
    expect(page.locator(".server-card").first).to_be_visible(timeout=LATER)

    def devices() -> list[dict[str, Any]]:
        return [dict(one) for one in page.context.cookies() if "device" in one["name"]]

    (before,) = devices()
    assert before["name"] == "__Host-jupyterhub4family-device" and before["path"] == "/"
    assert before["httpOnly"] and before["secure"] and before["sameSite"] == "Lax"
    assert "device" not in page.evaluate("document.cookie")
    for cookie in (
        *("{name}=x; path=/; secure", "{name}=x; path=/hub/login; secure", "{name}=x; secure", "{name}=x"),
        *("{name}=; path=/; secure; max-age=0", "{name}=x; path=/; secure; domain=" + family.ip),
        *("={name}=x; path=/hub/login; secure", "__HOST-jupyterhub4family-device=x; path=/hub/login; secure"),
    ):
        page.evaluate("text => { document.cookie = text }", cookie.format(name=before["name"]))
        assert devices() == [before], cookie
    page.context.close()


def test_a_token_is_made_and_revoked(family: Machine, chromium: Browser) -> None:
    page = chromium.new_context(viewport=PHONE, locale="de-DE").new_page()
    log_in(page, family, "bob", then="/hub/token")
    expect(page.get_by_role("heading", level=1)).to_have_text(in_german("Tokens for programs"), timeout=SOON)
    page.fill("#token-note", "the thermometer")
    page.click("#request-token-form button")
    expect(page.locator("#token-result")).to_have_text(re.compile("^[0-9a-zA-Z_-]{20,}$"), timeout=SOON)
    page.reload()
    row = page.locator("#api-tokens-table .token-row", has_text="the thermometer")
    expect(row).to_contain_text(in_german("never"))
    expect_good(page, "token-german")
    row.locator(".revoke-token-btn").click()
    expect(row).to_have_count(0, timeout=SOON)
    page.context.close()


@pytest.mark.parametrize("viewport", [PHONE, DESK], ids=["phone", "desk"])
def test_a_delegate_sees_and_stops_everybodys_servers(
    family: Machine, chromium: Browser, viewport: ViewportSize
) -> None:
    if family.execute("getent passwd mum").returncode:
        family.add_account("mum", "another word 8", groups=("jupyterhub_adm",))
        family.run("jupyterhub4family members add mum")
    page = chromium.new_context(viewport=viewport, locale="de-DE").new_page()
    watcher = Watcher(page, family)
    log_in(page, family, "mum", password="another word 8")
    # On a telephone the link is inside of the menu.
    expect(page.locator("a.nav-link", has_text=in_german("Everybody's servers"))).to_have_count(1, timeout=SOON)
    page.goto(f"{portal(family)}/hub/admin")
    expect(page.get_by_role("heading", level=1)).to_have_text(in_german("Everybody's servers"), timeout=SOON)
    line = page.locator("[data-user=bob][data-server-name='']")
    line.locator(".start-server").click()
    expect(line).to_have_attribute("data-state", "running", timeout=LATER)
    expect(line).to_contain_text(in_german("running"))
    expect_good(page, "everybody")
    line.locator(".stop-server").click()
    expect(line).to_have_attribute("data-state", "stopped", timeout=LATER)
    watcher.check()
    page.context.close()


def _reported(page: Page) -> list[str]:
    return page.locator("#progress-log li").all_text_contents()


def test_reload_and_second_device_see_the_same_progress(family: Machine, chromium: Browser) -> None:
    family.write(CONFIGURATION, WAIT)
    first = chromium.new_context(viewport=DESK, locale="en-GB").new_page()
    log_in(first, family, "bob", then="/hub/spawn/bob/slow")
    first.wait_for_url(re.compile("/spawn-pending/"), timeout=SOON)
    # The last event before the server answers: nothing more comes while it sleeps.
    expect(first.locator("#progress-message")).to_have_text("Starting your server", timeout=SOON)
    reported = _reported(first)
    assert len(reported) > 1 and reported[-1] == "Starting your server"
    percent = first.locator("#progress-bar").get_attribute("aria-valuenow")

    first.reload()
    expect(first.locator("#progress-message")).to_have_text("Starting your server", timeout=SOON)
    assert _reported(first) == reported
    second = chromium.new_context(viewport=PHONE, locale="de-DE").new_page()
    log_in(second, family, "bob", then="/hub/spawn-pending/bob/slow")
    expect(second.locator("#progress-log li")).to_have_count(len(reported), timeout=SOON)
    assert _reported(second)[-1] == in_german("Starting your server")
    assert second.locator("#progress-bar").get_attribute("aria-valuenow") == percent

    family.run("touch /home/bob/go")
    for page in (first, second):
        page.wait_for_url(re.compile("/user/bob/slow/lab"), timeout=LATER)
        page.context.close()


def test_who_is_removed_is_told_so(family: Machine, chromium: Browser) -> None:
    family.add_account("carl", "another word 8")
    family.run("jupyterhub4family members add carl")
    page = chromium.new_context(viewport=PHONE, locale="en-GB").new_page()
    log_in(page, family, "carl", password="another word 8")
    expect(page.locator(".server-card").first).to_be_visible(timeout=SOON)
    family.run("gpasswd -d carl jupyterhub")
    page.wait_for_timeout(3000)  # until the hub looks again
    page.goto(f"{portal(family)}/hub/home")
    expect(page.get_by_role("alert")).to_contain_text("does not belong to this portal any more", timeout=SOON)
    page.context.close()
