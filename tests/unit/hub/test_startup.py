"""hub.startup: what is done once the hub answers; nothing of it can stop the hub."""

from __future__ import annotations

import asyncio
import faulthandler
import json
import logging
import os
from collections.abc import Awaitable
from pathlib import Path
from typing import Any, Callable, Optional, Union

import pytest

from jupyterhub4family.common.errors import FamilyError
from jupyterhub4family.common.protocol import service_programs
from jupyterhub4family.common.protocol.actions import Action, Nothing
from jupyterhub4family.common.protocol.service_programs import Built
from jupyterhub4family.common.settings.model import Settings
from jupyterhub4family.common.state import upgrade
from jupyterhub4family.common.state.upgrade import Edition, Failure, Upgrade
from jupyterhub4family.hub import calling, entrances, spawner
from jupyterhub4family.hub import startup as module
from jupyterhub4family.hub.calling import DoorError
from jupyterhub4family.service.releases import builds, contents
from jupyterhub4family.service.run import proxy


class Keeper:
    """Stands in for the template: fails as often as the test says."""

    def __init__(self) -> None:
        self.failures = 0
        self.calls = 0

    async def ensure(self) -> None:
        self.calls += 1
        if self.calls <= self.failures:
            raise DoorError("no network")


class App:
    """Stands in for JupyterHub: says when it is ready."""

    def __init__(self) -> None:
        self._start_future: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def shutdown_cancel_tasks(self, sig: Any = None) -> None:
        """Nobody ends it."""

    def is_ready(self) -> None:
        self._start_future.set_result(None)


class Startup:
    """The module, with what surrounds it."""

    def __init__(self, module: Any, keeper: Keeper, monkeypatch: pytest.MonkeyPatch) -> None:
        self.module = module
        self.keeper = keeper
        self.asked: list[Any] = []
        self.error: Optional[FamilyError] = None
        #: How often the release cannot be built, and whether it is another one then.
        self.build_failures = 0
        self.changed = False
        self.done: list[str] = []
        self.app: Any = None
        monkeypatch.setattr(calling, "call", self._ask)
        monkeypatch.setattr(entrances, "take_port", lambda _settings: None)
        monkeypatch.setattr(module.JupyterHub, "instance", lambda: self.app)
        monkeypatch.setattr(module, "_forget_older_tokens", lambda _app: None)
        monkeypatch.setattr(module, "FIRST_PAUSE", 0.01)
        monkeypatch.setattr(builds, "discard_cache", lambda: self.done.append("cache discarded"))
        monkeypatch.setattr(proxy, "end_proxy", lambda: self.done.append("proxy renewed"))
        monkeypatch.setattr(module.os, "kill", lambda pid, number: self.done.append(f"{pid} {int(number)}"))

    async def _ask(self, action: Action[Any, Any], request: Any, on_progress: Any = None) -> Any:
        self.asked.append((action.program.name, json.loads(action.write_request(request))))
        if action is service_programs.SYNC_USERS:
            if self.error is not None:
                raise self.error
            return Nothing()
        if self.build_failures:
            self.build_failures -= 1
            raise DoorError("no network")
        on_progress(15, "Fetching JupyterHub the longer way")
        return Built(self.changed)

    def run(self, meanwhile: Optional[Callable[[], Awaitable[None]]] = None) -> None:
        """Start as the hub does, and wait until everything is done."""

        async def hub() -> None:
            self.app = App()
            self.module.after_start(Settings())
            if meanwhile is not None:
                await meanwhile()
            else:
                self.app.is_ready()
            work, *for_ever = self.module._tasks
            await work
            for task in for_ever:
                task.cancel()

        asyncio.run(asyncio.wait_for(hub(), 15))


@pytest.fixture
def startup(monkeypatch: pytest.MonkeyPatch) -> Startup:
    keeper = Keeper()
    # The one keeper that hub and spawner share, wherever it was imported.
    monkeypatch.setattr(spawner.template, "ensure", keeper.ensure)
    monkeypatch.setattr(module, "_tasks", [])
    return Startup(module, keeper, monkeypatch)


def test_first_the_hub_then_the_members_then_release_and_template(startup: Startup) -> None:
    async def meanwhile() -> None:
        await asyncio.sleep(0.3)
        assert startup.asked == [] and startup.keeper.calls == 0, "before the hub answers nobody can be told anything"
        startup.app.is_ready()

    startup.run(meanwhile)
    assert startup.asked == [("tell-hub", {"action": "synchronize"}), ("build-release", {})]
    assert startup.keeper.calls == 1
    assert startup.done == ["cache discarded"]


def test_a_comparison_that_fails_does_not_keep_the_rest_from_being_done(
    startup: Startup, caplog: pytest.LogCaptureFixture
) -> None:
    startup.error = DoorError("the hub does not answer")
    with caplog.at_level(logging.ERROR):
        startup.run()
    assert startup.keeper.calls == 1
    assert "could not be compared" in caplog.text and "Traceback" not in caplog.text


def test_how_a_build_goes_is_in_the_log(
    startup: Startup, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "get_logger", lambda: logging.getLogger("of the hub"))
    with caplog.at_level(logging.INFO):
        startup.run()
    assert "Release: Fetching JupyterHub the longer way" in caplog.text


def test_builds_are_tried_until_they_work(startup: Startup, caplog: pytest.LogCaptureFixture) -> None:
    startup.keeper.failures = 3
    startup.build_failures = 2
    with caplog.at_level(logging.ERROR):
        startup.run()
    assert startup.keeper.calls == 4 and startup.build_failures == 0
    assert caplog.text.count("no network") == 5 and "Traceback" not in caplog.text


def test_after_a_newer_release_was_built_the_hub_ends_to_be_started_from_it(startup: Startup) -> None:
    startup.changed = True
    startup.run()
    assert startup.done[:2] == ["proxy renewed", f"{os.getpid()} 15"]


def test_reading_the_configuration_alone_does_nothing(startup: Startup) -> None:
    startup.module.after_start(Settings())
    assert startup.module._tasks == [] and startup.asked == []


@pytest.mark.parametrize(
    ("file", "state"),
    [
        ("IN_PROGRESS", Upgrade(Edition("1.0", "r"), "1.1")),
        # From the moment that its files are unpacked, minutes before it begins.
        ("PENDING", Edition("1.0", "r")),
    ],
)
def test_during_an_upgrade_root_sees_to_the_release(
    startup: Startup, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: str, state: Union[Upgrade, Edition]
) -> None:
    monkeypatch.setattr(upgrade, file, tmp_path / "state.json")
    monkeypatch.setattr(startup.module, "UPGRADE_PAUSE", 0.05)
    upgrade.write_state(tmp_path / "state.json", state)

    async def meanwhile() -> None:
        startup.app.is_ready()
        await asyncio.sleep(0.6)
        assert ("build-release", {}) not in startup.asked
        (tmp_path / "state.json").unlink()

    startup.run(meanwhile)
    assert ("build-release", {}) in startup.asked


@pytest.mark.parametrize(("failed", "built"), [("py3.11-000000000000", False), ("py3.11-111111111111", True)])
def test_a_release_that_failed_is_left_alone(
    startup: Startup, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failed: str, built: bool
) -> None:
    monkeypatch.setattr(upgrade, "FAILED", tmp_path / "failed.json")
    upgrade.write_state(tmp_path / "failed.json", Failure("1.0", "1.1", failed, "2026", "it is broken", "1.0 serves"))

    class Wanted:
        def wanted_id(self) -> str:
            return "py3.11-000000000000"

    monkeypatch.setattr(contents, "release_tree", lambda _report: Wanted())
    startup.run()
    assert (("build-release", {}) in startup.asked) is built


def test_a_hub_that_is_told_to_end_does_not_wait_for_ever(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    class Stubborn:
        """JupyterHub's end, with a task that does not let go."""

        stopped = False

        async def shutdown_cancel_tasks(self, sig: Any = None) -> None:
            await asyncio.sleep(0 if sig is None else 60)

        def _stop_event_loop(self) -> None:
            self.stopped = True

    ends: list[tuple[float, bool]] = []
    monkeypatch.setattr(module, "LONGEST_END", 0.1)
    monkeypatch.setattr(faulthandler, "dump_traceback_later", lambda after, exit: ends.append((after, exit)))

    async def work() -> None:
        app: Any = Stubborn()
        module._see_to_its_end(app)
        await app.shutdown_cancel_tasks()
        ending = asyncio.ensure_future(app.shutdown_cancel_tasks(15))
        await asyncio.sleep(0.5)
        assert app.stopped and "does not wait any longer for <Task pending" in caplog.text
        ending.cancel()

    asyncio.run(work())
    assert ends == 2 * [(0.1 + module.GRACE_PERIOD, True)]
