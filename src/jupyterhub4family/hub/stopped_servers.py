"""Runs inside JupyterHub's process, as `jupyterhub`: which servers were stopped for want of memory.

Until they run again their members' pages say so; a hub that restarts meanwhile still knows.
"""

from __future__ import annotations

import contextlib
import json
import logging
from collections.abc import Callable

from jupyterhub4family.common import paths
from jupyterhub4family.common.state import short_memory
from jupyterhub4family.common.system import files

#: Not public: members choose the names of their servers.
FILE = paths.STATE / "stopped-for-memory.json"
MAXIMUM_SIZE = 256 * 1024

log = logging.getLogger("jupyterhub4family")


class StoppedServers:
    """Servers by member and name (empty: the default one)."""

    def __init__(self) -> None:
        self._servers: set[tuple[str, str]] = set()

    def load(self) -> None:
        """Take up what an earlier hub process has noted."""
        found = files.read_json(FILE, MAXIMUM_SIZE)
        for one in found if isinstance(found, list) else ():
            if isinstance(one, list) and len(one) == 2 and all(isinstance(word, str) for word in one):
                self._servers.add((one[0], one[1]))

    def add(self, member: str, name: str) -> None:
        """Note that this server was stopped just now."""
        self._servers.add((member, name))
        self._save()
        with contextlib.suppress(OSError):  # a full disk; nobody misses it
            short_memory.add_stop()

    def __contains__(self, server: tuple[str, str]) -> bool:
        return server in self._servers

    def forget(self, is_over: Callable[[str, str], bool]) -> None:
        """Drop those that run again, or are no more."""
        over = {one for one in self._servers if is_over(*one)}
        if over:
            self._servers -= over
            self._save()

    def _save(self) -> None:
        try:
            files.write_atomically(FILE, json.dumps(sorted(self._servers)) + "\n", 0o600)
        except OSError as error:
            log.error("It could not be noted which servers were stopped: %s", error)
