"""hub.short_memory: when memory is short the server that nobody has used for longest goes, and never a used one."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from jupyterhub4family.common.state import short_memory as times
from jupyterhub4family.common.system import cgroups, processes
from jupyterhub4family.common.system.cgroups import FreeMemory
from jupyterhub4family.hub import memory, short_memory, stopped_servers
from jupyterhub4family.hub.short_memory import ROOM_FOR_A_START, Watcher
from tests.unit.hub.doubles import Doors, MachineDirectory
from tests.unit.hub.portal import Browser, Portal, in_a_loop, text_of, until

MEGABYTE = 2**20
AT_REST = {"known": True, "open": 0, "busy": 0}
WITH_KERNELS = {"known": True, "open": 2, "busy": 0}
CALCULATES = {"known": True, "open": 2, "busy": 1}
WHY = "Your server was stopped because this computer was short of memory. Your files are saved."
WARUM = "Dein Server wurde angehalten, weil auf diesem Computer der Arbeitsspeicher knapp war."


class MemoryLeft:
    """How much memory is left: each server that runs takes some of it."""

    def __init__(self, doors: Doors) -> None:
        self.doors = doors
        self.without_servers = 10_000 * MEGABYTE
        self.of_one = 60 * MEGABYTE

    def free(self, _server: int = 0) -> list[FreeMemory]:
        """As cgroups.free_memory: the servers have one space to share, and the computer has plenty."""
        shared = FreeMemory(self.without_servers - self.of_one * len(self.running()), 0, 1000 * MEGABYTE)
        return [FreeMemory(9000 * MEGABYTE, 0, 10000 * MEGABYTE), shared]

    def running(self) -> list[int]:
        """The servers that run, in the order of their starts."""
        return [pid for pid in self.doors.servers() if processes.is_running(pid, 0)]

    def leave(self, megabytes: int) -> None:
        """Have so much left, with the servers that run now."""
        self.without_servers = megabytes * MEGABYTE + self.of_one * len(self.running())


@pytest.fixture
def room(doors: Doors, machine: MachineDirectory, monkeypatch: pytest.MonkeyPatch) -> MemoryLeft:
    room = MemoryLeft(doors)
    monkeypatch.setattr(cgroups, "free_memory", room.free)
    monkeypatch.setattr(short_memory, "SAMPLE", 0.02)
    monkeypatch.setattr(Watcher, "_held", lambda _self: {})
    doors.plan("mediator.activity", {"answer": AT_REST})
    machine.member("ben", 1001, gecos="Ben,,,")
    machine.member("carl", 1001, gecos="Carl,,,")
    return room


@asynccontextmanager
async def servers_of(portal: Portal, *names: str) -> AsyncIterator[dict[str, tuple[Any, Browser]]]:
    """These members, logged in, with servers that were last used hours ago: the first of them longest."""
    found = {}
    for hours, name in enumerate(reversed(names), 2):
        browser, user = portal.browser(), portal.user(name)
        await browser.log_in(name)
        await begin(browser, name)
        await until(lambda user=user: user.spawner.ready and not user.spawner.pending, "the start")  # type: ignore[misc]
        not_used_for(user, hours * 3600)
        found[name] = (user, browser)
    yield found


async def begin(browser: Browser, name: str) -> None:
    answer = await browser.api("POST", f"users/{name}/server")
    assert answer.code in (201, 202), answer.body


def not_used_for(user: Any, seconds: float) -> None:
    row = user.spawner.orm_spawner
    row.last_activity = row.started = datetime.now(timezone.utc).replace(tzinfo=None) - timedelta(seconds=seconds)
    user.db.commit()


def runs(user: Any) -> bool:
    return bool(user.spawner.ready)


def watcher(portal: Portal, percent: int = 5) -> Watcher:
    short_memory.watcher.begin(portal.app, percent)
    return short_memory.watcher


def test_with_plenty_nobody_is_asked_anything(machine: MachineDirectory, doors: Doors, room: MemoryLeft) -> None:
    async def work() -> None:
        async with Portal(machine) as portal, servers_of(portal, "anna", "ben") as members:
            await watcher(portal).look()
            assert all(runs(user) for user, _browser in members.values())
            assert "activity" not in doors.actions() and times.stops() == []

    in_a_loop(work)


def test_the_one_that_nobody_has_used_for_longest_goes_and_its_member_is_told(
    machine: MachineDirectory, doors: Doors, room: MemoryLeft, german: None, caplog: pytest.LogCaptureFixture
) -> None:
    async def work() -> None:
        async with Portal(machine) as portal, servers_of(portal, "ben", "anna") as members:
            (anna, window), (ben, _other) = members["anna"], members["ben"]
            not_used_for(ben, 7200)
            not_used_for(anna, 10000)
            room.leave(100)
            watching = watcher(portal)
            with caplog.at_level(logging.WARNING, "jupyterhub4family"):
                await watching.look()
            assert not runs(anna) and runs(ben) and len(room.running()) == 1
            assert [route for route in portal.routes if route != "/"] == ["/user/ben/"]
            assert "stopping anna" in caplog.text and "100 of 1000 MB left" in caplog.text and len(times.stops()) == 1
            # 160 MB is more than the 128 that stay free: enough, but only just (160 is a quarter more).
            await watching.look()
            assert runs(ben)
            for page in ("/hub/home", "/hub/user/anna/lab"):
                assert WHY in text_of(await window.page(page)), page
            window.headers["Accept-Language"] = "de"
            assert WARUM in text_of(await window.page("/hub/home"))
            window.headers["Accept-Language"] = "en"
            assert "Notebooks that were open have to be run again." in text_of(await window.page("/hub/user/anna/lab"))

            room.leave(1000)
            await begin(window, "anna")
            assert WHY in text_of(await window.page("/hub/spawn-pending/anna")) or runs(anna)
            await until(lambda: runs(anna), "the start")
            assert anna.spawner._events[0]["message"] == WHY and anna.spawner._events[0]["messages"]["de"][:40] in WARUM
            await watching.look()
            await window.api("DELETE", "users/anna/server")
            await until(lambda: not anna.spawner.active, "the stop")
            assert WHY not in text_of(await window.page("/hub/home"))

    in_a_loop(work)


def test_a_hub_that_is_started_anew_still_knows(machine: MachineDirectory, doors: Doors, room: MemoryLeft) -> None:
    async def work() -> None:
        async with Portal(machine) as portal, servers_of(portal, "anna"):
            room.leave(10)
            await watcher(portal).look()
        short_memory.watcher = Watcher()
        async with Portal(machine) as portal:
            watching, browser = watcher(portal), portal.browser()
            await browser.log_in("anna")
            assert WHY in text_of(await browser.page("/hub/home"))
            watching.stopped.add("nobody", "")
            watching.stopped.add("anna", "school")
            await watching.look()
            assert ("anna", "") in watching.stopped
            assert ("nobody", "") not in watching.stopped and ("anna", "school") not in watching.stopped

    in_a_loop(work)


@pytest.mark.parametrize("text", ["", "{}", "[1]", '[["anna"]]', '[["anna", 1]]', "[[]]", "x"])
def test_a_note_that_makes_no_sense_is_none(machine: MachineDirectory, text: str) -> None:
    (machine.state / stopped_servers.FILE.name).write_text(text, "utf-8")
    stopped = stopped_servers.StoppedServers()
    stopped.load()
    assert ("anna", "") not in stopped and not stopped._servers


@pytest.mark.parametrize("answer", [CALCULATES, {"known": False}, WITH_KERNELS])
def test_what_calculates_or_does_not_say_stays(
    machine: MachineDirectory, doors: Doors, room: MemoryLeft, answer: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    """Of one with idle kernels the variables would be lost: that takes more than a little shortage."""

    async def work() -> None:
        async with Portal(machine) as portal, servers_of(portal, "anna") as members:
            doors.plan("mediator.activity", {"answer": answer})
            room.leave(100)
            watching = watcher(portal)
            with caplog.at_level(logging.WARNING, "jupyterhub4family"):
                for _again in range(3):
                    await watching.look()
            assert runs(members["anna"][0])
            assert doors.actions().count("activity") == 1, "what it has said holds for a while"
            assert caplog.text.count("no server that can be stopped") == 1

    in_a_loop(work)


def test_a_mediator_that_refuses_or_lies_decides_about_its_own_only(
    machine: MachineDirectory, doors: Doors, room: MemoryLeft
) -> None:
    async def work() -> None:
        async with Portal(machine) as portal, servers_of(portal, "ben", "anna") as members:
            # Anna's was used last longest ago, so she is asked first.
            not_used_for(members["anna"][0], 99999)
            refused = {"answer": {"ok": False, "error": "no", "hint": "", "status": 1}}
            doors.plan("mediator.activity", refused, {"answer": AT_REST})
            room.leave(10)
            await watcher(portal).look()
            assert runs(members["anna"][0]) and not runs(members["ben"][0])
            # In each question stood whose it is, and nothing else: the answer cannot be about another's.
            pids = [request["pid"] for request in doors.asked("mediator", "activity")]
            assert len(set(pids)) == 2 and [account for account, _program in doors.opened[-3:]].count("ben") >= 1

    in_a_loop(work)


async def _is_connected(doors: Doors, user: Any) -> None:
    row = f"1: 0100007F:9999 0100007F:{user.spawner.port:04X} 01 0:0 0:0 0 {os.getuid()} 0 7\n"
    with open(doors.directory / "sockets", "a", encoding="ascii") as table:
        table.write(row)


async def _was_just_used(_doors: Doors, user: Any) -> None:
    not_used_for(user, 60)


async def _has_no_port(_doors: Doors, user: Any) -> None:
    user.spawner.port = 0


async def _is_being_stopped(_doors: Doors, user: Any) -> None:
    user.spawner._stop_pending = True


@pytest.mark.parametrize("change", [_is_connected, _was_just_used, _has_no_port, _is_being_stopped])
def test_what_is_shown_or_was_just_used_is_not_even_asked(
    machine: MachineDirectory, doors: Doors, room: MemoryLeft, change: Any
) -> None:
    async def work() -> None:
        async with Portal(machine) as portal, servers_of(portal, "anna") as members:
            user = members["anna"][0]
            await change(doors, user)
            room.leave(1)
            await watcher(portal).look()
            assert len(room.running()) == 1 and "activity" not in doors.actions()
            user.spawner._stop_pending = False

    in_a_loop(work)


def test_memory_that_is_there_again_at_the_last_moment_costs_nobody_a_server(
    machine: MachineDirectory, doors: Doors, room: MemoryLeft, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel may have ended who took it all, while the server was looked at."""

    async def work() -> None:
        async with Portal(machine) as portal, servers_of(portal, "anna") as members:

            async def at_rest(_pid: int) -> bool:
                room.leave(500)
                return True

            monkeypatch.setattr(short_memory, "_is_at_rest", at_rest)
            room.leave(1)
            await watcher(portal).look()
            assert runs(members["anna"][0])
            room.leave(1)
            await short_memory.watcher.make_room(portal.user("anna").spawner)
            assert runs(members["anna"][0]) and times.stops() == []

    in_a_loop(work)


@pytest.mark.parametrize("change", [_is_connected, _was_just_used, _is_being_stopped])
def test_who_comes_back_at_the_last_moment_keeps_it(
    machine: MachineDirectory, doors: Doors, room: MemoryLeft, change: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def work() -> None:
        async with Portal(machine) as portal, servers_of(portal, "anna") as members:
            user = members["anna"][0]

            async def at_rest(_pid: int) -> bool:
                await change(doors, user)
                return True

            monkeypatch.setattr(short_memory, "_is_at_rest", at_rest)
            room.leave(1)
            await watcher(portal).look()
            assert len(room.running()) == 1 and doors.actions().count("activity") == 1
            user.spawner._stop_pending = False

    in_a_loop(work)


def test_what_uses_the_processor_stays_whatever_it_says(
    machine: MachineDirectory, doors: Doors, room: MemoryLeft, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def work() -> None:
        async with Portal(machine) as portal, servers_of(portal, "anna", "ben") as members:
            seconds = iter(range(100))
            anna = members["anna"][0].spawner.pid
            monkeypatch.setattr(memory, "processor_seconds", lambda pid: float(next(seconds)) if pid == anna else 1.0)
            room.leave(1)
            await watcher(portal).look()
            assert runs(members["anna"][0]) and not runs(members["ben"][0])

            def unknown(_pid: int) -> float:
                raise OSError("not to be seen")

            monkeypatch.setattr(memory, "processor_seconds", unknown)
            await short_memory.watcher.look()
            assert runs(members["anna"][0])

    in_a_loop(work)


def test_variables_are_lost_last_and_only_of_who_was_away_long(
    machine: MachineDirectory, doors: Doors, room: MemoryLeft
) -> None:
    async def work() -> None:
        async with Portal(machine) as portal, servers_of(portal, "anna", "ben", "carl") as members:
            (anna, _), (ben, _), (carl, _) = members["anna"], members["ben"], members["carl"]
            not_used_for(anna, 50000)
            not_used_for(ben, 40000)
            not_used_for(carl, 900)
            room.of_one = 10 * MEGABYTE
            # In this order they are asked: carl has no kernels, so he goes first although he was here last.
            doors.plan("mediator.activity", {"answer": WITH_KERNELS}, {"answer": WITH_KERNELS}, {"answer": AT_REST})
            room.leave(10)
            watching = watcher(portal)
            await watching.look()
            assert [runs(user) for user in (anna, ben, carl)] == [True, True, False]
            await watching.look()
            assert [runs(user) for user in (anna, ben)] == [False, True]
            # Half of what shall stay free is enough to keep variables.
            room.leave(64)
            await watching.look()
            assert runs(ben)
            not_used_for(ben, 1700)
            room.leave(10)
            await watching.look()
            assert runs(ben)

    in_a_loop(work)


def test_attack_who_takes_all_memory_costs_nobody_else_their_variables(
    machine: MachineDirectory, doors: Doors, room: MemoryLeft, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def work() -> None:
        async with Portal(machine) as portal, servers_of(portal, "anna", "ben", "carl") as members:
            (anna, _), (ben, _), (carl, _) = members["anna"], members["ben"], members["carl"]
            held = {"anna": 90 * MEGABYTE, "ben": 80 * MEGABYTE, "carl": 400 * MEGABYTE}
            monkeypatch.setattr(Watcher, "_held", lambda _self: held)
            doors.plan("mediator.activity", {"answer": WITH_KERNELS})
            not_used_for(anna, 50000)
            not_used_for(ben, 40000)
            not_used_for(carl, 60)  # he calculates
            room.leave(1)
            watching = watcher(portal)
            await watching.look()
            assert all(map(runs, (anna, ben, carl)))
            assert doors.actions().count("activity") == 2
            # His own idle ones go, and before the others', however long those were not used.
            not_used_for(carl, 3600)
            await watching.look()
            assert [runs(one) for one in (anna, ben, carl)] == [True, True, False]

    in_a_loop(work)


@pytest.mark.parametrize(
    ("held", "greedy"),
    [
        ({}, []),
        ({"anna": 900}, []),
        ({"anna": 600, "ben": 0}, []),
        ({"anna": 400, "ben": 100}, ["anna"]),
        ({"anna": 240, "ben": 10}, []),  # not a quarter of all
        ({"anna": 400, "ben": 200}, []),  # not more than twice as much
        ({"anna": 401, "ben": 200, "carl": 200}, ["anna"]),
        ({"anna": 300, "ben": 300, "carl": 10, "dora": 10, "emil": 10}, ["anna", "ben"]),
    ],
)
def test_who_holds_too_much(held: dict[str, int], greedy: list[str]) -> None:
    assert sorted(short_memory.greedy_ones(held, 1000)) == greedy


def test_what_members_hold_counts_outside_of_servers_too(
    machine: MachineDirectory, doors: Doors, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither what was started over ssh, nor what lies in /dev/shm, can be kept from being counted."""
    machine.member("ben", 1002)

    async def work() -> None:
        async with Portal(machine) as portal:
            browser, anna = portal.browser(), portal.user("anna")
            portal.user("ben")
            portal.user("gone")
            await browser.log_in("anna")
            await begin(browser, "anna")
            await until(lambda: anna.spawner.ready and not anna.spawner.pending, "the start")
            monkeypatch.setattr(memory, "held_by_accounts", lambda: {1001: 50, 1002: 70, 4711: 99})
            monkeypatch.setattr(memory, "memory_use", lambda _pid: memory.MemoryUse(80))
            assert watcher(portal)._held() == {"anna": 80, "ben": 70}

    in_a_loop(work)


def test_once_short_there_has_to_be_a_little_more(machine: MachineDirectory, doors: Doors, room: MemoryLeft) -> None:
    async def work() -> None:
        async with Portal(machine) as portal, servers_of(portal, "anna", "ben", "carl") as members:
            room.of_one = 30 * MEGABYTE
            room.leave(120)
            watching = watcher(portal)
            assert watching._floor(room.free()[1]) == ROOM_FOR_A_START
            counts = []
            for _again in range(4):
                await watching.look()
                counts.append(len(room.running()))
            # 150 is more than 128, but 160 is where it ends; then 180 is left.
            assert counts == [2, 1, 1, 1]
            room.leave(140)
            await watching.look()
            assert sum(runs(user) for user, _browser in members.values()) == 1

    in_a_loop(work)


def test_a_stop_that_does_not_work_is_not_tried_again_at_once(
    machine: MachineDirectory,
    doors: Doors,
    room: MemoryLeft,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def work() -> None:
        async with Portal(machine) as portal, servers_of(portal, "anna") as members:
            anna = members["anna"][0]

            async def refuses(*_args: Any) -> None:
                raise ConnectionRefusedError("the proxy restarts")

            with monkeypatch.context() as patch:
                patch.setattr(portal.app.proxy, "delete_user", refuses)
                room.leave(1)
                watching = watcher(portal)
                await watching.look()
                await watching.look()
            assert runs(anna) and anna.spawner.pending is None and ("anna", "") not in watching.stopped
            assert caplog.text.count("could not be stopped: the proxy restarts") == 1 and times.stops() == []
            assert doors.actions().count("activity") == 1

    in_a_loop(work)


def test_what_is_not_known_is_not_short(
    machine: MachineDirectory, doors: Doors, room: MemoryLeft, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cgroups, "free_memory", lambda _server: [])

    async def work() -> None:
        async with Portal(machine) as portal, servers_of(portal, "anna") as members:
            await watcher(portal).look()
            await short_memory.watcher.make_room(portal.user("anna").spawner)
            assert runs(members["anna"][0]) and "activity" not in doors.actions()

    in_a_loop(work)


# -- before a start -----------------------------------------------------------------------------------


def test_a_start_that_does_not_fit_makes_room_first(machine: MachineDirectory, doors: Doors, room: MemoryLeft) -> None:
    async def work() -> None:
        async with Portal(machine) as portal, servers_of(portal, "ben", "carl") as members:
            watcher(portal)
            room.leave(100)
            browser, anna = portal.browser(), portal.user("anna")
            await browser.log_in("anna")
            await begin(browser, "anna")
            await until(lambda: anna.spawner.ready, "the start")
            assert [runs(members[name][0]) for name in ("ben", "carl")] == [False, True]
            reported = [event["message"] for event in anna.spawner._events]
            assert reported[0] == "Memory is short: looking for a server that nobody uses, to stop it"

    in_a_loop(work)


@pytest.mark.parametrize("percent", [5, 0])
def test_where_none_can_be_stopped_it_starts_all_the_same(
    machine: MachineDirectory, doors: Doors, room: MemoryLeft, percent: int, caplog: pytest.LogCaptureFixture
) -> None:
    """0 turns it off: then nobody is looked for either."""

    async def work() -> None:
        async with Portal(machine) as portal, servers_of(portal, "ben") as members:
            watcher(portal, percent)
            doors.plan("mediator.activity", {"answer": CALCULATES if percent else AT_REST})
            room.leave(1)
            browser, anna = portal.browser(), portal.user("anna")
            await browser.log_in("anna")
            await begin(browser, "anna")
            await until(lambda: anna.spawner.ready, "the start")
            assert runs(members["ben"][0])
            assert ("is started although memory is short" in caplog.text) is bool(percent)
            assert doors.actions().count("activity") == bool(percent)

    in_a_loop(work)


def test_attack_servers_that_do_not_answer_keep_nobody_from_starting(
    machine: MachineDirectory, doors: Doors, room: MemoryLeft, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each would be waited for until the door's time is up, by every start, one start after the other."""
    monkeypatch.setattr(short_memory, "LONGEST_SEARCH", 0.2)

    async def work() -> None:
        async with Portal(machine) as portal, servers_of(portal, "ben") as members:
            watching = watcher(portal)
            doors.plan("mediator.activity", {"hold": "go"})
            room.leave(1)
            looking = asyncio.ensure_future(watching.look())
            await until(lambda: "activity" in doors.actions(), "the question")
            browser, anna = portal.browser(), portal.user("anna")
            await browser.log_in("anna")
            await begin(browser, "anna")
            await until(lambda: anna.spawner.ready, "the start")
            assert runs(members["ben"][0]) and not looking.done()
            doors.go_on("go")
            await looking

    in_a_loop(work)


def test_what_goes_wrong_while_room_is_made_keeps_nobody_from_starting(
    machine: MachineDirectory,
    doors: Doors,
    room: MemoryLeft,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def fails(*_args: Any) -> bool:
        raise OSError("no descriptors")

    monkeypatch.setattr(Watcher, "_stop_one", fails)

    async def work() -> None:
        async with Portal(machine) as portal:
            watcher(portal)
            room.leave(1)
            browser, anna = portal.browser(), portal.user("anna")
            await browser.log_in("anna")
            await begin(browser, "anna")
            await until(lambda: anna.spawner.ready, "the start")
        assert "no descriptors" in caplog.text and "is started although memory is short" in caplog.text

    in_a_loop(work)


def test_a_start_that_is_given_up_meanwhile_leaves_no_half_stop(
    machine: MachineDirectory, doors: Doors, room: MemoryLeft
) -> None:
    async def work() -> None:
        async with Portal(machine) as portal, servers_of(portal, "ben") as members:
            watching = watcher(portal)
            ben = members["ben"][0]
            doors.plan("mediator.kill", {"hold": "go"})
            room.leave(100)
            waiting = asyncio.ensure_future(watching.make_room(portal.user("anna").spawner))
            await until(lambda: ben.spawner.pending == "stop", "the stop")
            waiting.cancel()
            await asyncio.wait({waiting})
            doors.go_on("go")
            await until(lambda: not ben.spawner.active, "its end")
            assert room.running() == [] and ("ben", "") in watching.stopped and ben.spawner.pending is None
            assert not watching._lock.locked()  # type: ignore[union-attr]

    in_a_loop(work)


# -- the watch ----------------------------------------------------------------------------------------


def test_it_watches_as_the_setting_says_and_nothing_ends_it(
    machine: MachineDirectory,
    doors: Doors,
    room: MemoryLeft,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(short_memory, "PAUSE", 0.02)
    errors = iter([OSError("no descriptors")])
    look = Watcher.look

    async def sometimes(self: Watcher) -> None:
        for error in errors:
            raise error
        await look(self)

    monkeypatch.setattr(Watcher, "look", sometimes)

    async def work() -> None:
        async with Portal(machine, "memory_kept_free: 30\n") as portal, servers_of(portal, "anna") as members:
            await until(lambda: short_memory.watcher._percent, "the watch")
            assert short_memory.watcher._floor(room.free()[1]) == 300 * MEGABYTE
            room.leave(299)
            await until(lambda: not runs(members["anna"][0]), "the stop")
        assert "no descriptors" in caplog.text

    in_a_loop(work)


def test_with_0_it_does_not_watch(machine: MachineDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(short_memory, "PAUSE", 0.0)

    async def work() -> None:
        async with Portal(machine, "memory_kept_free: 0\n") as portal:
            watching = Watcher()
            # By an earlier hub: it would be told for ever, as nobody looks whether it runs again.
            watching.stopped.add("anna", "")
            await asyncio.wait_for(watching.watch(portal.app, 0), 5)
            assert not watching.was_stopped(portal.user("anna"), "")
            assert stopped_servers.FILE.read_text("utf-8") == "[]\n"

    in_a_loop(work)
