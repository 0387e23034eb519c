"""hub.startup: what is done once the hub answers; nothing of it can stop the hub.

The module asks for the spawner, and that for JupyterHub, which unit tests do not have: here it gets a stand-in.
"""

from __future__ import annotations

import asyncio
import importlib
import logging
import sys
from collections.abc import Awaitable, Iterator
from types import ModuleType
from typing import Any, Callable, Optional

import pytest

from jupyterhub4family.common.errors import FamilyError
from jupyterhub4family.common.settings import Settings
from jupyterhub4family.hub.doors import DoorError
from tests.unit.helpers import free_port

SPAWNER = "jupyterhub4family.hub.spawner"
STARTUP = "jupyterhub4family.hub.startup"


class Keeper:
    """Stands in for the template: fails as often as the test says."""

    def __init__(self) -> None:
        self.failures = 0
        self.calls = 0

    async def ensure(self) -> None:
        self.calls += 1
        if self.calls <= self.failures:
            raise DoorError("no network")


class Startup:
    """The module, with what surrounds it."""

    def __init__(self, module: Any, keeper: Keeper, monkeypatch: pytest.MonkeyPatch) -> None:
        self.module = module
        self.keeper = keeper
        self.asked: list[Any] = []
        self.refusal: Optional[FamilyError] = None
        monkeypatch.setattr(module, "ask", self._ask)
        monkeypatch.setattr(module, "TEMPLATE_PAUSE", 0.01)

    async def _ask(self, words: list[str], request: dict[str, Any], **_more: Any) -> dict[str, Any]:
        self.asked.append((words, request))
        if self.refusal is not None:
            raise self.refusal
        return {"ok": True}

    def run(self, port: int, meanwhile: Optional[Callable[[], Awaitable[None]]] = None) -> None:
        """Start as the hub does, and wait until everything is done."""

        async def hub() -> None:
            self.module.after_start(Settings(hub_port=port))
            if meanwhile is not None:
                await meanwhile()
            await asyncio.gather(*self.module._tasks)

        asyncio.run(asyncio.wait_for(hub(), 15))


@pytest.fixture
def startup(monkeypatch: pytest.MonkeyPatch) -> Iterator[Startup]:
    keeper = Keeper()
    stand_in = ModuleType(SPAWNER)
    stand_in.template = keeper  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, SPAWNER, stand_in)
    monkeypatch.delitem(sys.modules, STARTUP, raising=False)
    yield Startup(importlib.import_module(STARTUP), keeper, monkeypatch)
    sys.modules.pop(STARTUP, None)


async def answer(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.close()


def test_first_the_hub_then_the_members_then_the_template(startup: Startup) -> None:
    port = free_port()

    async def meanwhile() -> None:
        await asyncio.sleep(0.3)
        assert startup.asked == [] and startup.keeper.calls == 0, "before the hub answers nobody can be told anything"
        await asyncio.start_server(answer, "127.0.0.1", port)

    startup.run(port, meanwhile)
    assert startup.asked == [(["/usr/lib/jupyterhub4family/tell-hub"], {"action": "synchronize"})]
    assert startup.keeper.calls == 1


def test_a_comparison_that_fails_does_not_keep_the_template_from_being_made(
    startup: Startup, caplog: pytest.LogCaptureFixture
) -> None:
    startup.refusal = DoorError("the hub does not answer")
    port = free_port()

    async def meanwhile() -> None:
        await asyncio.start_server(answer, "127.0.0.1", port)

    with caplog.at_level(logging.ERROR):
        startup.run(port, meanwhile)
    assert startup.keeper.calls == 1
    assert "could not be compared" in caplog.text and "Traceback" not in caplog.text


def test_the_template_is_tried_until_it_is_there(startup: Startup, caplog: pytest.LogCaptureFixture) -> None:
    startup.keeper.failures = 3
    port = free_port()

    async def meanwhile() -> None:
        await asyncio.start_server(answer, "127.0.0.1", port)

    with caplog.at_level(logging.ERROR):
        startup.run(port, meanwhile)
    assert startup.keeper.calls == 4
    assert caplog.text.count("no network") == 3 and "Traceback" not in caplog.text


def test_reading_the_configuration_alone_does_nothing(startup: Startup) -> None:
    startup.module.after_start(Settings())
    assert startup.module._tasks == [] and startup.asked == []
