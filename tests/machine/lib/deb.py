"""Build the package from the working tree, once per content, in a copy: the tree stays clean."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.machine.lib import store
from tests.machine.lib.places import PLAIN_PATH, REPOSITORY, RUN, digest, host
from tests.machine.lib.project import copy_project

# What cannot change the package does not rebuild it.
_NOT_PACKAGED = {".ci", "bench", "tests", "test"}


def build_deb(version: str | None = None) -> Path:
    """Return the built .deb; `version` overrides the changelog's, for tests of upgrades."""
    RUN.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="source-", dir=RUN) as scratch:
        # Copied first, hashed then: somebody may be editing the tree at this moment.
        tree = Path(scratch) / "source"
        copy_project(tree, without=_NOT_PACKAGED)
        if version is not None:
            _set_version(tree / "debian/changelog", version)
        key = digest(*contents_of(tree))
        entry = store.get("debs", "deb", key, lambda directory: _build(tree, directory), keep=12)
    return next(entry.glob("*.deb"))


def deb_of_commit(commit: str) -> Path:
    """Return the .deb of an older commit, for upgrades from there. Fails where git does not have that commit."""

    def build(directory: Path) -> None:
        with tempfile.TemporaryDirectory(prefix="source-", dir=RUN) as scratch:
            tree = Path(scratch) / "source"
            tree.mkdir()
            archive = Path(scratch) / "source.tar"
            git = ("git", "-C", REPOSITORY, "-c", f"safe.directory={REPOSITORY}")
            host(*git, "archive", "--output", archive, commit)
            host("tar", "-xf", archive, "-C", tree)
            _build(tree, directory)

    RUN.mkdir(parents=True, exist_ok=True)
    return next(store.get("debs", "deb", digest(commit), build, keep=12).glob("*.deb"))


def contents_of(tree: Path) -> Iterator[str | bytes]:
    """Names, modes and bytes of all files of a tree, for a key."""
    for path in sorted(tree.rglob("*")):
        if path.is_symlink():
            yield f"{path.relative_to(tree)} -> {path.readlink()}"
        elif path.is_file():
            yield f"{path.relative_to(tree)} {os.access(path, os.X_OK)}"
            yield path.read_bytes()


def _set_version(changelog: Path, version: str) -> None:
    text = changelog.read_text()
    changelog.write_text(re.sub(r"\A(\S+ )\([^)]*\)", rf"\g<1>({version})", text))


def _build(tree: Path, directory: Path) -> None:
    environment = {**os.environ, "PATH": PLAIN_PATH, "DEB_BUILD_OPTIONS": "nocheck"}
    host("dpkg-buildpackage", "-us", "-uc", "-b", cwd=tree, env=environment)
    for deb in tree.parent.glob("*.deb"):
        shutil.copy2(deb, directory)


def altered_deb(deb: Path, version: str, directory: Path, change: Callable[[Path], None] = lambda _tree: None) -> Path:
    """Make, in `directory`, a package like `deb` of another version; `change` gets the tree of its files."""
    tree = directory / f"tree-{version}"
    host("dpkg-deb", "--raw-extract", deb, tree)
    control = tree / "DEBIAN/control"
    control.write_text(re.sub(r"(?m)^Version: .*$", f"Version: {version}", control.read_text()))
    change(tree)
    # The sums that `doctor` compares.
    files = sorted(path for path in tree.rglob("*") if path.is_file() and not path.is_symlink())
    sums = (
        f"{hashlib.md5(path.read_bytes()).hexdigest()}  {path.relative_to(tree)}\n"
        for path in files
        if tree / "DEBIAN" not in path.parents
    )
    (tree / "DEBIAN/md5sums").write_text("".join(sums))
    made = directory / f"jupyterhub4family_{version}_all.deb"
    host("dpkg-deb", "--root-owner-group", "-Zxz", "-z1", "--build", tree, made)
    shutil.rmtree(tree)
    return made


def foreign_deb(name: str, version: str, directory: Path) -> Path:
    """Make, in `directory`, a package that calls itself `name`, as somebody makes it who wants to be root."""
    tree = directory / f"foreign-{name}"
    (tree / "DEBIAN").mkdir(parents=True)
    fields = f"Package: {name}\nVersion: {version}\nArchitecture: all\nMaintainer: Nobody <n@example.org>\n"
    (tree / "DEBIAN/control").write_text(f"{fields}Description: not what it says\n")
    (tree / "DEBIAN/postinst").write_text("#!/bin/sh\ntouch /root/taken-over\n")
    (tree / "DEBIAN/postinst").chmod(0o755)
    made = directory / f"{name}_{version}_all.deb"
    host("dpkg-deb", "--root-owner-group", "--build", tree, made)
    shutil.rmtree(tree)
    return made


def field(deb: Path, name: str) -> str:
    """Return a field of a .deb's control file."""
    return host("dpkg-deb", "--field", deb, name).stdout.strip()


if __name__ == "__main__":
    print(build_deb())
