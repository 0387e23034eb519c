"""hub.spawner: servers are started, watched and ended through the mediator, whatever comes in between."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import logging
import os
import resource
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import jupyterhub.utils
import pytest

from jupyterhub4family.common.i18n import messages
from jupyterhub4family.common.protocol import doors as registry
from jupyterhub4family.common.system import cgroups, processes
from jupyterhub4family.hub import spawner
from tests.unit.hub.doubles import Doors, MachineDirectory
from tests.unit.hub.portal import Browser, Portal, begin, in_a_loop, start, text_of, until


@asynccontextmanager
async def anna_in(portal: Portal) -> AsyncIterator[tuple[Any, Browser]]:
    """Anna, logged in: JupyterHub's user, and her browser."""
    browser = portal.browser()
    await browser.log_in("anna")
    yield portal.user("anna"), browser


async def stop(browser: Browser) -> int:
    """Stop the server as a page does; returns the status."""
    return int((await browser.api("DELETE", "users/anna/server")).code)


def events(body: bytes) -> list[dict[str, Any]]:
    """What a stream of progress has told."""
    lines = body.decode("utf-8").splitlines()
    return [json.loads(line.partition(":")[2]) for line in lines if line.startswith("data:")]


def running(doors: Doors) -> list[int]:
    """The servers that run."""
    return [pid for pid in doors.servers() if processes.is_running(pid, 0)]


def nothing_is_left(portal: Portal, doors: Doors) -> None:
    """No server, no port, no route, nothing that looks as if there were one."""
    user = portal.user("anna")
    assert running(doors) == []
    assert spawner.FamilySpawner._ports_of_starts == set()
    assert [route for route in portal.routes if route != "/"] == []
    assert not user.spawner.active and user.spawner.server is None
    assert user.spawner.pid == 0 and user.spawner.orm_spawner.state in ({}, {"user_options": {}})


# -- a start ------------------------------------------------------------------------------------------


def test_a_start_makes_sure_of_the_environment_then_starts_and_waits(machine: MachineDirectory, doors: Doors) -> None:
    doors.plan("mediator.prepare", {"progress": [[0, "a"], [100, "b"]], "answer": {"template": "py3.11-abc"}})

    async def work() -> None:
        async with Portal(machine) as portal, anna_in(portal) as (user, browser):
            await start(browser, user)
            assert user.spawner.ready
            prepare, spawn = doors.asked()
            assert prepare == {"action": "prepare", "thorough": False}
            port = user.spawner.port
            assert spawn["args"] == [] and spawn["env"]["JUPYTERHUB_SERVICE_URL"].startswith(
                f"http://127.0.0.1:{port}/"
            )
            assert spawn["env"]["JUPYTERHUB_USER"] == "anna" and len(spawn["env"]["JUPYTERHUB_API_TOKEN"]) >= 32
            assert portal.routes["/user/anna/"]["target"] == f"http://127.0.0.1:{port}"
            (pid,) = running(doors)
            state = user.spawner.orm_spawner.state
            wanted = {"pid": pid, "start_time": processes.start_time(pid), "made_from": "py3.11-abc", "killed": 0}
            assert {key: state[key] for key in wanted} == wanted
            assert spawner.FamilySpawner._ports_of_starts == set()

    in_a_loop(work)


def test_a_start_for_which_nothing_is_to_be_done_is_one_call(machine: MachineDirectory, doors: Doors) -> None:
    doors.plan("mediator.start", {"ready": True})

    async def work() -> None:
        async with Portal(machine) as portal, anna_in(portal) as (user, browser):
            for number in (1, 2):
                opened = len(doors.opened)
                await start(browser, user)
                assert user.spawner.ready
                assert doors.opened[opened:] == [("anna", "mediator")]
                request = doors.asked("mediator", "start")[-1]
                assert set(request) == {"action", "env"} and len(doors.asked("mediator", "start")) == number
                port = user.spawner.port
                assert request["env"]["JUPYTERHUB_SERVICE_URL"].startswith(f"http://127.0.0.1:{port}/")
                assert request["env"]["JUPYTERHUB_USER"] == "anna" and len(request["env"]["JUPYTERHUB_API_TOKEN"]) >= 32
                assert portal.routes["/user/anna/"]["target"] == f"http://127.0.0.1:{port}"
                (pid,) = running(doors)
                state = user.spawner.orm_spawner.state
                wanted = {"pid": pid, "start_time": processes.start_time(pid), "made_from": "py3.11-000000000000"}
                assert {key: state[key] for key in wanted} == wanted
                assert [one["progress"] for one in user.spawner._events] == [0, 88, 97]
                assert spawner.FamilySpawner._ports_of_starts == set()
                await stop(browser)
                nothing_is_left(portal, doors)

    in_a_loop(work)


@pytest.mark.parametrize(
    "answer",
    [
        {"ok": False, "error": "no", "hint": "", "status": 4},
        {"ok": False, "error": "the action must be one of kill, prepare, spawn", "hint": "", "status": 2},
        {"started": "yes"},
        {"started": True, "pid": "1"},
    ],
    ids=["refused", "an older mediator", "nonsense", "another type"],
)
def test_what_cannot_be_started_at_once_is_started_as_ever(
    machine: MachineDirectory, doors: Doors, answer: dict[str, Any]
) -> None:
    doors.plan("mediator.start", {"answer": answer})

    async def work() -> None:
        async with Portal(machine) as portal, anna_in(portal) as (user, browser):
            await start(browser, user)
            assert user.spawner.ready and doors.actions() == ["prepare", "spawn"]
            assert len(running(doors)) == 1 and spawner.FamilySpawner._ports_of_starts == set()

    in_a_loop(work)


def test_a_hook_of_experts_comes_between_environment_and_server(machine: MachineDirectory, doors: Doors) -> None:
    doors.plan("mediator.start", {"ready": True})
    seen: list[list[str]] = []

    def hook(_spawner: Any) -> None:
        seen.append([*doors.actions(), *(["start"] if doors.asked("mediator", "start") else [])])

    def with_hook(config: Any) -> None:
        config.Spawner.pre_spawn_hook = hook

    async def work() -> None:
        async with Portal(machine, "", with_hook) as portal, anna_in(portal) as (user, browser):
            await start(browser, user)
            assert user.spawner.ready
            assert seen == [["prepare"]] and doors.actions() == ["prepare", "spawn"]
            assert doors.asked("mediator", "start") == []

    in_a_loop(work)


@pytest.mark.parametrize("started", [True, False])
def test_stopped_while_the_mediator_looks_whether_it_can_start(
    machine: MachineDirectory, doors: Doors, started: bool
) -> None:
    doors.plan("mediator.start", {"ready": started, "hold": "looked"}, {})
    machine.runs_systemd()

    async def work() -> None:
        async with Portal(machine) as portal, anna_in(portal) as (user, browser):
            await begin(browser)
            await until(lambda: doors.asked("mediator", "start"), "the question")
            if started:
                await until(lambda: running(doors), "the server's process")
            stopping = asyncio.ensure_future(browser.api("DELETE", "users/anna/server"))
            await asyncio.sleep(0.3)
            doors.go_on("looked")
            assert (await stopping).code == 204
            await until(lambda: not user.spawner.active and not running(doors), "the server's end")
            await until(lambda: not user.spawner._kept, "the mediator's end")
            assert [one["pid"] for one in doors.asked("mediator", "end")] == doors.servers()
            assert doors.actions() == (["kill", "end"] if started else []), "nothing was started any more"
            nothing_is_left(portal, doors)
            await start(browser, user)
            assert user.spawner.ready

    in_a_loop(work)


def test_stopped_while_the_server_that_was_started_at_once_does_not_listen(
    machine: MachineDirectory, doors: Doors
) -> None:
    doors.plan("mediator.start", {"ready": True, "listens_when": "never"}, {"ready": True})

    async def work() -> None:
        async with Portal(machine) as portal, anna_in(portal) as (user, browser):
            await begin(browser)
            await until(lambda: user.spawner.pid, "the server's process")
            assert await stop(browser) == 204
            nothing_is_left(portal, doors)
            await start(browser, user)
            assert user.spawner.ready and len(running(doors)) == 1

    in_a_loop(work)


def test_one_that_was_started_at_once_and_ends_is_looked_at_thoroughly(machine: MachineDirectory, doors: Doors) -> None:
    doors.plan("mediator.start", {"ready": True, "ends": True})
    doors.plan("mediator.prepare", {"answer": {"done": "mended"}})

    async def work() -> None:
        async with Portal(machine) as portal, anna_in(portal) as (user, browser):
            await start(browser, user)
            assert user.spawner.ready and doors.actions() == ["log", "prepare", "spawn"]
            assert doors.asked("mediator", "prepare") == [{"action": "prepare", "thorough": True}]

    in_a_loop(work)


def test_one_that_was_started_at_once_on_a_port_that_somebody_took(machine: MachineDirectory, doors: Doors) -> None:
    doors.plan("mediator.start", {"ready": True, "taken_by": 1002})

    async def work() -> None:
        async with Portal(machine) as portal, anna_in(portal) as (user, browser):
            await start(browser, user)
            assert user.spawner.ready and doors.actions()[-1] == "spawn" and "prepare" not in doors.actions()
            assert len(running(doors)) == 1 and spawner.FamilySpawner._ports_of_starts == set()

    in_a_loop(work)


def test_progress_is_told_from_the_beginning_to_everybody_in_every_language(
    machine: MachineDirectory, doors: Doors, german: None
) -> None:
    message = messages.to_json(messages._("Making your environment"))
    doors.plan("mediator.prepare", {"progress": [[0, "begin"], [50, message], [100, "end"]], "hold": "prepared"})

    async def work() -> None:
        async with Portal(machine) as portal, anna_in(portal) as (user, browser):
            await begin(browser)
            await until(lambda: len(user.spawner._events) >= 4, "progress")
            first = asyncio.ensure_future(browser.api("GET", "users/anna/server/progress"))
            second = asyncio.ensure_future(browser.api("GET", "users/anna/server/progress"))
            await asyncio.sleep(0.05)
            doors.go_on("prepared")
            reported, again = events((await first).body), events((await second).body)
            assert reported == again
            # The first is JupyterHub's own.
            assert [one["progress"] for one in reported] == [0, 0, 40, 62, 85, 88, 97, 100]
            assert reported[-1]["ready"] is True
            assert reported[3]["messages"] == {
                "en": "Making your environment",
                "de": messages.translated(messages._("Making your environment"), "de"),
            }
            assert reported[1]["messages"]["de"] != reported[1]["messages"]["en"] == reported[1]["message"]
            # A second start begins with a clean slate.
            await stop(browser)
            await start(browser, user)
            assert [one["progress"] for one in user.spawner._events] == [0, 40, 62, 85, 88, 97]

    in_a_loop(work)


def test_a_server_that_takes_its_time_to_listen_is_waited_for(machine: MachineDirectory, doors: Doors) -> None:
    doors.plan("mediator.spawn", {"listens_when": "later"})

    async def work() -> None:
        async with Portal(machine) as portal, anna_in(portal) as (user, browser):
            await begin(browser)
            await until(lambda: running(doors), "the server's process")
            await asyncio.sleep(0.4)
            assert user.spawner.pending == "spawn" and spawner.FamilySpawner._ports_of_starts == {user.spawner.port}
            doors.go_on("later")
            await until(lambda: user.spawner.ready, "the server")

    in_a_loop(work)


def test_what_experts_want_before_and_after(machine: MachineDirectory, doors: Doors) -> None:
    machine.expert_file(
        "10.py",
        """
        def before(spawner):
            spawner.environment["FROM_EXPERT"] = str(len(spawner._events))
        async def after(spawner):
            spawner.user.settings["after"] = spawner.pid
        c.Spawner.pre_spawn_hook = before
        c.Spawner.post_stop_hook = after
        """.replace("\n        ", "\n"),
    )
    machine.runs_systemd()

    async def work() -> None:
        async with Portal(machine) as portal, anna_in(portal) as (user, browser):
            await start(browser, user)
            assert int(doors.asked("mediator", "spawn")[0]["env"]["FROM_EXPERT"]) >= 1, "after ours"
            assert await stop(browser) == 204
            assert "after" in user.settings

    in_a_loop(work)


# -- cancelled while starting --------------------------------------------------------------------------


@pytest.mark.parametrize("seconds", [0.3, 2.0])
def test_stopped_while_the_mediator_starts_the_server(machine: MachineDirectory, doors: Doors, seconds: float) -> None:
    """Also if the mediator takes longer than the second that JupyterHub waits."""
    doors.plan("mediator.spawn", {"hold": "started"}, {})
    machine.runs_systemd()

    async def work() -> None:
        async with Portal(machine) as portal, anna_in(portal) as (user, browser):
            await begin(browser)
            await until(lambda: running(doors), "the server's process")
            watching = asyncio.ensure_future(browser.api("GET", "users/anna/server/progress"))
            await asyncio.sleep(0.1)
            stopping = asyncio.ensure_future(browser.api("DELETE", "users/anna/server"))
            await asyncio.sleep(seconds)
            doors.go_on("started")
            assert (await stopping).code == 204
            await until(lambda: not user.spawner.active and not running(doors), "the server's end")
            await until(lambda: doors.asked("mediator", "end"), "the end of what it has started")
            assert doors.asked("mediator", "end")[0]["pid"] == doors.servers()[0]
            assert events((await watching).body)[-1]["progress"] == 100, "nobody waits for ever"
            nothing_is_left(portal, doors)
            await start(browser, user)
            assert user.spawner.ready

    in_a_loop(work)


def test_stopped_while_the_server_does_not_listen_yet(machine: MachineDirectory, doors: Doors) -> None:
    doors.plan("mediator.spawn", {"listens_when": "never"}, {})

    async def work() -> None:
        async with Portal(machine) as portal, anna_in(portal) as (user, browser):
            await begin(browser)
            await until(lambda: user.spawner.pid, "the server's process")
            assert await stop(browser) == 204
            nothing_is_left(portal, doors)
            assert doors.asked("mediator", "kill")[0]["signal"] == signal.SIGTERM
            assert not doors.asked("mediator", "prepare")[1:], "nobody looks for what is wrong"
            await start(browser, user)
            assert user.spawner.ready

    in_a_loop(work)


@pytest.mark.parametrize("stubborn", [False, True])
def test_stopped_while_the_environment_is_made(machine: MachineDirectory, doors: Doors, stubborn: bool) -> None:
    """Also if the mediator does not end within the second that JupyterHub waits."""
    doors.plan("mediator.prepare", {"progress": [[5, "Copying"]], "hold": "end", "stubborn": stubborn}, {})

    async def work() -> None:
        async with Portal(machine) as portal, anna_in(portal) as (user, browser):
            await begin(browser)
            await until(lambda: len(user.spawner._events) >= 2, "progress")
            watching = asyncio.ensure_future(browser.api("GET", "users/anna/server/progress"))
            assert await stop(browser) == 204
            assert events((await watching).body)[-1]["progress"] == 100, "nobody waits for ever"
            nothing_is_left(portal, doors)
            assert doors.actions() == ["prepare"]
            await start(browser, user)
            assert user.spawner.ready and user.spawner._events[0]["progress"] == 0
            doors.go_on("end")
            await until(lambda: not user.spawner._kept, "the mediator's end")

    in_a_loop(work)


def test_stopped_while_a_broken_environment_is_looked_at(machine: MachineDirectory, doors: Doors) -> None:
    doors.plan("mediator.prepare", {}, {"progress": [[50, "Looking closely"]], "hold": "never"}, {})
    doors.plan("mediator.spawn", {"ends": True}, {})

    async def work() -> None:
        async with Portal(machine) as portal, anna_in(portal) as (user, browser):
            await begin(browser)
            await until(lambda: "Looking closely" in str(user.spawner._events), "the thorough look")
            assert await stop(browser) == 204
            nothing_is_left(portal, doors)
            assert doors.actions() == ["prepare", "spawn", "log", "prepare"], "nothing was started any more"
            await start(browser, user)
            assert user.spawner.ready

    in_a_loop(work)


def test_a_start_that_takes_too_long_leaves_nothing(machine: MachineDirectory, doors: Doors) -> None:
    doors.plan("mediator.spawn", {"listens_when": "never"})

    async def work() -> None:
        async with Portal(machine, "start_timeout: 30\n", short_start) as portal, anna_in(portal) as (user, browser):
            await start(browser, user)
            await until(lambda: not running(doors), "the server's end")
            nothing_is_left(portal, doors)
            assert user.spawner._failed

    def short_start(config: Any) -> None:
        assert config.FamilySpawner.start_timeout == 30
        config.FamilySpawner.start_timeout = 1

    in_a_loop(work)


# -- ports ------------------------------------------------------------------------------------------------


def test_a_port_that_somebody_else_has_taken_is_given_up(
    machine: MachineDirectory, doors: Doors, caplog: pytest.LogCaptureFixture
) -> None:
    doors.plan("mediator.spawn", {"taken_by": 1002}, {})
    machine.runs_systemd()

    async def work() -> None:
        async with Portal(machine) as portal, anna_in(portal) as (user, browser):
            await start(browser, user)
            first, second = doors.asked("mediator", "spawn")
            taken, ours = (one["env"]["JUPYTERHUB_SERVICE_URL"].split(":")[2].split("/")[0] for one in (first, second))
            assert taken != ours == str(user.spawner.port)
            assert first["env"]["JUPYTERHUB_API_TOKEN"] == second["env"]["JUPYTERHUB_API_TOKEN"]
            assert len(running(doors)) == 1 and running(doors) == [user.spawner.pid]
            assert doors.actions() == ["prepare", "spawn", "kill", "end", "spawn"]
            assert doors.asked("mediator", "kill")[0]["signal"] == signal.SIGKILL
            assert doors.asked("mediator", "end")[0]["pid"] == doors.servers()[0]
            assert f"port {taken} is taken by uid 1002" in caplog.text

    in_a_loop(work)


def test_ports_that_are_taken_twice_are_told(machine: MachineDirectory, doors: Doors) -> None:
    doors.plan("mediator.spawn", {"taken_by": 1002}, {"taken_by": 1002}, {})
    machine.runs_systemd()

    async def work() -> None:
        async with Portal(machine) as portal, anna_in(portal) as (user, browser):
            await start(browser, user)
            page = text_of(await browser.page("/hub/spawn-pending/anna"))
            assert "Another account's program has taken the port of your server, twice." in page
            assert "the log says it" in page
            # The environment is not to blame, and each server's scope is ended once.
            assert doors.actions() == ["prepare", "spawn", "kill", "end", "spawn", "kill", "end"]
            nothing_is_left(portal, doors)
            await start(browser, user)
            assert user.spawner.ready

    in_a_loop(work)


def test_two_starts_never_draw_the_same_port(
    machine: MachineDirectory, doors: Doors, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw = jupyterhub.utils.random_port
    repeated: list[int] = []

    def every_port_twice() -> int:
        if repeated:
            return repeated.pop()
        repeated.append(draw())
        return repeated[0]

    draw_ports(monkeypatch, every_port_twice)
    doors.plan("mediator.spawn", {"listens_when": "all"})

    async def work() -> None:
        async with Portal(machine) as portal, anna_in(portal) as (user, browser):
            for name in ("", "a", "b"):
                await begin(browser, name)
            await until(lambda: len(doors.servers()) == 3, "three servers")
            assert len(spawner.FamilySpawner._ports_of_starts) == 3
            doors.go_on("all")
            await until(lambda: all(one.ready for one in user.spawners.values()), "all servers")
            assert len({one.port for one in user.spawners.values()}) == 3
            assert spawner.FamilySpawner._ports_of_starts == set()

    in_a_loop(work)


def test_a_computer_without_a_free_port(
    machine: MachineDirectory, doors: Doors, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none_left() -> int:
        raise OSError(98, "Address already in use")

    draw_ports(monkeypatch, none_left)

    async def work() -> None:
        async with Portal(machine) as portal, anna_in(portal) as (user, browser):
            await start(browser, user)
            page = text_of(await browser.page("/hub/spawn-pending/anna"))
            assert "This computer has no free port left for your server." in page and "ss -tlnp" in page
            assert doors.actions() == ["prepare"]

    in_a_loop(work)


def test_the_last_free_port_is_another_servers_on_its_way_up(
    machine: MachineDirectory, doors: Doors, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A member's program may have taken all others: the hub does not look for another one for ever."""
    draws = iter([40000] * 1000)
    draw_ports(monkeypatch, lambda: next(draws))
    monkeypatch.setattr(spawner.FamilySpawner, "_ports_of_starts", {40000})

    async def work() -> None:
        async with Portal(machine) as portal, anna_in(portal) as (user, browser):
            await start(browser, user)
            assert "no free port left" in text_of(await browser.page("/hub/spawn-pending/anna"))
            assert doors.actions() == ["prepare"]

    in_a_loop(work)


def draw_ports(monkeypatch: pytest.MonkeyPatch, draw: Any) -> None:
    """Where ports come from."""
    monkeypatch.setattr(jupyterhub.utils, "random_port", draw)
    monkeypatch.setattr(spawner, "random_port", draw, raising=False)


# -- starts that fail ---------------------------------------------------------------------------------------


def test_the_end_of_the_log_of_a_server_that_ends_is_the_reason(
    machine: MachineDirectory, doors: Doors, german: None
) -> None:
    doors.plan("mediator.spawn", {"ends": True})
    doors.plan("mediator.log", {"answer": {"lines": ["ImportError: no <tornado>", "bye"]}})

    async def work() -> None:
        async with Portal(machine) as portal, anna_in(portal) as (user, browser):
            await start(browser, user)
            page = await browser.page("/hub/spawn-pending/anna")
            assert "The server stopped while it was starting." in page
            assert "ImportError: no &lt;tornado&gt;\nbye" in page
            browser.headers["Accept-Language"] = "de"
            page = await browser.page("/hub/spawn-pending/anna")
            assert messages.translated(messages._("The server stopped while it was starting."), "de") in page
            assert "ImportError: no &lt;tornado&gt;\nbye" in page
            assert doors.actions() == ["prepare", "spawn", "log", "prepare"]
            assert [one["thorough"] for one in doors.asked("mediator", "prepare")] == [False, True]
            assert doors.asked("mediator", "log") == [{"action": "log", "name": ""}]
            nothing_is_left(portal, doors)

    in_a_loop(work)


def test_an_environment_that_had_to_be_mended_is_tried_once_more(machine: MachineDirectory, doors: Doors) -> None:
    doors.plan("mediator.spawn", {"ends": True}, {})
    doors.plan("mediator.prepare", {}, {"answer": {"done": "mended", "template": "py3.11-new"}})

    async def work() -> None:
        async with Portal(machine) as portal, anna_in(portal) as (user, browser):
            await start(browser, user)
            assert user.spawner.ready and user.spawner.made_from == "py3.11-new"
            assert doors.actions() == ["prepare", "spawn", "log", "prepare", "spawn"]
            assert [one["progress"] for one in user.spawner._events][-3:] == [88, 90, 97]

    in_a_loop(work)


def test_it_is_tried_once_more_and_not_for_ever(machine: MachineDirectory, doors: Doors) -> None:
    doors.plan("mediator.spawn", {"ends": True})
    doors.plan("mediator.prepare", {"answer": {"done": "mended"}})

    async def work() -> None:
        async with Portal(machine) as portal, anna_in(portal) as (user, browser):
            await start(browser, user)
            assert user.spawner._failed
            assert doors.actions() == ["prepare", "spawn", "log", "prepare", "spawn", "log"]
            nothing_is_left(portal, doors)

    in_a_loop(work)


def test_a_log_that_cannot_be_read_is_no_reason_to_say_nothing(machine: MachineDirectory, doors: Doors) -> None:
    doors.plan("mediator.spawn", {"ends": True})
    doors.plan("mediator.log", {"answer": {"ok": False, "error": "the log is gone"}})

    async def work() -> None:
        async with Portal(machine) as portal, anna_in(portal) as (user, browser):
            await start(browser, user, "school")
            page = await browser.page("/hub/spawn-pending/anna/school")
            assert "The server stopped while it was starting." in page and "(the log is gone)" in page
            assert doors.asked("mediator", "log") == [{"action": "log", "name": "school"}]

    in_a_loop(work)


@pytest.mark.parametrize("action", ["prepare", "spawn"])
def test_what_the_mediator_refuses_is_told_with_its_hint(machine: MachineDirectory, doors: Doors, action: str) -> None:
    doors.plan(f"mediator.{action}", {"answer": {"ok": False, "error": "The disk is full.", "hint": "delete films"}})

    async def work() -> None:
        async with Portal(machine) as portal, anna_in(portal) as (user, browser):
            await start(browser, user)
            page = text_of(await browser.page("/hub/spawn-pending/anna"))
            assert "The disk is full." in page and "delete films" in page
            error = user.spawner._spawn_future.exception()
            assert str(error) == error.jupyterhub_message == "The disk is full.\nTry: delete films"
            assert error.status_code == 500 and error.log_lines == []
            assert events((await browser.api("GET", "users/anna/server/progress")).body)[-1]["failed"] is True
            nothing_is_left(portal, doors)

    in_a_loop(work)


def test_without_sudo_a_start_fails_with_a_sentence(machine: MachineDirectory, doors: Doors) -> None:
    async def work() -> None:
        async with Portal(machine) as portal, anna_in(portal) as (user, browser):
            doors.broken = True
            await start(browser, user)
            page = text_of(await browser.page("/hub/spawn-pending/anna"))
            assert "mediator could not be opened" in page and "Traceback" not in page

    in_a_loop(work)


def test_a_mediator_that_never_ends_is_given_up(
    machine: MachineDirectory, doors: Doors, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert (registry.PREPARE.timeout or 0) >= 1200, "a slow line, a slow disk"
    monkeypatch.setattr(registry, "PREPARE", dataclasses.replace(registry.PREPARE, timeout=0.5))
    doors.plan("mediator.prepare", {"hold": "never"})

    async def work() -> None:
        async with Portal(machine) as portal, anna_in(portal) as (user, browser):
            await start(browser, user)
            assert "mediator did not answer within 0.5 seconds" in await browser.page("/hub/spawn-pending/anna")

    in_a_loop(work)


def test_a_mediator_that_floods_the_hub_is_ended_and_what_is_kept_of_it_is_little(
    machine: MachineDirectory, doors: Doors
) -> None:
    """Whoever runs as the member can write into its pipes: the hub's memory must not be theirs (walls.md W2)."""
    doors.plan("mediator.prepare", {"progress": [[number % 100, "x" * 5000] for number in range(2000)]})

    async def work() -> None:
        async with Portal(machine) as portal, anna_in(portal) as (user, browser):
            await start(browser, user)
            assert "mediator gave an answer that is too long" in await browser.page("/hub/spawn-pending/anna")
            assert len(user.spawner._events) == spawner.EVENTS_KEPT
            assert all(len(one["message"]) <= spawner.EVENT_LENGTH for one in user.spawner._events)
            assert all(len(text) <= spawner.EVENT_LENGTH for text in user.spawner._events[-1]["messages"].values())
            nothing_is_left(portal, doors)

    in_a_loop(work)


def test_pages_are_told_every_event_that_is_kept_once_and_in_order(machine: MachineDirectory, doors: Doors) -> None:
    async def work() -> None:
        async with Portal(machine) as portal, anna_in(portal) as (user, _browser):
            seen: list[int] = []

            async def watch() -> None:
                async for event in user.spawner.progress():
                    seen.append(event["progress"])

            watching = asyncio.ensure_future(watch())
            for number in range(30):
                user.spawner.report(number, "first")
                await asyncio.sleep(0)
            await until(lambda: seen == list(range(30)), "the events")
            # Faster than the page reads: it is told those that are kept.
            for number in range(30, 30 + 3 * spawner.EVENTS_KEPT):
                user.spawner.report(number, "many")
            await until(lambda: seen[-1] == 29 + 3 * spawner.EVENTS_KEPT, "the last event")
            assert seen[30:] == list(range(30 + 2 * spawner.EVENTS_KEPT, 30 + 3 * spawner.EVENTS_KEPT))
            # A new start begins from its first event.
            await user.spawner.run_pre_spawn_hook()
            await until(lambda: 0 in seen[30:], "the new start's first event")
            watching.cancel()

    in_a_loop(work)


def test_what_the_mediator_says_is_bounded_and_told_anew_each_time(machine: MachineDirectory, doors: Doors) -> None:
    doors.plan("mediator.prepare", {"answer": {"template": "x" * 1000}})

    async def work() -> None:
        async with Portal(machine) as portal, anna_in(portal) as (user, _browser):
            for _time in range(2):
                await user.spawner.run_pre_spawn_hook()
                assert user.spawner.made_from == "x" * 100 and len(user.spawner._events) == 1

    in_a_loop(work)


def test_a_mediator_that_breaks_off_is_told_with_its_last_words(machine: MachineDirectory, doors: Doors) -> None:
    doors.plan("mediator.prepare", {"silent": True, "stderr": "sudo: unknown user anna", "status": 1})

    async def work() -> None:
        async with Portal(machine) as portal, anna_in(portal) as (user, browser):
            await start(browser, user)
            assert "unknown user anna" in await browser.page("/hub/spawn-pending/anna")

    in_a_loop(work)


def test_a_failed_start_is_told_without_a_traceback(caplog: pytest.LogCaptureFixture) -> None:
    log = logging.getLogger("tornado.application")
    try:
        raise spawner.StartFailed("The disk is full.")
    except spawner.StartFailed:
        log.exception("Uncaught")
    try:
        raise ValueError("a bug")
    except ValueError:
        log.exception("Uncaught")
    assert "A start has failed: The disk is full." in caplog.text
    assert caplog.text.count("Traceback") == 1 and "a bug" in caplog.text


# -- the template -----------------------------------------------------------------------------------------


def test_a_missing_template_is_built_first(machine: MachineDirectory, doors: Doors) -> None:
    templates = machine.directory / "var/lib/jupyterhub4family/templates"
    doors.plan("build-template.", {"progress": [[50, "Fetching"]], "hold": "built"})

    async def work() -> None:
        async with Portal(machine) as portal, anna_in(portal) as (user, browser):
            (templates / "current").unlink()
            await begin(browser)
            await until(lambda: "Fetching" in str(user.spawner._events), "the build's progress")
            assert user.spawner._events[-1]["progress"] == 20 and doors.actions() == []
            doors.go_on("built")
            await until(lambda: user.spawner.ready, "the server")

    in_a_loop(work)


def test_without_any_template_there_is_no_start(machine: MachineDirectory, doors: Doors) -> None:
    doors.plan("build-template.", {"answer": {"ok": False, "error": "No internet.", "hint": "plug it in"}})

    async def work() -> None:
        async with Portal(machine) as portal, anna_in(portal) as (user, browser):
            (machine.directory / "var/lib/jupyterhub4family/templates/current").unlink()
            await start(browser, user)
            page = text_of(await browser.page("/hub/spawn-pending/anna"))
            assert "No internet." in page and "plug it in" in page and doors.actions() == []

    in_a_loop(work)


@pytest.mark.parametrize("name", [".", "..", "x\u2028y", "x\ny", "\u202ex"])
def test_a_name_that_leads_elsewhere_is_no_name_of_a_server(machine: MachineDirectory, doors: Doors, name: str) -> None:
    """JupyterHub 5 takes every name without a slash; of `..` the proxy would make a route for all members."""

    async def work() -> None:
        async with Portal(machine) as portal, anna_in(portal) as (user, _browser):
            user.spawner.orm_spawner.name = name
            with pytest.raises(spawner.StartFailed, match="cannot have this name"):
                await user.spawner.run_pre_spawn_hook()
            user.spawner.orm_spawner.name = "Schule 2 ä"
            await user.spawner.run_pre_spawn_hook()
            assert doors.actions() == ["prepare"]

    in_a_loop(work)


def test_an_older_template_serves_when_the_newer_one_cannot_be_built(
    machine: MachineDirectory, doors: Doors, caplog: pytest.LogCaptureFixture
) -> None:
    doors.plan("build-template.", {"answer": {"ok": False, "error": "No internet."}})
    templates = machine.directory / "var/lib/jupyterhub4family/templates"

    async def work() -> None:
        async with Portal(machine) as portal, anna_in(portal) as (user, browser):
            (templates / "current").resolve().rename(templates / "py3.9-000000000000")
            (templates / "current").unlink()
            (templates / "current").symlink_to("py3.9-000000000000")
            await start(browser, user)
            assert user.spawner.ready and "The template could not be renewed: No internet." in caplog.text

    in_a_loop(work)


# -- while it runs, and its end -----------------------------------------------------------------------------


def test_a_server_ends_by_sigterm_then_by_force(machine: MachineDirectory, doors: Doors) -> None:
    doors.plan("mediator.spawn", {"ignores_sigterm": True})
    machine.runs_systemd()
    doors.plan("mediator.end", {"answer": {"ended": 2}})

    def short_time(config: Any) -> None:
        assert config.FamilySpawner.term_timeout == 15
        config.FamilySpawner.term_timeout = 1

    async def work() -> None:
        async with Portal(machine, "", short_time) as portal, anna_in(portal) as (user, browser):
            await start(browser, user)
            pid, start_time = user.spawner.pid, user.spawner.start_time
            assert await stop(browser) == 204
            nothing_is_left(portal, doors)
            kills = doors.asked("mediator", "kill")
            assert [one["signal"] for one in kills] == [signal.SIGTERM, signal.SIGKILL]
            assert all((one["pid"], one["start_time"]) == (pid, start_time) for one in kills)
            assert doors.asked("mediator", "end") == [{"action": "end", "pid": pid, "start_time": start_time}]
            assert doors.actions()[-1] == "end"

    in_a_loop(work)


def test_without_systemd_there_is_no_scope_to_end(machine: MachineDirectory, doors: Doors) -> None:
    async def work() -> None:
        async with Portal(machine) as portal, anna_in(portal) as (user, browser):
            await start(browser, user)
            await stop(browser)
            assert doors.actions() == ["prepare", "spawn", "kill"]

    in_a_loop(work)


def test_a_server_of_somebody_who_is_no_longer_a_member_cannot_be_signalled(
    machine: MachineDirectory, doors: Doors, caplog: pytest.LogCaptureFixture
) -> None:
    machine.runs_systemd()
    refused = {"answer": {"ok": False, "error": "anna is not a member"}}

    async def work() -> None:
        async with Portal(machine) as portal, anna_in(portal) as (user, browser):
            await start(browser, user)
            doors.plan("mediator.kill", {"answer": {"alive": False}})
            assert await user.spawner._signal(signal.SIGTERM) is False, "the mediator knows best"
            doors.plan("mediator.kill", refused)
            doors.plan("mediator.end", refused)
            assert await user.spawner._signal(signal.SIGTERM) is True, "it still runs"
            os.kill(user.spawner.pid, signal.SIGKILL)
            await until(lambda: not running(doors), "the server's end")
            await stop(browser)
            nothing_is_left(portal, doors)
            assert "anna could not be signalled: anna is not a member" in caplog.text
            assert "what it has started may still run: anna is not a member" in caplog.text

    in_a_loop(work)


def test_a_server_that_ends_by_itself_is_tidied_up(machine: MachineDirectory, doors: Doors) -> None:
    machine.runs_systemd()

    async def work() -> None:
        async with Portal(machine) as portal, anna_in(portal) as (user, browser):
            await start(browser, user)
            pid, start_time = user.spawner.pid, user.spawner.start_time
            os.kill(pid, signal.SIGKILL)
            await until(lambda: not running(doors), "the server's end")
            await user.spawner.poll_and_notify()
            nothing_is_left(portal, doors)
            assert doors.actions() == ["prepare", "spawn", "end"], "nothing is signalled that has ended"
            assert doors.asked("mediator", "end") == [{"action": "end", "pid": pid, "start_time": start_time}]

    in_a_loop(work)


def test_programs_that_the_kernel_has_ended_are_told_once(
    machine: MachineDirectory, doors: Doors, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    counted = [0]
    monkeypatch.setattr(cgroups, "usage", lambda _pid: cgroups.Usage(1, 2, 3.0, counted[0]))

    async def work() -> None:
        async with Portal(machine) as portal, anna_in(portal) as (user, browser):
            await start(browser, user)
            for counted[0] in (0, 2, 2, 3):
                assert await user.spawner.poll() is None
            assert [one["count"] for one in doors.asked("mediator", "killed")] == [2, 3]
            assert doors.asked("mediator", "killed")[0]["name"] == "" and user.spawner.killed == 3
            doors.plan("mediator.killed", {"answer": {"ok": False, "error": "no room"}})
            counted[0] = 4
            assert await user.spawner.poll() is None
            assert "not told in its log: no room" in caplog.text
            assert user.spawner.get_state()["killed"] == 4

    in_a_loop(work)


# -- a hub that was restarted -------------------------------------------------------------------------------


def test_servers_are_found_again(machine: MachineDirectory, doors: Doors) -> None:
    doors.plan("mediator.prepare", {"answer": {"template": "py3.11-abc"}})

    async def before() -> None:
        async with Portal(machine) as portal, anna_in(portal) as (user, browser):
            await start(browser, user)

    async def after() -> None:
        async with Portal(machine) as portal, anna_in(portal) as (user, browser):
            (pid,) = running(doors)
            assert user.spawner.ready and user.spawner.pid == pid
            assert user.spawner.start_time == processes.start_time(pid) and user.spawner.made_from == "py3.11-abc"
            assert portal.routes["/user/anna/"]["target"] == f"http://127.0.0.1:{user.spawner.server.port}"
            assert await stop(browser) == 204
            nothing_is_left(portal, doors)
            assert doors.asked("mediator", "kill")[0]["pid"] == pid

    in_a_loop(before)
    in_a_loop(after)


def test_a_pid_that_is_somebody_elses_now_is_not_taken_for_the_server(machine: MachineDirectory, doors: Doors) -> None:
    machine.runs_systemd()
    wrong: dict[str, int] = {}

    async def before() -> None:
        async with Portal(machine) as portal, anna_in(portal) as (user, browser):
            await start(browser, user)
            # As if the server had ended, and another program had got its number.
            row = user.spawner.orm_spawner
            wrong.update(pid=row.state["pid"], start_time=row.state["start_time"] - 1)
            row.state = {**row.state, **wrong}
            portal.app.db.commit()

    async def after() -> None:
        async with Portal(machine) as portal, anna_in(portal) as (user, _browser):
            assert not user.spawner.active and user.spawner.server is None and portal.routes.keys() == {"/"}
            assert running(doors) == [wrong["pid"]], "it is not ours to end"
            assert doors.asked("mediator", "kill") == []
            assert doors.asked("mediator", "end") == [{"action": "end", **wrong}]

    in_a_loop(before)
    in_a_loop(after)


def test_a_server_that_ended_while_the_hub_was_down(machine: MachineDirectory, doors: Doors) -> None:
    machine.runs_systemd()

    async def before() -> None:
        async with Portal(machine) as portal, anna_in(portal) as (user, browser):
            await start(browser, user)

    async def after() -> None:
        os.kill(doors.servers()[0], signal.SIGKILL)
        await until(lambda: not running(doors), "the server's end")
        async with Portal(machine) as portal, anna_in(portal) as (user, browser):
            nothing_is_left(portal, doors)
            assert doors.actions() == ["prepare", "spawn", "end"]
            await start(browser, user)
            assert user.spawner.ready

    in_a_loop(before)
    in_a_loop(after)


def test_the_state_of_an_older_version_is_understood(machine: MachineDirectory, doors: Doors) -> None:
    async def work() -> None:
        async with Portal(machine) as portal, anna_in(portal) as (user, _browser):
            user.spawner.load_state({"pid": os.getpid()})
            assert (user.spawner.start_time, user.spawner.made_from, user.spawner.killed) == (0, "", 0)
            assert await user.spawner.poll() is None, "any start time will do"
            assert user.spawner.get_state() == {"pid": os.getpid()}
            user.spawner.load_state({"pid": 2, "start_time": 3, "made_from": "py3.11-abc", "killed": 4})
            user.spawner.clear_state()
            assert (user.spawner.pid, user.spawner.start_time, user.spawner.killed) == (0, 0, 0)
            assert user.spawner.made_from == ""

    in_a_loop(work)


def test_a_server_that_cannot_be_seen_for_want_of_descriptors_is_not_forgotten(
    machine: MachineDirectory, doors: Doors, caplog: pytest.LogCaptureFixture
) -> None:
    async def work() -> None:
        async with Portal(machine) as portal, anna_in(portal) as (user, browser):
            await start(browser, user)
            soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
            resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
            try:
                await user.spawner.poll_and_notify()
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            assert "it cannot be seen whether it runs" in caplog.text
            assert user.spawner.ready and "/user/anna/" in portal.routes and len(running(doors)) == 1
            assert user.spawner.pid == running(doors)[0]
            await stop(browser)
            nothing_is_left(portal, doors)

    in_a_loop(work)
