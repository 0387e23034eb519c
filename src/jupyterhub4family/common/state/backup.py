"""Any identity: what is known about backups, read from the state file that root leaves for everybody.

There is no secret in it: neither the key nor a password that belongs to the target.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from jupyterhub4family.common import paths, records
from jupyterhub4family.common.i18n.messages import _, from_json, ngettext
from jupyterhub4family.common.system import files

#: Bytes; the file is short.
MAXIMUM_SIZE = 64 * 1024
HOUR, DAY = 3600, 86400
#: A last good backup older than this is worth a warning (three days: a weekend away is none).
OLD = 3 * DAY
BACKUP_NOW = "sudo jupyterhub4family backup now"


@records.dataclass(frozen=True)
class BackupState:
    """How backups stand. Times are seconds since 1970, 0 for never."""

    #: Where they go, for people; empty if no backup is set up.
    target: str = ""
    last_good: int = 0
    last_try: int = 0
    #: When what is no longer needed was last removed from the target.
    pruned: int = 0
    #: Why the last try failed, as `to_json` makes it; empty if it did not.
    problem: Any = ""
    #: What the last good one had to leave out, in the same form.
    left_out: Any = ""
    #: Connected to a backup that was there before: nothing is added until somebody has restored it, or has said so.
    waiting: bool = False
    #: When a restore of everything began that has not ended; else 0.
    restoring: int = 0

    def age(self) -> int:
        """Seconds since the last good backup; since 1970 if there was none."""
        return max(0, int(time.time()) - self.last_good)

    def problem_text(self) -> str:
        """Why the last try failed, in the reader's language; empty if it did not."""
        return from_json(self.problem) if self.problem else ""

    def incomplete(self) -> str:
        """What the last good backup had to leave out, in the reader's language; empty if nothing."""
        return from_json(self.left_out) if self.left_out else ""


def read_state(path: Path = paths.BACKUP_STATE) -> BackupState:
    """The state; an empty one if there is no file or it cannot be understood."""
    found = files.read_json(path, MAXIMUM_SIZE)
    if not isinstance(found, dict):
        return BackupState()
    known = {key: found[key] for key in BackupState.__dataclass_fields__ if key in found}
    texts = ("problem", "left_out")
    if any(type(value) is not type(getattr(BackupState, key)) for key, value in known.items() if key not in texts):
        return BackupState()
    return BackupState(**known)


def is_due(state: BackupState, now: float, local_hour: int) -> bool:
    """Whether it is time for the nightly backup, asked every hour.

    In the night after the last good one; of a machine that is off at night, or whose disk was not there, in any hour
    once more than a day has passed.
    """
    if not state.target or state.waiting or state.restoring:
        return False
    passed = now - state.last_good
    # A clock that was set back must not end the backups.
    return passed < 0 or passed >= 30 * HOUR or (passed >= 18 * HOUR and 1 <= local_hour <= 5)


def describe(state: BackupState) -> str:
    """One sentence for `status`: how old the last good backup is, with a warning if it is old."""
    if state.waiting:
        return _("Backup: {target} is connected, but nothing has been saved to it yet.", target=state.target)
    if not state.last_good:
        return _("Backup: none yet. Try: {command}", command=BACKUP_NOW)
    if state.age() >= OLD:
        return _("Backup: the last good one is {age} old. Try: {command}", age=age_text(state), command=BACKUP_NOW)
    return _("Backup: the last one is {age} old, in {target}.", age=age_text(state), target=state.target)


def age_text(state: BackupState) -> str:
    """How old the last good backup is: days, hours or minutes, as people say it."""
    age = state.age()
    if age >= 2 * DAY:
        return ngettext("{count} day", "{count} days", age // DAY)
    if age >= HOUR:
        return ngettext("{count} hour", "{count} hours", age // HOUR)
    return ngettext("{count} minute", "{count} minutes", age // 60)
