"""service.run_hub: there is always a release to run from, or another try; an older one serves meanwhile."""

from __future__ import annotations

import os
import socket
import time
from pathlib import Path
from typing import Any

import pytest

from jupyterhub4family.common import paths
from jupyterhub4family.common.errors import FamilyError
from jupyterhub4family.common.paths import COMPLETE_MARKER
from jupyterhub4family.service.releases import builds
from jupyterhub4family.service.releases.builds import Tree
from jupyterhub4family.service.releases.progress import Reporter, read_progress
from jupyterhub4family.service.run import handover, hub, proxy


class Around:
    """Builds that succeed or fail as the test says, and a clock that does not really wait."""

    def __init__(self, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.file = directory / "progress.json"
        self.outcomes: list[bool | FamilyError] = []
        self.pauses: list[float] = []
        self.reported: list[dict[str, Any]] = []
        self.renewed = 0
        self.current = directory / "releases" / "current"
        monkeypatch.setattr(paths, "CURRENT_RELEASE", self.current)
        monkeypatch.setattr(builds, "ensure", self._ensure)
        monkeypatch.setattr(proxy, "end_proxy", self._renew)
        monkeypatch.setattr(builds, "system_python_version", lambda: "3.11")
        monkeypatch.setattr(time, "sleep", self._sleep)

    def release(self, name: str, complete: bool = True) -> None:
        directory = self.current.parent / name
        directory.mkdir(parents=True)
        self.current.symlink_to(name)
        if complete:
            (directory / COMPLETE_MARKER).touch()

    def build(self) -> None:
        hub._build(Reporter(self.file, lambda _event: None))
        assert self.outcomes == []

    def _ensure(self, _tree: Tree) -> bool:
        outcome = self.outcomes.pop(0)
        if isinstance(outcome, FamilyError):
            raise outcome
        return outcome

    def _sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.reported.append(read_progress(self.file))

    def _renew(self) -> None:
        self.renewed += 1


@pytest.fixture
def around(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Around:
    return Around(tmp_path, monkeypatch)


@pytest.mark.parametrize("built", [True, False])
def test_a_proxy_of_an_older_release_is_renewed(around: Around, built: bool) -> None:
    around.outcomes = [built]
    around.build()
    assert around.renewed == built
    assert around.pauses == [] and read_progress(around.file) == {}


def test_without_any_release_it_tries_until_there_is_one(around: Around) -> None:
    failure = FamilyError("no network", "plug the cable in")
    around.outcomes = [failure] * 8 + [True]
    around.build()
    assert around.pauses == [10, 20, 40, 80, 160, 300, 300, 300]
    assert all((event["message"], event["failed"]) == ("no network", True) for event in around.reported)
    assert read_progress(around.file) == {}


@pytest.mark.parametrize(
    ("name", "complete", "usable"),
    [
        ("py3.11-old", True, True),
        ("py3.11-old", False, False),
        # Debian was upgraded: what was built for another Python cannot run.
        ("py3.9-old", True, False),
        ("py3.1-old", True, False),
        ("py3.13-new", True, False),
    ],
)
def test_which_release_can_run(around: Around, name: str, complete: bool, usable: bool) -> None:
    assert not hub.usable_release()
    around.release(name, complete)
    assert hub.usable_release() is usable


def test_jupyterhub_gets_a_clean_environment(around: Around, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    started: list[Any] = []

    def execve(*args: Any) -> None:
        started.extend(args)
        raise SystemExit

    around.release("py3.11-new")
    monkeypatch.setattr(paths, "STATE", tmp_path)
    monkeypatch.setattr(os, "execve", execve)
    monkeypatch.setattr(os, "chdir", lambda _path: None)
    monkeypatch.setenv("LD_PRELOAD", "/tmp/bad.so")
    monkeypatch.setenv("PYTHONPATH", "/tmp")
    with pytest.raises(SystemExit):
        with socket.socket() as port:
            hub._become_jupyterhub(port)
    program, args, variables = started
    # The release itself, not the link: it may point elsewhere before JupyterHub has read everything.
    assert program == args[0] == str(around.current.parent / "py3.11-new" / "venv" / "bin" / "python")
    assert set(variables) == {"PATH", "HOME", "LANG", "PYTHONDONTWRITEBYTECODE", handover.DESCRIPTOR}
    # What takes JupyterHub's place in the list of processes is named after it.
    assert [Path(arg).name for arg in args[1:]] == ["jupyterhub_program.py", "jupyterhub", "-f", "jupyterhub_config.py"]
    assert args[2] == str(around.current.parent / "py3.11-new" / "venv/bin/jupyterhub")
