"""Runs as the caller: which versions have a known security problem, since which version it is solved, and who says so.

`tools/audit --minimum-versions` writes the file at a release, from the databases of vulnerabilities. It says nothing
about problems found later; it keeps an old machine from looking well. Versions of Debian's own packages are Debian's
business (unattended-upgrades).
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Optional

from jupyterhub4family.common import paths
from jupyterhub4family.common.errors import FamilyError
from jupyterhub4family.common.i18n.messages import _

MINIMUM_VERSIONS = paths.SHARE / "minimum-versions.json"


@dataclass(frozen=True)
class Floor:
    """Below `version`, from `first` on, a package has the problem that `source` tells of."""

    first: str
    version: str
    source: str


def read_floors() -> dict[str, list[Floor]]:
    """For each package the ranges of versions with a known problem. Raises FamilyError."""
    try:
        found = json.loads(MINIMUM_VERSIONS.read_text("utf-8"))["affected"]
        return {
            package: [Floor(one["from"], one["below"], one["advisory"]) for one in ranges]
            for package, ranges in found.items()
        }
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise FamilyError(
            _("{file} is missing or damaged", file=MINIMUM_VERSIONS),
            _("sudo apt-get install --reinstall jupyterhub4family"),
        ) from error


def below_floor(package: str, version: str) -> Optional[Floor]:
    """The known problem that `version` of `package` has; None if there is none. Raises FamilyError."""
    for floor in read_floors().get(package, []):
        if numbers(floor.first) <= numbers(version) < numbers(floor.version):
            return floor
    return None


def numbers(version: str) -> tuple[int, ...]:
    """2.18.2 as numbers that can be compared; what follows them (rc1, +local) does not count."""
    found = re.match(r"v?(\d+(?:\.\d+)*)", version)
    return tuple(map(int, found[1].split("."))) if found else ()
