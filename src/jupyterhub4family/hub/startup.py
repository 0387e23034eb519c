"""Runs inside JupyterHub's process, as `jupyterhub`: what is done once, right after the hub answers.

The hub's users are made the same as the members, and the template of members' environments is made if it is missing.
"""

from __future__ import annotations

import asyncio
import logging

from jupyterhub4family.common.errors import FamilyError
from jupyterhub4family.common.paths import LIBRARY
from jupyterhub4family.common.settings import Settings
from jupyterhub4family.hub.doors import ask
from jupyterhub4family.hub.spawner import template

#: Seconds until the hub must listen; checking many running servers comes first.
PATIENCE = 300
#: Seconds between tries to make the template (no network yet, disk full).
TEMPLATE_PAUSE = 60

log = logging.getLogger("jupyterhub4family")
_tasks: list[asyncio.Task[None]] = []


def after_start(settings: Settings) -> None:
    """Arrange for the work to be done; called while the hub reads its configuration."""
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        # `jupyterhub --version`, `upgrade-db` and the like read the configuration without serving.
        return
    _tasks.append(loop.create_task(_work(settings.hub_port)))


async def _work(port: int) -> None:
    await _listening(port)
    try:
        await ask([str(LIBRARY / "tell-hub")], {"action": "synchronize"}, timeout=120)
    except FamilyError as error:
        log.error("The hub's users could not be compared with the members: %s", error)
    while True:
        try:
            await template.ensure()
            return
        except FamilyError as error:
            log.error("JupyterLab for the family is not ready: %s; trying again in a minute", error)
        await asyncio.sleep(TEMPLATE_PAUSE)


async def _listening(port: int) -> None:
    """Return when something listens on `port` of 127.0.0.1, or after a long time anyway."""
    for _ in range(PATIENCE * 5):
        try:
            _reader, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            await asyncio.sleep(0.2)
            continue
        writer.close()
        return
