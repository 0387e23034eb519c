"""service.verify: files are compared with the sums they came with, whatever became of them."""

from __future__ import annotations

import base64
import errno
import hashlib
import json
import os
from pathlib import Path

import pytest

from jupyterhub4family.common.protocol.service_programs import TreeReport
from jupyterhub4family.common.system.files import locked
from jupyterhub4family.service.releases import file_lists, verify
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
    assert build.look().broken == ["node", "uv", "configurable-http-proxy"]


class Listed(Build):
    """A release that has a list of what comes without one, as they are built now."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.proxy = self.directory / "proxy/node_modules/configurable-http-proxy"
        write_program(self.proxy / "bin/configurable-http-proxy", "raise SystemExit('nobody starts me')")
        (self.proxy / "package.json").write_text('{"version": "5.3.0"}')
        (self.directory / "uv/lib").symlink_to("bin")
        # A name as only some packages have them.
        (self.proxy / 'a "b", c.js').write_text("1")
        file_lists.write(self.directory, ("uv", "node", "proxy"))


def test_what_comes_without_a_list_is_compared_with_ours(tmp_path: Path) -> None:
    build = Listed(tmp_path)
    found = build.look()
    assert found.missing == found.changed == found.broken == []
    assert found.files == 4 + 5
    assert found.versions["configurable-http-proxy"] == "5.3.0"


def test_a_file_of_the_proxy_is_lost_and_one_is_changed(tmp_path: Path) -> None:
    build = Listed(tmp_path)
    (build.proxy / "package.json").unlink()
    (build.proxy / 'a "b", c.js').write_text("2")
    found = build.look()
    assert found.missing == ["proxy/node_modules/configurable-http-proxy/package.json"]
    assert found.changed == ['proxy/node_modules/configurable-http-proxy/a "b", c.js']
    assert "configurable-http-proxy" not in found.versions


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"[]", b'{"version": 5}'])
def test_a_package_that_says_nothing_of_itself(tmp_path: Path, content: bytes) -> None:
    build = Listed(tmp_path)
    (build.proxy / "package.json").write_bytes(content)
    found = build.look()
    assert len(found.changed) == 1 and "configurable-http-proxy" not in found.versions


def test_our_list_was_left_empty_by_a_power_cut(tmp_path: Path) -> None:
    build = Listed(tmp_path)
    (build.directory / "RECORD").write_bytes(b"")
    assert build.look().changed == ["RECORD"]


def test_a_file_that_the_disk_cannot_read(build: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_descriptor: int, _buffers: object) -> int:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "readv", fail)
    assert len(build.look().missing) == 4


def test_a_large_file_is_read_to_its_end(tmp_path: Path) -> None:
    content = bytes(range(256)) * 3000
    (tmp_path / "large").write_bytes(content)
    assert file_lists.digest(str(tmp_path / "large")) == digest(content)


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
