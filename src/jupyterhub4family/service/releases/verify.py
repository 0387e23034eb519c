"""Runs as jupyterhub, called by `doctor` (or as anybody): is a release or template as it was fetched?

Each package brings a list of its files with their SHA-256 (RECORD, PEP 376). A file that is missing, empty or
different was lost to a power cut, a bad disk, or somebody's hand.
"""

from __future__ import annotations

import argparse
import base64
import csv
import hashlib
import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path

from jupyterhub4family.common import paths
from jupyterhub4family.common.errors import FamilyError
from jupyterhub4family.common.protocol import serving
from jupyterhub4family.common.protocol.service_programs import TreeReport
from jupyterhub4family.common.system import files
from jupyterhub4family.common.system import programs as system_programs
from jupyterhub4family.common.system.programs import Arg
from jupyterhub4family.service.releases import builds, contents
from jupyterhub4family.service.releases.builds import Tree

#: Names of files in an answer; more help nobody.
MOST_NAMES = 200
#: Bytes of a RECORD; the longest has some hundred kilobytes. Root waits for this program.
MAXIMUM_RECORD = 16 * 2**20
#: What the proxy sends in place of a file (proxy/compress_files.js), and the list of it, of some ten kilobytes.
COMPRESSED, MAXIMUM_LIST = "compressed", 4 * 2**20
#: Held by `builds.ensure` as long as it builds.
BUILD_LOCK = paths.STATE / "build.lock"
#: What files are read into: memory of its own for each of twenty thousand took a third of the kernel's time.
_BUFFER = memoryview(bytearray(2**18))
PROXY = Path("proxy/node_modules/configurable-http-proxy/bin/configurable-http-proxy")


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


def verify(tree: Tree, which: str) -> TreeReport:
    """What is wrong with the build in use: `missing` and `changed` files, programs that do not run (`broken`)."""
    directory = tree.current
    if not builds.is_complete(directory):
        return TreeReport(complete=False, being_built=_is_being_built())
    directory = directory.resolve()
    environment = directory / ("venv" if which == "release" else "env")
    missing: list[str] = []
    changed: list[str] = []
    files = _compare(environment, missing, changed)
    files += _compare_compressed(directory / COMPRESSED, changed)
    versions, broken = dict(_versions(environment)), list[str]()
    if which == "release":
        broken = _try_programs(directory, versions)
    return TreeReport(True, tree.is_current(), files, missing, changed, broken, versions)


def _is_being_built() -> bool:
    """Whether a release or template is on its way now."""
    try:
        lock = files.take_lock(BUILD_LOCK, wait=False)
    except OSError:
        return False  # who calls may not look there
    if lock is not None:
        os.close(lock)
    return lock is None


def _compare(environment: Path, missing: list[str], changed: list[str]) -> int:
    """Note the names of files that are not as they came; returns how many there are to be."""
    records = sorted(environment.glob("lib/python3*/site-packages/*.dist-info/RECORD"))
    if not records:
        missing.append("RECORD")
    count = 0
    for number, record in enumerate(records):
        serving.report(100 * number // len(records), record.parent.name)
        site = str(record.parent.parent)
        for name, digest in _entries(record):
            count += 1
            # Texts: a Path for each of twenty thousand files took a third of the time.
            path = (
                f"{site}/{name}" if ".." not in name and name[:1] != "/" else os.path.normpath(os.path.join(site, name))
            )
            found = _digest(path)
            if found != digest:
                names = changed if found else missing
                if len(names) < MOST_NAMES:
                    names.append(os.path.relpath(path, environment))
    return count


def _compare_compressed(directory: Path, changed: list[str]) -> int:
    """The same for what is kept compressed of the static files: others may not look, and it may be on its way."""
    if not os.access(directory, os.R_OK | os.X_OK):
        return 0
    listed = files.read_json(directory / "index.json", MAXIMUM_LIST)
    wanted = listed.get("sha256") if isinstance(listed, dict) else None
    if not wanted or _digest(str(directory / "files")) != wanted:
        changed.append(f"{directory.name}/files")
    return 1


def _entries(record: Path) -> Iterator[tuple[str, str]]:
    """Name and SHA-256 of every file in a RECORD that has one: compiled files have none."""
    try:
        rows = list(csv.reader((files.read_untrusted(record, MAXIMUM_RECORD) or b"").decode("utf-8").splitlines()))
    except (UnicodeDecodeError, csv.Error):
        rows = []
    if not rows:
        # An empty or unreadable list is itself what a power cut leaves.
        yield str(record.relative_to(record.parent.parent)), "?"
    for row in rows:
        if len(row) >= 2 and row[1].startswith("sha256="):
            yield row[0], row[1][len("sha256=") :]


def _digest(path: str) -> str:
    """The SHA-256 of a regular file as RECORD writes it; empty if there is no such file."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW)
    except OSError:
        return ""
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            return ""
        digest = hashlib.sha256()
        while length := os.readv(descriptor, [_BUFFER]):
            digest.update(_BUFFER[:length])
    finally:
        os.close(descriptor)
    return base64.urlsafe_b64encode(digest.digest()).rstrip(b"=").decode("ascii")


def _versions(environment: Path) -> Iterator[tuple[str, str]]:
    for directory in environment.glob("lib/python3*/site-packages/*.dist-info"):
        name, _dash, version = directory.name[: -len(".dist-info")].partition("-")
        yield re.sub(r"[-_.]+", "-", name).lower(), version


def _try_programs(directory: Path, versions: dict[str, str]) -> list[str]:
    """Node, the proxy and uv have no RECORD: whether they start has to do. Returns those that do not."""
    broken = []
    node = directory / "node" / "bin" / "node"
    programs: dict[str, list[Arg]] = {
        "node": [node, "--version"],
        "configurable-http-proxy": [node, directory / PROXY, "--version"],
        "uv": [directory / "uv" / "bin" / "uv", "--version"],
        "python": [directory / "venv" / "bin" / "python", "-I", "-c", "print('0')"],
    }
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
