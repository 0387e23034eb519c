"""hub.gate: passes at login and logout, who gets one at the gate, what the proxy may ask, and shares end to end."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http.cookies import Morsel, SimpleCookie
from typing import Any
from urllib.parse import quote, urlencode

import pytest
from jupyterhub import orm
from tornado.httpclient import HTTPResponse

from jupyterhub4family.common.i18n import messages
from jupyterhub4family.hub import gate_pass
from tests.unit.hub.doubles import Doors, MachineDirectory
from tests.unit.hub.portal import Browser, Portal, in_a_loop, text_of, until

PASS, BROWSER = "jupyterhub4family-gate", "__Host-jupyterhub4family-browser"
FORM = {"Content-Type": "application/x-www-form-urlencoded"}
#: What a share means, as its pages say it.
MEANS = (
    "So go on only if you would also let them sit down at your computer. To see one file it is better to have it sent"
    " to you."
)


def given(answer: HTTPResponse, name: str) -> Morsel[str] | None:
    """A cookie that an answer sets."""
    found = None
    for line in answer.headers.get_list("Set-Cookie"):
        found = SimpleCookie(line).get(name, found)
    return found


def fields(morsel: Morsel[str] | None) -> list[Any]:
    """What stands in a pass."""
    assert morsel is not None
    text = morsel.value.partition(".")[0]
    read: list[Any] = json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    return read


@asynccontextmanager
async def family(machine: MachineDirectory, doors: Doors) -> AsyncIterator[tuple[Portal, Browser, Browser]]:
    """Ben and Anna, logged in; Anna's server runs."""
    machine.member("ben", 1002, gecos="Ben Bussard,,,")
    async with Portal(machine) as portal:
        ben, anna = portal.browser(), portal.browser()
        await anna.log_in("anna")
        await ben.log_in("ben")
        yield portal, ben, anna


async def gate(browser: Browser, address: str, **headers: str) -> HTTPResponse:
    """Be led to the gate by the proxy."""
    return await browser.get(f"/hub/gate?next={quote(address, safe='')}", **headers)


async def go_on(browser: Browser, address: str, xsrf: bool = True) -> HTTPResponse:
    """Press the button of the page there."""
    form = {"next": address, **({"_xsrf": browser.cookies["_xsrf"]} if xsrf else {})}
    return await browser._fetch("POST", "/hub/gate", urlencode(form), FORM)


def share(portal: Portal, owner: str, viewer: str, server: str = "") -> None:
    spawner = (
        portal.user(owner).orm_user.orm_spawners.get(server) or portal.user(owner)._new_spawner(server).orm_spawner
    )
    orm.Share.grant(portal.app.db, spawner, portal.user(viewer).orm_user)


# -- login and logout --------------------------------------------------------------------------------------------------


def test_a_login_opens_ones_own_servers(machine: MachineDirectory, doors: Doors) -> None:
    async def work() -> None:
        async with Portal(machine) as portal:
            browser = portal.browser()
            answer = await browser.log_in("anna")
            own, this = given(answer, PASS), given(answer, BROWSER)
            assert own is not None and this is not None
            assert fields(own)[:6] == [1, "anna", 1001, "anna", 1001, None]
            assert own["path"] == "/user/anna/" and this["path"] == "/" and not this["domain"] and not own["domain"]
            for cookie in (own, this):
                assert cookie["httponly"] and cookie["secure"] and cookie["samesite"] == "Lax" and cookie["expires"]
            key = (machine.state / "gate_key").read_text("ascii").strip()
            assert gate_pass.is_browser_of(this.value, "anna", key)
            assert (machine.state / "gate_key").stat().st_mode & 0o777 == 0o600
            wrong = await portal.browser().log_in("anna", "wrong")
            assert given(wrong, PASS) is None and given(wrong, BROWSER) is None

    in_a_loop(work)


def test_each_login_makes_the_passes_of_the_last_one_void(machine: MachineDirectory, doors: Doors) -> None:
    async def work() -> None:
        async with Portal(machine) as portal:
            browser = portal.browser()
            first, second = [given(await browser.log_in("anna"), BROWSER) for _ in range(2)]
            assert first and second and first.value != second.value
            again = await browser.get("/hub/login")
            assert again.code == 302 and given(again, BROWSER) is None, "a second window changes nothing for the first"
            assert fields(given(again, PASS))[1] == "anna"

    in_a_loop(work)


def test_what_the_last_one_left_in_a_browser_is_cleared_away(machine: MachineDirectory, doors: Doors) -> None:
    """Service workers above all: one of Ben's would answer in place of the portal."""
    machine.member("ben", 1002)

    async def work() -> None:
        async with Portal(machine) as portal:
            browser = portal.browser()
            header = "Clear-Site-Data"
            assert (await browser.log_in("ben")).headers.get(header) == '"storage"', "nobody knows who was here"
            assert header not in (await browser.log_in("ben")).headers, "the same as before: nothing is lost"
            assert (await browser.log_in("anna")).headers.get(header) == '"storage"'
            browser.cookies[BROWSER] = browser.cookies[BROWSER].replace(".", ".A")
            assert (await browser.get("/hub/login")).headers.get(header) == '"storage"', "made up"
            out = await browser.get("/hub/logout")
            assert out.headers.get(header) == '"storage"'
            gone = given(out, BROWSER)
            assert gone is not None and not gone.value and gone["path"] == "/" and gone["secure"]

    in_a_loop(work)


def test_over_plain_http(machine: MachineDirectory, doors: Doors) -> None:
    async def work() -> None:
        async with Portal(machine, "https: false\nlisten: local\n") as portal:
            answer = await portal.browser().log_in("anna")
            this, own = given(answer, BROWSER.removeprefix("__Host-")), given(answer, PASS)
            assert this is not None and own is not None and not this["secure"] and not own["secure"]

    in_a_loop(work)


# -- the gate ----------------------------------------------------------------------------------------------------------


def test_owners_are_led_back_with_a_pass(machine: MachineDirectory, doors: Doors) -> None:
    async def work() -> None:
        async with Portal(machine) as portal:
            browser = portal.browser()
            address = "/user/anna/lab/tree/My%20diary.ipynb?reset&x=1"
            answer = await gate(browser, address)
            assert answer.code == 302
            assert answer.headers["Location"] == f"/hub/login?next={quote(address, safe='')}", "and not back to here"
            await browser.log_in("anna")
            del browser.cookies[BROWSER], browser.cookies[PASS]  # as it is after an upgrade
            answer = await gate(browser, address)
            assert (answer.code, answer.headers["Location"]) == (302, address)
            assert answer.headers["Cache-Control"] == "no-store"
            assert fields(given(answer, PASS))[1:6] == ["anna", 1001, "anna", 1001, None] and given(answer, BROWSER)
            answer = await gate(browser, "/user/anna")
            assert answer.headers["Location"] == "/user/anna/" and given(answer, BROWSER) is None

    in_a_loop(work)


@pytest.mark.parametrize(
    "address", ["", "/", "//evil.example/user/anna/", "https://evil.example/", "/user/anna/../ben/", "/hub/logout", "x"]
)
def test_nobody_is_led_elsewhere(machine: MachineDirectory, doors: Doors, address: str) -> None:
    async def work() -> None:
        async with Portal(machine) as portal:
            browser = portal.browser()
            await browser.log_in("anna")
            for answer in (await gate(browser, address), await go_on(browser, address)):
                assert answer.code == 404 and "Location" not in answer.headers and given(answer, PASS) is None

    in_a_loop(work)


@pytest.mark.parametrize("language", ["en", "de"])
def test_others_read_whose_it_is(machine: MachineDirectory, doors: Doors, german: None, language: str) -> None:
    """The same for somebody who does not exist: nobody learns names here."""
    machine.member("paul", 1003, "jupyterhub_adm")

    async def work() -> None:
        async with family(machine, doors) as (portal, _ben, anna):
            await start_hers(portal, anna)
            pages = []
            for name in ("ben", "paul"):
                browser = portal.browser(language)
                await browser.log_in(name)
                for owner in ("anna", "nobody-here"):
                    answer = await gate(browser, f"/user/{owner}/lab")
                    assert answer.code == 403 and given(answer, PASS) is None
                    text = text_of(answer.body.decode("utf-8"))
                    assert messages.translated(messages._("Not for you"), language) in text and owner in text
                    assert "Adler" not in text
                    pages.append(text.replace(owner, "X"))
                    pressed = await go_on(browser, f"/user/{owner}/lab")
                    assert pressed.code == 403 and given(pressed, PASS) is None
            assert pages[0] == pages[1] and pages[2] == pages[3]

    in_a_loop(work)


async def start_hers(portal: Portal, anna: Browser, name: str = "") -> None:
    answer = await anna.api("POST", f"users/anna/servers/{name}" if name else "users/anna/server")
    assert answer.code in (201, 202), answer.body
    await until(lambda: portal.user("anna").spawners[name].ready, "the server")


@pytest.mark.parametrize("language", ["en", "de"])
def test_a_share_is_explained_before_it_is_used(
    machine: MachineDirectory, doors: Doors, german: None, language: str
) -> None:
    async def work() -> None:
        async with family(machine, doors) as (portal, _ben, anna):
            await start_hers(portal, anna)
            share(portal, "anna", "ben")
            ben = portal.browser(language)
            await ben.log_in("ben")
            page = await gate(ben, "/user/anna/lab?x")
            assert page.code == 200 and given(page, PASS) is None, "nothing without having read it"
            text = page.body.decode("utf-8")
            assert messages.translated(messages._("Go on to the server"), language) in text_of(text)
            assert 'value="/user/anna/lab?x"' in text and 'name="_xsrf" value="2' not in text
            assert f'name="_xsrf" value="{ben.cookies["_xsrf"]}"' in text
            refused = await go_on(ben, "/user/anna/lab?x", xsrf=False)
            assert refused.code == 403 and given(refused, PASS) is None
            answer = await go_on(ben, "/user/anna/lab?x")
            assert (answer.code, answer.headers["Location"]) == (302, "/user/anna/lab?x")
            cookie = given(answer, PASS)
            assert fields(cookie)[1:6] == ["ben", 1002, "anna", 1001, ""] and cookie and cookie["path"] == "/user/anna/"
            portal.app.db.query(orm.Share).delete()
            portal.app.db.commit()
            assert (await gate(ben, "/user/anna/lab?x")).code == 403
            assert given(await go_on(ben, "/user/anna/lab?x"), PASS) is None

    in_a_loop(work)


def test_one_shared_server_is_not_all_of_them(machine: MachineDirectory, doors: Doors) -> None:
    async def work() -> None:
        async with family(machine, doors) as (portal, ben, anna):
            await start_hers(portal, anna)
            await start_hers(portal, anna, "school")
            share(portal, "anna", "ben", "school")
            assert (await gate(ben, "/user/anna/lab")).code == 403
            assert (await gate(ben, "/user/anna/school/lab")).code == 200
            answer = await go_on(ben, "/user/anna/school/lab")
            assert fields(given(answer, PASS))[1:6] == ["ben", 1002, "anna", 1001, "school"]
            cookie = given(answer, PASS)
            assert cookie is not None and cookie["path"] == "/user/anna/school/"
            await portal.user("anna").stop("school")
            # What is there now belongs to the default server.
            assert (await gate(ben, "/user/anna/school/lab")).code == 403

    in_a_loop(work)


# -- what the proxy asks -----------------------------------------------------------------------------------------------


def test_the_proxy_asks_and_nobody_else(machine: MachineDirectory, doors: Doors) -> None:
    async def work() -> None:
        async with family(machine, doors) as (portal, ben, anna):
            await start_hers(portal, anna)
            token = (machine.state / "routes_token").read_text("ascii").strip()

            async def allowed(**question: Any) -> bool | int:
                headers = {"Authorization": f"token {token}", "Content-Type": "application/json"}
                answer = await portal.browser()._fetch("POST", "/hub/api/gate", json.dumps(question), headers)
                return bool(json.loads(answer.body)["allowed"]) if answer.code == 200 else answer.code

            question = {"viewer": "ben", "uid": 1002, "owner": "anna", "server": ""}
            assert await allowed(**question) is False
            share(portal, "anna", "ben")
            assert await allowed(**question) is True
            assert await allowed(**{**question, "uid": 1009}) is False, "an account that was made again"
            assert await allowed(**{**question, "server": "school"}) is False
            assert await allowed(**{**question, "owner": "paul"}) is False
            assert await allowed(**{**question, "viewer": "paul"}) is False
            for nonsense in ({}, {"viewer": "ben"}, {**question, "more": 1}, {"session": "x"}):
                assert await allowed(**nonsense) == 400
            assert (await ben.api("POST", "gate", question)).code == 403
            strangers = await portal.browser()._fetch("POST", "/hub/api/gate", json.dumps(question), {})
            assert strangers.code == 403
            machine.people.groups["jupyterhub"][1].remove("ben")
            assert await allowed(**question) is False, "no member any more"

    in_a_loop(work)


def test_a_session_is_its_owners(machine: MachineDirectory, doors: Doors) -> None:
    async def work() -> None:
        async with family(machine, doors) as (portal, ben, _anna):
            token = (machine.state / "routes_token").read_text("ascii").strip()
            user = portal.user("ben")
            session = ben.cookies["jupyterhub-session-id"]

            async def allowed(session: str, owner: str) -> bool:
                headers = {"Authorization": f"token {token}", "Content-Type": "application/json"}
                text = json.dumps({"session": session, "owner": owner})
                answer = await portal.browser()._fetch("POST", "/hub/api/gate", text, headers)
                return bool(json.loads(answer.body)["allowed"])

            assert not await allowed(session, "ben"), "no server of hers has seen it yet"
            user.new_api_token(session_id=session, expires_in=100)
            portal.app.db.query(orm.APIToken).filter_by(user_id=user.id).update({"session_id": session})
            portal.app.db.commit()
            assert await allowed(session, "ben")
            assert not await allowed(session, "anna") and not await allowed("x", "ben") and not await allowed("", "ben")
            await ben.get("/hub/logout")
            assert not await allowed(session, "ben")

    in_a_loop(work)


# -- sharing, as the handbook tells it ---------------------------------------------------------------------------------


@pytest.mark.parametrize("language", ["en", "de"])
def test_a_server_is_shared_by_a_link(machine: MachineDirectory, doors: Doors, german: None, language: str) -> None:
    async def work() -> None:
        async with family(machine, doors) as (portal, _ben, anna):
            await start_hers(portal, anna)
            ben = portal.browser(language)
            await ben.log_in("ben")
            # As from a terminal in her server.
            own = {
                "Authorization": f"token {portal.user('anna').spawner.api_token}",
                "Content-Type": "application/json",
            }
            stranger = portal.browser()
            made = await stranger._fetch("POST", "/hub/api/share-codes/anna/", "{}", own)
            assert made.code == 200, made.body
            link = json.loads(made.body)["accept_url"]
            page = await ben.get(link)
            text = page.body.decode("utf-8")
            sentence = messages._(MEANS)
            assert page.code == 200 and messages.translated(sentence, language) in text_of(text)
            form = {"_xsrf": ben.cookies["_xsrf"], "code": link.partition("code=")[2]}
            accepted = await ben._fetch("POST", "/hub/accept-share", urlencode(form), FORM)
            assert (accepted.code, accepted.headers["Location"]) == (302, "/user/anna/")
            assert (await gate(ben, "/user/anna/")).code == 200
            # Her server cannot share his, nor learn who else there is.
            for path, method in (
                ("/hub/api/share-codes/ben/", "POST"),
                ("/hub/api/shares/ben", "GET"),
                ("/hub/api/users", "GET"),
            ):
                answer = await stranger._fetch(method, path, "{}" if method == "POST" else None, own)
                assert answer.code in (403, 404), (path, answer.code)
            by_name = await stranger._fetch("POST", "/hub/api/shares/anna/", '{"user": "ben"}', own)
            assert by_name.code == 403, "names are not to be tried out"
            withdrawn = await stranger._fetch("DELETE", "/hub/api/shares/anna/", None, own)
            assert withdrawn.code == 204
            assert (await gate(ben, "/user/anna/")).code == 403

    in_a_loop(work)
