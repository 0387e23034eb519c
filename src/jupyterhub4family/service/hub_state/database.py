"""Runs as jupyterhub: dated copies of the hub's database, and the way back to one of them.

A copy is made with sqlite's own means while the hub goes on working: before an upgrade, and once a day. Putting one
back waits for the hub's next start: `run-hub` does it while it holds the lock that only one hub can hold, because
somebody asked for it, or because the database is damaged.
"""

from __future__ import annotations

import contextlib
import os
import re
import sqlite3
import time
from pathlib import Path
from typing import Optional

from jupyterhub4family.common import paths
from jupyterhub4family.common.errors import ExitStatus, FamilyError
from jupyterhub4family.common.i18n.messages import _
from jupyterhub4family.common.state import database
from jupyterhub4family.common.system import disk_space, files

DATABASE = paths.STATE / "jupyterhub.sqlite"
COPIES = paths.STATE / "database-copies"
#: Holds the name of the copy that the hub's next start puts in the database's place.
CHOSEN = paths.STATE / "database-copies.wanted"
#: So many copies are kept; of the daily ones, which would push out those from before an upgrade, fewer.
COPIES_KEPT, DAILY_COPIES_KEPT = 6, 3
DAILY = "-daily"
#: Seconds after which a day's copy is due.
A_DAY = 20 * 3600
#: A damaged database, kept for whoever wants to look into it.
BROKEN = DATABASE.with_name(f"{DATABASE.name}.broken")
#: Seconds to wait for the hub to finish writing.
TIMEOUT = 60.0
_NAME = re.compile(r"[0-9TZ-]{12,24}(-replaced|-daily)?\.sqlite")
#: How alembic names the files that bring a database from one form to the next.
_REVISION_FILE = re.compile(r"([0-9a-f]{12})_\w*\.py")


def copy_database(suffix: str = "") -> str:
    """Copy the database; returns the copy's name, empty if there is no database yet. Raises FamilyError."""
    if not DATABASE.exists():
        return ""
    name = f"{_now()}{suffix}.sqlite"
    try:
        COPIES.mkdir(mode=0o700, exist_ok=True)
        _copy(DATABASE, COPIES / name)
        _remove_old_copies()
    except (OSError, sqlite3.Error) as error:
        raise _disk_error(error) from error
    return name


def copy_of_the_day() -> str:
    """Copy the database unless that was done within a day; returns the copy's name, if any. Raises FamilyError."""
    with contextlib.suppress(OSError):
        if any(time.time() - path.stat().st_mtime < A_DAY for path in COPIES.glob(f"*{DAILY}.sqlite")):
            return ""
    return copy_database(DAILY)


def repair_database() -> None:
    """Put the newest whole copy in the place of a damaged database; for `run-hub`, before the hub opens it.

    Without any the hub makes a new database and learns the members anew. What was damaged stays, as `BROKEN`. Never
    raises; interrupted at any moment, it is done again at the next start.
    """
    try:
        damage = _damage()
        if not damage:
            return
        print(f"the database is damaged: {damage}", flush=True)
        copy, staging = _newest_whole_copy()
        for word in ("-wal", "-shm", "-journal"):
            DATABASE.with_name(DATABASE.name + word).unlink(missing_ok=True)
        database.write_repaired(copy)
        DATABASE.replace(BROKEN)
        if copy:
            staging.replace(DATABASE)
        files.sync_directory(paths.STATE)
        print(f"the database is that of {copy} again" if copy else "there is no copy; it begins anew", flush=True)
    except (OSError, sqlite3.Error) as error:
        print(f"the database could not be looked at: {error}", flush=True)


def choose_copy(untrusted_name: str) -> None:
    """Have the hub's next start put this copy in the database's place. Raises FamilyError if there is no such copy."""
    files.write_atomically(CHOSEN, _existing_copy(untrusted_name).name + "\n", 0o600)


def restore_wanted_copy() -> None:
    """Do what `choose_copy` asked for, if it did; for `run-hub`, before the hub opens its database.

    What is replaced stays among the copies. Interrupted at any moment, it is done again at the next start.
    """
    try:
        wanted = CHOSEN.read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError):
        return
    try:
        staging = DATABASE.with_name(f".{DATABASE.name}.fresh")
        _copy(_existing_copy(wanted), staging)
        if DATABASE.exists():
            _play_back()
            with contextlib.suppress(FileExistsError):
                os.link(DATABASE, COPIES / f"{_now()}-replaced.sqlite")
        for word in ("-journal", "-wal", "-shm"):
            DATABASE.with_name(DATABASE.name + word).unlink(missing_ok=True)
        staging.replace(DATABASE)
        files.sync_directory(paths.STATE)
        print(f"the database is that of {wanted} again", flush=True)
    except (OSError, sqlite3.Error, FamilyError) as error:
        # The hub still has a database, and whoever asked for another one finds out by a trial login.
        print(f"the database could not be put back: {error}", flush=True)
    CHOSEN.unlink(missing_ok=True)


def fits(release: Path) -> bool:
    """Whether the JupyterHub in `release` knows the form that the database has now, or brings it up to its own."""
    return revision(DATABASE) in known_revisions(release) | {""}


def newest_fitting_copy(release: Path) -> str:
    """The name of the newest copy whose form the JupyterHub in `release` knows; empty if there is none."""
    known = known_revisions(release)
    names = sorted((path.name for path in COPIES.glob("*.sqlite") if _NAME.fullmatch(path.name)), reverse=True)
    return next((name for name in names if revision(COPIES / name) in known), "")


def revision(database: Path) -> str:
    """The name of a database's form (alembic's revision); empty if it has none or cannot be read."""
    try:
        with contextlib.closing(opened(database)) as connection:
            row: Optional[tuple[str]] = connection.execute("SELECT version_num FROM alembic_version").fetchone()
    except sqlite3.Error:
        return ""
    return str(row[0]) if row else ""


def known_revisions(release: Path) -> set[str]:
    """All forms of the database that the JupyterHub in `release` knows."""
    directories = release.glob("venv/lib/python3*/site-packages/jupyterhub/alembic/versions")
    found = (_REVISION_FILE.fullmatch(file.name) for directory in directories for file in directory.iterdir())
    return {match[1] for match in found if match}


def _damage() -> str:
    """What is wrong with the database; empty if it is whole or not there. Raises OSError or sqlite3.Error."""
    if not DATABASE.exists():
        return ""
    try:
        with contextlib.closing(opened(DATABASE)) as connection:
            (found,) = connection.execute("PRAGMA integrity_check(1)").fetchone()
    except sqlite3.OperationalError:
        raise  # the disk is full, or it cannot be read: another one would not help
    except sqlite3.DatabaseError as error:
        return str(error)
    return "" if found == "ok" else str(found)


def _newest_whole_copy() -> tuple[str, Path]:
    """Its name, and where it lies ready to be put in place; an empty name if there is none."""
    staging = DATABASE.with_name(f".{DATABASE.name}.fresh")
    for name in sorted((path.name for path in COPIES.glob("*.sqlite") if _NAME.fullmatch(path.name)), reverse=True):
        with contextlib.suppress(sqlite3.DatabaseError):
            _copy(COPIES / name, staging)
            return name, staging
    return "", staging


def _copy(source: Path, target: Path) -> None:
    """Raises OSError or sqlite3.Error; `target` is then as it was."""
    staging = target.with_name(f".{target.name}.{os.getpid()}")
    staging.unlink(missing_ok=True)
    os.close(os.open(staging, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600))
    try:
        with contextlib.closing(opened(source)) as old, contextlib.closing(sqlite3.connect(staging)) as new:
            old.backup(new)
            make_single(new)
            (found,) = new.execute("PRAGMA integrity_check(1)").fetchone()
        if found != "ok":
            raise sqlite3.DatabaseError(str(found))
        descriptor = os.open(staging, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        staging.replace(target)
    finally:
        staging.unlink(missing_ok=True)
    files.sync_directory(target.parent)


def opened(database: Path) -> sqlite3.Connection:
    """For reading; a hub that was killed may have left a log, which sqlite then has to play back."""
    return sqlite3.connect(f"file:{database}?mode=rw", uri=True, timeout=TIMEOUT)


def make_single(copy: sqlite3.Connection) -> None:
    """Have a copy be one file that can be read where nothing can be written; it has the hub's mode from its source."""
    copy.execute("PRAGMA journal_mode = DELETE")


def _play_back() -> None:
    """Bring the database up to date with the log that a hub has left which was killed."""
    with contextlib.suppress(sqlite3.Error), contextlib.closing(opened(DATABASE)) as connection:
        # Its log goes when it is closed, as by the last who has it open.
        connection.execute("SELECT count(*) FROM sqlite_master").fetchone()


def _existing_copy(untrusted_name: str) -> Path:
    if not _NAME.fullmatch(untrusted_name) or not (COPIES / untrusted_name).is_file():
        raise FamilyError(_("there is no copy {name} of the database", name=repr(untrusted_name[:40])))
    return COPIES / untrusted_name


def _remove_old_copies() -> None:
    names = sorted(path.name for path in COPIES.glob("*.sqlite") if _NAME.fullmatch(path.name))
    daily = [name for name in names if DAILY in name]
    others = [name for name in names if DAILY not in name]
    for name in (*others[:-COPIES_KEPT], *daily[:-DAILY_COPIES_KEPT]):
        (COPIES / name).unlink(missing_ok=True)


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H%M%SZ", time.gmtime())


def _disk_error(error: Exception) -> FamilyError:
    if disk_space.is_full(error):
        return FamilyError(
            _("the disk is full, so the database could not be copied"), _("free some space"), ExitStatus.DISK_FULL
        )
    return FamilyError(_("the database could not be copied: {reason}", reason=str(error)))
