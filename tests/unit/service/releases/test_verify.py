"""service.verify: files are compared with the sums they came with, whatever became of them."""

from __future__ import annotations

import base64
import hashlib
import json
import os
from pathlib import Path

import pytest

from jupyterhub4family.common.protocol.service_programs import TreeReport
from jupyterhub4family.common.system.files import locked
from jupyterhub4family.service.releases import verify
from jupyterhub4family.service.releases.builds import Tree
from tests.unit.helpers import write_program


def digest(content: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()


class Build:
    """A release of two small packages."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory / "py3.11-x"
        self.site = self.directory / "venv/lib/python3.11/site-packages"
        self.site.mkdir(parents=True)
        for name in ("alpha", "beta_two"):
            (self.site / f"{name}.py").write_bytes(name.encode())
            info = self.site / f"{name}-1.2.dist-info"
            info.mkdir()
            program = self.directory / "venv/bin" / name
            write_program(program, "")
            rows = [f"{name}.py,sha256={digest(name.encode())},{len(name)}"]
            rows += [f"../../../bin/{name},sha256={digest(program.read_bytes())},", f"__pycache__/{name}.pyc,,"]
            (info / "RECORD").write_text("\n".join([*rows, f"{info.name}/RECORD,,"]) + "\n")
        for name in ("node/bin/node", "uv/bin/uv", "venv/bin/python"):
            write_program(self.directory / name, "print('v1.2.3')")
        (self.directory / ".complete").touch()
        (directory / "current").symlink_to(self.directory.name)
        self.tree = Tree("release", directory, (), lambda _directory: None)

    def look(self) -> TreeReport:
        return verify.verify(self.tree, "release")


@pytest.fixture
def build(tmp_path: Path) -> Build:
    return Build(tmp_path)


def test_everything_as_it_was_fetched(build: Build, capsys: pytest.CaptureFixture[str]) -> None:
    found = build.look()
    assert found.complete is True and found.missing == found.changed == found.broken == []
    assert found.files == 4
    assert found.versions == {
        "alpha": "1.2", "beta-two": "1.2", "node": "1.2.3", "configurable-http-proxy": "1.2.3", "uv": "1.2.3"
    }  # fmt: skip
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["percent"] for line in lines] == [0, 50]


def test_files_that_are_lost_changed_empty_or_no_files_at_all(build: Build) -> None:
    (build.site / "alpha.py").write_bytes(b"")
    (build.directory / "venv/bin/alpha").unlink()
    os.mkfifo(build.directory / "venv/bin/alpha")
    (build.site / "beta_two.py").unlink()
    (build.directory / "venv/bin/beta_two").unlink()
    (build.directory / "venv/bin/beta_two").symlink_to("/etc/passwd")
    found = build.look()
    assert found.changed == ["lib/python3.11/site-packages/alpha.py"]
    assert found.missing == ["bin/alpha", "lib/python3.11/site-packages/beta_two.py", "bin/beta_two"]


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b'"'])
def test_a_list_that_a_power_cut_left_empty(build: Build, content: bytes) -> None:
    (build.site / "alpha-1.2.dist-info/RECORD").write_bytes(content)
    found = build.look()
    if content != b'"':
        assert "RECORD" in str(found.changed)
    assert found.files == (3 if content != b'"' else 2)


def test_programs_that_do_not_run(build: Build) -> None:
    write_program(build.directory / "node/bin/node", "raise SystemExit(1)")
    (build.directory / "uv/bin/uv").unlink()
    assert build.look().broken == ["node", "configurable-http-proxy", "uv"]


def test_no_release_at_all(build: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verify, "BUILD_LOCK", tmp_path / "nothing" / "build.lock")
    (build.directory / ".complete").unlink()
    found = build.look()
    assert found.complete is False and found.files == 0
    assert found.being_built is False, "who may not look cannot tell"


def test_a_release_on_its_way(build: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verify, "BUILD_LOCK", tmp_path / "build.lock")
    (build.directory / ".complete").unlink()
    with locked(tmp_path / "build.lock"):
        assert build.look().being_built is True
    assert build.look().being_built is False
    with locked(tmp_path / "build.lock"):
        assert build.look().being_built is True, "looking keeps no lock"


def test_no_packages_at_all(build: Build) -> None:
    for info in build.site.glob("*.dist-info"):
        (info / "RECORD").unlink()
    assert build.look().missing == ["RECORD"]
