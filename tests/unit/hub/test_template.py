"""hub.template: one build at a time, whoever asks, and everybody sees how far it is."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable
from pathlib import Path
from typing import Any, Callable, Optional

import pytest

from jupyterhub4family.common import paths
from jupyterhub4family.common.paths import COMPLETE_MARKER
from jupyterhub4family.common.protocol import service_programs
from jupyterhub4family.common.protocol.service_programs import Built
from jupyterhub4family.hub import calling, template
from jupyterhub4family.hub.calling import DoorError
from jupyterhub4family.hub.template import TemplateKeeper
from jupyterhub4family.service.releases import contents

Told = list[tuple[int, str]]


class Builder:
    """Stands in for the program build-template."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.calls = 0
        self.current = False
        self.failure: Optional[DoorError] = None
        monkeypatch.setattr(calling, "call", self._ask)
        monkeypatch.setattr(contents, "template_tree", lambda _report: self)
        self.go_on = asyncio.Event()

    def is_current(self) -> bool:
        return self.current

    async def _ask(self, action: Any, _request: Any, on_progress: Any) -> Built:
        assert action is service_programs.BUILD_TEMPLATE and (action.timeout or 0) >= 1200
        self.calls += 1
        on_progress(10, "Fetching")
        await self.go_on.wait()
        on_progress(85, "Trying")
        if self.failure is not None:
            raise self.failure
        self.current = True
        return Built(changed=True)


def in_a_loop(monkeypatch: pytest.MonkeyPatch, work: Callable[[Builder, TemplateKeeper], Awaitable[None]]) -> Builder:
    """Run `work` with a builder and a keeper that belong to its event loop."""

    async def run() -> Builder:
        builder = Builder(monkeypatch)
        await work(builder, TemplateKeeper())
        return builder

    return asyncio.run(run())


def test_a_template_that_is_there_needs_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    async def work(builder: Builder, keeper: TemplateKeeper) -> None:
        builder.current = True
        await keeper.ensure(lambda *_event: pytest.fail("nothing to tell"))

    assert in_a_loop(monkeypatch, work).calls == 0


def test_everybody_waits_for_one_build_and_sees_all_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    first: Told = []
    late: Told = []

    async def work(builder: Builder, keeper: TemplateKeeper) -> None:
        waiting = [asyncio.ensure_future(keeper.ensure(lambda *event: first.append(event))) for _ in range(2)]
        waiting.append(asyncio.ensure_future(keeper.ensure()))
        await asyncio.sleep(0.05)
        waiting.append(asyncio.ensure_future(keeper.ensure(lambda *event: late.append(event))))
        await asyncio.sleep(0.05)
        builder.go_on.set()
        await asyncio.gather(*waiting)
        await keeper.ensure()

    assert in_a_loop(monkeypatch, work).calls == 1
    assert first.count((10, "Fetching")) == 2 and first.count((85, "Trying")) == 2
    assert late == [(10, "Fetching"), (85, "Trying")], "who comes later sees at once how far it is"


def test_what_a_build_says_is_in_the_log_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Nobody may be looking at the page: why it took the longer way has to be found afterwards."""
    monkeypatch.setattr(template, "get_logger", lambda: logging.getLogger("of the hub"))

    async def work(builder: Builder, keeper: TemplateKeeper) -> None:
        builder.go_on.set()
        await asyncio.gather(keeper.ensure(), keeper.ensure(lambda *_event: None))

    with caplog.at_level(logging.INFO):
        in_a_loop(monkeypatch, work)
    assert [record.getMessage() for record in caplog.records if record.name == "of the hub"] == [
        "Template: Fetching",
        "Template: Trying",
    ]


def test_a_failure_is_everybodys_and_the_next_who_asks_tries_again(monkeypatch: pytest.MonkeyPatch) -> None:
    async def work(builder: Builder, keeper: TemplateKeeper) -> None:
        builder.failure = DoorError("no network", "plug the cable in")
        builder.go_on.set()
        results = await asyncio.gather(*(keeper.ensure() for _ in range(3)), return_exceptions=True)
        assert [str(result) for result in results] == ["no network\nTry: plug the cable in"] * 3
        assert builder.calls == 1
        builder.failure = None
        await keeper.ensure()
        assert builder.calls == 2

    in_a_loop(monkeypatch, work)


def test_who_gives_up_waiting_does_not_stop_the_build(monkeypatch: pytest.MonkeyPatch) -> None:
    reported: Told = []

    async def work(builder: Builder, keeper: TemplateKeeper) -> None:
        impatient = asyncio.ensure_future(keeper.ensure(lambda *event: reported.append(event)))
        patient = asyncio.ensure_future(keeper.ensure())
        await asyncio.sleep(0.05)
        impatient.cancel()
        with pytest.raises(asyncio.CancelledError):
            await impatient
        builder.go_on.set()
        await patient
        assert builder.current

    in_a_loop(monkeypatch, work)
    assert (85, "Trying") not in reported, "a page that was closed is told nothing more"


def test_an_older_template_serves_meanwhile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paths, "CURRENT_TEMPLATE", tmp_path)
    assert not TemplateKeeper().exists()
    (tmp_path / COMPLETE_MARKER).touch()
    assert TemplateKeeper().exists()
