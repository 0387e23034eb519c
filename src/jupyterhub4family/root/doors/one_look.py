"""Runs as root, inside doors: one look at many accounts reads what concerns all of them once.

Who asks about one account (a login, a start, a new member) has everything looked at anew, always, and within the
question once. A list of all members is one look: what it read for the first one it need not read for the next, a
hundredth of a second later.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Hashable, Iterator
from typing import Any, Callable, TypeVar

T = TypeVar("T")

#: What has been read, by the function that reads it and what that was asked; empty while nobody looks.
_looks: list[dict[Hashable, Any]] = []
#: In what has been read in a look at many.
_AT_MANY = "at many"


def at_many() -> contextlib.AbstractContextManager[None]:
    """What is looked at in here is one look. Afterwards nothing is remembered, however it ends."""
    return _a_look({_AT_MANY: True})


def at_one() -> contextlib.AbstractContextManager[None]:
    """What is looked at in here for one account is one look of its own, or part of the look at many."""
    return contextlib.nullcontext() if _looks else _a_look({})


@contextlib.contextmanager
def _a_look(read: dict[Hashable, Any]) -> Iterator[None]:
    _looks.append(read)
    try:
        yield
    finally:
        _looks.pop()


def is_at_many() -> bool:
    """Whether many accounts are looked at: of one that is looked at alone, nobody else's answer is true."""
    return bool(_looks) and _AT_MANY in _looks[-1]


def once(function: Callable[..., T]) -> Callable[..., T]:
    """Have `function` read what it reads once in each look; outside of one at each call. Nobody changes its result."""

    @functools.wraps(function)
    def read(*args: Hashable) -> T:
        if not _looks:
            return function(*args)
        # Written out: with 200 members it is called ten thousand times.
        read_before, key = _looks[-1], (function, args)
        if key not in read_before:
            read_before[key] = function(*args)
        found: T = read_before[key]
        return found

    return read


def remembered(key: Hashable, read: Callable[[], T]) -> T:
    """What `read` returns, once for each `key` in each look; outside of one at each call."""
    if not _looks:
        return read()
    read_before = _looks[-1]
    if key not in read_before:
        read_before[key] = read()
    found: T = read_before[key]
    return found
