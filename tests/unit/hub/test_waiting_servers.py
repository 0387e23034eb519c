"""hub.waiting_servers: a server is prepared for whoever is about to want one, where there is room."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from jupyterhub4family.common.system import cgroups
from jupyterhub4family.hub import short_memory, waiting_servers
from tests.unit.hub.doubles import Doors, MachineDirectory
from tests.unit.hub.portal import Browser, Portal, in_a_loop, start, until

GIB = 2**30
READY = {"ready": True}


def prepared(doors: Doors) -> list[str]:
    """For whom, by the addresses of their servers."""
    return [one["env"]["JUPYTERHUB_SERVICE_PREFIX"] for one in doors.asked("mediator", "ahead")]


async def comes(doors: Doors, count: int = 1) -> None:
    await until(lambda: len(prepared(doors)) == count, "that it is prepared")


async def all_asked(doors: Doors) -> list[str]:
    """As `prepared`, once every door is answered that the pages so far have had opened."""
    for _until, begun in list(waiting_servers.keeper._waiting.values()):
        await begun
    return prepared(doors)


def memory(monkeypatch: pytest.MonkeyPatch, total: int, room: int) -> None:
    monkeypatch.setattr(cgroups, "free_memory", lambda _pid: [cgroups.FreeMemory(room, 0, total)])


@pytest.fixture(autouse=True)
def much_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    memory(monkeypatch, 16 * GIB, 8 * GIB)


def test_the_start_page_has_one_prepared_and_once(machine: MachineDirectory, doors: Doors) -> None:
    async def work() -> None:
        async with Portal(machine) as portal:
            browser = portal.browser()
            await browser.log_in("anna")  # which leads to the start page here
            await comes(doors)
            for _again in range(3):
                assert (await browser.get("/hub/home")).code == 200
            assert (await browser.get("/hub/token")).code == 200
            assert len(await all_asked(doors)) == 1
            (asked,) = doors.asked("mediator", "ahead")
            assert asked["seconds"] == waiting_servers.WAITS
            # Nothing of a server that only its start decides: no token, no port.
            assert asked["env"] == {
                "JUPYTERHUB_SERVICE_PREFIX": "/user/anna/",
                "JUPYTERHUB_API_URL": f"http://127.0.0.1:{portal.port}/hub/api",
            }
            assert ("anna", "mediator") in doors.opened

    in_a_loop(work)


def test_what_is_known_before_is_what_a_start_says(machine: MachineDirectory, doors: Doors) -> None:
    """Else it would never be taken."""

    async def work() -> None:
        async with Portal(machine) as portal:
            browser = portal.browser()
            await browser.log_in("anna")
            await comes(doors)
            await start(browser, portal.user("anna"))
            (ahead,), (begun,) = doors.asked("mediator", "ahead"), doors.asked("mediator", "start")
            assert ahead["env"].items() <= begun["env"].items()

    in_a_loop(work)


def test_a_start_waits_for_one_that_is_being_begun(machine: MachineDirectory, doors: Doors) -> None:
    async def work() -> None:
        doors.plan("mediator.ahead", {"hold": "begun"})
        doors.plan("mediator.start", READY)
        async with Portal(machine) as portal:
            browser, user = portal.browser(), portal.user("anna")
            await browser.log_in("anna")
            await comes(doors)
            answer = await browser.api("POST", "users/anna/server")
            assert answer.code == 202 and doors.asked("mediator", "start") == []
            doors.go_on("begun")
            await until(lambda: user.spawner.ready, "the server")
            # It runs: nobody needs another one.
            await browser.get("/hub/home")
            assert len(await all_asked(doors)) == 1
            # When it does not, somebody may.
            await browser.api("DELETE", "users/anna/server")
            await until(lambda: not user.spawner.active, "its end")
            await browser.get("/hub/home")
            await comes(doors, 2)

    in_a_loop(work)


def test_one_that_does_not_come_keeps_no_start_waiting_for_ever(
    machine: MachineDirectory, doors: Doors, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting_servers, "LONGEST_BEGIN", 0.2)

    async def work() -> None:
        doors.plan("mediator.ahead", {"hold": "never"})
        doors.plan("mediator.start", READY)
        async with Portal(machine) as portal:
            browser, user = portal.browser(), portal.user("anna")
            await browser.log_in("anna")
            await comes(doors)
            await start(browser, user)
            assert user.spawner.ready
            doors.go_on("never")

    in_a_loop(work)


def test_the_page_of_a_server_that_does_not_run_has_one_prepared(machine: MachineDirectory, doors: Doors) -> None:
    async def work() -> None:
        async with Portal(machine) as portal:
            browser = portal.browser()
            await browser.log_in("anna")
            await comes(doors)
            waiting_servers.keeper = waiting_servers.Keeper()
            assert (await browser.get("/hub/user/anna/lab")).code in waiting_servers.NOT_RUNNING
            await comes(doors, 2)

    in_a_loop(work)


def test_nobody_has_one_prepared_for_somebody_else(machine: MachineDirectory, doors: Doors) -> None:
    machine.member("ben", 1002)

    async def work() -> None:
        async with Portal(machine) as portal:
            portal.user("ben")
            browser = portal.browser()
            await browser.log_in("anna")
            await comes(doors)
            await browser.get("/hub/user/ben/lab")
            stranger = portal.browser()
            for page in ("/hub/login", "/hub/home", "/hub/user/ben/lab", "/hub/spawn/ben"):
                await stranger.get(page)
            assert await all_asked(doors) == ["/user/anna/"]

    in_a_loop(work)


async def _leaves(browser: Browser, doors: Doors) -> None:
    await browser.get("/hub/logout")
    await all_asked(doors)
    waiting_servers.keeper = waiting_servers.Keeper()


def test_a_device_that_is_known_has_one_prepared_for_who_logged_in_last(
    machine: MachineDirectory, doors: Doors
) -> None:
    machine.member("ben", 1002)

    async def work() -> None:
        async with Portal(machine) as portal:
            tablet = portal.browser()
            await tablet.log_in("anna")
            await comes(doors)
            await _leaves(tablet, doors)
            await tablet.get("/hub/login")
            await comes(doors, 2)
            # A wrong password, and again: the one that waits is enough.
            await tablet.log_in("anna", "wrong")
            assert await all_asked(doors) == 2 * ["/user/anna/"]
            await tablet.log_in("ben")
            await _leaves(tablet, doors)
            before = len(prepared(doors))
            await tablet.get("/hub/login")
            await comes(doors, before + 1)
            assert prepared(doors)[-1] == "/user/ben/"

    in_a_loop(work)


@pytest.mark.parametrize("kind", ["forged", "none", "of one who was removed"])
def test_other_devices_have_none_prepared(machine: MachineDirectory, doors: Doors, kind: str) -> None:
    async def work() -> None:
        async with Portal(machine) as portal:
            browser = portal.browser()
            await browser.log_in("anna")
            await comes(doors)
            await _leaves(browser, doors)
            name = next(one for one in browser.cookies if one.endswith("-device"))
            if kind == "forged":
                browser.cookies[name] = browser.cookies[name][:-2] + "00"
            elif kind == "none":
                del browser.cookies[name]
            else:
                portal.app.db.delete(portal.user("anna").orm_user)
                portal.app.db.commit()
            assert (await browser.get("/hub/login")).code == 200
            assert len(await all_asked(doors)) == 1

    in_a_loop(work)


@pytest.mark.parametrize(
    ("free", "most"),
    [
        ((16 * GIB, 2 * short_memory.ROOM_FOR_A_START), waiting_servers.MOST),
        ((2 * GIB, GIB), 1),
        ((16 * GIB, short_memory.ROOM_FOR_A_START), 0),
    ],
)
def test_what_waits_is_little_by_what_there_is(
    machine: MachineDirectory, doors: Doors, monkeypatch: pytest.MonkeyPatch, free: tuple[int, int], most: int
) -> None:
    memory(monkeypatch, *free)
    names = ["anna", *(f"kid{number}" for number in range(waiting_servers.MOST + 1))]
    for uid, name in enumerate(names[1:], 1100):
        machine.member(name, uid)

    async def work() -> None:
        async with Portal(machine) as portal:
            for name in names:
                await portal.browser().log_in(name)
            assert len(await all_asked(doors)) == most
            # They end; others may wait.
            waiting_servers.keeper._waiting = {
                name: (0.0, begun) for name, (_until, begun) in waiting_servers.keeper._waiting.items()
            }
            await portal.browser().log_in(names[-1])
            await until(lambda: len(prepared(doors)) >= min(2 * most, most + 1), "the next one")

    in_a_loop(work)


def test_experts_hooks_come_before_any_server(machine: MachineDirectory, doors: Doors) -> None:
    machine.expert_file("hook.py", "c.FamilySpawner.pre_spawn_hook = lambda spawner: None\n")

    async def work() -> None:
        async with Portal(machine) as portal:
            browser = portal.browser()
            await browser.log_in("anna")
            await start(browser, portal.user("anna"))
            assert await all_asked(doors) == []

    in_a_loop(work)


def _refuses(doors: Doors) -> None:
    doors.plan("mediator.ahead", {"answer": {"ok": False, "error": "no", "hint": ""}})


def _says_nonsense(doors: Doors) -> None:
    doors.plan("mediator.ahead", {"silent": True, "status": 1})


@pytest.mark.parametrize("problem", [_refuses, _says_nonsense])
def test_whatever_goes_wrong_pages_and_starts_go_on(
    machine: MachineDirectory, doors: Doors, problem: Callable[[Doors], Any]
) -> None:
    problem(doors)
    doors.plan("mediator.start", READY)

    async def work() -> None:
        async with Portal(machine) as portal:
            browser, user = portal.browser(), portal.user("anna")
            await browser.log_in("anna")
            await comes(doors)
            assert (await browser.get("/hub/home")).code == 200
            await start(browser, user)
            assert user.spawner.ready

    in_a_loop(work)


def test_a_named_server_leaves_what_waits_for_the_default_one(machine: MachineDirectory, doors: Doors) -> None:
    async def work() -> None:
        async with Portal(machine) as portal:
            browser = portal.browser()
            await browser.log_in("anna")
            await comes(doors)
            await start(browser, portal.user("anna"), "maths")
            assert "anna" in waiting_servers.keeper._waiting

    in_a_loop(work)
