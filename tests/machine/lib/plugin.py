"""The fixtures and hooks of machine tests; a conftest.py imports them by name.

    def test_something(new_machine):
        machine = new_machine("trixie", layer="installed")
        machine.wait_http("/hub/login")

A machine lives as long as its test. If the test passes, its machines must be healthy as well; if it
fails, their logs are kept and the end of them stands in the report.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any, Protocol

import pytest

from tests.machine.lib import again, health, layers, order, turns
from tests.machine.lib.machine import Machine

_MACHINES = pytest.StashKey[list[Machine]]()


Scale = Callable[[int, int], int]


class NewMachine(Protocol):
    """Makes a started machine of this Debian, with what `layers.LAYERS` calls `layer` on it."""

    def __call__(self, suite: str, layer: str = "base", init: str = "systemd", **options: Any) -> Machine: ...


def register(config: pytest.Config) -> None:
    """Once, whichever folders of tests are asked for: choice of releases, order, second try."""
    plugins = config.pluginmanager
    if plugins.has_plugin("j4f-turns"):
        return
    plugins.register(turns.Turns(config), "j4f-turns")
    plugins.register(order.Order(config), "j4f-order")
    if not hasattr(config, "workerinput"):
        plugins.register(again.Again(config), "j4f-again")


@pytest.fixture(scope="session")
def deb() -> Path:
    """The package under test."""
    return layers.current_deb()


@pytest.fixture(scope="session")
def scale(request: pytest.FixtureRequest) -> Scale:
    """Give a number for `./test`, and a larger one for campaigns."""
    campaign = bool(request.config.getoption("campaign"))
    return lambda small, large: large if campaign else small


@pytest.fixture
def new_machine(request: pytest.FixtureRequest) -> Iterator[NewMachine]:
    """Give a factory of machines that end with the test. Options are those of `Machine`."""
    if os.geteuid() != 0:
        pytest.fail("machine tests need root: start them with ./test machine", pytrace=False)
    made: list[Machine] = []
    request.node.stash[_MACHINES] = made

    def make(suite: str, layer: str = "base", init: str = "systemd", **options: Any) -> Machine:
        machine = Machine(suite, layers.stack(layer, suite, init), init, in_memory=True, **options)
        made.append(machine)
        return machine.start()

    yield make
    for machine in made:
        machine.destroy()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    """After a test that passed: its machines must be healthy, else it did not pass."""
    result = yield
    for machine in item.stash.get(_MACHINES, []):
        if not machine.destroyed:
            health.check(machine)
    return result


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """After a test that failed: keep what explains it."""
    report = yield
    if report.failed and report.when != "teardown":
        for machine in item.stash.get(_MACHINES, []):
            if not machine.destroyed:
                title = f"machine {machine.name} ({machine.suite})"
                report.sections.append((title, health.keep(machine, item.nodeid)))
    return report
