"""For all unit tests: nothing of an installed service is in reach, and a watchman looks at what they do."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.helpers import People, leave_the_machine_alone
from tests.unit.watchman import Watchman

# Before any test module imports anything of ours.
leave_the_machine_alone()

watchman = Watchman()
# There is no way to take an audit hook away again, so it is told when to look.
sys.addaudithook(watchman.watch)


@pytest.fixture(autouse=True)
def _watched(tmp_path: Path) -> Iterator[None]:
    watchman.wake_up(tmp_path)
    yield
    watchman.fall_asleep()


@pytest.fixture
def people(monkeypatch: pytest.MonkeyPatch) -> People:
    """An account database that a test fills as it likes."""
    return People(monkeypatch)
