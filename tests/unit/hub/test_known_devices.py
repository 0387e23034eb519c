"""hub.known_devices: the cookie proves what it says, to the hub alone, about this account alone."""

from __future__ import annotations

import base64
import re
import types
from typing import Any

import pytest
from tornado.web import create_signed_value

from jupyterhub4family.hub import authenticator, known_devices
from jupyterhub4family.hub.known_devices import DAYS, MAXIMUM_ACCOUNTS, NAME
from tests.unit.hub.doubles import Doors, MachineDirectory
from tests.unit.hub.portal import Browser, Portal, in_a_loop

SECURE = f"__Host-{NAME}"


async def device_of(browser: Browser, doors: Doors, name: str = "anna") -> str:
    """What the door is told of this browser when somebody tries `name`."""
    await browser.log_in(name, "wrong")
    found = doors.asked("authenticate")[-1]
    assert found["name"] == name
    return str(found.get("device", ""))


def value_of(browser: Browser) -> str:
    """The entries of the cookie."""
    signed = browser.cookies[SECURE].split("|")[4].partition(":")[2]
    return base64.b64decode(signed).decode()


def test_who_has_logged_in_is_known_and_nobody_else(machine: MachineDirectory, doors: Doors) -> None:
    machine.member("ben", 1002)

    async def work() -> None:
        async with Portal(machine) as portal:
            browser, other = portal.browser(), portal.browser()
            assert await device_of(browser, doors) == "", "not before"
            assert SECURE not in browser.cookies, "a wrong password makes no device"
            await browser.log_in("anna")
            hers = await device_of(browser, doors)
            assert re.fullmatch("[0-9a-f]{32}", hers)
            assert await device_of(browser, doors, "ben") == "" and await device_of(other, doors) == ""
            assert await device_of(browser, doors, "nobody-knows-them") == ""
            # A computer that two use.
            await browser.log_in("ben")
            his = await device_of(browser, doors, "ben")
            assert his not in ("", hers) and await device_of(browser, doors) == hers
            # Logging out is not forgetting, logging in is a new device, and the old cookie is none of it.
            old = browser.cookies[SECURE]
            await browser.get("/hub/logout")
            await browser.log_in("anna")
            assert await device_of(browser, doors) not in ("", hers, his)
            other.cookies[SECURE] = old
            assert await device_of(other, doors) == hers

    in_a_loop(work)


@pytest.mark.parametrize(
    ("settings", "name", "path"), [("", SECURE, "/"), ("https: false\nlisten: local\n", NAME, "/hub/")]
)
def test_what_the_browser_is_told(machine: MachineDirectory, doors: Doors, settings: str, name: str, path: str) -> None:
    async def work() -> None:
        async with Portal(machine, settings) as portal:
            browser = portal.browser()
            answer = await browser.log_in("anna")
            (line,) = [one for one in answer.headers.get_list("Set-Cookie") if one.startswith(f"{name}=")]
            attributes = {one.strip().lower() for one in line.split(";")[1:]}
            assert {"httponly", "samesite=lax", f"path={path}"} <= attributes, line
            assert ("secure" in attributes) is (name == SECURE) and "domain" not in line.lower()
            assert "expires=" in line.lower()
            assert "anna" not in line, "it names nobody to who looks at it"
            assert await device_of(browser, doors) != ""

    in_a_loop(work)


def test_what_we_have_not_signed_is_nothing(machine: MachineDirectory, doors: Doors) -> None:
    async def work() -> None:
        async with Portal(machine) as portal:
            browser = portal.browser()
            await browser.log_in("anna")
            good = browser.cookies[SECURE]
            secret: Any = portal.app.cookie_secret
            value = value_of(browser)
            bad = [
                *("", "x", "|", "2|1:0|", good[:-1], good + "0", good[1:], good.replace("2|", "1|", 1), value),
                create_signed_value(b"another secret" * 3, SECURE, value).decode(),
                # Ours, but another cookie, or one of long ago.
                create_signed_value(secret, "jupyterhub-hub-login", value).decode(),
                create_signed_value(secret, NAME, value).decode(),
                create_signed_value(secret, SECURE, value, clock=lambda: 1e9).decode(),
                # Signed, and yet nothing.
                *(create_signed_value(secret, SECURE, odd).decode() for odd in ("", "x", "é", value[:-1], value[::-1])),
                create_signed_value(secret, SECURE, value[:32] + "0" * 32).decode(),
            ]
            for cookie in bad:
                browser.cookies[SECURE] = cookie
                assert await device_of(browser, doors) == "", cookie
            browser.cookies[SECURE] = good
            assert await device_of(browser, doors) == value[:32]
            assert DAYS >= 365

    in_a_loop(work)


def test_cookies_in_front_of_it_do_not_hide_it(machine: MachineDirectory, doors: Doors) -> None:
    """Where a page's script can set some with other paths: rubbish, and a real one of its own."""
    machine.member("ben", 1002)

    async def work() -> None:
        async with Portal(machine) as portal:
            browser, bens = portal.browser(), portal.browser()
            await browser.log_in("anna")
            await bens.log_in("ben")
            hers = value_of(browser)[:32]
            good, his = browser.cookies[SECURE], bens.cookies[SECURE]
            browser.cookies[SECURE] = f"tossed; {SECURE}={his}; {SECURE}; {SECURE}=; {SECURE}={good}; {SECURE}=x"
            assert await device_of(browser, doors) == hers
            # She logs in with both: hers is renewed, and he knows nothing of it.
            browser.cookies[SECURE] = f"{his}; {SECURE}={good}"
            await browser.log_in("anna")
            entries = value_of(browser)
            assert len(entries) == 128 and hers not in entries
            bens.cookies[SECURE] = his
            assert await device_of(bens, doors) == ""
            # A thousand of them cost nothing.
            browser.cookies[SECURE] = f"; {SECURE}=".join(["x"] * 900)
            assert await device_of(browser, doors) == ""

    in_a_loop(work)


def test_a_browser_remembers_some_accounts(machine: MachineDirectory, doors: Doors) -> None:
    async def work() -> None:
        async with Portal(machine) as portal:
            browser = portal.browser()
            names = [f"child{number}" for number in range(MAXIMUM_ACCOUNTS + 1)]
            for number, name in enumerate(names):
                machine.member(name, 1100 + number)
                assert (await browser.log_in(name)).code == 302
            known = [await device_of(browser, doors, name) for name in names]
            assert known[0] == "" and all(known[1:]) and len(set(known)) == len(names)
            assert len(browser.cookies[SECURE]) < 1500

    in_a_loop(work)


def test_who_is_removed_and_comes_back_has_no_devices(machine: MachineDirectory, doors: Doors) -> None:
    async def work() -> None:
        async with Portal(machine) as portal:
            browser = portal.browser()
            await browser.log_in("anna")
            user = portal.user("anna")
            portal.app.users.delete(user)
            assert await device_of(browser, doors) == "", "no user of the hub's"
            portal.user("anna")
            assert await device_of(browser, doors) == ""
            await browser.log_in("anna")
            assert await device_of(browser, doors) != ""

    in_a_loop(work)


def test_a_restarted_hub_knows_its_devices(machine: MachineDirectory, doors: Doors) -> None:
    cookies: dict[str, str] = {}

    async def before() -> None:
        async with Portal(machine) as portal:
            browser = portal.browser()
            await browser.log_in("anna")
            cookies.update(browser.cookies)

    async def after() -> None:
        async with Portal(machine) as portal:
            browser = portal.browser()
            browser.cookies.update(cookies)
            assert await device_of(browser, doors) != ""

    in_a_loop(before)
    in_a_loop(after)


def test_a_device_that_guesses_is_a_stranger(
    machine: MachineDirectory, doors: Doors, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(authenticator.throttle, "believes", lambda _device: False)

    async def work() -> None:
        async with Portal(machine) as portal:
            browser = portal.browser()
            await browser.log_in("anna")
            assert await device_of(browser, doors) == ""

    in_a_loop(work)


@pytest.mark.parametrize("name", ["\ud800", "\0", "x" * 10_000])
def test_strange_names_are_nobodys(machine: MachineDirectory, doors: Doors, name: str) -> None:
    async def work() -> None:
        async with Portal(machine) as portal:
            browser = portal.browser()
            await browser.log_in("anna")

            handler = types.SimpleNamespace(
                settings={"cookie_options": {"secure": True}},
                db=portal.app.db,
                request=types.SimpleNamespace(headers={"Cookie": f"{SECURE}={browser.cookies[SECURE]}"}),
                get_secure_cookie=lambda _name, _value, max_age_days: value_of(browser).encode(),
            )
            assert known_devices.known_device(handler, name) == ""
            assert known_devices.known_device(handler, "anna") != ""

    in_a_loop(work)
