"""Fixtures of the browser tests: a machine as in machine tests, and a chromium that trusts what it is told to."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Callable

import pytest
from playwright.sync_api import Browser, Playwright, sync_playwright

from tests.browser.lib import start_chromium
from tests.machine.lib.family import add_member, authority, ready, shared_machine
from tests.machine.lib.machine import Machine
from tests.machine.lib.plugin import (  # noqa: F401 (pytest finds fixtures and hooks by these names)
    deb,
    new_machine,
    pytest_runtest_call,
    pytest_runtest_makereport,
)
from tests.machine.lib.plugin import register as pytest_configure  # noqa: F401

NewChromium = Callable[..., Browser]


@pytest.fixture(scope="session")
def playwright() -> Iterator[Playwright]:
    """What drives browsers."""
    with sync_playwright() as driver:
        yield driver


@pytest.fixture
def new_chromium(playwright: Playwright, tmp_path: Path) -> Iterator[NewChromium]:
    """Give a factory of browsers that trust the authority of one machine, or (None) nobody in particular."""
    started: list[Browser] = []

    def start(machine: Machine | None = None) -> Browser:
        home = tmp_path / f"chromium{len(started)}"
        started.append(start_chromium(playwright, home, authority(machine) if machine else None))
        return started[-1]

    yield start
    for browser in started:
        browser.close()


@pytest.fixture(scope="module")
def family(suite: str) -> Iterator[Machine]:
    """A machine for all tests that change nothing for others, with two members whose accounts bear their full names."""
    with shared_machine(suite) as machine:
        machine.write("/etc/jupyterhub4family/config.yaml", "family_name: The Millers\n")
        machine.run("chmod 644 /etc/jupyterhub4family/config.yaml; jupyterhub4family restart")
        ready(machine)
        add_member(machine, "alice", "bob")
        machine.run("usermod -c 'Alice Miller,,,' alice")
        yield machine


@pytest.fixture(scope="module")
def chromium(playwright: Playwright, family: Machine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """Debian's chromium, which trusts the family's machine."""
    browser = start_chromium(playwright, tmp_path_factory.mktemp("chromium"), authority(family))
    yield browser
    browser.close()
