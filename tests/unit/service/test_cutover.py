"""service.change_over: root's requests are checked, and do what their names say."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any, Optional

import pytest

from jupyterhub4family.common import paths
from jupyterhub4family.service import cutover
from jupyterhub4family.service.hub_state import database
from jupyterhub4family.service.releases import contents
from jupyterhub4family.service.releases.builds import Tree
from jupyterhub4family.service.run import proxy

OLD, NEW = "py3.11-000000000000", "py3.11-111111111111"


class Service:
    """Releases in a folder, and the program."""

    def __init__(self, directory: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self.releases = directory / "releases"
        self.releases.mkdir()
        self.lock = directory / "lock.txt"
        self.lock.touch()
        self.renewed = 0
        self._monkeypatch, self._capsys = monkeypatch, capsys
        monkeypatch.setattr(paths, "STATE", directory)
        monkeypatch.setattr(paths, "CACHE", directory / "cache")
        monkeypatch.setattr(paths, "RELEASES", self.releases)
        monkeypatch.setattr(contents, "release_tree", lambda _report: self.tree())
        monkeypatch.setattr(proxy, "end_proxy", self._renew)
        monkeypatch.setattr(database, "copy_database", lambda: "c.sqlite")
        monkeypatch.setattr(database, "fits", lambda directory: directory.name == NEW)
        monkeypatch.setattr(database, "newest_fitting_copy", lambda _directory: "older.sqlite")
        for name in (OLD, NEW):
            (self.releases / name).mkdir()
            (self.releases / name / ".complete").touch()
        (self.releases / "current").symlink_to(OLD)

    def tree(self) -> Tree:
        return Tree("release", self.releases, (self.lock,), lambda directory: (directory / "x").touch())

    def ask(self, text: Optional[str] = None, **request: Any) -> dict[str, Any]:
        data = (json.dumps(request) if text is None else text).encode()
        self._monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(data)))
        status = cutover.main()
        answer: dict[str, Any] = json.loads(self._capsys.readouterr().out.splitlines()[-1])
        assert (status == 0) is answer["ok"]
        return answer

    def _renew(self) -> None:
        self.renewed += 1


@pytest.fixture
def service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Service:
    return Service(tmp_path, monkeypatch, capsys)


def test_a_release_is_built_aside(service: Service) -> None:
    assert service.ask(action="ready")["ready"] is False
    wanted = service.ask(action="build")["release"]
    assert wanted == service.tree().wanted_id() and (service.releases / wanted / "x").exists()
    assert service.ask(action="ready")["ready"] is True
    assert (service.releases / "current").readlink() == Path(OLD), "the one in use stays in use"


def test_there_and_back(service: Service) -> None:
    assert service.ask(action="switch", release=NEW)["changed"] is True
    assert (service.releases / "current").readlink() == Path(NEW) and service.renewed == 1
    assert (service.releases / "previous").readlink() == Path(OLD)
    assert service.ask(action="switch", release=NEW)["changed"] is False and service.renewed == 1
    assert service.ask(action="switch", release=OLD, keep_old=False)["changed"] is True
    assert sorted(path.name for path in service.releases.iterdir()) == ["current", OLD], "what failed is thrown away"


def test_database(service: Service) -> None:
    assert service.ask(action="copy")["copy"] == "c.sqlite"
    assert service.ask(action="fit", release=NEW) == {"ok": True, "fits": True, "copy": "", "missing": False}
    assert service.ask(action="fit", release=OLD) == {
        "ok": True,
        "fits": False,
        "copy": "older.sqlite",
        "missing": False,
    }
    gone = {"ok": True, "fits": True, "copy": "", "missing": True}
    assert service.ask(action="fit", release="py3.11-222222222222") == gone
    assert "no copy" in str(service.ask(action="restore", copy="../x")["error"])


@pytest.mark.parametrize(
    "request_",
    [
        {"action": "switch"},
        {"action": "switch", "release": "current"},
        {"action": "switch", "release": "../../etc"},
        {"action": "switch", "release": "py3.11-222222222222"},
        {"action": "switch", "release": 3},
        {"action": "fit", "release": ""},
        {"action": "erase"},
        {"action": "copy", "more": 1},
        {},
    ],
)
def test_what_makes_no_sense_is_refused(service: Service, request_: dict[str, Any]) -> None:
    assert service.ask(**request_)["ok"] is False
    assert (service.releases / "current").readlink() == Path(OLD)


def test_no_json(service: Service) -> None:
    assert service.ask(text="nonsense")["ok"] is False
