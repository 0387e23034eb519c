"""hub.authenticator: whom the door lets in, whom it does not and why, and who is not a member any more."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from jupyterhub import orm

from jupyterhub4family.common.i18n import messages
from jupyterhub4family.common.system import network
from jupyterhub4family.hub import authenticator, throttle
from tests.unit.hub.doubles import Doors, MachineDirectory
from tests.unit.hub.portal import Browser, Portal, in_a_loop, text_of, until

WRONG = "Invalid username or password"


async def attempt(browser: Browser, name: str, password: str = "secret") -> tuple[int, str]:
    """Fill the login form in; returns the status and what the page says."""
    answer = await browser.log_in(name, password)
    return int(answer.code), text_of(answer.body.decode("utf-8"))


def groups_of(portal: Portal, name: str) -> set[str]:
    row = orm.User.find(portal.app.db, name)
    return {group.name for group in row.groups}


def german_of(message: str) -> str:
    return messages.translated(messages.Message(message, message, {}), "de")


# -- the door's verdict -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("typed", "address", "reported"),
    [
        ("anna", "192.0.2.7", "192.0.2.7"),
        ("Anna ", "::ffff:192.0.2.8", "192.0.2.8"),
        (" ANNA", "2001:db8::1", "2001:db8::1"),
    ],
)
def test_the_right_password(machine: MachineDirectory, doors: Doors, typed: str, address: str, reported: str) -> None:
    async def work() -> None:
        async with Portal(machine) as portal:
            browser = portal.browser(address=address)
            status, _page = await attempt(browser, typed)
            assert status == 302 and (await browser.get("/hub/home")).code == 200
            assert doors.asked("authenticate") == [{"name": "anna", "password": "secret", "address": reported}]
            assert ("root", "authenticate") in doors.opened
            assert groups_of(portal, "anna") == {"jupyterhub"}
            row = orm.User.find(portal.app.db, "anna")
            assert not row.admin

    in_a_loop(work)


def test_the_wrong_password_and_wrong_names(machine: MachineDirectory, doors: Doors, german: None) -> None:
    async def work() -> None:
        async with Portal(machine) as portal:
            for name in ("anna", "nobody-knows-them", "root", "../anna", "anna\0", "ä" * 500):
                for language in ("en", "de"):
                    browser = portal.browser(language)
                    status, page = await attempt(browser, name, "wrong")
                    assert status == 403, name
                    assert (WRONG if language == "en" else german_of(WRONG)) in page, name
                    assert (await browser.get("/hub/home")).code == 302, name
            assert portal.app.db.query(orm.User).count() == 0

    in_a_loop(work)


@pytest.mark.parametrize("language", ["en", "de"])
@pytest.mark.parametrize("reason", ["account-expired", "password-expired"])
def test_who_knows_the_password_is_told_what_is_wrong_with_the_account(
    machine: MachineDirectory, doors: Doors, german: None, reason: str, language: str
) -> None:
    doors.plan("authenticate.", {"answer": {"allowed": False, "reason": reason}})

    async def work() -> None:
        async with Portal(machine) as portal:
            browser = portal.browser(language)
            status, page = await attempt(browser, "anna")
            message = authenticator._EXPLAINED[reason]
            assert status == 403 and WRONG not in page
            assert (message if language == "en" else german_of(message)) in page
            assert german_of(message) != message
            assert (await browser.get("/hub/home")).code == 302

    in_a_loop(work)


@pytest.mark.parametrize("name", ["bert", "root", "gone"])
def test_a_door_that_lets_in_who_is_no_member_is_not_believed(
    machine: MachineDirectory, doors: Doors, name: str
) -> None:
    machine.people.add("bert", 1002)
    machine.people.add("root", 0, "jupyterhub")
    doors.plan("authenticate.", {"answer": {"allowed": True, "name": name}})

    async def work() -> None:
        async with Portal(machine) as portal:
            browser = portal.browser()
            status, page = await attempt(browser, name)
            assert status == 403 and WRONG in page
            assert portal.app.db.query(orm.User).count() == 0

    in_a_loop(work)


@pytest.mark.parametrize("language", ["en", "de"])
def test_a_broken_door_lets_nobody_in_says_so_and_counts_against_nobody(
    machine: MachineDirectory, doors: Doors, german: None, caplog: pytest.LogCaptureFixture, language: str
) -> None:
    message = authenticator._EXPLAINED["broken"]
    plans: dict[str, dict[str, Any]] = {
        "no sudo": {},
        "a status": {"silent": True, "status": 1, "stderr": "sudo: a password is required"},
        "no ok": {"answer": {"ok": 0, "allowed": True, "name": "anna"}},
        "a refusal": {"answer": {"ok": False, "error": "only the hub may ask"}},
        "PAM": {"answer": {"allowed": False, "reason": "broken"}},
    }

    async def work() -> None:
        async with Portal(machine) as portal:
            for what, plan in plans.items():
                caplog.clear()
                doors.plan("authenticate.", plan)
                doors.broken = what == "no sudo"
                for name in ("anna", "nobody-knows-them"):
                    status, page = await attempt(portal.browser(language), name, "open-sesame")
                    assert status == 403 and WRONG not in page, what
                    assert (message if language == "en" else german_of(message)) in page, what
                    assert f"The password of '{name}' could not be checked: " in caplog.text, what
                assert "open-sesame" not in caplog.text and "Traceback" not in caplog.text, what
                assert all(not client.wrong for client in authenticator.throttle._strangers._known.values()), what

    in_a_loop(work)


@pytest.mark.parametrize("language", ["en", "de"])
def test_who_is_no_member_and_knows_the_password_is_told_who_can_change_that(
    machine: MachineDirectory, doors: Doors, german: None, language: str
) -> None:
    doors.plan("authenticate.", {"answer": {"allowed": False, "reason": "no-member"}})

    async def work() -> None:
        async with Portal(machine) as portal:
            status, page = await attempt(portal.browser(language), "Bert ")
            assert status == 403 and WRONG not in page
            assert (
                "bert is no member of this portal yet" if language == "en" else "bert ist noch kein Mitglied"
            ) in page
            assert "sudo jupyterhub4family members add bert" in page
            assert portal.app.db.query(orm.User).count() == 0
            assert all(not client.wrong for client in authenticator.throttle._strangers._known.values())

    in_a_loop(work)


def test_no_password_gets_into_the_log(
    machine: MachineDirectory, doors: Doors, caplog: pytest.LogCaptureFixture
) -> None:
    async def work() -> None:
        async with Portal(machine) as portal:
            await attempt(portal.browser(), "anna", "open-sesame")
            await attempt(portal.browser(), "x" * 100, "open-sesame")
            assert "Login of 'anna' from 192.0.2.7 refused: refused" in caplog.text
            assert "open-sesame" not in caplog.text and f"Login of '{'x' * 32}' from" in caplog.text

    in_a_loop(work)


# -- wrong passwords are counted -----------------------------------------------------------------------------


@pytest.mark.parametrize("language", ["en", "de"])
@pytest.mark.parametrize("name", ["anna", "nobody-knows-them"])
def test_too_many_tries_of_a_name(
    machine: MachineDirectory, doors: Doors, german: None, language: str, name: str
) -> None:
    doors.plan("authenticate.", {"answer": {"allowed": False, "reason": "too-many"}})

    async def work() -> None:
        async with Portal(machine) as portal:
            status, page = await attempt(portal.browser(language), name)
            message = authenticator._EXPLAINED["too-many"]
            assert status == 403 and WRONG not in page
            assert (message if language == "en" else german_of(message)) in page
            assert german_of(message) != message and message.startswith("Too many tries: wait a minute")

    in_a_loop(work)


def test_too_many_wrong_passwords_from_one_address(
    machine: MachineDirectory, doors: Doors, german: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    message = authenticator._TOO_MANY_FROM_THERE
    monkeypatch.setattr(network, "on_link_networks", list)

    async def work() -> None:
        async with Portal(machine) as portal:
            guesser = portal.browser(address="2001:db8:0:1::66")
            for number in range(throttle.MAXIMUM):
                assert (await attempt(guesser, f"child{number}", "wrong"))[0] == 403
            # Another address of the same device, another name, the right password.
            neighbour = portal.browser("de", address="2001:db8:0:1::67")
            status, page = await attempt(neighbour, "anna")
            assert status == 403 and german_of(message) in page
            status, page = await attempt(guesser, "anna")
            assert status == 403 and message in page
            assert len(doors.asked("authenticate")) == throttle.MAXIMUM, "the door is not even asked"
            somebody = portal.browser(address="2001:db8:0:2::66")
            assert (await attempt(somebody, "anna"))[0] == 302
            # Where she has logged in before, she gets in also from there; her brother does not.
            somebody.headers["X-Forwarded-For"] = "2001:db8:0:1::66"
            assert (await attempt(somebody, "anna"))[0] == 302
            machine.member("ben", 1002)
            assert message in (await attempt(somebody, "ben"))[1]

    in_a_loop(work)


def test_only_wrong_passwords_count(machine: MachineDirectory, doors: Doors) -> None:
    reasons = ("account-expired", "password-expired", "no-member", "broken")

    async def work() -> None:
        async with Portal(machine) as portal:
            for reason in reasons:
                doors.plan("authenticate.", {"answer": {"reason": reason}})
                for _time in range(throttle.MAXIMUM // 3):
                    assert (await attempt(portal.browser(), "anna"))[0] == 403
            doors.plan("authenticate.", {"password": "secret"})
            for _time in range(2):
                assert (await attempt(portal.browser(), "anna"))[0] == 302
            # What was not looked at counts here: else it would cost the machine a door, as often as anybody likes.
            for step in ({"answer": {"reason": "too-many"}}, {}):
                doors.plan("authenticate.", step)
                for _time in range(throttle.MAXIMUM // 2):
                    assert (await attempt(portal.browser(), "anna", "wrong"))[0] == 403
            doors.plan("authenticate.", {"password": "secret"})
            assert (await attempt(portal.browser(), "anna"))[0] == 403

    in_a_loop(work)


def test_too_many_who_wait_are_asked_to_come_again(
    machine: MachineDirectory, doors: Doors, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(throttle, "MAXIMUM_WAITING", -throttle.AT_ONCE)

    async def work() -> None:
        async with Portal(machine) as portal:
            status, page = await attempt(portal.browser(), "anna")
            assert status == 403 and authenticator._EXPLAINED["too-many"] in page
            assert "refused: too many logins wait already" in caplog.text
            assert doors.asked("authenticate") == []

    in_a_loop(work)


# -- members, helpers, and who was one --------------------------------------------------------------------------


@pytest.mark.parametrize("language", ["en", "de"])
def test_who_is_removed_is_out_at_the_next_click(
    machine: MachineDirectory, doors: Doors, german: None, language: str
) -> None:
    message = (
        "Your account does not belong to this portal any more. Your files are still there. Ask your administrator."
    )

    async def work() -> None:
        async with Portal(machine) as portal:
            browser = portal.browser(language)
            await browser.log_in("anna")
            token = portal.user("anna").new_api_token()
            machine.people.groups["jupyterhub"][1].remove("anna")
            # At once where something is started.
            assert (await browser.api("POST", "users/anna/server")).code == 403
            assert doors.actions() == []
            await asyncio.sleep(2.1)
            answer = await browser.get("/hub/home")
            assert answer.code == 302 and "/hub/login" in answer.headers["Location"]
            assert "HttpOnly" in next(
                line for line in answer.headers.get_list("Set-Cookie") if line.startswith(authenticator.REMOVED_COOKIE)
            )
            page = text_of(await browser.page("/hub/login"))
            assert (message if language == "en" else german_of(message)) in page
            program = portal.browser()
            assert (await program.get("/hub/api/user", Authorization=f"token {token}")).code == 403
            # And back again.
            machine.people.groups["jupyterhub"][1].append("anna")
            assert (await attempt(browser, "anna"))[0] == 302

    in_a_loop(work)


@pytest.mark.parametrize(
    "change", ["", "more groups", "fewer groups", "no role", "a role", "admin", "a state", "states"]
)
def test_there_is_nothing_to_write_only_where_nothing_differs(
    machine: MachineDirectory, doors: Doors, change: str
) -> None:
    machine.member("paul", 1003, "jupyterhub_adm")

    async def work() -> None:
        async with Portal(machine) as portal:
            await portal.browser().log_in("paul")
            asked, user, db = portal.app.authenticator, portal.user("paul"), portal.app.db
            row = user.orm_user
            assert await asked.refresh_user(user) is True
            if change == "more groups":
                row.groups.append(orm.Group(name="x"))
            elif change == "fewer groups":
                row.groups.clear()
            elif change == "no role":
                row.roles.clear()
            elif change == "a role":
                row.roles.append(orm.Role.find(db, "admin"))
            elif change == "admin":
                row.admin = True
            elif change == "a state":
                row.encrypted_auth_state = b"x"
            elif change == "states":
                asked.enable_auth_state = True
            answer = await asked.refresh_user(user)
            expected = {"name": "paul", "groups": ["jupyterhub", "jupyterhub_adm"]}
            assert answer == (expected if change else True)

    in_a_loop(work)


def test_an_account_that_is_deleted_is_out_as_well(machine: MachineDirectory, doors: Doors) -> None:
    async def work() -> None:
        async with Portal(machine) as portal:
            browser = portal.browser()
            await browser.log_in("anna")
            del machine.people.accounts["anna"]
            user = portal.user("anna")
            assert await portal.app.authenticator.refresh_user(user) is False
            assert portal.app.authenticator.check_allowed("anna") is False
            await asyncio.sleep(2.1)
            assert (await browser.get("/hub/home")).code == 302

    in_a_loop(work)


def test_a_helper_sees_and_stops_servers_and_may_nothing_else(machine: MachineDirectory, doors: Doors) -> None:
    machine.member("paul", 1003, "jupyterhub_adm", "sudo")

    async def work() -> None:
        async with Portal(machine) as portal:
            anna, paul = portal.browser(), portal.browser()
            await anna.log_in("anna")
            await paul.log_in("paul")
            assert groups_of(portal, "paul") == {"jupyterhub", "jupyterhub_adm"}, "and not sudo"
            assert (await anna.get("/hub/admin")).code == 403
            assert (await anna.api("GET", "users")).code == 403
            assert "Anna Adler (anna)" in text_of(await paul.page("/hub/admin"))
            assert (await paul.api("POST", "users/anna/server")).code in (201, 202)
            await until(lambda: portal.user("anna").spawner.ready, "the server")
            # Paul has looked at his own start page before.
            opened = [account for account, program in doors.opened if program == "mediator"]
            assert set(opened) <= {"anna", "paul"} and opened.count("paul") <= 1, "it runs as Anna"
            assert (await paul.get("/user/anna/lab")).code in (302, 404)
            assert (await paul.get("/hub/user/anna/lab")).code == 404
            assert (await paul.api("DELETE", "users/anna/server")).code == 204
            assert (await paul.api("DELETE", "users/anna")).code == 403
            assert (await paul.api("POST", "users/bert")).code == 403
            assert (await paul.api("POST", "users/anna/tokens", {})).code in (403, 404)
            assert (await anna.api("POST", "users/paul/server")).code in (403, 404)

    in_a_loop(work)


def test_who_is_no_helper_any_more_loses_the_rights_and_nothing_else(machine: MachineDirectory, doors: Doors) -> None:
    machine.member("paul", 1003, "jupyterhub_adm")

    async def work() -> None:
        async with Portal(machine) as portal:
            paul = portal.browser()
            await paul.log_in("paul")
            assert (await paul.get("/hub/admin")).code == 200
            machine.people.groups["jupyterhub_adm"][1].remove("paul")
            await asyncio.sleep(2.1)
            assert (await paul.get("/hub/home")).code == 200 and groups_of(portal, "paul") == {"jupyterhub"}
            assert (await paul.get("/hub/admin")).code == 403

    in_a_loop(work)


def test_no_account_is_ever_made(machine: MachineDirectory, doors: Doors) -> None:
    """LocalAuthenticator would call adduser; the watchman of unit tests sees to it that nobody does."""

    async def work() -> None:
        async with Portal(machine) as portal:
            user = portal.user("not-on-this-machine")
            await portal.app.authenticator.add_user(user)
            assert portal.app.authenticator.check_allowed("not-on-this-machine") is False
            assert portal.app.authenticator.check_allowed("anna") is True

    in_a_loop(work)


@pytest.mark.parametrize(
    ("given", "plain"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8::1", "2001:db8::1"),
        (None, ""),
        ("", ""),
        ("unix:", ""),
        ("192.0.2.7, 10.0.0.1", ""),
        ("<script>", ""),
    ],
)
def test_addresses_as_people_know_them(given: str | None, plain: str) -> None:
    assert authenticator.plain_address(given) == plain
