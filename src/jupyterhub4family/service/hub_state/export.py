"""Runs as jupyterhub, called by root's `backup`: gives the hub's state for a backup, and takes it back from one.

Root reads and writes nothing in the service's folders by itself: the state crosses as one JSON object.
"""

from __future__ import annotations

import argparse
import base64
import binascii
import contextlib
import json
import os
import sqlite3
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jupyterhub4family.common import paths
from jupyterhub4family.common.errors import FamilyError, UsageError
from jupyterhub4family.common.i18n.messages import _
from jupyterhub4family.common.protocol import serving
from jupyterhub4family.common.protocol.service_programs import HubState, Kept
from jupyterhub4family.common.system import disk_space
from jupyterhub4family.common.system import files as system_files
from jupyterhub4family.service.hub_state import database

DATABASE = "jupyterhub.sqlite"
#: Everything that makes a hub the same hub, relative to the state; all are small but the database.
FILES = (
    DATABASE,
    "cookie_secret",
    "proxy_token",
    "routes_token",
    "membership_token",
    "tls/ca.key",
    "tls/ca.crt",
    "tls/portal.key",
    "tls/portal.crt",
)
#: What sqlite keeps beside a database belongs to that very database.
_BESIDE = ("-journal", "-wal", "-shm")
#: Bytes, in base64; a family's database has less than one megabyte.
MAXIMUM_STATE = 90 * 2**20


def main() -> int:
    """Program `hub-state export|import`: the answer, or the request, is {"files": {name: base64}}."""
    parser = argparse.ArgumentParser(prog="hub-state", description="The hub's state, for backups.")
    parser.add_argument("action", choices=("export", "import"))
    action = parser.parse_args().action
    os.umask(0o077)
    return serving.answer(_export if action == "export" else _import)


def _export() -> HubState:
    return HubState({name: base64.b64encode(data).decode("ascii") for name, data in exported().items()})


def _import() -> Kept:
    return Kept(str(import_state(_request())))


def exported() -> dict[str, bytes]:
    """Name and content of each file of the state that there is; the database as it was at one moment."""
    found = {}
    for name in FILES:
        with contextlib.suppress(FileNotFoundError):
            found[name] = _database_copy() if name == DATABASE else _content(paths.STATE / name)
    return found


def _content(file: Path) -> bytes:
    """What a file says. Raises FileNotFoundError; FamilyError where there is something else, which may never end."""
    data = system_files.read_untrusted(file, MAXIMUM_STATE)
    if data is None and os.path.lexists(file):
        raise FamilyError(_("{file} is not a plain file", file=str(file)), "sudo jupyterhub4family doctor")
    if data is None:
        raise FileNotFoundError(file)
    return data


def _database_copy() -> bytes:
    """The database, by sqlite's own means of copying one that is being written."""
    if not (paths.STATE / DATABASE).exists():
        raise FileNotFoundError
    staging = paths.STATE / f".{DATABASE}.backup"
    staging.unlink(missing_ok=True)
    try:
        with contextlib.ExitStack() as stack:
            source = stack.enter_context(contextlib.closing(database.opened(paths.STATE / DATABASE)))
            copy = stack.enter_context(contextlib.closing(sqlite3.connect(staging)))
            source.backup(copy)
            database.make_single(copy)
        _check_database(staging)
        return staging.read_bytes()
    except sqlite3.Error as error:
        raise FamilyError(
            _("the hub's database cannot be copied: {reason}", reason=str(error)), "sudo jupyterhub4family doctor"
        ) from error
    finally:
        staging.unlink(missing_ok=True)


def _check_database(path: Path) -> None:
    """Raise sqlite3.DatabaseError unless the database is whole."""
    with contextlib.closing(sqlite3.connect(path)) as opened:
        result = opened.execute("PRAGMA integrity_check").fetchone()[0]
    if result != "ok":
        raise sqlite3.DatabaseError(result)


def _request() -> Mapping[str, bytes]:
    """The files that root hands over. Raises UsageError for anything else."""
    untrusted_bytes = sys.stdin.buffer.read(MAXIMUM_STATE + 1)
    try:
        if len(untrusted_bytes) > MAXIMUM_STATE:
            raise ValueError
        untrusted: Any = json.loads(untrusted_bytes)["files"]
        return {name: base64.b64decode(untrusted[name], validate=True) for name in FILES if name in untrusted}
    except (ValueError, TypeError, KeyError, RecursionError, binascii.Error):
        raise UsageError(_("the request is not a JSON object")) from None


def import_state(files: Mapping[str, bytes]) -> Path:
    """Put these files in place of those there are, which are kept in the folder that is returned.

    Everything is written and looked at aside first; then come renames. Raises FamilyError before anything is changed.
    The hub must not be running.
    """
    restored, kept = paths.STATE / ".restoring", paths.STATE / time.strftime("before-restore-%Y%m%d-%H%M%S")
    try:
        _remove(restored)
        for name, data in files.items():
            _write(restored / name, data)
        if DATABASE in files:
            _check_database(restored / DATABASE)
        # First: with another database in its place, the log of the old one would be played back into that.
        for name in [*(DATABASE + ending for ending in _BESIDE), *FILES]:
            if name in files or (name.startswith(DATABASE) and DATABASE in files):
                _exchange(restored / name, paths.STATE / name, kept / name)
        _remove(restored)
        system_files.sync_directory(paths.STATE)
    except sqlite3.Error as error:
        _remove(restored)
        raise FamilyError(_("the database in the backup is damaged: {reason}", reason=str(error))) from error
    except OSError as error:
        raise FamilyError(
            _("{file} cannot be written: {error}", file=str(paths.STATE), error=str(error.strerror)),
            status=disk_space.exit_status(error),
        ) from error
    return kept


def _exchange(restored: Path, target: Path, kept: Path) -> None:
    """Put `restored` (if it is there) in place of what is at `target`, which goes to `kept`."""
    if target.exists():
        kept.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        target.rename(kept)
    if restored.exists():
        target.parent.mkdir(mode=0o700, exist_ok=True)
        restored.rename(target)


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _remove(restored: Path) -> None:
    """Take a folder of ours away, with the few files that can be in it."""
    for name in FILES:
        (restored / name).unlink(missing_ok=True)
    for directory in (restored / "tls", restored):
        with contextlib.suppress(OSError):
            directory.rmdir()
