"""Runs as root, only inside the door `authenticate`: how many tries are left, before a password is looked at.

Tries are counted in *lanes*, which do not fill each other: one for whoever comes from a device that the account has not
logged in from, and one for each device that it has. A try takes its place in the lane first and gives it back if the
password was right, so that a hundred at once are not more than a hundred one after the other; one that dies on the way
counts as wrong. docs/adr/0024-whose-tries-count.md says what the numbers are for.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Optional

from jupyterhub4family.common import records
from jupyterhub4family.common.errors import FamilyError
from jupyterhub4family.common.i18n.messages import _
from jupyterhub4family.common.system import files
from jupyterhub4family.root.base import run_dir

#: Root's, in memory: gone after a reboot. Removing it forgives everybody.
FILE_NAME = "tries.json"
#: Seconds that a door waits for its turn to count. Whoever has it needs milliseconds.
LOCK_TIMEOUT = 10.0
#: So many names that are no member's are remembered; all further ones share one lane.
MAXIMUM_STRANGE_NAMES = 1000


@records.dataclass(frozen=True)
class Limit:
    """At most `most` wrong tries within any `within` seconds."""

    most: int
    within: float


#: Of a name, from devices that are not known to belong to it. Whether there is such an account makes no difference.
STRANGERS = Limit(5, 60)
#: Of an account, from one of its devices.
DEVICE = Limit(5, 60)
#: Beyond this the device is like any other: a cookie that somebody has stolen, a sibling on a computer that is shared.
DEVICE_TRUST = Limit(10, 900)
#: Of an account, from all its devices. The hub says which device it is: this is what a hub in wrong hands has more.
ALL_DEVICES = Limit(40, 900)
#: Of an account that is no member's: beyond this PAM is not asked about it. Its owner is told that it is no member.
OUTSIDER = Limit(5, 3600)
#: What a lane's name begins with; and for how many seconds its tries are of interest.
_MEMBERS, _STRANGE, _OUTSIDER, _OWN_DEVICE, _OWN_DEVICES = "member ", "strange ", "outsider ", "device ", "devices "
_REMEMBERED = {
    _MEMBERS: STRANGERS.within,
    _STRANGE: STRANGERS.within,
    _OUTSIDER: OUTSIDER.within,
    _OWN_DEVICE: DEVICE_TRUST.within,
    _OWN_DEVICES: ALL_DEVICES.within,
}
_CROWD = f"{_STRANGE}*"


@records.dataclass(frozen=True)
class Try:
    """A place that was taken, in each of these lanes, at this time of the machine's own clock."""

    lanes: tuple[str, ...]
    at: float


class Lanes:
    """When wrong tries were made, by lane; what `_state` reads and writes."""

    def __init__(self, untrusted: object, now: float) -> None:
        """From what the file holds; what does not look like ours, or is too old, is left out."""
        self.now = now
        self.tries: dict[str, list[float]] = {}
        for lane, times in untrusted.items() if isinstance(untrusted, dict) else ():
            oldest = now - _REMEMBERED.get(f"{lane.partition(' ')[0]} ", 0)
            numbers = [at for at in times if isinstance(at, (int, float))] if isinstance(times, list) else []
            recent = [at for at in numbers if oldest < at <= now]
            if recent:
                self.tries[lane] = recent

    def is_full(self, lane: str, limit: Limit) -> bool:
        """Whether no further try fits in."""
        return sum(at > self.now - limit.within for at in self.tries.get(lane, ())) >= limit.most

    def take(self, *lanes: str) -> Try:
        """Take a place in each of these."""
        for lane in lanes:
            self.tries.setdefault(lane, []).append(self.now)
        return Try(lanes, self.now)

    def give_back(self, attempt: Try) -> None:
        """As if it had not been."""
        for lane in attempt.lanes:
            with contextlib.suppress(KeyError, ValueError):
                self.tries[lane].remove(attempt.at)

    def strange(self, lane: str) -> str:
        """The lane of a name that is no member's: its own, or the one that all share for whom there is no room.

        Names that may not be tried just now are never forgotten in favour of others.
        """
        known = [name for name in self.tries if name.startswith(_STRANGE)]
        if lane in self.tries or len(known) < MAXIMUM_STRANGE_NAMES:
            return lane
        forgettable = [name for name in known if name != _CROWD and not self.is_full(name, STRANGERS)]
        if not forgettable:
            return _CROWD
        # Those of the fewest tries, and of these the one that was heard of first.
        del self.tries[min(forgettable, key=lambda name: len(self.tries[name]))]
        return lane


def begin(name: str, device: str, *, is_member: bool) -> Optional[Try]:
    """Take a place for one try; None if none is free: then the password must not be looked at.

    `device` is one that the hub says the member has logged in from, or "". Raises FamilyError and OSError when nothing
    can be counted: then no password is looked at either.
    """
    with _state() as lanes:
        if device and is_member:
            own, all_of_them = f"{_OWN_DEVICE}{name} {device}", f"{_OWN_DEVICES}{name}"
            if not lanes.is_full(own, DEVICE_TRUST) and not lanes.is_full(all_of_them, ALL_DEVICES):
                return None if lanes.is_full(own, DEVICE) else lanes.take(own, all_of_them)
        lane = f"{_MEMBERS}{name}" if is_member else lanes.strange(f"{_STRANGE}{_digest(name)}")
        return None if lanes.is_full(lane, STRANGERS) else lanes.take(lane)


def begin_outsider(name: str) -> Optional[Try]:
    """The same for asking PAM about an account that is no member's; besides `begin`."""
    with _state() as lanes:
        lane = f"{_OUTSIDER}{name}"
        return None if lanes.is_full(lane, OUTSIDER) else lanes.take(lane)


def forgive(*attempts: Optional[Try]) -> None:
    """Give places back: the password was right, or could not be checked. Raises as `begin` does."""
    with _state() as lanes:
        for attempt in attempts:
            if attempt is not None:
                lanes.give_back(attempt)


def _digest(untrusted_name: str) -> str:
    """The same length for every name that is no account's; what is typed for a name is sometimes a password."""
    import hashlib  # OpenSSL with it: two milliseconds that no member has to wait

    return hashlib.sha256(untrusted_name.encode("utf-8", "surrogatepass")).hexdigest()[:32]


@contextlib.contextmanager
def _state() -> Iterator[Lanes]:
    """The lanes, for one look and one change, which is kept if nothing is raised."""
    run_dir.ensure_run_dir()
    file = run_dir.RUN_DIR / FILE_NAME
    descriptor = _turn(run_dir.RUN_DIR / "tries.lock")
    try:
        lanes = Lanes(_content(file), _clock())
        yield lanes
        text = json.dumps({lane: times for lane, times in lanes.tries.items() if times})
        files.write_atomically(file, text, 0o600)
    finally:
        os.close(descriptor)


def _turn(lock: Path) -> int:
    """The lock's descriptor. Raises FamilyError if it is not to be had: a hub in wrong hands may have stopped one."""
    descriptor = files.take_lock_within(lock, LOCK_TIMEOUT)
    if descriptor is None:
        raise FamilyError(_("wrong passwords cannot be counted: {lock} is taken", lock=str(lock)))
    return descriptor


def _content(file: Path) -> object:
    try:
        return json.loads(file.read_text("utf-8"))
    except (FileNotFoundError, ValueError):
        return {}


def _clock() -> float:
    """Seconds since the machine started, also those in which it slept; the same for every process."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)
