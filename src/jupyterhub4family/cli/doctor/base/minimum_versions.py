"""Runs as the caller: which versions have a known security problem, since which version it is solved, and who says so.

`tools/audit --minimum-versions` writes the file at a release, from the databases of vulnerabilities. It says nothing
about problems found later; it keeps an old machine from looking well. Versions of Debian's own packages are Debian's
business (unattended-upgrades). Nor does it speak of what a family cannot do anything about and need not: what was
judged for a version (docs/reference/advisories.md) is no warning.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Optional

from jupyterhub4family.common import paths
from jupyterhub4family.common.errors import FamilyError
from jupyterhub4family.common.i18n.messages import _

MINIMUM_VERSIONS = paths.SHARE / "minimum-versions.json"
JUDGEMENTS = paths.SHARE / "judgements.json"


@dataclass(frozen=True)
class Floor:
    """Below `version`, from `first` on, a package has the problem that `source` tells of."""

    first: str
    version: str
    source: str


def read_floors() -> dict[str, list[Floor]]:
    """For each package the ranges of versions with a known problem. Raises FamilyError."""
    with _readable(MINIMUM_VERSIONS):
        found = json.loads(MINIMUM_VERSIONS.read_text("utf-8"))["affected"]
        return {
            package: [Floor(one["from"], one["below"], one["advisory"]) for one in ranges]
            for package, ranges in found.items()
        }


def _is_judged(package: str, version: str, advisory: str) -> bool:
    """Whether this advisory does not touch this version as we use it. Raises FamilyError."""
    with _readable(JUDGEMENTS):
        return any(
            one["package"] == package and version in one["versions"] and advisory in one["advisories"]
            for one in json.loads(JUDGEMENTS.read_text("utf-8"))["judged"]
        )


@contextlib.contextmanager
def _readable(file: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise FamilyError(
            _("{file} is missing or damaged", file=file),
            _("sudo apt-get install --reinstall jupyterhub4family"),
        ) from error


def below_floor(package: str, version: str) -> Optional[Floor]:
    """The known problem that `version` of `package` has; None if there is none that matters. Raises FamilyError."""
    for floor in read_floors().get(package, []):
        touched = numbers(floor.first) <= numbers(version) < numbers(floor.version)
        if touched and not _is_judged(package, version, floor.source):
            return floor
    return None


def numbers(version: str) -> tuple[int, ...]:
    """2.18.2 as numbers that can be compared; what follows them (rc1, +local) does not count."""
    found = re.match(r"v?(\d+(?:\.\d+)*)", version)
    return tuple(map(int, found[1].split("."))) if found else ()
