"""root.trusted_folders: who could lead root astray on the way to a folder."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from jupyterhub4family.common.errors import FamilyError, RefusedError
from jupyterhub4family.root.base.safe_paths import safe_directory
from tests.unit.helpers import People

REAL = os.stat


class Tree:
    """Folders of a test that seem to belong to whom it likes; all others are root's."""

    def __init__(self, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.directory = directory
        self.about: dict[str, tuple[int, int, int]] = {}
        monkeypatch.setattr(os, "stat", self._stat)

    def add(self, name: str, uid: int = 0, mode: int = 0o755, gid: int = 0) -> Path:
        (self.directory / name).mkdir(parents=True)
        self.about[str(self.directory / name)] = (uid, gid, mode)
        return self.directory / name

    def _stat(self, path: Path, **more: bool) -> os.stat_result:
        found = REAL(path, **more)
        uid, gid, mode = self.about.get(str(path), (0, 0, 0o755))
        kind = stat.S_IFMT(found.st_mode)
        return os.stat_result((kind | mode, *found[1:4], uid, gid, *found[6:]))


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, people: People) -> Tree:
    people.add("mum", 1000, "sudo")
    people.add("anna", 1001, "jupyterhub")
    people.add("dad", 1002, "sudo", "jupyterhub")
    people.add("eva", 1003)
    return Tree(tmp_path, monkeypatch)


def test_roots_own_folders_and_where_a_desktop_mounts_an_administrators_disk(tree: Tree) -> None:
    assert safe_directory(tree.add("a/b")) == tree.directory / "a/b"
    assert safe_directory(tree.add("media/disk", uid=1000))
    assert safe_directory(tree.add("group", gid=0, mode=0o775))
    assert safe_directory(tree.add("private", uid=1000, gid=1000, mode=0o775))
    tree.add("sticky", mode=0o1777)
    assert safe_directory(tree.add("sticky/roots"))


@pytest.mark.parametrize("uid", [1001, 1002, 1003, 4711])
def test_what_a_member_or_anybody_else_owns(tree: Tree, uid: int) -> None:
    tree.add("theirs", uid=uid)
    for directory in (tree.directory / "theirs", tree.add("theirs/below")):
        with pytest.raises(RefusedError):
            safe_directory(directory)


def test_what_others_can_write_to(tree: Tree) -> None:
    for name, mode, gid in (("a", 0o777, 0), ("b", 0o1777, 0), ("c", 0o775, 50), ("d", 0o757, 0)):
        with pytest.raises(RefusedError):
            safe_directory(tree.add(name, mode=mode, gid=gid))


def test_links_are_followed_before_anything_is_looked_at(tree: Tree) -> None:
    tree.add("theirs", uid=1001)
    tree.add("theirs/real")
    (tree.directory / "link").symlink_to(tree.directory / "theirs" / "real")
    with pytest.raises(RefusedError):
        safe_directory(tree.directory / "link")
    (tree.directory / "loop").symlink_to("loop")
    (tree.directory / "file").touch()
    for name in ("loop", "file", "nothing"):
        with pytest.raises(FamilyError):
            safe_directory(tree.directory / name)
