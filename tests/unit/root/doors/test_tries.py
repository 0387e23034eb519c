"""root.tries: five are five, whoever comes at the same time; lanes do not fill each other; memory has an end."""

from __future__ import annotations

import json
import os
import random
import threading
import time
from pathlib import Path

import pytest

from jupyterhub4family.common.errors import FamilyError
from jupyterhub4family.common.system import files
from jupyterhub4family.root.base import run_dir
from jupyterhub4family.root.doors import tries
from jupyterhub4family.root.doors.tries import ALL_DEVICES, DEVICE, DEVICE_TRUST, STRANGERS, Lanes
from tests.unit.helpers import TIMEOUT

HERS = "a" * 32


class Clock:
    """The machine's own clock, of which tests have the hands; and a folder for the doors."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, directory: Path) -> None:
        self.now = 1000.0
        self.file = directory / tries.FILE_NAME
        monkeypatch.setattr(tries, "_clock", lambda: self.now)
        monkeypatch.setattr(run_dir, "RUN_DIR", directory)
        monkeypatch.setattr(run_dir, "ensure_run_dir", lambda: None)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Clock:
    return Clock(monkeypatch, tmp_path)


def stranger(name: str = "anna", is_member: bool = True) -> bool:
    """Whether a try from anywhere may be looked at; it turns out to be wrong."""
    return tries.begin(name, "", is_member=is_member) is not None


def from_device(device: str = HERS, name: str = "anna") -> bool:
    """The same from a device of hers."""
    return tries.begin(name, device, is_member=True) is not None


def test_never_more_than_five_within_any_minute(clock: Clock) -> None:
    """Whatever the rhythm is."""
    dice = random.Random(11)
    looked_at: list[float] = []
    for _number in range(500):
        clock.now += dice.choice((0.0, 0.001, 1.0, 11.9, 12.1, 30.0, 61.0))
        if stranger():
            looked_at.append(clock.now)
        assert sum(at > clock.now - 60 for at in looked_at) <= STRANGERS.most
    assert len(looked_at) > 50


def test_a_hundred_at_once_are_five(clock: Clock) -> None:
    """Processes would be the same: the lock is one of the kernel's, held by each descriptor by itself."""
    together = threading.Barrier(50)
    found: list[bool] = []

    def door(number: int) -> None:
        together.wait(TIMEOUT)
        found.extend([stranger(), stranger("ben", is_member=False)] if number % 2 else [stranger()])

    threads = [threading.Thread(target=door, args=(number,)) for number in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(TIMEOUT)
    assert len(found) == 75 and sum(found) == 2 * STRANGERS.most


def test_what_was_right_is_given_back(clock: Clock) -> None:
    for _number in range(20):
        attempt = tries.begin("anna", "", is_member=True)
        assert attempt is not None
        tries.forgive(attempt, None)
    assert json.loads(clock.file.read_text()) == {}
    # What was forgotten meanwhile cannot be given back, and harms nobody.
    attempt = tries.begin("anna", "", is_member=True)
    clock.file.unlink()
    tries.forgive(attempt)
    tries.forgive(attempt)


def test_strangers_do_not_fill_a_devices_lane_nor_the_other_way_round(clock: Clock) -> None:
    while stranger():
        pass
    assert from_device() and not stranger()
    while from_device():
        pass
    assert from_device("b" * 32), "another device of hers"
    assert from_device(name="ben"), "the same one as another member's"
    clock.now += 61
    assert stranger() and from_device()


def test_a_device_that_goes_on_guessing_is_like_any_other(clock: Clock) -> None:
    """Five a minute; after ten in a quarter of an hour its tries are those of strangers."""
    for number in range(DEVICE_TRUST.most):
        assert from_device()
        if number % DEVICE.most == DEVICE.most - 2:
            assert stranger() and stranger(), "nothing of it is the strangers'"
            clock.now += 61
    assert stranger()
    assert [from_device() for _number in range(5)] == [True] * 4 + [False], "with the strangers' one, five"
    assert not stranger()
    assert from_device("b" * 32)
    clock.now += DEVICE_TRUST.within
    assert from_device()


def test_all_devices_together_have_a_limit_too(clock: Clock) -> None:
    """Somebody who is the hub can invent as many as they like."""
    looked_at = sum(from_device(f"{number:032x}") for number in range(1000))
    assert looked_at == ALL_DEVICES.most + STRANGERS.most
    assert len(json.loads(clock.file.read_text())) <= ALL_DEVICES.most + 2
    assert from_device(name="ben"), "it is each account's own"


def test_one_device_cannot_use_up_what_all_have(clock: Clock) -> None:
    """Three computers that are shared with a brother who guesses on all of them: the fourth one stays."""
    for _minute in range(15):
        for device in ("b", "c", "d"):
            for _number in range(6):
                from_device(device * 32)
        clock.now += 60
    while stranger():
        pass
    assert from_device(HERS)


def test_a_name_is_a_name(clock: Clock) -> None:
    for name in ("", "x" * 300_000, "\ud800", "\0", "ä", "*", "anna 1"):
        assert [stranger(name, is_member=False) for _number in range(6)] == [True] * 5 + [False], name[:20]
    assert clock.file.stat().st_size < 2000


def test_memory_is_bounded_and_who_is_blocked_is_not_forgotten(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tries, "MAXIMUM_STRANGE_NAMES", 20)
    while stranger("anna", is_member=True):
        pass
    for number in range(10):
        while stranger(f"blocked{number}", is_member=False):
            pass
    for number in range(200):
        assert stranger(f"once{number}", is_member=False), "each of these is new"
    assert len(json.loads(clock.file.read_text())) <= 22
    assert not any(stranger(f"blocked{number}", is_member=False) for number in range(10))
    # When all are blocked, newcomers are counted as one.
    for number in range(190, 200):
        while stranger(f"once{number}", is_member=False):
            pass
    assert [stranger(f"new{number}", is_member=False) for number in range(6)] == [True] * 5 + [False]
    assert not any(stranger(f"blocked{number}", is_member=False) for number in range(10))
    assert not stranger("anna") and stranger("ben", is_member=True), "and members are never among them"
    clock.now += 61
    assert all(stranger(f"new{number}", is_member=False) for number in range(6))


@pytest.mark.parametrize(
    "text",
    [
        *("", "{", "[]", "null", '"x"', "\0" * 100, '{"member x": 1}', '{"x": [1000]}'),
        *('{"member x": ["a", null, 5e9, -1, [2]]}', '{"strange *": {}}'),
    ],
)
def test_a_file_that_is_not_ours_is_begun_anew(clock: Clock, text: str) -> None:
    clock.file.write_text(text)
    assert [stranger() for _number in range(6)] == [True] * 5 + [False]
    assert set(json.loads(clock.file.read_text())) == {next(iter(json.loads(clock.file.read_text())))}
    assert clock.file.stat().st_mode & 0o777 == 0o600


def test_times_that_have_not_come_yet_count_for_nothing(clock: Clock) -> None:
    while stranger():
        pass
    clock.now -= 500
    assert stranger(), "the machine was started anew, and kept its folder"


def test_a_lock_that_is_not_given_back_keeps_nobody_waiting_for_ever(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tries, "LOCK_TIMEOUT", 0.1)
    taken = files.take_lock(clock.file.with_name("tries.lock"), wait=False)
    assert taken is not None
    began = time.monotonic()
    with pytest.raises(FamilyError, match="cannot be counted"):
        stranger()
    assert time.monotonic() - began < 5
    os.close(taken)
    assert stranger()


def test_lanes_are_remembered_as_long_as_they_matter() -> None:
    old = {"member a": [1.0], "device a b": [1.0], "outsider c": [1.0], "what is this": [99.0]}
    assert Lanes(old, 100.0).tries == {"device a b": [1.0], "outsider c": [1.0]}
    assert Lanes(old, 1000.0).tries == {"outsider c": [1.0]}
    assert Lanes(old, 4000.0).tries == {}
