"""For all tests: nothing may depend on, or write to, the home of whoever runs them."""

from __future__ import annotations

from pathlib import Path

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    """Options of machine and browser tests; here, because pytest asks only the outer conftest.py for them."""
    group = parser.getgroup("jupyterhub4family")
    group.addoption("--campaign", action="store_true", help="every release, and what takes long")
    group.addoption("--once-more", action="store_true", help="run what failed once more, alone")
    group.addoption("--results", type=Path, metavar="FILE", help="write down how it went")
    group.addoption("--times", type=Path, metavar="FILE", help="what tests have taken, for the order of the next run")


@pytest.fixture(autouse=True)
def _a_home_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME"):
        monkeypatch.delenv(name, raising=False)
