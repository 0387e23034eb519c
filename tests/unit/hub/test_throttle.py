"""hub.throttle: wrong passwords by address; nobody is locked out for ever, and nobody can make us remember for ever."""

from __future__ import annotations

import asyncio
import time

import pytest

from jupyterhub4family.hub import throttle as module
from jupyterhub4family.hub.throttle import AT_ONCE, MAXIMUM, WITHIN, Throttle, network_of


class Clock:
    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        monkeypatch.setattr(time, "monotonic", lambda: self.now)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


async def may(throttle: Throttle, address: str) -> bool:
    async with throttle.turn(address) as may_try:
        return may_try


def test_after_too_many_an_address_waits_and_others_do_not(clock: Clock) -> None:
    async def story() -> None:
        throttle = Throttle()
        for _ in range(MAXIMUM):
            assert await may(throttle, "192.168.0.7")
            throttle.wrong("192.168.0.7")
            clock.now += 1
        assert not await may(throttle, "192.168.0.7")
        assert await may(throttle, "192.168.0.8")
        # One by one they are forgotten; a try that was not looked at prolongs nothing.
        clock.now += WITHIN - MAXIMUM + 1
        assert await may(throttle, "192.168.0.7")
        throttle.wrong("192.168.0.7")
        assert not await may(throttle, "192.168.0.7")
        clock.now += WITHIN + 1
        assert await may(throttle, "192.168.0.7")

    asyncio.run(story())


def test_right_passwords_are_not_counted(clock: Clock) -> None:
    async def story() -> None:
        throttle = Throttle()
        for _ in range(10 * MAXIMUM):
            assert await may(throttle, "192.168.0.7")

    asyncio.run(story())


def test_only_some_of_one_address_are_looked_at_at_a_time() -> None:
    async def story() -> None:
        throttle = Throttle()
        present = most = 0

        async def login(address: str) -> None:
            nonlocal present, most
            async with throttle.turn(address):
                present += 1
                most = max(most, present)
                await asyncio.sleep(0.001)
                present -= 1

        await asyncio.gather(*(login("192.168.0.7") for _ in range(50)))
        assert most == AT_ONCE
        await asyncio.gather(*(login(f"192.168.0.{number}") for number in range(50)))
        assert most == 50

    asyncio.run(story())


def test_whoever_waited_learns_that_it_is_too_much_by_now() -> None:
    async def story() -> None:
        throttle = Throttle()

        async def guess() -> bool:
            async with throttle.turn("192.168.0.7") as may_try:
                await asyncio.sleep(0)
                if may_try:
                    throttle.wrong("192.168.0.7")
                return may_try

        tried = sum(await asyncio.gather(*(guess() for _ in range(200))))
        assert MAXIMUM <= tried < MAXIMUM + AT_ONCE

    asyncio.run(story())


def test_memory_is_bounded_and_the_guesser_is_not_what_is_forgotten_first(monkeypatch: pytest.MonkeyPatch) -> None:
    async def story() -> None:
        monkeypatch.setattr(module, "MAXIMUM_ADDRESSES", 10)
        throttle = Throttle()
        for _ in range(MAXIMUM):
            throttle.wrong("192.168.0.7")
        for number in range(100):
            assert await may(throttle, f"10.0.0.{number}")
        assert len(throttle._clients) <= 10
        assert not await may(throttle, "192.168.0.7")
        for number in range(100):
            throttle.wrong(f"10.0.0.{number}")
        assert len(throttle._clients) <= 10

    asyncio.run(story())


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("192.168.0.7", "192.168.0.7", True),
        ("192.168.0.7", "192.168.0.8", False),
        ("fd00::1", "fd00::ffff:ffff:ffff:ffff", True),
        ("fd00::1", "fd00:0:0:1::1", False),
        ("fe80::1%eth0", "fe80::2%eth0", True),
        ("", "", True),
        ("", "192.168.0.7", False),
    ],
)
def test_what_one_device_has(one: str, other: str, same: bool) -> None:
    assert (network_of(one) == network_of(other)) is same
