"""Any identity: whether the hub's database was damaged lately and had to be replaced.

The service writes this file into its public folder; everybody may read it, and nobody should trust it more than the
service.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from typing import Optional

from jupyterhub4family.common import paths
from jupyterhub4family.common.i18n.messages import _
from jupyterhub4family.common.system import files

STATE_FILE = paths.PUBLIC / "database-mended.json"
#: Seconds for which it is told.
REPORTED_FOR = 14 * 24 * 3600
MAXIMUM_SIZE = 4096
#: As an hour of a log looks.
_HOUR = "%Y-%m-%d %H:%M"


@dataclass(frozen=True)
class Repaired:
    """A database that was damaged, and what took its place."""

    #: Seconds since 1970.
    at: float
    #: The name of the copy, which begins with its date; empty if there was none.
    copy: str

    def message(self) -> str:
        """All of it, for people."""
        at = time.strftime(_HOUR, time.localtime(self.at))
        if not self.copy:
            return _(
                "The hub's database was damaged ({date}) and had to start empty: everybody has to log in again", date=at
            )
        return _(
            "The hub's database was damaged ({date}) and was replaced by the copy of {day}; notebooks are not affected",
            date=at,
            day=self.copy[:10],
        )


def write_repaired(copy: str) -> None:
    """Note that the database was damaged, and which copy took its place. Raises OSError."""
    files.write_atomically(STATE_FILE, json.dumps({"at": time.time(), "copy": copy}) + "\n", 0o644)


def repaired_database() -> Optional[Repaired]:
    """The last time that it happened, if that is not long ago."""
    data = files.read_untrusted(STATE_FILE, MAXIMUM_SIZE)
    try:
        document = json.loads((data or b"").decode("ascii"))
        found = Repaired(float(document["at"]), str(document["copy"]))
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    return found if 0 <= time.time() - found.at < REPORTED_FOR else None
