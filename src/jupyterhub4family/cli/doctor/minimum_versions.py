"""Runs as the caller: the oldest versions without a known security problem that matters here, and who says so.

Looked up in November 2026. A floor says nothing about problems found later; it keeps an old machine from looking
well. Versions of Debian's own packages are Debian's business (unattended-upgrades).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Optional


@dataclass(frozen=True)
class Floor:
    """Below `version` a package has the problem that `source` tells of."""

    version: str
    source: str


FLOORS = {
    # Sharing of servers with others, and roles that are filtered by group, as the delegates' is.
    "jupyterhub": Floor("5.5.1", "GHSA-c4gm-pwx9-9w8j"),
    # A notebook from somebody else could act as whoever opens it as HTML.
    "jupyter-server": Floor("2.20.0", "CVE-2026-44727"),
    # A button in a notebook from somebody else could run commands.
    "jupyterlab": Floor("4.5.7", "CVE-2026-42557"),
    "notebook": Floor("7.5.6", "CVE-2026-40171"),
    # Paths in a notebook led out of its folder.
    "nbconvert": Floor("7.17.1", "CVE-2026-39378"),
    # Bodies that unpack to more than the limit; earlier ones (6.5.5) about many parts.
    "tornado": Floor("6.5.7", "CVE-2026-49855"),
    # The security release of 21 October 2026.
    "node": Floor("24.22.1", "CVE-2026-111497"),
}


def below_floor(package: str, version: str) -> Optional[Floor]:
    """The floor that `version` of `package` is below; None if it is not, or if there is none."""
    floor = FLOORS.get(package)
    return floor if floor is not None and _numbers(version) < _numbers(floor.version) else None


def _numbers(version: str) -> tuple[int, ...]:
    """2.18.2 as numbers that can be compared; what follows them (rc1, +local) does not count."""
    found = re.match(r"v?(\d+(?:\.\d+)*)", version)
    return tuple(map(int, found[1].split("."))) if found else ()
