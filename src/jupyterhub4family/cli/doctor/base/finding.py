"""Runs as the caller: what a check of `doctor` has found, and what it needs to know to look."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Callable

from jupyterhub4family.common.protocol.responses import ProgressCallback
from jupyterhub4family.common.settings.model import Settings
from jupyterhub4family.common.system import accounts, programs

OK = "ok"
WARNING = "warning"
PROBLEM = "problem"
#: Could not be looked at; the sentence says why.
UNKNOWN = "not checkable"
STATES = (OK, WARNING, PROBLEM, UNKNOWN)


@dataclass(frozen=True)
class Finding:
    """One sentence about one promise; `hint` is what to try, `repair` names the step of `doctor --fix` for it."""

    state: str
    message: str
    hint: str = ""
    repair: str = ""


def fine(message: str) -> Finding:
    """A promise that is kept."""
    return Finding(OK, message)


def warning(message: str, hint: str, repair: str = "") -> Finding:
    """Works, and should be known."""
    return Finding(WARNING, message, hint, repair)


def problem(message: str, hint: str, repair: str = "") -> Finding:
    """A promise that is broken."""
    return Finding(PROBLEM, message, hint, repair)


def unknown(message: str, hint: str = "") -> Finding:
    """What could not be looked at, and why."""
    return Finding(UNKNOWN, message, hint)


@dataclass(frozen=True)
class CheckContext:
    """What all checks start from; found out once."""

    settings: Settings = field(default_factory=Settings)
    supervisor: str = "systemd"
    by_root: bool = field(default_factory=lambda: os.geteuid() == 0)
    #: Told how far a long check is: percent and sentence.
    on_progress: ProgressCallback = lambda _percent, _message: None

    def as_service(self) -> list[str]:
        """Words that make a program run as the service account where root calls: root reads nothing of its."""
        return programs.as_account(accounts.SERVICE_ACCOUNT) if self.by_root else []


@dataclass(frozen=True)
class Check:
    """Looks at one thing and says what it found; `title` is what progress calls it, marked for translation."""

    title: str
    find: Callable[[CheckContext], Iterator[Finding]]


@dataclass(frozen=True)
class Repair:
    """A step of root's program `repair`, which findings name, and what `doctor --fix` says once it is done."""

    step: str
    #: Steps are done in the order of these numbers, which is root's own (STEPS in root/setup/repair.py).
    place: int
    done: str
