"""Any identity: whether the hub's database was damaged lately and had to be replaced.

The service writes this file into its public folder; everybody may read it, and nobody should trust it more than the
service.
"""

from __future__ import annotations

import json
import re
import time
from typing import Optional

from jupyterhub4family.common import paths, records
from jupyterhub4family.common.i18n.messages import _
from jupyterhub4family.common.system import files

STATE_FILE = paths.PUBLIC / "database-mended.json"
#: Seconds for which it is told.
REPORTED_FOR = 14 * 24 * 3600
MAXIMUM_SIZE = 4096
#: The name of a copy (service/hub_state/database.py).
_COPY = re.compile(r"[A-Za-z0-9.+-]{0,100}")
#: As an hour of a log looks.
_HOUR = "%Y-%m-%d %H:%M"


@records.dataclass(frozen=True)
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
    found = files.read_json(STATE_FILE, MAXIMUM_SIZE)
    at, copy = (found.get("at"), found.get("copy")) if isinstance(found, dict) else (None, None)
    if not isinstance(at, (int, float)) or not isinstance(copy, str) or not _COPY.fullmatch(copy):
        return None
    return Repaired(float(at), copy) if 0 <= time.time() - at < REPORTED_FOR else None
