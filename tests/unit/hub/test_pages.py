"""hub.pages: the real templates in both languages, what they know, and what they must not tell."""

from __future__ import annotations

import asyncio
import html
import os
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import jupyterhub
import pytest

from jupyterhub4family.common.i18n import messages
from jupyterhub4family.common.state import upgrade
from jupyterhub4family.common.system import cgroups
from jupyterhub4family.hub import first_page, memory, pages
from jupyterhub4family.hub import language as languages
from tests.unit.helpers import set_free_space
from tests.unit.hub.doubles import Doors, MachineDirectory
from tests.unit.hub.portal import Browser, Portal, in_a_loop, start, text_of, until

LANGUAGES = ("en", "de")


def reported(sentence: str, language: str, **values: Any) -> str:
    """A sentence of the templates, as its readers see it; it must have a German."""
    catalogue = messages.catalogue("de")
    assert catalogue.gettext(sentence) != sentence, f"no German for {sentence!r}"
    text = sentence if language == "en" else catalogue.gettext(sentence)
    return " ".join((text % values if values else text).split())


@asynccontextmanager
async def anna_in(portal: Portal, language: str = "en") -> AsyncIterator[tuple[Any, Browser]]:
    """Anna, logged in."""
    browser = portal.browser(language)
    await browser.log_in("anna")
    yield portal.user("anna"), browser


def enough_room(monkeypatch: pytest.MonkeyPatch, megabytes: int = 100_000) -> None:
    """So much is left on every disk."""
    set_free_space(monkeypatch, megabytes * 2**20)


def card(page: str, name: str = "") -> str:
    """The card of one server on the start page."""
    cards = [one.partition("</section>")[0] for one in page.split("<section")[1:]]
    return next(one for one in cards if f'data-server-name="{name}"' in one)


# -- the start page ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_start_page_through_the_life_of_a_server(
    machine: MachineDirectory, doors: Doors, german: None, language: str
) -> None:
    doors.plan("mediator.spawn", {"listens_when": "listening", "ignores_sigterm": True})
    wanted = (machine.directory / "var/lib/jupyterhub4family/templates/current").resolve().name
    doors.plan("mediator.prepare", {"answer": {"template": wanted}})

    async def work() -> None:
        async with Portal(machine) as portal, anna_in(portal, language) as (user, browser):

            async def shows(state: str, *sentences: str) -> str:
                page = await browser.page("/hub/home")
                assert f'data-state="{state}"' in card(page)
                for sentence in sentences:
                    assert reported(sentence, language) in text_of("<" + card(page)), sentence
                return page

            page = await shows("stopped", "stopped", "Start", "My server")
            assert reported("Hello %(name)s", language, name="Anna Adler") in text_of(page)
            assert f'<html lang="{language}">' in page and 'href="/hub/spawn/anna"' in page
            await browser.api("POST", "users/anna/server")
            page = await shows("starting", "starting", "Show progress", "Stop")
            assert 'href="/hub/spawn-pending/anna"' in page
            doors.go_on("listening")
            await until(lambda: user.spawner.ready, "the server")
            page = await shows("running", "running", "since", "Open", "Stop", "Environment up to date")
            assert re.search(r'<time datetime="20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00">', page)
            assert re.search(r"\d+ MB", text_of(page)) and 'href="/user/anna/"' in page
            stopping = asyncio.ensure_future(browser.api("DELETE", "users/anna/server"))
            await until(lambda: user.spawner.pending == "stop", "the stop")
            page = await shows("stopping", "stopping")
            assert "<button" not in card(page)
            user.spawner.term_timeout = 0
            stopping.cancel()

    in_a_loop(work)


@pytest.mark.parametrize("language", LANGUAGES)
def test_what_the_start_page_says_of_memory_and_environment(
    machine: MachineDirectory, doors: Doors, german: None, monkeypatch: pytest.MonkeyPatch, language: str
) -> None:
    usage = cgroups.Usage(memory=700 * 2**20, memory_limit=2048 * 2**20, processor=1.0, killed=1)
    monkeypatch.setattr(cgroups, "usage", lambda _pid: usage)
    doors.plan("mediator.prepare", {"answer": {"template": "py3.9-an-older-one"}})

    async def work() -> None:
        async with Portal(machine) as portal, anna_in(portal, language) as (user, browser):
            await start(browser, user)
            text = text_of(await browser.page("/hub/home"))
            for sentence in (
                "A notebook in this server needed more memory than the server may use, and was stopped. Open it again "
                "and try it with less data, or ask your administrator for more memory.",
                "A newer environment is ready. You get it at the next start or, if you have changed your packages, "
                "with: jupyterhub4family env upgrade",
            ):
                assert reported(sentence, language) in text
            assert reported("%(megabytes)s of %(limit)s MB of memory", language, megabytes=700, limit=2048) in text

    in_a_loop(work)


def test_named_servers_and_names_that_could_be_html(machine: MachineDirectory, doors: Doors) -> None:
    machine.member("bert", 1002, gecos="<b>Bert</b> & Co,,,")

    async def work() -> None:
        async with Portal(machine) as portal:
            browser = portal.browser()
            await browser.log_in("bert")
            page = await browser.page("/hub/home")
            assert "<b>Bert" not in page and "&lt;b&gt;Bert&lt;/b&gt; &amp; Co" in page
            async with anna_in(portal) as (user, anna):
                await anna.api("POST", "users/anna/servers/school", {"display_name": "School & more"})
                await until(lambda: user.spawners["school"].pending is None, "the end of the start")
                # Before version 6 JupyterHub knew names only.
                title = "School & more" if jupyterhub.version_info[0] >= 6 else "school"
                page = await anna.page("/hub/home")
                assert f">{html.escape(title)}</h2>" in card(page, "school")
                assert 'href="/user/anna/school/"' in page and 'id="stop"' not in page
                assert [one.title for one in pages.server_cards(user)] == ["", title]

    in_a_loop(work)


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_member_has_no_more_servers_than_the_family_wants(
    machine: MachineDirectory, doors: Doors, german: None, language: str
) -> None:
    async def work() -> None:
        async with Portal(machine, "named_servers: 1") as portal, anna_in(portal, language) as (user, anna):
            assert 'id="new-server"' in await anna.page("/hub/home")
            await anna.api("POST", "users/anna/servers/school")
            await until(lambda: user.spawners["school"].pending is None, "the end of the start")
            refused = await anna.api("POST", "users/anna/servers/music")
            assert refused.code == 400 and b"maximum of 1 named servers" in refused.body
            page = await anna.page("/hub/home")
            assert 'id="new-server"' not in page
            assert {"en": "no room for another server", "de": "kein Platz"}[language] in page

    in_a_loop(work)


# -- while a server starts, does not run, has failed -------------------------------------------------------------


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_pages_around_a_start(
    machine: MachineDirectory, doors: Doors, german: None, language: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(first_page, "first_page_files", lambda _viewer, _spawner: ["main.1.js?v=1"])
    doors.plan("mediator.prepare", {"hold": "never"}, {"answer": {"ok": False, "error": "no", "hint": "yes"}})

    async def work() -> None:
        async with Portal(machine) as portal, anna_in(portal, language) as (user, browser):
            text = text_of(await browser.page("/hub/user/anna/"))
            assert reported("Your server is not running", language) in text and reported("Start it", language) in text
            await browser.api("POST", "users/anna/server")
            page = await browser.page("/hub/spawn-pending/anna")
            assert reported("Your server is starting", language) in text_of(page)
            assert 'data-progress-url="/hub/api/users/anna/server/progress?_xsrf=' in page
            assert reported("What has been done so far", language) in text_of(page)
            assert 'rel="prefetch" as="script" href="/user/anna/static/lab/main.1.js?v=1"' in page
            await until(doors.actions, "the mediator's start")
            await browser.api("DELETE", "users/anna/server")
            await start(browser, user)
            text = text_of(await browser.page("/hub/spawn-pending/anna"))
            for sentence in (
                "Your server could not be started",
                "What to do now",
                "Start it once more: what was broken may have been repaired in the meantime.",
            ):
                assert reported(sentence, language) in text
            assert " no " in text and " yes " in text and "Traceback" not in text
            assert "sudo jupyterhub4family doctor" in text

    in_a_loop(work)


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_start_that_fails_while_its_page_waits(
    machine: MachineDirectory, doors: Doors, german: None, language: str
) -> None:
    """As it is if an expert has set slow_spawn_timeout."""
    machine.expert_file("10.py", "c.JupyterHub.tornado_settings['slow_spawn_timeout'] = 10")

    async def work() -> None:
        async with Portal(machine) as portal, anna_in(portal, language) as (_user, browser):
            doors.broken = True
            # JupyterHub leads to the waiting page after a second, which a busy computer takes to see a start fail.
            for _try in range(5):
                answer = await browser.get("/hub/spawn/anna")
                if answer.code != 302:
                    break
            page = answer.body.decode("utf-8")
            assert answer.code == 500 and reported("Your server could not be started", language) in text_of(page)
            sentence = messages._("{name} could not be opened: {reason}", name="mediator", reason=os.strerror(2))
            assert messages.translated(sentence, language) in text_of(page)
            assert reported("What to do now", language) in text_of(page) and "Traceback" not in page

    in_a_loop(work)


@pytest.mark.parametrize("language", LANGUAGES)
def test_errors_say_what_to_do(machine: MachineDirectory, doors: Doors, german: None, language: str) -> None:
    from jupyterhub.handlers.base import BaseHandler
    from tornado import web

    class Failing(BaseHandler):  # type: ignore[misc]  # jupyterhub has no types
        async def get(self, status: str) -> None:
            if status == "000":
                raise RuntimeError("the inner life of the portal")
            raise web.HTTPError(int(status), "a reason for the log")

    def add(config: Any) -> None:
        config.JupyterHub.extra_handlers.append((r"/fail/(\d+)", Failing))

    expected = {
        404: "Nothing here",
        403: "Not for you",
        502: "Not ready yet",
        503: "Not ready yet",
        429: "One moment, please",
        400: "This did not work",
        500: "Something went wrong",
        000: "Something went wrong",
    }

    async def work() -> None:
        async with Portal(machine, "", add) as portal, anna_in(portal, language) as (_user, browser):
            for status, sentence in expected.items():
                answer = await browser.get(f"/hub/fail/{status:03}")
                page = answer.body.decode("utf-8")
                assert answer.code == (status or 500) and f"<h1>{reported(sentence, language)}</h1>" in page, status
                assert "inner life" not in page and "Traceback" not in page, status
                assert reported("To the start page", language) in text_of(page), status
            assert (await browser.get("/hub/no-such-page")).code == 404
            stranger = await portal.browser(language).page("/hub/fail/403")
            assert "sudo jupyterhub4family members add NAME" in stranger

    in_a_loop(work)


def test_the_page_of_a_server_that_stops(machine: MachineDirectory, doors: Doors, german: None) -> None:
    doors.plan("mediator.spawn", {"ignores_sigterm": True})

    async def work() -> None:
        async with Portal(machine) as portal, anna_in(portal) as (user, browser):
            await start(browser, user)
            user.spawner.term_timeout = 1
            stopping = asyncio.ensure_future(browser.api("DELETE", "users/anna/server"))
            await until(lambda: user.spawner.pending == "stop", "the stop")
            page = await browser.page("/hub/spawn-pending/anna")
            assert "<h1>Your server is stopping</h1>" in page and 'data-reload-seconds="3"' in page
            await stopping

    in_a_loop(work)


# -- in which language -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("setting", "cookie", "browser_wants", "expected"),
    [
        ("auto", None, "de-AT,de;q=0.9,en;q=0.8", "de"),
        ("auto", "en", "de", "en"),
        ("auto", "de", "fr", "de"),
        ("de", "en", "en", "de"),
        ("auto", None, "fr", "en"),
    ],
)
def test_setting_then_choice_then_browser(  # noqa: PLR0917
    machine: MachineDirectory,
    doors: Doors,
    german: None,
    setting: str,
    cookie: str | None,
    browser_wants: str,
    expected: str,
) -> None:
    async def work() -> None:
        async with Portal(machine, f"language: {setting}\n") as portal:
            browser = portal.browser(browser_wants)
            if cookie is not None:
                browser.cookies[languages.COOKIE] = cookie
            page = await browser.page("/hub/login")
            assert f'<html lang="{expected}">' in page and reported("Log in", expected) in text_of(page)
            # Where the family has set one there is nothing to choose.
            assert ('data-language="de"' in page) is (setting == "auto")

    in_a_loop(work)


# -- what delegates see, and what is short ------------------------------------------------------------------------


def test_news_are_for_helpers_only(machine: MachineDirectory, doors: Doors, german: None) -> None:
    machine.member("paul", 1003, "jupyterhub_adm")
    upgrade.FAILED.parent.mkdir(parents=True)
    failure = upgrade.Failure("1.0", "1.1", "r", "2026-11-01T12:00:00Z", "it is broken", "1.0 serves")
    upgrade.write_state(upgrade.FAILED, failure)

    async def work() -> None:
        async with Portal(machine) as portal:
            paul, anna = portal.browser("de"), portal.browser("de")
            await paul.log_in("paul")
            await anna.log_in("anna")
            sentence = messages.translated(failure.message(), "de")
            assert sentence != failure.message() and sentence in text_of(await paul.page("/hub/home"))
            assert "1.1" not in text_of(await anna.page("/hub/home"))
            everybody = text_of(await paul.page("/hub/admin"))
            assert reported("Everybody's servers", "de") in everybody
            assert "Anna Adler (anna)" in everybody and " paul " in everybody and "(paul)" not in everybody

    in_a_loop(work)


@pytest.mark.parametrize(("megabytes", "is_told"), [(1535, True), (1537, False)])
def test_a_disk_that_is_nearly_full_is_told_to_members(
    machine: MachineDirectory,
    doors: Doors,
    monkeypatch: pytest.MonkeyPatch,
    megabytes: int,
    is_told: bool,
) -> None:
    enough_room(monkeypatch, megabytes)

    async def work() -> None:
        async with Portal(machine) as portal, anna_in(portal) as (user, browser):
            assert (f"{megabytes} MB are left" in text_of(await browser.page("/hub/home"))) is is_told
            assert "MB are left" not in await portal.browser().page("/hub/login")
            assert pages.disk_left(user) == (megabytes if is_told else None) and pages.disk_left(None) is None

    in_a_loop(work)


# -- what no page may do ------------------------------------------------------------------------------------------


def test_no_page_leaks(machine: MachineDirectory, doors: Doors, monkeypatch: pytest.MonkeyPatch) -> None:
    """Secrets, places on the computer, ports and processes behind the portal, other members, where errors come from."""
    enough_room(monkeypatch)
    machine.member("bert", 1002, gecos="Bert Bussard,,,")

    async def work() -> None:
        async with Portal(machine) as portal, anna_in(portal) as (user, browser):
            await portal.browser().log_in("bert")
            await start(browser, user)
            secrets = [(machine.state / f"{name}_token").read_text("ascii").strip() for name in TOKENS]
            secrets += [(machine.state / "gate_key").read_text("ascii").strip()]
            secrets += [(machine.state / "cookie_secret").read_text("ascii").strip(), user.spawner.api_token]
            inner = [
                str(machine.directory),
                str(portal.port),
                str(user.spawner.port),
                str(doors.directory),
                "site-packages",
            ]
            others = ["bert", "Bert", "192.0.2.7"]
            for path in PATHS:
                answer = await browser.get(path)
                text = answer.body.decode("utf-8") + str(answer.headers)
                text = re.sub(r"[0-9a-f]{64,}|_xsrf=[^;\s\"]*", lambda found: found[0], text)
                for word in (*secrets, *inner, *others):
                    assert word not in text, f"{path} tells {word}"
                assert "Traceback" not in text and 'File "/' not in text, path
            for path in PATHS:
                text = (await portal.browser().get(path)).body.decode("utf-8")
                for word in (*secrets, *inner, *others, "Anna Adler"):
                    assert word not in text, f"{path} tells strangers {word}"

    in_a_loop(work)


TOKENS = ("proxy", "routes", "membership")
PATHS = (
    "/hub/home",
    "/hub/login",
    "/hub/spawn-pending/anna",
    "/hub/token",
    "/hub/admin",
    "/hub/trust",
    "/hub/user/bert/",
    "/hub/spawn/bert",
    "/hub/spawn-pending/bert",
    "/hub/no-such-page",
    "/hub/error/500",
    "/hub/error/503",
    "/hub/logout-is-not-here",
)


def test_every_page_loads_from_the_portal_only(machine: MachineDirectory, doors: Doors) -> None:
    async def work() -> None:
        async with Portal(machine) as portal, anna_in(portal) as (_user, browser):
            for path in ("/hub/home", "/hub/login", "/hub/no-such-page", "/hub/trust"):
                answer = await browser.get(path)
                policy = answer.headers["Content-Security-Policy"]
                assert (
                    policy.startswith("default-src 'self'; ") and "connect-src 'self' https://familybox:8000" in policy
                )
                assert "frame-ancestors 'none'" in policy, "JupyterHub's own stays"
                assert answer.headers["X-Content-Type-Options"] == "nosniff"
                assert answer.headers["Referrer-Policy"] == "same-origin"
                assert not re.findall(r'(?:src|href)="(?:https?:)?//(?!familybox)', answer.body.decode("utf-8")), path
            policy = (await browser.api("GET", "user")).headers["Content-Security-Policy"]
            assert "script-src" not in policy, "scripts' answers have JupyterHub's own"
            strange = await browser.get("/hub/login", Host="evil.example; script-src *")
            assert "evil.example" not in strange.headers.get("Content-Security-Policy", "")

    in_a_loop(work)


def test_style_and_script_are_there_without_a_login(machine: MachineDirectory, doors: Doors) -> None:
    async def work() -> None:
        async with Portal(machine) as portal:
            page = await portal.browser().page("/hub/login")
            links = re.findall(r'"(/hub/trust/static/[^"]+)"', page)
            assert {link.partition("?v=")[0].rpartition("/")[2] for link in links} == {"family.css", "family.js"}
            for link in links:
                assert link.endswith(f"?v={pages.static_version()}")
                assert (await portal.browser().get(link)).code == 200

    in_a_loop(work)


# -- the small things ----------------------------------------------------------------------------------------------


def test_the_version_of_style_and_script_changes_with_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pages, "STATIC", tmp_path)
    (tmp_path / "family.css").write_text("a")
    first = pages.static_version()
    (tmp_path / "family.css").write_text("b")
    assert first != pages.static_version() and len(first) == 12


def test_what_people_are_called(machine: MachineDirectory) -> None:
    class Somebody:
        def __init__(self, name: str) -> None:
            self.name = name

    machine.member("carl", 1004, gecos=" ,room 5,,")
    assert pages.display_name(Somebody("anna")) == "Anna Adler"
    assert pages.display_name(Somebody("carl")) == "carl"
    assert pages.display_name(Somebody("deleted")) == "deleted"
    assert pages.display_name(None) == ""


def test_what_a_process_holds_is_counted_where_no_kernel_counts() -> None:
    assert (memory.resident(1 << 30)) is None
