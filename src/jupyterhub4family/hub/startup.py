"""Runs inside JupyterHub's process, as `jupyterhub`: what is done once, right after the hub answers.

The hub's users are made the same as the members; a newer release that the package brought is built and switched
to; the template of members' environments is made if it is missing.
"""

from __future__ import annotations

import asyncio
import faulthandler
import logging
import os
import signal
from collections.abc import Awaitable, Callable
from typing import Any

from jupyterhub import orm
from jupyterhub.app import JupyterHub
from traitlets.log import get_logger

from jupyterhub4family.common.errors import FamilyError
from jupyterhub4family.common.protocol import service_programs
from jupyterhub4family.common.protocol.actions import Nothing
from jupyterhub4family.common.settings.model import Settings
from jupyterhub4family.common.state import upgrade
from jupyterhub4family.hub import calling, entrances, log_bounds, short_memory, spawner
from jupyterhub4family.service.hub_state import database
from jupyterhub4family.service.releases import builds, contents
from jupyterhub4family.service.run import proxy

#: Seconds until the hub must listen; checking many running servers comes first.
TIMEOUT = 300
#: What JupyterHub notes of a token that stands in its configuration (app.py, `_add_tokens`).
FROM_CONFIGURATION = "from config"
#: Seconds between tries to build (no network yet, disk full).
FIRST_PAUSE, LONGEST_PAUSE = 60, 3600
#: Seconds between two looks whether a copy of the database is due; the first comes when the start's work is done.
COPY_PAUSE = 600
#: Seconds until the hub has ended that was told to; and so many more until it ends whatever it does.
LONGEST_END, GRACE_PERIOD = 15, 10
#: Seconds between two looks whether an upgrade is over.
UPGRADE_PAUSE = 2

log = logging.getLogger("jupyterhub4family")
_tasks: list[asyncio.Task[Any]] = []


def after_start(settings: Settings) -> None:
    """Arrange for the work to be done; called while the hub reads its configuration."""
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        # `jupyterhub --version`, `upgrade-db` and the like read the configuration without serving.
        return
    _tasks.append(loop.create_task(_work(settings)))
    _tasks.append(loop.create_task(_copy_the_database_daily()))
    _tasks.append(loop.create_task(log_bounds.keep_bounded()))
    _tasks.append(loop.create_task(_watch_memory(settings)))


async def _work(settings: Settings) -> None:
    app = JupyterHub.instance()
    _see_to_its_end(app)
    port = entrances.take_port(settings)
    if port is not None:
        _tasks.append(asyncio.create_task(entrances.open_port(app, port)))
    await _ready(app)
    log_bounds.spare_unwritten(logging.getLogger(get_logger().name))
    _forget_older_tokens(app)
    try:
        await calling.call(service_programs.SYNC_USERS, Nothing())
    except FamilyError as error:
        log.error("The hub's users could not be compared with the members: %s", error)
    await _until_it_works(_upgrade_release, "A newer release could not be built, so the one in use stays in use")
    await _until_it_works(spawner.template.ensure, "JupyterLab for the family is not ready")
    # Release and template are there: what was fetched for them is needed no more.
    builds.discard_cache()


def _see_to_its_end(app: Any) -> None:
    """Have the hub end when it is told to, also if something of it does not let go, and say what that was.

    Once in some hundred times it was still there a minute and a half later, when systemd ended it: nobody knows why.
    """
    plain = app.shutdown_cancel_tasks

    async def shutdown_cancel_tasks(sig: Any = None) -> None:
        """As JupyterHub's own, which waits until every task has ended."""
        asyncio.get_running_loop().call_later(LONGEST_END, give_up)
        # What comes after the tasks: where every thread is, and the end (status 1).
        faulthandler.dump_traceback_later(LONGEST_END + GRACE_PERIOD, exit=True)
        await plain(sig)

    def give_up() -> None:
        for task in asyncio.all_tasks():
            log.error("The hub does not wait any longer for %r", task)
        app._stop_event_loop()

    app.shutdown_cancel_tasks = shutdown_cancel_tasks


async def _watch_memory(settings: Settings) -> None:
    app = JupyterHub.instance()
    await _ready(app)
    await short_memory.watcher.watch(app, settings.memory_kept_free)


async def _copy_the_database_daily() -> None:
    while True:
        await asyncio.sleep(COPY_PAUSE)
        try:
            await asyncio.to_thread(database.copy_of_the_day)
        except FamilyError as error:
            log.error("No copy of the database was made: %s", error)


async def _until_it_works(work: Callable[[], Awaitable[None]], problem: str) -> None:
    pause = FIRST_PAUSE
    while True:
        try:
            await work()
            return
        except FamilyError as error:
            log.error("%s: %s; trying again in %d seconds", problem, error, pause)
        await asyncio.sleep(pause)
        pause = min(2 * pause, LONGEST_PAUSE)


async def _upgrade_release() -> None:
    """Have the wanted release built, if it is another one, and end: the supervisor starts the hub from it.

    Servers and open notebooks go on meanwhile. Raises DoorError when it cannot be built.

    During an upgrade root does that, with a trial login and a way back; a release that failed in one is left alone.
    It begins when files are unpacked: a hub that changed over then would meet a database that nobody has compared.
    """
    while upgrade.root_sees_to_it():
        await asyncio.sleep(UPGRADE_PAUSE)
    failed = upgrade.failed_upgrade()
    if failed is not None and failed.release == contents.release_tree(lambda _percent, _message: None).wanted_id():
        return
    built = await calling.call(service_programs.BUILD_RELEASE, Nothing(), on_progress=_report)
    if built.changed:
        log.warning("A newer release is ready; restarting")
        proxy.end_proxy()
        os.kill(os.getpid(), signal.SIGTERM)


def _report(_percent: int, message: str) -> None:
    """How a build goes, for the log: it may say why fetching took the longer way."""
    get_logger().info("Release: %s", message)


async def _ready(app: Any) -> None:
    """Return when the hub is ready for requests, or after a long time anyway."""
    # Not wait_for, which loses a cancellation that comes with the result (CPython up to 3.11, issue 86296).
    await asyncio.wait([app._start_future], timeout=TIMEOUT)


def _forget_older_tokens(app: Any) -> None:
    """Take back what the service's own tokens of earlier starts may do: JupyterHub only ever adds them."""
    current = [service.api_token for service in app._service_map.values() if service.api_token]
    for token in app.db.query(orm.APIToken).filter(orm.APIToken.service_id.isnot(None)):
        if token.note == FROM_CONFIGURATION and not any(token.match(one) for one in current):
            app.db.delete(token)
    app.db.commit()
