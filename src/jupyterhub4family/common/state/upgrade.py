"""Any identity: what is known of upgrades: one that is under way, one that failed, what can be gone back to.

Root writes these files, into a folder of its own; everybody may read them.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any, Optional

from jupyterhub4family.common import paths, records
from jupyterhub4family.common.i18n.messages import _, from_json, to_json
from jupyterhub4family.common.system import files

IN_PROGRESS = paths.UPGRADES / "under-way.json"
FAILED = paths.UPGRADES / "failed.json"
#: The package before the last upgrade, and what belonged to it.
PREVIOUS_PACKAGE = paths.UPGRADES / "previous.deb"
PREVIOUS = paths.UPGRADES / "previous.json"
#: There from the moment an upgrade's files are about to be unpacked until its programs take over.
PENDING = paths.UPGRADES / "just-kept.json"
#: Bytes; the files are short.
MAXIMUM_SIZE = 256 * 1024
#: Seconds that lie between the two at most: dpkg has other packages to configure.
PENDING_TIMEOUT = 3600


@records.dataclass(frozen=True)
class Edition:
    """What hub and proxy ran from: a version of the package (empty without the .deb) and the id of a release."""

    version: str = ""
    release: str = ""


@records.dataclass(frozen=True)
class Upgrade:
    """An upgrade that is under way, or the way back."""

    #: What ran before; where the way back leads.
    origin: Edition
    #: The version that is to take over, or, on the way back, the one that is left.
    target: str
    #: Whether the package of `origin` is kept, so that it can be installed again.
    kept: bool = False
    #: From here on maintainer scripts only lay files: who goes back does the rest.
    backwards: bool = False
    #: Whether somebody asked for the way back; else an upgrade has failed, for this reason.
    by_hand: bool = False
    reason: str = ""
    #: The release that is tried out; empty before it is there.
    release: str = ""
    #: The copy of the database that belongs to `origin`; empty if there is nothing to put back.
    copy: str = ""
    percent: int = 0
    message: str = ""
    #: Tells one from another.
    began: int = records.field(default_factory=time.time_ns)


@records.dataclass(frozen=True)
class Failure:
    """An upgrade that was tried and taken back."""

    origin: str
    target: str
    #: The release that must not be tried again by itself.
    release: str
    #: When, in ISO 8601, UTC.
    at: str
    reason: str
    #: What became of it, as a sentence.
    outcome: str

    def message(self) -> str:
        """All of it, for people."""
        return _(
            "The upgrade to {target} ({date}) failed: {reason}. {outcome}",
            target=self.target or _("a newer release"),
            date=self.at[:16].replace("T", " "),
            reason=self.reason,
            outcome=self.outcome,
        )


def upgrade_in_progress() -> Optional[Upgrade]:
    """The upgrade that is going on now, if one is."""
    found = _read(IN_PROGRESS)
    if found is None:
        return None
    names = {field.name for field in records.fields(Upgrade)}
    known = {key: value for key, value in found.items() if key in names}
    try:
        texts = {key: from_json(known.get(key, "")) for key in ("reason", "message")}
        return Upgrade(**{**known, **texts, "origin": _edition(known["origin"])})
    except (KeyError, TypeError):
        return None


def failed_upgrade() -> Optional[Failure]:
    """The last upgrade, if it failed."""
    found = _read(FAILED)
    try:
        return Failure(**{key: from_json(value) for key, value in found.items()}) if found is not None else None
    except TypeError:
        return None


def previous_edition() -> Optional[Edition]:
    """What `rollback` leads to; None if there is nothing to go back to."""
    found = _read(PREVIOUS)
    return _edition(found) if found is not None and PREVIOUS_PACKAGE.is_file() else None


def pending_edition() -> Optional[Edition]:
    """What ran before the upgrade whose files have just been unpacked."""
    found = _read(PENDING)
    return None if found is None else _edition(found)


def root_sees_to_it() -> bool:
    """Whether an upgrade is under way, or about to be: its files are being unpacked.

    Files that were unpacked longer ago than `PENDING_TIMEOUT` are followed by no upgrade: dpkg was broken off, or a
    policy-rc.d forbids starting anything.
    """
    if upgrade_in_progress() is not None:
        return True
    try:
        return time.time() - PENDING.stat().st_mtime < PENDING_TIMEOUT
    except OSError:
        return False


def write_state(path: Path, state: Any) -> None:
    """Keep an `Edition`, `Upgrade` or `Failure`. Raises OSError."""
    document = {key: to_json(value) if isinstance(value, str) else value for key, value in vars(state).items()}
    if isinstance(document.get("origin"), Edition):
        document["origin"] = vars(document["origin"])
    files.write_atomically(path, json.dumps(document, indent=1) + "\n")


def _edition(found: Any) -> Edition:
    if not isinstance(found, dict):
        raise TypeError("no edition")
    return Edition(str(found.get("version", "")), str(found.get("release", "")))


def _read(path: Path) -> Optional[dict[str, Any]]:
    found = files.read_json(path, MAXIMUM_SIZE)
    return found if isinstance(found, dict) else None
