"""For tests of what runs inside JupyterHub; what is here is explained in doubles.py."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.helpers import People
from tests.unit.hub.doubles import Doors, MachineDirectory, compile_german


@pytest.fixture
def machine(tmp_path: Path, people: People, monkeypatch: pytest.MonkeyPatch) -> Iterator[MachineDirectory]:
    """The folders of an installed service, and a member, Anna."""
    directory = MachineDirectory(tmp_path / "machine", people, monkeypatch)
    directory.member("anna", 1001, gecos="Anna Adler,,,")
    yield directory
    shutil.rmtree(directory.sockets)


@pytest.fixture
def doors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Doors]:
    """Doors that are small programs; every password but "secret" is wrong."""
    doors = Doors(tmp_path / "doors", monkeypatch)
    doors.plan("authenticate.", {"password": "secret"})
    yield doors
    doors.close()


@pytest.fixture(scope="session")
def german_catalogue(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of catalogues, with the German one."""
    return compile_german(tmp_path_factory.mktemp("locale"))


@pytest.fixture
def german(german_catalogue: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """German is installed."""
    from jupyterhub4family.common.i18n import messages

    monkeypatch.setattr(messages, "LOCALES", german_catalogue)
    messages.catalogue.cache_clear()
    yield
    messages.catalogue.cache_clear()
