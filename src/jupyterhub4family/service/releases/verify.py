"""Runs as jupyterhub, called by `doctor` (or as anybody): is a release or template as it was fetched?

Each package brings a list of its files with their SHA-256, and a release has one of the proxy's (file_lists.py). A file
that is missing, empty or different was lost to a power cut, a bad disk, or somebody's hand.
"""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from jupyterhub4family.common import paths
from jupyterhub4family.common.errors import FamilyError
from jupyterhub4family.common.protocol import serving
from jupyterhub4family.common.protocol.service_programs import TreeReport
from jupyterhub4family.common.system import files
from jupyterhub4family.common.system import programs as system_programs
from jupyterhub4family.common.system.programs import Arg
from jupyterhub4family.service.releases import builds, contents, file_lists
from jupyterhub4family.service.releases.builds import Tree

#: Names of files in an answer; more help nobody.
MOST_NAMES = 200
#: What the proxy sends in place of a file (proxy/compress_files.js), and the list of it, of some ten kilobytes.
COMPRESSED, MAXIMUM_LIST = "compressed", 4 * 2**20
#: Held by `builds.ensure` as long as it builds.
BUILD_LOCK = paths.STATE / "build.lock"
PROXY = Path("proxy/node_modules/configurable-http-proxy")


def main() -> int:
    """Program `verify-tree release|template`: lines of JSON on stdout, the answer last."""
    parser = argparse.ArgumentParser(prog="verify-tree", description="Compare files with the sums they came with.")
    parser.add_argument("tree", choices=("release", "template"))
    which = parser.parse_args().tree
    return serving.answer(lambda: verify(_tree(which), which))


def _tree(which: str) -> Tree:
    def silent(_percent: int, _message: str) -> None:
        """Nothing is built here."""

    return contents.release_tree(silent) if which == "release" else contents.template_tree(silent)


@dataclass
class _Comparison:
    """What was found so far."""

    files: int = 0
    missing: list[str] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)

    def look(self, record: Path, base: Path, top: Path) -> None:
        """Compare what a list names as seen from `base`; what is wrong is told as seen from `top`."""
        place = str(base)
        for name, wanted in file_lists.entries(record, base):
            self.files += 1
            # Texts: a Path for each of twenty thousand files took a third of the time.
            is_plain = ".." not in name and name[:1] != "/"
            path = f"{place}/{name}" if is_plain else os.path.normpath(os.path.join(place, name))
            found = file_lists.digest(path)
            if found != wanted:
                self.note(self.changed if found else self.missing, os.path.relpath(path, top))

    @staticmethod
    def note(names: list[str], name: str) -> None:
        """One more, as long as that helps anybody."""
        if len(names) < MOST_NAMES:
            names.append(name)


def verify(tree: Tree, which: str) -> TreeReport:
    """What is wrong with the build in use: `missing` and `changed` files, programs that do not run (`broken`)."""
    directory = tree.current
    if not builds.is_complete(directory):
        return TreeReport(complete=False, being_built=_is_being_built())
    directory = directory.resolve()
    environment = directory / ("venv" if which == "release" else "env")
    comparison = _Comparison()
    _compare_packages(environment, comparison)
    _compare_compressed(directory / COMPRESSED, comparison)
    versions, broken = dict(_versions(environment)), list[str]()
    if which == "release":
        is_listed = (directory / file_lists.NAME).exists()
        if is_listed:
            comparison.look(directory / file_lists.NAME, directory, directory)
        broken = _try_programs(directory, versions, is_listed)
    found = comparison
    return TreeReport(True, tree.is_current(), found.files, found.missing, found.changed, broken, versions)


def _is_being_built() -> bool:
    """Whether a release or template is on its way now."""
    try:
        lock = files.take_lock(BUILD_LOCK, wait=False)
    except OSError:
        return False  # who calls may not look there
    if lock is not None:
        os.close(lock)
    return lock is None


def _compare_packages(environment: Path, comparison: _Comparison) -> None:
    lists = sorted(environment.glob(f"lib/python3*/site-packages/*.dist-info/{file_lists.NAME}"))
    if not lists:
        comparison.note(comparison.missing, file_lists.NAME)
    for number, record in enumerate(lists):
        serving.report(100 * number // len(lists), record.parent.name)
        comparison.look(record, record.parent.parent, environment)


def _compare_compressed(directory: Path, comparison: _Comparison) -> None:
    """The same for what is kept compressed of the static files: others may not look, and it may be on its way."""
    if not os.access(directory, os.R_OK | os.X_OK):
        return
    comparison.files += 1
    listed = files.read_json(directory / "index.json", MAXIMUM_LIST)
    wanted = listed.get("sha256") if isinstance(listed, dict) else None
    if not wanted or file_lists.digest(str(directory / "files")) != wanted:
        comparison.note(comparison.changed, f"{directory.name}/files")


def _versions(environment: Path) -> Iterator[tuple[str, str]]:
    for directory in environment.glob("lib/python3*/site-packages/*.dist-info"):
        name, _dash, version = directory.name[: -len(".dist-info")].partition("-")
        yield re.sub(r"[-_.]+", "-", name).lower(), version


def _try_programs(directory: Path, versions: dict[str, str], is_listed: bool) -> list[str]:
    """Whether what has no list of its files starts. Returns those that do not; notes the others' versions.

    The proxy takes node a seventh of a second to start: where all its files were compared (`is_listed`; releases that
    were built before have no list) that node starts has to do.
    """
    broken = []
    node = directory / "node" / "bin" / "node"
    programs: dict[str, list[Arg]] = {
        "node": [node, "--version"],
        "uv": [directory / paths.UV, "--version"],
        "python": [directory / "venv" / "bin" / "python", "-I", "-c", "print('0')"],
    }
    if is_listed:
        versions.update(_version_of_proxy(directory))
    else:
        programs[PROXY.name] = [node, directory / PROXY / "bin" / PROXY.name, "--version"]
    for name, args in programs.items():
        try:
            printed = system_programs.run(args, timeout=60).stdout
        except FamilyError:
            broken.append(name)
            continue
        version = re.search(r"\d+\.\d[\d.]*", printed)
        if version and name != "python":
            versions[name] = version[0]
    return broken


def _version_of_proxy(directory: Path) -> dict[str, str]:
    """As it says of itself; nothing if it does not, which the comparison tells."""
    about = files.read_json(directory / PROXY / "package.json", MAXIMUM_LIST)
    version = about.get("version") if isinstance(about, dict) else None
    return {PROXY.name: version} if isinstance(version, str) else {}
