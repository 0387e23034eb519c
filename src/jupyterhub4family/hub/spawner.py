"""Runs inside JupyterHub's process, as `jupyterhub`: starts members' servers through the door `mediator`.

Making the environment happens in the pre-spawn hook, so it does not count against start_timeout. Where there is
nothing to make, and no expert's hook that has to come in between, the same call starts the server (ADR 28). What
happens is kept as events and told again to every page that asks, on every device.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import logging
import pwd
import signal
import time
from collections.abc import AsyncIterator, Coroutine, Sequence
from typing import Any, ClassVar, Optional, TypeVar

from jupyterhub.utils import maybe_future, random_port
from sudospawner import SudoSpawner
from tornado import web
from traitlets import Integer, Unicode

from jupyterhub4family.common import paths
from jupyterhub4family.common.errors import FamilyError
from jupyterhub4family.common.i18n.messages import LANGUAGES, _, translated
from jupyterhub4family.common.protocol import doors
from jupyterhub4family.common.protocol.actions import Action, AnswerT, RequestT
from jupyterhub4family.common.protocol.responses import ProgressCallback
from jupyterhub4family.common.system import cgroups, processes
from jupyterhub4family.hub import calling, ports, short_memory, waiting_servers
from jupyterhub4family.hub.template import TemplateKeeper

#: So many events of a start are kept for pages that come later, and so many characters of each.
EVENTS_KEPT, EVENT_LENGTH = 100, 500
#: Seconds between two looks at the port of a server that is starting, at first, and when it takes long: between them a
#: twentieth of what it has taken so far. A computer that is slow has something better to do.
POLL_INTERVAL, LONGEST_POLL_INTERVAL = 0.02, 0.1
#: So many waits for a server are remembered; in so much of the shortest of them hardly any server will listen yet.
WAITS_KEPT, TOO_EARLY = 5, 0.6
#: Seconds between two looks at its process, which take a thread (processes.in_time) and ten times as long.
CHECK_INTERVAL = 0.2
#: So many ports are drawn for a server, one after the other, until one is no other server's on its way up.
PORTS_TRIED = 20

template = TemplateKeeper()
_Result = TypeVar("_Result")
_Server = TypeVar("_Server", doors.Spawned, doors.Started)


class StartFailed(web.HTTPError):
    """A server could not be started: why, what to try, the end of its log. Pages tell it in the viewer's language.

    JupyterHub itself shows `jupyterhub_message`, without a traceback.
    """

    def __init__(self, message: str, hint: str = "", log_lines: Sequence[str] = ()) -> None:
        self.message, self.hint, self.log_lines = message, hint, list(log_lines)
        self.jupyterhub_message = "\n".join([message, *([f"{_('Try:')} {hint}"] if hint else []), *log_lines])
        super().__init__(500, "%s", self.jupyterhub_message, reason="The server could not be started")

    def __str__(self) -> str:
        return self.jupyterhub_message


class _WithoutTraceback(logging.Filter):
    """A start that failed after its page was shown is told once more by tornado (JupyterHub 5), as if it were a bug."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Shorten such a record to its sentence; let all pass."""
        error = record.exc_info[1] if record.exc_info else None
        if isinstance(error, StartFailed):
            record.msg, record.args, record.exc_info = "A start has failed: %s", (error.message,), None
        return True


logging.getLogger("tornado.application").addFilter(_WithoutTraceback())


class NoPort(StartFailed):
    """No port of this machine could be had for a server; its environment is not to blame."""


class PortTaken(Exception):
    """Somebody else listens on the port that was meant for a member's server; says who (uid)."""


class FamilySpawner(SudoSpawner):  # type: ignore[misc]  # sudospawner has no types
    """SudoSpawner with an environment of the member's own, true progress, and servers known by more than a pid."""

    #: Of all servers on their way up: two members' servers must not draw the same port.
    _ports_of_starts: ClassVar[set[int]] = set()
    #: Seconds that the last servers took until they listened.
    _waits: ClassVar[collections.deque[float]] = collections.deque(maxlen=WAITS_KEPT)
    #: What goes on when its start was given up: the event loop itself does not keep it.
    _kept: ClassVar[set[asyncio.Task[Any]]] = set()

    start_time = Integer(0, help="When the server's process started, in clock ticks since the machine started.")
    killed = Integer(0, help="How many programs of the server the kernel has ended for want of memory, as far as told.")
    made_from = Unicode("", help="From which template the environment that the server runs in was made.")

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        #: The last events of this start, and the number of the first of them: older ones are dropped.
        self._events: collections.deque[dict[str, Any]] = collections.deque(maxlen=EVENTS_KEPT)
        self._first_event = 0
        self._news = asyncio.Event()
        #: Pid and start time of the server whose scope was not ended yet; JupyterHub forgets the pid of a dead one.
        self._scope: Optional[tuple[int, int]] = None
        #: The port that is drawn for this start, as long as nobody listens there; 0: none.
        self._port_of_start = 0
        #: Whether the hook has started the server already.
        self._begun = False

    # -- state ------------------------------------------------------------------------------------

    def load_state(self, state: dict[str, Any]) -> None:
        """Take up a server that an earlier hub process has started."""
        super().load_state(state)
        self.start_time = int(state.get("start_time", 0))
        self.made_from = str(state.get("made_from", ""))
        self.killed = int(state.get("killed", 0))
        self._remember_scope()

    def get_state(self) -> dict[str, Any]:
        """What the database keeps of a running server."""
        state: dict[str, Any] = super().get_state()
        if self.start_time:
            state["start_time"] = self.start_time
            state["made_from"] = self.made_from
            state["killed"] = self.killed
        return state

    def clear_state(self) -> None:
        """Forget the server that has ended."""
        super().clear_state()
        self.start_time = 0
        self.made_from = ""
        self.killed = 0
        self._begun = False
        self._give_up_port()

    # -- progress ---------------------------------------------------------------------------------

    def report(self, percent: int, message: str) -> None:
        """Keep an event, in all languages, and wake everybody who watches. What a member's program says is cut."""
        messages = {language: translated(message, language)[:EVENT_LENGTH] for language in LANGUAGES}
        if len(self._events) == EVENTS_KEPT:
            self._first_event += 1
        self._events.append({"progress": percent, "message": str(message)[:EVENT_LENGTH], "messages": messages})
        self._news.set()
        self._news = asyncio.Event()

    async def progress(self) -> AsyncIterator[dict[str, Any]]:
        """The events of this start, from the first that is kept; JupyterHub stops asking when the start has ended."""
        next_event = self._first_event
        while True:
            news = self._news
            # A new start begins with new numbers; meanwhile some may have been dropped.
            next_event = max(next_event, self._first_event)
            while next_event < self._first_event + len(self._events):
                yield self._events[next_event - self._first_event]
                next_event = max(next_event + 1, self._first_event)
            await news.wait()

    # -- start ------------------------------------------------------------------------------------

    async def run_pre_spawn_hook(self) -> None:
        """Make sure of the member's environment, then do what an expert's hook wants. Raises StartFailed."""
        # JupyterHub 5 takes any name without a slash. In the proxy ".." would be a route for all members' addresses.
        if self.name in (".", "..") or not self.name.isprintable():
            raise StartFailed(_("A server cannot have this name."), _("choose one of letters, digits and hyphens"))
        await self._look_at_template()
        # An expert's hook may count on the environment, and comes before the server.
        if self.pre_spawn_hook is None and await self._begin_at_once():
            return
        await self._prepare_environment(thorough=False)
        await maybe_future(super().run_pre_spawn_hook())

    async def _look_at_template(self) -> None:
        self._first_event += len(self._events)
        self._events.clear()
        await short_memory.watcher.make_room(self)
        self.report(0, _("Checking your environment"))
        try:
            await template.ensure(lambda percent, message: self.report(percent * 40 // 100, message))
        except FamilyError as error:
            if not template.exists():
                raise StartFailed(error.message, error.hint) from error
            self.log.error("The template could not be renewed: %s", error.message)

    async def _begin_at_once(self) -> bool:
        """Start the server if nothing is to be done to the environment; whether it was. `start` then waits for it.

        What goes wrong here is told by those who are asked afterwards, as if nobody had tried.
        """
        if not self.name:
            await waiting_servers.keeper.settled(self.user.name)
        try:
            self._draw_port()
            server = await self._ask_to_start(doors.START, doors.Start(self.get_env()))
            if server.started:
                self.made_from = server.template[:100]
                self._take_up(server)
                self._begun = True
        except (FamilyError, NoPort) as error:
            self.log.info("%s: not started at once: %s", self._log_name, error.message)
        finally:
            if not self._begun:
                self._give_up_port()
        return self._begun

    async def _prepare_environment(self, thorough: bool) -> str:
        """Have the environment made or repaired; returns what was done. Raises StartFailed."""
        try:
            prepared = await self._ask_mediator(
                doors.PREPARE,
                doors.Prepare(thorough),
                on_progress=lambda percent, message: self.report(40 + percent * 45 // 100, message),
            )
        except FamilyError as error:
            raise StartFailed(error.message, error.hint) from error
        # Only ever compared; whatever a member's note says is at worst not the template in use.
        self.made_from = prepared.template[:100]
        return prepared.done

    async def start(self) -> tuple[str, int]:
        """Start the server and return where it listens, as soon as it does. Raises StartFailed.

        A server that ends while it starts may have a broken environment: that is then looked at thoroughly, and
        if it had to be mended the server is started once more.
        """
        self.report(88, _("Starting your server"))
        try:
            await self._start_once()
        except NoPort:
            raise
        except StartFailed:
            self.report(88, _("Your server stopped at once; checking what is wrong with your environment"))
            if await self._prepare_environment(thorough=True) != "mended":
                raise
            self.report(90, _("Starting your server again"))
            await self._start_once()
        self.report(97, _("Your server answers"))
        return ("127.0.0.1", self.port)

    async def _start_once(self) -> None:
        """Start the server and return when it listens; once more on another port if somebody else has taken its.

        Raises StartFailed.
        """
        for tries_left in (1, 0):
            try:
                begun, self._begun = self._begun, False
                if not begun:
                    await self._spawn()
                await self._listening()
                return
            except PortTaken as error:
                self.log.warning("%s: port %d is taken by uid %s", self._log_name, self.port, error)
                # Not stop(): that also forgets the token, which the next try needs. Nobody has used this server yet.
                await self._signal(signal.SIGKILL)
                await self._end_rest()
            finally:
                self._give_up_port()
            if not tries_left:
                raise NoPort(
                    _("Another account's program has taken the port of your server, twice."),
                    _("ask your administrator who does that: the log says it"),
                )

    def _draw_port(self) -> None:
        self.port = self._port_of_start = self._free_port()
        self._ports_of_starts.add(self.port)

    def _give_up_port(self) -> None:
        self._ports_of_starts.discard(self._port_of_start)
        self._port_of_start = 0

    def _free_port(self) -> int:
        """A port on which nobody listens, and that was given to no other server on its way up. Raises NoPort."""
        reason: Optional[OSError] = None
        try:
            # Not for ever: the hub does nothing else meanwhile, and somebody may have taken all ports but one of these.
            for _again in range(PORTS_TRIED):
                if (port := int(random_port())) not in self._ports_of_starts:
                    return port
        except OSError as error:
            reason = error
        raise NoPort(
            _("This computer has no free port left for your server."),
            _("ask your administrator which program has taken them: ss -tlnp"),
        ) from reason

    async def _spawn(self) -> None:
        self._draw_port()
        try:
            server = await self._ask_to_start(doors.SPAWN, doors.Spawn([], self.get_env()))
        except FamilyError as error:
            raise StartFailed(error.message, error.hint) from error
        self._take_up(server)

    async def _ask_to_start(self, action: Action[RequestT, _Server], request: RequestT) -> _Server:
        """What the mediator answers that starts a server. Raises DoorError. It goes on when the start is given up."""
        starting = self._keep(calling.open_door(action, request, member=self.user.name))
        try:
            return await asyncio.shield(starting)
        except asyncio.CancelledError:
            self._keep(self._end_unwanted(starting))
            raise

    async def _end_unwanted(self, starting: asyncio.Task[_Server]) -> None:
        """End the server that the mediator is about to start for a start that was given up."""
        try:
            server = await starting
        except FamilyError:
            return  # there is none
        if not server.pid:
            return  # there was something to prepare first
        await self._kill(server.pid, server.start_time, signal.SIGKILL)
        await self._end_scope(server.pid, server.start_time)

    def _take_up(self, server: _Server) -> None:
        """Remember the process that the mediator has started."""
        self.pid = server.pid
        self.start_time = server.start_time
        self._remember_scope()

    def _remember_scope(self) -> None:
        if self.pid and self.start_time:
            self._scope = (self.pid, self.start_time)

    async def _listening(self) -> None:
        """Return when the member's own program listens on the port.

        Raises PortTaken if somebody else's does, StartFailed if the server's process has ended instead.
        """
        uid = pwd.getpwnam(self.user.name).pw_uid
        alive, began, next_check = True, time.monotonic(), 0.0
        while alive:
            waited = time.monotonic() - began
            try:
                owners = ports.owners(self.port)
                if owners or waited >= next_check:
                    # In this order: a server that found its port taken and ended is not taken for a broken one.
                    alive = processes.is_running(self.pid, self.start_time)
                    owners = ports.owners(self.port)
                    next_check = waited + CHECK_INTERVAL
            except OSError as error:
                self.log.error("%s: it cannot be seen whether it has started: %s", self._log_name, error)
                await asyncio.sleep(1)
                continue
            if owners - {uid}:
                raise PortTaken(", ".join(map(str, sorted(owners))))
            if alive and owners:
                self._waits.append(waited)
                return
            early = TOO_EARLY * min(self._waits, default=0.0) - waited
            await asyncio.sleep(min(max(POLL_INTERVAL, waited / 20, early), LONGEST_POLL_INTERVAL))
        raise StartFailed(_("The server stopped while it was starting."), log_lines=await self._last_log_lines())

    async def _last_log_lines(self) -> list[str]:
        try:
            log = await self._ask_mediator(doors.LOG, doors.ReadLog(self.name))
        except FamilyError as error:
            return [f"({error.message})"]
        return log.lines

    # -- the mediator -----------------------------------------------------------------------------

    async def _ask_mediator(
        self,
        action: Action[RequestT, AnswerT],
        request: RequestT,
        on_progress: Optional[ProgressCallback] = None,
    ) -> AnswerT:
        """What the member's mediator answers. Raises DoorError.

        A start that is given up meanwhile ends at once, the mediator behind its back: JupyterHub waits for one second
        until a start that it has cancelled is over, and else stops nothing (apihandlers/users.py, 5.5 and 6.1).
        """
        asking = self._keep(calling.open_door(action, request, member=self.user.name, on_progress=on_progress))
        try:
            return await asyncio.shield(asking)
        except asyncio.CancelledError:
            asking.cancel()
            raise

    @classmethod
    def _keep(cls, work: Coroutine[Any, Any, _Result]) -> asyncio.Task[_Result]:
        """`work` as a task that also goes on when nobody waits for it any more."""
        task = asyncio.ensure_future(work)
        cls._kept.add(task)
        task.add_done_callback(cls._kept.discard)
        return task

    # -- while it runs ----------------------------------------------------------------------------

    async def poll(self) -> Optional[int]:
        """As JupyterHub wants it: None while the server runs. Looks, too, whether the kernel had to end something.

        Where that cannot be known (no descriptors, no memory) the server counts as running: JupyterHub takes every
        error for a server that is gone, drops its address and forgets it (app.py: check_spawner, 5.5 and 6.1).
        """
        try:
            status: Optional[int] = await super().poll()
        except OSError as error:
            self.log.error("%s: it cannot be seen whether it runs: %s", self._log_name, error)
            return None
        if status is None and self.pid:
            await self._report_killed()
        return status

    async def _report_killed(self) -> None:
        """Tell in our log and in the server's own why a program in it is gone: it says nothing itself any more."""
        usage = cgroups.usage(self.pid)
        if usage is None or usage.killed <= self.killed:
            return
        self.killed = usage.killed
        self.log.warning("%s: %d programs ended by the kernel: out of memory", self._log_name, usage.killed)
        try:
            await self._ask_mediator(doors.KILLED, doors.RecordKilled(self.name, usage.killed))
        except FamilyError as error:
            self.log.error("%s: not told in its log: %s", self._log_name, error.message)

    # -- stop -------------------------------------------------------------------------------------

    async def stop(self, now: bool = False) -> None:
        """End the server, beginning with SIGTERM: it then shuts its kernels down and takes its files away.

        JupyterHub would begin with SIGINT, at which a server without a terminal drops everything where it is
        (jupyter_server.serverapp.ServerApp.init_signal, 2.21): two files a stop, and kernels without a good-bye.
        """
        if await self.poll() is None:
            await super().stop(now=True)

    async def _signal(self, sig: int) -> bool:
        """Send a signal to the server; whether it is (still) alive. Signal 0 asks only, without sudo."""
        try:
            alive = processes.is_running(self.pid, self.start_time)
        except OSError:
            if sig == 0:
                raise  # `poll` says what comes of it
            alive = True
        return alive if sig == 0 or not alive else await self._kill(self.pid, self.start_time, sig)

    async def _kill(self, pid: int, start_time: int, sig: int) -> bool:
        """Have the mediator send a signal; whether the process is (still) alive."""
        try:
            signalled = await self._ask_mediator(doors.KILL, doors.Kill(pid, int(sig), start_time))
        except FamilyError as error:
            # The account may be gone or no longer a member; what is left of its server is then root's to end.
            self.log.error("%s could not be signalled: %s", self._log_name, error.message)
            with contextlib.suppress(OSError):
                return processes.is_running(pid, start_time)
            return True
        return signalled.alive

    async def run_post_stop_hook(self) -> None:
        """The server has ended: so does what it has left behind. Then what an expert's hook wants."""
        await self._end_rest()
        await maybe_future(super().run_post_stop_hook())

    async def _end_rest(self) -> None:
        """End all processes that are still in the server's scope, also those that have made themselves daemons."""
        scope, self._scope = self._scope, None
        if scope is not None:
            await self._end_scope(*scope)

    async def _end_scope(self, pid: int, start_time: int) -> None:
        if not paths.SYSTEMD_RUNS.is_dir():
            return
        try:
            rest = await self._ask_mediator(doors.END, doors.End(pid, start_time))
        except FamilyError as error:
            # No longer a member: root ends what is left.
            self.log.error("%s: what it has started may still run: %s", self._log_name, error.message)
            return
        if rest.ended:
            self.log.info("%s: %s processes that it had left behind were ended", self._log_name, rest.ended)
