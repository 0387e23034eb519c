"""What was written, and what lies on a machine: the same table made of a source tree, of a package, and of a machine.

Nobody keeps a list. What ought to be there is what `make install` lays, and what must have gone in unaltered is every
file of `data/` and of the Python package; so a new file is compared the day it is written.
"""

from __future__ import annotations

import gzip
import hashlib
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.machine.lib import layers, store
from tests.machine.lib.deb import contents_of
from tests.machine.lib.machine import Machine
from tests.machine.lib.places import PLAIN_PATH, RUN, digest, host
from tests.machine.lib.project import copy_project

#: What a Debian machine needs to build the package: as ./install has it.
TOOLS = "dpkg-dev debhelper dh-python gettext python3-yaml"
_NOT_PACKAGED = {".ci", "bench", "tests", "test"}
#: What debhelper adds of its own, or from debian/: not what somebody wrote for the machine.
_BY_DEBHELPER = ("/usr/share/doc/", "/usr/share/lintian/", "/usr/share/python3/runtime.d/")


@dataclass(frozen=True)
class File:
    """One path: its mode (with the kind of file), its owner, and what is in it."""

    mode: str
    owner: str
    first_line: str
    content: str


def file_at(path: Path) -> File:
    """Look at a path without following it.

    A manual page that debhelper has compressed counts as what is in it, one that leads to another (.so) as a link.
    """
    status = path.lstat()
    owner = f"{status.st_uid}:{status.st_gid}"
    if stat.S_ISLNK(status.st_mode):
        return File("link", owner, "", str(path.readlink()).removesuffix(".gz"))
    data = path.read_bytes()
    if path.name.endswith(".gz"):
        data = gzip.decompress(data)
    if data.startswith(b".so man") and data.count(b"\n") == 1:
        return File("link", owner, "", data.decode("ascii").strip().rpartition("/")[2])
    first = data.partition(b"\n")[0][:100].decode("utf-8", "replace")
    return File(oct(status.st_mode), owner, first, hashlib.sha256(data).hexdigest())


def tree_at(top: Path) -> dict[str, File]:
    """Every file and link below `top`, by its path on the machine; what debhelper adds of its own is left out."""
    found = {}
    for place, directories, files in os.walk(top):
        links = [name for name in directories if Path(place, name).is_symlink()]
        for name in (*files, *links):
            path = Path(place, name)
            there = f"/{path.relative_to(top)}"
            if not there.startswith(_BY_DEBHELPER):
                found[there.removesuffix(".gz")] = file_at(path)
    return found


def written() -> dict[str, File]:
    """What the working tree says should be on a machine. Fails if `make install` alters a file on its way."""
    with tempfile.TemporaryDirectory(dir=RUN) as scratch:
        tree, top = Path(scratch, "source"), Path(scratch, "machine")
        copy_project(tree, without=_NOT_PACKAGED)
        top.mkdir()
        environment = {**os.environ, "PATH": PLAIN_PATH}
        host("make", "install", f"DESTDIR={top}", cwd=tree, env=environment)
        found = tree_at(top)
        for source, below in ((tree / "data", Path("/")), (tree / "src", Path("/usr/lib/jupyterhub4family"))):
            for path in _files(source):
                laid = found[str(below / path.relative_to(source))]
                as_written = file_at(path)
                assert (laid.first_line, laid.content) == (as_written.first_line, as_written.content), path
        return found


def _files(source: Path) -> Iterator[Path]:
    suffixes = ("*",) if source.name == "data" else ("*.py",)
    yield from (path for suffix in suffixes for path in sorted(source.rglob(suffix)) if path.is_file())


def unpacked(deb: Path) -> dict[str, File]:
    """What a package holds."""
    with tempfile.TemporaryDirectory(dir=RUN) as scratch:
        host("dpkg-deb", "--extract", deb, scratch)
        return tree_at(Path(scratch))


def installed(machine: Machine) -> dict[str, File]:
    """What lies on a machine, of all that dpkg lists as the package's."""
    found = {}
    for name in machine.run("dpkg-query --listfiles jupyterhub4family").splitlines():
        path = machine.path(name)
        is_directory = name == "/." or (path.is_dir() and not path.is_symlink())
        if name.startswith("/") and not name.startswith(_BY_DEBHELPER) and not is_directory:
            found[name.removesuffix(".gz")] = file_at(path)
    return found


def difference(expected: dict[str, File], found: dict[str, File]) -> list[str]:
    """What differs, for people; empty if nothing does."""
    lines = []
    for name in sorted(expected.keys() | found.keys()):
        there, here = expected.get(name), found.get(name)
        if there != here:
            lines.append(f"{name}: written {there}, installed {here}")
    return lines


def deb_built_on(suite: str) -> Path:
    """Return the package as this Debian's own tools build it from the working tree; built once per content."""

    def build(directory: Path) -> None:
        with tempfile.TemporaryDirectory(dir=RUN) as scratch:
            tree = Path(scratch, "source")
            copy_project(tree, without=_NOT_PACKAGED)
            below = (layers.deps_layer(suite), layers.tools_layer(suite, TOOLS))
            with Machine(suite, below, in_memory=True) as machine:
                machine.put(tree, "/root/build/source")
                machine.run("cd /root/build/source && dpkg-buildpackage -us -uc -b -d 2>&1", timeout=300)
                for deb in machine.path("/root/build").glob("*.deb"):
                    shutil.copy2(deb, directory)

    with tempfile.TemporaryDirectory(dir=RUN) as scratch:
        tree = Path(scratch, "source")
        copy_project(tree, without=_NOT_PACKAGED)
        key = digest(suite, *contents_of(tree))
    return next(store.get("debs", f"deb-{suite}", key, build).glob("*.deb"))
