"""service.releases.shared_bytecode: bytecode of files that two environments share, and of no others."""

from __future__ import annotations

import compileall
import os
import sys
from pathlib import Path

import pytest

from jupyterhub4family.service.releases import shared_bytecode

PYTHON = f"python{sys.version_info[0]}.{sys.version_info[1]}"


class Pair:
    """Two environments that were filled from one cache, the first of which is compiled."""

    def __init__(self, directory: Path) -> None:
        self.cache = directory / "cache"
        self.cache.mkdir()
        self.hub, self.member = directory / "hub", directory / "member"

    def add(self, module: str, *environments: Path) -> None:
        """Lay a module in the cache, and from there in these environments."""
        source = self.cache / module.replace("/", "-")
        source.write_text(f"NAME = {module!r}\n", "ascii")
        for environment in environments:
            target = packages(environment) / module
            target.parent.mkdir(parents=True, exist_ok=True)
            os.link(source, target)

    def link(self) -> int:
        compileall.compile_dir(packages(self.hub), quiet=2)
        return shared_bytecode.link(self.hub, self.member)


def packages(environment: Path) -> Path:
    return environment / "lib" / PYTHON / "site-packages"


def compiled(environment: Path) -> list[str]:
    return sorted(path.name.split(".")[0] for path in environment.rglob("*.pyc"))


@pytest.fixture
def pair(tmp_path: Path) -> Pair:
    pair = Pair(tmp_path)
    for module in ("both.py", "package/inner.py"):
        pair.add(module, pair.hub, pair.member)
    return pair


def test_what_both_have_is_compiled_once(pair: Pair) -> None:
    pair.add("hubs.py", pair.hub)
    pair.add("members.py", pair.member)
    assert pair.link() == 2
    assert compiled(pair.member) == ["both", "inner"]
    for one in packages(pair.hub).rglob("*.pyc"):
        if "hubs" not in one.name:
            assert one.samefile(pair.member / one.relative_to(pair.hub)), "and lies on the disk once"
    assert compileall.compile_dir(packages(pair.member), quiet=2)
    linked = packages(pair.member) / "__pycache__" / next(packages(pair.hub).glob("__pycache__/both*")).name
    assert linked.stat().st_nlink == 2, "the compiler holds it for up to date"


def test_other_files_of_the_same_name_have_other_bytecode(pair: Pair) -> None:
    """Even if they are as old: bytecode knows of its source only how old and how long it is."""
    module = packages(pair.member) / "both.py"
    before = module.stat()
    module.unlink()
    module.write_text("NAME = 'ours.py'\n", "ascii")
    os.utime(module, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert pair.link() == 1 and compiled(pair.member) == ["inner"]


def test_what_is_not_compiled_yet_is_left_to_the_compiler(pair: Pair) -> None:
    assert shared_bytecode.link(pair.hub, pair.member) == 0
    (packages(pair.hub) / "__pycache__").mkdir()
    assert shared_bytecode.link(pair.hub, pair.member) == 0 and compiled(pair.member) == []


def test_what_cannot_be_linked_is_left_to_the_compiler(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuses(*_paths: str) -> None:
        raise OSError(31, "Too many links")

    monkeypatch.setattr(os, "link", refuses)
    assert pair.link() == 0


def test_without_the_other_environment_there_is_nothing_to_share(pair: Pair, tmp_path: Path) -> None:
    assert shared_bytecode.link(tmp_path / "none", pair.member) == 0
    assert shared_bytecode.link(pair.hub, tmp_path / "none") == 0
