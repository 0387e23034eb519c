"""For all unit tests: a watchman that fails a test which would change the machine it runs on."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.unit.helpers import ROOT, People

#: Programs that act on the machine. A unit test that starts one forgot to replace something.
FORBIDDEN_PROGRAMS = frozenset(
    """
    adduser crontab deluser gpasswd groupadd groupdel runuser screen su sudo systemctl systemd-run useradd userdel
    usermod visudo
    """.split()
)
FORBIDDEN_FOLDERS = ("/boot", "/etc", "/home", "/root", "/run", "/srv", "/usr", "/var/lib", str(ROOT))

_watching = False
_allowed_folders: tuple[str, ...] = ()


def _watch(event: str, arguments: tuple[Any, ...]) -> None:
    if not _watching:
        return
    if event in ("subprocess.Popen", "os.exec", "os.posix_spawn"):
        name = os.path.basename(os.fsdecode(arguments[0]))
        if name in FORBIDDEN_PROGRAMS:
            pytest.fail(f"a unit test starts {name}")
    elif event == "open" and isinstance(arguments[0], (str, bytes)):
        path, _mode, flags = arguments
        if flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
            _check_place(os.path.abspath(os.fsdecode(path)))


def _check_place(path: str) -> None:
    if path.startswith(_allowed_folders) or "/__pycache__/" in path:
        return
    if path.startswith(tuple(f"{folder}/" for folder in FORBIDDEN_FOLDERS)):
        pytest.fail(f"a unit test writes to {path}")


# There is no way to take an audit hook away again, so it is told when to look.
sys.addaudithook(_watch)


@pytest.fixture(autouse=True)
def _watchman(tmp_path: Path) -> Iterator[None]:
    global _watching, _allowed_folders  # noqa: PLW0603 (an audit hook has no other memory)
    caches = [os.environ[name] for name in ("HYPOTHESIS_STORAGE_DIRECTORY",) if name in os.environ]
    _allowed_folders = (str(tmp_path), tempfile.gettempdir() + "/", *caches)
    _watching = True
    yield
    _watching = False


@pytest.fixture
def people(monkeypatch: pytest.MonkeyPatch) -> People:
    """An account database that a test fills as it likes."""
    return People(monkeypatch)
