"""Runs inside JupyterHub's process, as `jupyterhub`: stops servers that nobody uses when memory is short.

One at a time, the one that nobody has used for longest, until there is room again: every few seconds, and before a
start. Never one that calculates, that a browser shows, or of which nothing is known. What a stop would lose (variables
of kernels, terminals) goes later than what it would not, and never because somebody else holds too much (ADR 33).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import pwd
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from datetime import datetime, timezone
from typing import Any, Optional

from jupyterhub4family.common.errors import FamilyError
from jupyterhub4family.common.i18n.messages import N_, _
from jupyterhub4family.common.protocol import doors
from jupyterhub4family.common.system import cgroups, sockets
from jupyterhub4family.hub import calling, memory
from jupyterhub4family.hub.stopped_servers import StoppedServers

#: Seconds between two looks, which cost a seventh of a millisecond as long as there is room.
PAUSE = 5.0
#: Bytes: a server that starts needs about that much.
ROOM_FOR_A_START = 128 * 2**20
#: Once it was short, so many times what is to stay free ends that; with less than so many it is short in earnest.
LITTLE_MORE, IN_EARNEST = 1.25, 0.5
#: Seconds for which nobody has used a server that may be stopped; and if that loses variables.
QUIET, LONG_QUIET = 600.0, 1800.0
#: For so many seconds a server is looked at before it is stopped, and may use so much of a processor.
SAMPLE, IDLE_SHARE = 2.0, 0.05
#: Seconds until a server is asked again what it does.
ANSWER_HOLDS = 60.0
#: For so many seconds a start waits while room is made: servers that do not answer shall not keep others from starting.
LONGEST_SEARCH = 20.0
#: Where nothing is known.
PLENTY = cgroups.FreeMemory(2**60, 0, 2**60)
WHY_STOPPED = N_("Your server was stopped because this computer was short of memory. Your files are saved.")

log = logging.getLogger("jupyterhub4family")


class Watcher:
    """Sees to it that there is room in memory."""

    def __init__(self) -> None:
        self.stopped = StoppedServers()
        self._app: Any = None
        #: How much is to stay free.
        self._percent = 0
        #: One stop at a time, then a new look.
        self._lock: Optional[asyncio.Lock] = None
        #: What servers have said they do, and when; by pid and start time.
        self._answers: dict[tuple[int, int], tuple[float, doors.Activity]] = {}
        #: Memory was short at the last look.
        self._is_short = False

    async def watch(self, app: Any, percent_kept_free: int) -> None:
        """Look again and again, once the hub is ready; 0 turns it off."""
        self.begin(app, percent_kept_free)
        while self._percent:
            await asyncio.sleep(PAUSE)
            try:
                await self.look()
            except Exception:
                # Whatever it is must not end the watch.
                log.exception("Whether memory is short could not be seen to")

    def begin(self, app: Any, percent_kept_free: int) -> None:
        """From now on there is something to watch."""
        self._app, self._lock = app, asyncio.Lock()
        self._percent = percent_kept_free
        self.stopped.load()
        if not percent_kept_free:
            # Nobody looks any more whether they run again.
            self.stopped.forget(lambda _member, _name: True)

    async def look(self) -> None:
        """Stop one server if memory is short, or was and there is not yet a little more than must be."""
        self.stopped.forget(self._is_over)
        if not self._is_below(LITTLE_MORE if self._is_short else 1):
            self._is_short = False
            return
        assert self._lock is not None  # `begin` was called
        async with self._lock:
            was_short, self._is_short = self._is_short, True
            stopped = await self._stop_one(lambda: self._is_below(LITTLE_MORE))
            if not (stopped or was_short) and self._is_below(1):
                left = _megabytes(self._shortest())
                log.warning("Memory is short (%s), and there is no server that can be stopped", left)

    async def make_room(self, spawner: Any) -> None:
        """Before a start: stop servers that nobody uses until this one fits. If none can be, it starts all the same.

        So it does after a while, and whatever goes wrong.
        """
        if (spawner.user.name, spawner.name) in self.stopped:
            spawner.report(0, _(WHY_STOPPED))
        if self._lock is None or not self._percent or self._fits():
            return
        spawner.report(0, _("Memory is short: looking for a server that nobody uses, to stop it"))
        making = asyncio.ensure_future(self._stop_until_it_fits(self._lock))
        try:
            await asyncio.wait({making}, timeout=LONGEST_SEARCH)
        finally:
            made = making.done()
            # A stop that has begun goes on.
            making.cancel()
        if made and making.exception() is not None:
            log.error("Whether there is room for a start could not be seen to", exc_info=making.exception())
        if not self._fits():
            log.warning("%s is started although memory is short", spawner._log_name)

    async def _stop_until_it_fits(self, lock: asyncio.Lock) -> None:
        async with lock:
            while not self._fits() and await self._stop_one(lambda: not self._fits()):
                pass

    def was_stopped(self, user: Any, name: str) -> bool:
        """Whether this server does not run because memory was short."""
        return (user.name, name) in self.stopped

    # -- which --------------------------------------------------------------------------------------

    def left(self) -> list[cgroups.FreeMemory]:
        """What is free of the computer's memory and, where they have a bound of their own, of that of all servers."""
        return cgroups.free_memory(next((one.pid for one in self._running()), 0))

    def _fits(self) -> bool:
        return all(one.room >= ROOM_FOR_A_START for one in self.left())

    def _shortest(self) -> cgroups.FreeMemory:
        """What is left where it is least, by what is to stay free there."""
        return min(self.left(), key=lambda one: one.room / self._floor(one), default=PLENTY)

    def _is_below(self, times: float) -> bool:
        """Whether less is left than so many times what is to stay free."""
        left = self._shortest()
        return left.room < self._floor(left) * times

    def _floor(self, left: cgroups.FreeMemory) -> int:
        return max(ROOM_FOR_A_START, left.total * self._percent // 100)

    def _running(self) -> Iterator[Any]:
        for user in self._app.users.values():
            yield from (one for one in list(user.spawners.values()) if one.ready and not one.pending and one.pid)

    def _is_over(self, member: str, name: str) -> bool:
        """Whether a server that was stopped runs again, or is no more."""
        user = self._app.users.get(member)
        if user is None or (name and name not in user.orm_spawners):
            return True
        return name in user.spawners and bool(user.spawners[name].ready)

    async def _stop_one(self, is_short: Callable[[], bool]) -> bool:
        """Stop the one that can best be done without, if memory is still short then; False if none can."""
        quiet = {one: seconds for one in self._running() if (seconds := _seconds_quiet(one)) >= QUIET}
        quiet = {one: seconds for one, seconds in quiet.items() if not _is_shown(one)}
        if not quiet:
            return False
        greedy = greedy_ones(self._held(), self._shortest().total)
        # Of whoever holds too much first.
        order = sorted(quiet, key=lambda one: (one.user.name not in greedy, -quiet[one]))
        with_variables = []
        for spawner in order:
            activity = await self._activity(spawner)
            if not activity.known or activity.busy:
                continue
            if activity.open:
                with_variables.append(spawner)
            elif await self._stop(spawner, is_short):
                return True
        for spawner in with_variables:
            may_be_lost = quiet[spawner] >= LONG_QUIET and (not greedy or spawner.user.name in greedy)
            if may_be_lost and await self._stop(spawner, lambda: self._is_below(IN_EARNEST)):
                return True
        return False

    def _held(self) -> dict[str, int]:
        """How many bytes each member's programs hold, as the kernel says."""
        by_account = memory.held_by_accounts()
        held: dict[str, int] = {}
        for user in self._app.users.values():
            with contextlib.suppress(KeyError):
                held[user.name] = by_account.get(pwd.getpwnam(user.name).pw_uid, 0)
        in_servers: dict[str, int] = {}
        for spawner in self._running():
            # Counts what is in memory without being a program's, such as files in /dev/shm.
            used = memory.memory_use(spawner.pid).used or 0
            in_servers[spawner.user.name] = in_servers.get(spawner.user.name, 0) + used
        return {name: max(held.get(name, 0), in_servers.get(name, 0)) for name in {*held, *in_servers}}

    async def _activity(self, spawner: Any) -> doors.Activity:
        """What its own server says to the member; asked as the member, so nobody can say it of another's."""
        server = (spawner.pid, spawner.start_time)
        at, answer = self._answers.get(server, (0.0, None))
        if answer is not None and time.monotonic() - at < ANSWER_HOLDS:
            return answer
        try:
            answer = await calling.open_door(doors.ACTIVITY, doors.AskActivity(*server), member=spawner.user.name)
        except FamilyError as error:
            log.error("%s: it cannot be seen what it does: %s", spawner._log_name, error.message)
            answer = doors.Activity(known=False)
        self._answers = {
            one: found for one, found in self._answers.items() if time.monotonic() - found[0] < ANSWER_HOLDS
        }
        self._answers[server] = (time.monotonic(), answer)
        return answer

    # -- stop ---------------------------------------------------------------------------------------

    async def _stop(self, spawner: Any, is_short: Callable[[], bool]) -> bool:
        """Stop a server if it is still as it was, and does not calculate; whether it was stopped."""
        # Looked at again afterwards: whoever took all memory may have ended meanwhile.
        if not is_short() or not await _is_at_rest(spawner.pid) or not is_short():
            return False
        # Somebody may have come back meanwhile, or it was stopped otherwise. From here to the stop nothing is awaited.
        if not spawner.ready or spawner.pending or _seconds_quiet(spawner) < QUIET or _is_shown(spawner):
            return False
        user, name, pid, start_time = spawner.user, spawner.name, spawner.pid, spawner.start_time
        log.warning(
            "Memory is short (%s): stopping %s, which nobody has used for %d minutes",
            _megabytes(self._shortest()),
            spawner._log_name,
            _seconds_quiet(spawner) // 60,
        )
        # As JupyterHub does it for a page (handlers/base.py, stop_single_user, 5.5 and 6.1).
        spawner._stop_pending = True

        async def stop() -> None:
            try:
                await self._app.proxy.delete_user(user, name)
                await user.stop(name)
                self.stopped.add(user.name, name)
            except Exception as error:
                # The proxy may just be restarting. Left alone for a while.
                log.error("%s could not be stopped: %s", spawner._log_name, error)
                self._answers[(pid, start_time)] = (time.monotonic(), doors.Activity(known=False))
            finally:
                spawner._stop_future = None
                spawner._stop_pending = False

        spawner._stop_future = asyncio.ensure_future(stop())
        # A start that waits for this and is given up does not leave half a stop behind.
        await asyncio.shield(spawner._stop_future)
        return (user.name, name) in self.stopped


def greedy_ones(held: Mapping[str, int], total: int) -> Collection[str]:
    """Who holds more than a quarter of all memory, and more than twice what the others hold on average."""
    found = []
    for name, bytes_held in held.items():
        others = [one for other, one in held.items() if other != name and one]
        if others and bytes_held > total // 4 and bytes_held > 2 * sum(others) / len(others):
            found.append(name)
    return found


def _seconds_quiet(spawner: Any) -> float:
    """For how long nobody has used a server: JupyterHub hears from the proxy and from the server every five minutes."""
    row = spawner.orm_spawner
    times = [one for one in (row.last_activity, row.started) if one is not None]
    if not times:
        return 0.0
    latest: datetime = max(times).replace(tzinfo=timezone.utc)
    return (datetime.now(timezone.utc) - latest).total_seconds()


def _is_shown(spawner: Any) -> bool:
    """Whether a browser has it open, so that the proxy is connected to it; also if that cannot be known."""
    try:
        return not spawner.port or spawner.port in sockets.connected_ports(os.getuid())
    except OSError:
        return True


async def _is_at_rest(pid: int) -> bool:
    """Whether nothing in a server calculates, also in no program that somebody has put into the background."""
    try:
        before = memory.processor_seconds(pid)
        await asyncio.sleep(SAMPLE)
        return memory.processor_seconds(pid) - before <= SAMPLE * IDLE_SHARE
    except OSError:
        return False


def _megabytes(left: cgroups.FreeMemory) -> str:
    return f"{left.room // 2**20} of {left.total // 2**20} MB left"


watcher = Watcher()
