"""Runs inside JupyterHub's process, as `jupyterhub`: has a server prepared for a member who will want one in a moment.

While the start page, or that of a server that does not run, is before somebody who has logged in; and while a password
is typed on a device with which the member has logged in before. What is prepared is the member's own process, which
has no token and no port, and ends by itself (ADR 36). A start takes it if there is one.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Any, Optional

from jupyterhub.handlers.base import UserUrlHandler
from jupyterhub.handlers.pages import HomeHandler
from jupyterhub.user import User
from jupyterhub.utils import maybe_future, url_path_join

from jupyterhub4family.common.errors import FamilyError
from jupyterhub4family.common.protocol import doors
from jupyterhub4family.hub import calling, replacing, short_memory

#: Seconds after which one that nobody wanted ends.
WAITS = 120
#: Seconds for which a start waits for one that is just being begun: else there would be two.
LONGEST_BEGIN = 3.0
#: So many wait at a time: 45 MB each. On a computer with less memory than that one.
MOST, SMALL = 4, 4 * 2**30
#: Status of the page that says that a server does not run (JupyterHub.use_legacy_stopped_server_status_code).
NOT_RUNNING = frozenset({424, 503})

log = logging.getLogger("jupyterhub4family")


class Keeper:
    """Which members have a server that waits, as far as the hub has begun it."""

    def __init__(self) -> None:
        #: By member: until when it waits at most, and what begins it.
        self._waiting: dict[str, tuple[float, asyncio.Future[None]]] = {}

    def want(self, user: Any) -> None:
        """Have the default server of `user` prepared, if that can be of use and there is room. Returns at once."""
        now = time.monotonic()
        self._waiting = {name: (until, task) for name, (until, task) in self._waiting.items() if until > now}
        if user.name in self._waiting or len(self._waiting) >= self._most() or not _is_startable(user):
            return
        self._waiting[user.name] = now + WAITS, asyncio.ensure_future(self._begin(user))

    async def settled(self, name: str) -> None:
        """Return when nothing is being begun for a member, who then has one, or has none and gets none.

        From now on the hub counts on none: whoever asks starts a server.
        """
        _until, begins = self._waiting.pop(name, (0.0, None))
        if begins is not None:
            await asyncio.wait({begins}, timeout=LONGEST_BEGIN)

    @staticmethod
    def _most() -> int:
        left = short_memory.watcher.left()
        if any(one.room < 2 * short_memory.ROOM_FOR_A_START for one in left):
            return 0
        return 1 if any(one.total < SMALL for one in left) else MOST

    async def _begin(self, user: Any) -> None:
        request = doors.PrepareAhead(_known_variables(user), WAITS)
        try:
            answer = await calling.open_door(doors.AHEAD, request, member=user.name)
        except FamilyError as error:
            # Whatever it is, the start will meet it, and tell.
            log.info("%s: no server was prepared ahead: %s", user.name, error.message)
            return
        log.debug("%s: prepared ahead: %s", user.name, answer.waits)


def _is_startable(user: Any) -> bool:
    """Whether the next start of the default server is one that takes what is prepared (hub/spawner.py)."""
    spawner = user.spawner
    return not spawner.active and spawner.pre_spawn_hook is None


def _known_variables(user: Any) -> dict[str, str]:
    """Of the variables of a server those that its modules read while they are imported (jupyterhub.services.auth)."""
    return {
        "JUPYTERHUB_API_URL": str(user.spawner.hub.api_url),
        "JUPYTERHUB_SERVICE_PREFIX": url_path_join(user.base_url, "/"),
    }


keeper = Keeper()


def watch_pages() -> None:
    """Have something prepared when a page is opened from which a member starts their server."""
    replacing.replace(HomeHandler, "get", _home)
    replacing.replace(UserUrlHandler, "get", _not_running)


def _home(show: Callable[..., Any]) -> Callable[..., Any]:
    async def get(handler: Any) -> None:
        viewer = _member(handler)
        if viewer is not None:
            keeper.want(viewer)
        await maybe_future(show(handler))

    return get


def _not_running(show: Callable[..., Any]) -> Callable[..., Any]:
    async def get(handler: Any, user_name: str, user_path: str) -> None:
        await maybe_future(show(handler, user_name, user_path))
        viewer = _member(handler)
        if viewer is not None and viewer.name == user_name and handler.get_status() in NOT_RUNNING:
            keeper.want(viewer)

    return get


def _member(handler: Any) -> Optional[User]:
    """Whoever has logged in; no service."""
    viewer = handler.current_user
    return viewer if isinstance(viewer, User) else None
