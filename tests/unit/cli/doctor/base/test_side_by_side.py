"""cli.doctor.base.side_by_side: several at a time, in order, and Ctrl-C ends all."""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence

import pytest

from jupyterhub4family.cli.doctor.base import side_by_side
from jupyterhub4family.common.system import programs
from tests.unit.helpers import TIMEOUT

NAMES = [f"name{number}" for number in range(12)]


def test_all_are_done_and_told_in_order() -> None:
    left: list[int] = []
    found = side_by_side.each(NAMES, str.upper, lambda names: left.append(len(names)))
    assert found == {name: name.upper() for name in NAMES} and list(found) == NAMES
    assert left == list(range(12, 0, -1)), "it only goes on, and names nobody when all are done"
    assert side_by_side.each([], str.upper, lambda names: None) == {}


@pytest.mark.parametrize("processors", [1, 3])
def test_as_many_at_a_time_as_there_are_processors(monkeypatch: pytest.MonkeyPatch, processors: int) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: set(range(processors)))
    together = threading.Barrier(processors)
    lock, now, most = threading.Lock(), 0, 0

    def work(_name: str) -> int:
        nonlocal now, most
        with lock:
            now += 1
            most = max(most, now)
        # Only with all of them here does anybody go on.
        together.wait(TIMEOUT)
        with lock:
            now -= 1
        together.wait(TIMEOUT)
        return most

    side_by_side.each(NAMES, work, lambda _names: None)
    assert most == processors


def test_what_is_raised_is_raised_here() -> None:
    def work(name: str) -> str:
        if name == "name3":
            raise ZeroDivisionError
        return name

    with pytest.raises(ZeroDivisionError):
        side_by_side.each(NAMES, work, lambda _names: None)


def test_ctrl_c_ends_the_programs_and_waits_for_none(monkeypatch: pytest.MonkeyPatch) -> None:
    ended, started = threading.Event(), []
    monkeypatch.setattr(programs, "interrupt_all", ended.set)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: {0})

    def work(name: str) -> str:
        started.append(name)
        ended.wait(TIMEOUT)
        return name

    def press(_names: Sequence[str]) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        side_by_side.each(NAMES, work, press)
    assert ended.is_set() and len(started) <= 1
