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
from typing import Any

from jupyterhub4family.common import paths
from jupyterhub4family.common.errors import FamilyError
from jupyterhub4family.common.protocol import json_lines
from jupyterhub4family.common.system import files
from jupyterhub4family.common.system import programs as system_programs
from jupyterhub4family.common.system.programs import Arg
from jupyterhub4family.service.releases import builds, contents
from jupyterhub4family.service.releases.builds import Tree

#: Names of files in an answer; more help nobody.
MOST_NAMES = 200
#: Held by `builds.ensure` as long as it builds.
BUILD_LOCK = paths.STATE / "build.lock"
PROXY = Path("proxy/node_modules/configurable-http-proxy/bin/configurable-http-proxy")


def main() -> int:
    """Program `verify-tree release|template`: lines of JSON on stdout, the answer last."""
    parser = argparse.ArgumentParser(prog="verify-tree", description="Compare files with the sums they came with.")
    parser.add_argument("tree", choices=("release", "template"))
    which = parser.parse_args().tree
    try:
        answer = verify(_tree(which), which)
    except FamilyError as error:
        json_lines.write_line(json_lines.error_answer(error))
        return int(error.status)
    json_lines.write_line({"ok": True, **answer})
    return 0


def _tree(which: str) -> Tree:
    def silent(_percent: int, _sentence: str) -> None:
        """Nothing is built here."""

    return contents.release_tree(silent) if which == "release" else contents.template_tree(silent)


def verify(tree: Tree, which: str) -> dict[str, Any]:
    """What is wrong with the build in use: `missing` and `changed` files, programs that do not run (`broken`)."""
    directory = tree.current
    answer: dict[str, Any] = {"complete": builds.is_complete(directory), "wanted": False, "files": 0}
    answer.update(missing=[], changed=[], broken=[], versions={})
    if not answer["complete"]:
        answer["being_built"] = _is_being_built()
        return answer
    directory = directory.resolve()
    answer["wanted"] = tree.is_current()
    environment = directory / ("venv" if which == "release" else "env")
    _compare(environment, answer)
    answer["versions"] = dict(_versions(environment))
    if which == "release":
        _try_programs(directory, answer)
    return answer


def _is_being_built() -> bool:
    """Whether a release or template is on its way now."""
    try:
        lock = files.take_lock(BUILD_LOCK, wait=False)
    except OSError:
        return False  # who calls may not look there
    if lock is not None:
        os.close(lock)
    return lock is None


def _compare(environment: Path, answer: dict[str, Any]) -> None:
    records = sorted(environment.glob("lib/python3*/site-packages/*.dist-info/RECORD"))
    if not records:
        answer["missing"].append("RECORD")
    for number, record in enumerate(records):
        json_lines.write_line({"percent": 100 * number // len(records), "message": record.parent.name})
        for name, digest in _entries(record):
            answer["files"] += 1
            path = Path(os.path.normpath(record.parent.parent / name))
            found = _digest(path)
            if found != digest:
                names = answer["missing" if not found else "changed"]
                if len(names) < MOST_NAMES:
                    names.append(os.path.relpath(path, environment))


def _entries(record: Path) -> Iterator[tuple[str, str]]:
    """Name and SHA-256 of every file in a RECORD that has one: compiled files have none."""
    try:
        rows = list(csv.reader(record.read_text("utf-8").splitlines()))
    except (OSError, UnicodeDecodeError, csv.Error):
        rows = []
    if not rows:
        # An empty or unreadable list is itself what a power cut leaves.
        yield str(record.relative_to(record.parent.parent)), "?"
    for row in rows:
        if len(row) >= 2 and row[1].startswith("sha256="):
            yield row[0], row[1][len("sha256=") :]


def _digest(path: Path) -> str:
    """The SHA-256 of a regular file as RECORD writes it; empty if there is no such file."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW)
    except OSError:
        return ""
    with open(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            return ""
        digest = hashlib.sha256()
        while block := file.read(2**18):
            digest.update(block)
    return base64.urlsafe_b64encode(digest.digest()).rstrip(b"=").decode("ascii")


def _versions(environment: Path) -> Iterator[tuple[str, str]]:
    for directory in environment.glob("lib/python3*/site-packages/*.dist-info"):
        name, _dash, version = directory.name[: -len(".dist-info")].partition("-")
        yield re.sub(r"[-_.]+", "-", name).lower(), version


def _try_programs(directory: Path, answer: dict[str, Any]) -> None:
    """Node, the proxy and uv have no RECORD: whether they start has to do."""
    node = directory / "node" / "bin" / "node"
    programs: dict[str, list[Arg]] = {
        "node": [node, "--version"],
        "configurable-http-proxy": [node, directory / PROXY, "--version"],
        "uv": [directory / "uv" / "bin" / "uv", "--version"],
        "python": [directory / "venv" / "bin" / "python", "-I", "-c", "print('0')"],
    }
    for name, args in programs.items():
        try:
            said = system_programs.run(args, timeout=60).output
        except FamilyError:
            answer["broken"].append(name)
            continue
        version = re.search(r"\d+\.\d[\d.]*", said)
        if version and name != "python":
            answer["versions"][name] = version[0]
