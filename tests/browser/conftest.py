"""Fixtures of the browser tests: a machine as in machine tests, and Debian's chromium."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, sync_playwright

from tests.machine.lib.plugin import (  # noqa: F401 (pytest finds fixtures and hooks by these names)
    deb,
    new_machine,
    pytest_runtest_call,
    pytest_runtest_makereport,
)

# What a page needs is on the machine; whatever else chromium would like to talk to is not there.
ARGUMENTS = [
    "--disable-gpu",
    "--disable-quic",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--disable-dev-shm-usage",
]


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    """Debian's chromium; without its sandbox, which root cannot use."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path="/usr/bin/chromium", args=ARGUMENTS, chromium_sandbox=False
        )
        yield browser
        browser.close()
