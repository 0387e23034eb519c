"""Any identity: when servers were stopped lately because memory was short.

The service writes this file into its public folder; everybody may read it, and nobody should trust it more than the
service. Whose servers those were is nobody else's business and not in it.
"""

from __future__ import annotations

import json
import time

from jupyterhub4family.common import paths
from jupyterhub4family.common.system import files

STATE_FILE = paths.PUBLIC / "short-memory.json"
#: Seconds for which it is told, and how many are kept.
REPORTED_FOR, KEPT = 7 * 24 * 3600, 100
MAXIMUM_SIZE = 8192


def stops() -> list[float]:
    """When servers were stopped within the last week (seconds since 1970)."""
    found = files.read_json(STATE_FILE, MAXIMUM_SIZE)
    times = found.get("stopped") if isinstance(found, dict) else None
    now = time.time()
    known = [one for one in (times if isinstance(times, list) else []) if isinstance(one, (int, float))]
    return [float(one) for one in known[:KEPT] if 0 <= now - one < REPORTED_FOR]


def add_stop() -> None:
    """Note that a server was stopped now. Raises OSError."""
    times = [int(one) for one in [*stops(), time.time()]][-KEPT:]
    files.write_atomically(STATE_FILE, json.dumps({"stopped": times}) + "\n", 0o644)
