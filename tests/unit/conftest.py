"""For all unit tests: nothing of an installed service is in reach, and a watchman looks at what they do."""

from __future__ import annotations

import os
import random
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.helpers import MACHINE_ROOT, People, leave_the_machine_alone, make_manual
from tests.unit.watchman import Watchman

if "HYPOTHESIS_STORAGE_DIRECTORY" not in os.environ:
    # Else it would keep its notes in the working tree. This folder is removed when Python ends.
    _notes = tempfile.TemporaryDirectory()
    os.environ["HYPOTHESIS_STORAGE_DIRECTORY"] = _notes.name

# Before anything of ours is imported.
leave_the_machine_alone(str(MACHINE_ROOT))

from jupyterhub4family.root.base import avahi  # noqa: E402
from tests.unit.fakes import FakePrograms, MachineRoot  # noqa: E402

watchman = Watchman(MACHINE_ROOT)
# There is no way to take an audit hook away again, so it is told when to look.
sys.addaudithook(watchman.watch)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """With a number in J4F_SHUFFLE: in an order by chance, which is the same for the same number."""
    seed = os.environ.get("J4F_SHUFFLE")
    if seed:
        random.Random(int(seed)).shuffle(items)


@pytest.fixture(autouse=True)
def _watched(tmp_path: Path) -> Iterator[None]:
    watchman.wake_up(tmp_path)
    yield
    watchman.fall_asleep()


@pytest.fixture(autouse=True)
def _a_plain_umask() -> Iterator[None]:
    """Programs set one when they begin, and a test that runs one here must not leave it to the next."""
    before = os.umask(0o022)
    yield
    os.umask(before)


@pytest.fixture(autouse=True)
def _no_waiting_for_disks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Power cuts are tried on real machines; here half of the time would be spent on waiting for the disk."""
    monkeypatch.setattr(os, "fsync", lambda _descriptor: None)
    monkeypatch.setattr(os, "sync", lambda: None)


@pytest.fixture(autouse=True)
def _no_avahi(monkeypatch: pytest.MonkeyPatch) -> None:
    """The computer that runs the tests may have it, and whatever starts the service would write there."""
    monkeypatch.setattr(avahi, "AVAHI_SERVICES", MACHINE_ROOT / "avahi")


@pytest.fixture(scope="session")
def manual(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with manual pages, completion and the sample of the settings, as `make install` makes them below /."""
    directory = tmp_path_factory.mktemp("manual")
    make_manual(str(directory))
    return directory


@pytest.fixture
def people(monkeypatch: pytest.MonkeyPatch) -> People:
    """An account database that a test fills as it likes."""
    return People(monkeypatch)


@pytest.fixture
def programs_run(monkeypatch: pytest.MonkeyPatch) -> FakePrograms:
    """In place of every program that common.system.programs starts, however that is imported."""
    return FakePrograms(monkeypatch)


@pytest.fixture
def machine_root(_watched: None) -> Iterator[Path]:
    """The folders that common.paths names are there, for this test alone. Below this they lie."""
    root = MachineRoot(MACHINE_ROOT)
    watchman.allow(MACHINE_ROOT)
    root.make()
    yield MACHINE_ROOT
    root.remove()
