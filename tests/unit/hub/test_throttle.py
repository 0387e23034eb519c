"""hub.throttle: wrong passwords by device; nobody is locked out for ever or by others, and memory has an end."""

from __future__ import annotations

import asyncio
import ipaddress
import random
import time
from collections.abc import Sequence

import pytest

from jupyterhub4family.common.system import network
from jupyterhub4family.hub import throttle as module
from jupyterhub4family.hub.throttle import (
    AT_ONCE,
    AT_ONCE_IN_ALL,
    AT_ONCE_OF_NETWORK,
    MAXIMUM,
    MAXIMUM_OF_NETWORK,
    MAXIMUM_WAITING,
    WITHIN,
    Throttle,
    Turn,
    budgets,
)

HOME = ipaddress.IPv6Network("2001:db8:0:1::/64")
HERS = "a" * 32


class Clock:
    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        monkeypatch.setattr(time, "monotonic", lambda: self.now)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


@pytest.fixture(autouse=True)
def at_home(monkeypatch: pytest.MonkeyPatch) -> None:
    """This machine is in HOME."""
    monkeypatch.setattr(network, "on_link_networks", lambda: [HOME])


async def may(throttle: Throttle, address: str, name: str = "anna", device: str = "") -> bool:
    async with throttle.turn(address, name, device) as turn:
        return turn is Turn.GRANTED


async def wrong(throttle: Throttle, address: str, name: str = "anna", device: str = "", times: int = 1) -> None:
    for _time in range(times):
        async with throttle.turn(address, name, device):
            throttle.wrong(address, name, device)


def test_after_too_many_an_address_waits_and_others_do_not(clock: Clock) -> None:
    async def story() -> None:
        throttle = Throttle()
        for _ in range(MAXIMUM):
            assert await may(throttle, "192.168.0.7")
            throttle.wrong("192.168.0.7", "anna")
            clock.now += 1
        assert not await may(throttle, "192.168.0.7")
        assert not await may(throttle, "192.168.0.7", "ben")
        assert await may(throttle, "192.168.0.8")
        # One by one they are forgotten; a try that was not looked at prolongs nothing.
        clock.now += WITHIN - MAXIMUM + 1
        assert await may(throttle, "192.168.0.7")
        throttle.wrong("192.168.0.7", "anna")
        assert not await may(throttle, "192.168.0.7")
        clock.now += WITHIN + 1
        assert await may(throttle, "192.168.0.7")

    asyncio.run(story())


def test_right_passwords_are_not_counted(clock: Clock) -> None:
    async def story() -> None:
        throttle = Throttle()
        for _ in range(10 * MAXIMUM):
            assert await may(throttle, "192.168.0.7") and await may(throttle, "192.168.0.7", device=HERS)

    asyncio.run(story())


# -- what is one device --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("192.168.0.7", "192.168.0.7", True),
        ("192.168.0.7", "192.168.0.8", False),
        # From elsewhere: a connection to the internet.
        ("2001:db8:0:2::1", "2001:db8:0:2:ffff:ffff:ffff:ffff", True),
        ("2001:db8:0:2::1", "2001:db8:0:3::1", False),
        # At home: each of them.
        ("2001:db8:0:1::1", "2001:db8:0:1::2", False),
        ("2001:db8:0:1::1", "2001:DB8:0:1:0::1", True),
        ("fe80::1", "fe80::2", False),
        ("fe80::1%eth0", "fe80::2%eth0", False),
        ("fe80::1%eth0", "fe80::1%eth0", True),
        ("", "", True),
        ("", "192.168.0.7", False),
        ("no address", "192.168.0.7", False),
    ],
)
def test_what_one_device_has(clock: Clock, one: str, other: str, same: bool) -> None:
    async def story() -> None:
        throttle = Throttle()
        await wrong(throttle, one, times=MAXIMUM)
        assert await may(throttle, other) is not same

    asyncio.run(story())


@pytest.mark.parametrize("address", ["127.0.0.1", "127.9.9.9", "::1"])
def test_from_the_machine_itself_accounts_are_counted(clock: Clock, address: str) -> None:
    async def story() -> None:
        throttle = Throttle()
        for number in range(5 * MAXIMUM):
            assert await may(throttle, address, f"child{number}")
            throttle.wrong(address, f"child{number}")
        assert await may(throttle, address, "anna")
        await wrong(throttle, address, "anna", times=MAXIMUM)
        assert not await may(throttle, address, "anna") and await may(throttle, address, "ben")

    asyncio.run(story())


def test_a_network_at_home_has_a_limit_of_its_own(clock: Clock) -> None:
    """One device that takes an address for each try gets no further than that."""

    async def story() -> None:
        throttle = Throttle()
        tried = 0
        for number in range(10 * MAXIMUM_OF_NETWORK):
            address = str(HOME[number + 1])
            if await may(throttle, address):
                throttle.wrong(address, "anna")
                tried += 1
        assert tried == MAXIMUM_OF_NETWORK
        assert not await may(throttle, str(HOME[2**63]))
        assert await may(throttle, "fe80::1") and await may(throttle, "2001:db8:0:2::1")
        clock.now += WITHIN + 1
        assert await may(throttle, str(HOME[1]))

    asyncio.run(story())


def test_networks_are_looked_at_again(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """The provider gives a home another prefix, most nights."""
    found: list[ipaddress.IPv6Network] = []
    monkeypatch.setattr(network, "on_link_networks", lambda: found)

    async def story() -> None:
        throttle = Throttle()
        await wrong(throttle, str(HOME[1]), times=MAXIMUM)
        assert not await may(throttle, str(HOME[2]))
        found.append(HOME)
        clock.now += module.NETWORKS_AGE + 1
        assert await may(throttle, str(HOME[2]))

    asyncio.run(story())


def test_every_address_draws_on_something() -> None:
    dice = random.Random(7)
    for _number in range(2000):
        address = str(ipaddress.ip_address(dice.getrandbits(dice.choice((32, 128)))))
        found = budgets(address, "anna", [HOME])
        assert 1 <= len(found) <= 2 and len({one.name for one in found}) == len(found)
        assert all(one.maximum and one.at_once >= AT_ONCE for one in found)
    assert len(budgets("127.0.0.1", "x" * 100_000, [])[0].name) < 100


# -- devices that are known ------------------------------------------------------------------------------------


def test_a_known_device_is_not_hindered_by_its_address_nor_the_other_way_round(clock: Clock) -> None:
    async def story() -> None:
        throttle = Throttle()
        await wrong(throttle, "192.168.0.7", times=MAXIMUM)
        assert await may(throttle, "192.168.0.7", device=HERS) and throttle.believes(HERS)
        await wrong(throttle, "192.168.0.8", device=HERS, times=MAXIMUM)
        assert not throttle.believes(HERS) and not await may(throttle, "192.168.0.8", device=HERS)
        assert throttle.believes("b" * 32) and await may(throttle, "192.168.0.8")

    asyncio.run(story())


def test_known_devices_do_not_wait_for_strangers() -> None:
    """However many of them there are, and wherever they come from."""

    async def story() -> None:
        throttle = Throttle()
        go, present, most = asyncio.Event(), 0, 0

        async def stranger(number: int) -> Turn:
            nonlocal present, most
            async with throttle.turn(f"10.0.{number // 250}.{number % 250}", f"child{number}") as turn:
                if turn is Turn.GRANTED:
                    present += 1
                    most = max(most, present)
                    await go.wait()
                    present -= 1
                return turn

        crowd = [asyncio.ensure_future(stranger(number)) for number in range(1500)]
        await asyncio.sleep(0.1)
        busy = [one for one in crowd if one.done()]
        assert len(busy) == 1500 - AT_ONCE_IN_ALL - MAXIMUM_WAITING and {one.result() for one in busy} == {Turn.BUSY}
        assert present == AT_ONCE_IN_ALL
        assert await asyncio.wait_for(may(throttle, "10.0.0.1", device=HERS), 5)
        go.set()
        assert sum(turn is Turn.GRANTED for turn in await asyncio.gather(*crowd)) == AT_ONCE_IN_ALL + MAXIMUM_WAITING
        assert most == AT_ONCE_IN_ALL
        assert await may(throttle, "10.0.0.1")

    asyncio.run(story())


# -- at the same time ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("addresses", "limit"),
    [
        (["192.168.0.7"] * 50, AT_ONCE),
        ([str(HOME[number]) for number in range(50)], AT_ONCE_OF_NETWORK),
        ([f"192.168.0.{number}" for number in range(50)], AT_ONCE_IN_ALL),
        (["127.0.0.1"] * 50, AT_ONCE_IN_ALL),
    ],
)
def test_only_some_are_looked_at_at_a_time(addresses: Sequence[str], limit: int) -> None:
    async def story() -> None:
        throttle = Throttle()
        present = most = 0

        async def login(address: str, name: str) -> None:
            nonlocal present, most
            async with throttle.turn(address, name) as turn:
                assert turn is Turn.GRANTED
                present += 1
                most = max(most, present)
                await asyncio.sleep(0.001)
                present -= 1

        await asyncio.gather(*(login(address, f"child{number}") for number, address in enumerate(addresses)))
        assert most == limit

    asyncio.run(story())


def test_nobody_waits_longer_than_the_proxy_does(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever waits for too long is asked to come again, and keeps no place that another one could have."""
    monkeypatch.setattr(module, "TURN_TIMEOUT", 0.05)

    async def story() -> None:
        throttle = Throttle()
        over = asyncio.Event()

        async def hold() -> None:
            async with throttle.turn("192.168.0.7", "anna") as turn:
                assert turn is Turn.GRANTED
                await over.wait()

        async def come() -> Turn:
            async with throttle.turn("192.168.0.7", "anna") as turn:
                return turn

        holders = [asyncio.ensure_future(hold()) for _ in range(AT_ONCE)]
        await asyncio.sleep(0)
        assert set(await asyncio.gather(*(come() for _ in range(10)))) == {Turn.BUSY}
        over.set()
        await asyncio.gather(*holders)
        assert set(await asyncio.gather(*(come() for _ in range(10)))) == {Turn.GRANTED}

    asyncio.run(story())


def test_who_is_cancelled_in_the_moment_of_their_turn_gives_it_back() -> None:
    async def story() -> None:
        throttle = Throttle()

        async def come() -> Turn:
            async with throttle.turn("192.168.0.7", "anna") as turn:
                await asyncio.sleep(0)
                return turn

        for pauses in range(6):
            holders = [asyncio.ensure_future(come()) for _ in range(AT_ONCE)]
            waiting = asyncio.ensure_future(come())
            for _ in range(pauses):
                await asyncio.sleep(0)
            waiting.cancel()
            await asyncio.gather(*holders, waiting, return_exceptions=True)
            assert set(await asyncio.gather(*(come() for _ in range(2 * AT_ONCE)))) == {Turn.GRANTED}

    asyncio.run(story())


def test_whoever_waited_learns_that_it_is_too_much_by_now() -> None:
    async def story() -> None:
        throttle = Throttle()

        async def guess() -> Turn:
            async with throttle.turn("192.168.0.7", "anna") as turn:
                await asyncio.sleep(0)
                if turn is Turn.GRANTED:
                    throttle.wrong("192.168.0.7", "anna")
                return turn

        turns = await asyncio.gather(*(guess() for _ in range(100)))
        assert MAXIMUM <= turns.count(Turn.GRANTED) < MAXIMUM + AT_ONCE
        assert turns.count(Turn.EXHAUSTED) == 100 - turns.count(Turn.GRANTED)

    asyncio.run(story())


def test_who_goes_away_while_waiting_leaves_no_trace() -> None:
    async def story() -> None:
        throttle = Throttle()

        async def hold() -> None:
            async with throttle.turn("192.168.0.7", "anna"):
                await asyncio.sleep(3600)

        crowd = [asyncio.ensure_future(hold()) for _number in range(30)]
        await asyncio.sleep(0.01)
        for one in crowd:
            one.cancel()
        await asyncio.gather(*crowd, return_exceptions=True)
        assert await asyncio.wait_for(may(throttle, "192.168.0.7"), 5)
        assert all(not client.present for client in throttle._strangers._known.values())

    asyncio.run(story())


# -- memory ----------------------------------------------------------------------------------------------------------


def test_nobody_who_is_blocked_is_forgotten_for_a_flood(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAXIMUM_REMEMBERED", 50)

    async def story() -> None:
        throttle = Throttle()
        blocked = [f"192.168.0.{number}" for number in range(30)]
        for address in blocked:
            await wrong(throttle, address, times=MAXIMUM)
        for number in range(1500):
            assert await may(throttle, f"10.{number // 250}.0.{number % 250}")
            throttle.wrong(f"10.{number // 250}.0.{number % 250}", "anna")
            assert len(throttle._strangers._known) <= 51
        for address in blocked:
            assert not await may(throttle, address)
        # Of the others who has tried most is forgotten last.
        await wrong(throttle, "172.16.0.1", times=MAXIMUM - 1)
        for number in range(1500):
            await wrong(throttle, f"11.{number // 250}.0.{number % 250}")
        await wrong(throttle, "172.16.0.1")
        assert not await may(throttle, "172.16.0.1")

    asyncio.run(story())


def test_when_all_are_blocked_newcomers_are_counted_as_one(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """They get in with the right password, and have twenty wrong ones together; those who are blocked stay so."""
    monkeypatch.setattr(module, "MAXIMUM_REMEMBERED", 20)

    async def story() -> None:
        throttle = Throttle()
        blocked = [f"192.168.0.{number}" for number in range(19)]
        for address in blocked:
            await wrong(throttle, address, times=MAXIMUM)
        tried = 0
        for number in range(500):
            address = f"10.{number // 250}.0.{number % 250}"
            if await may(throttle, address):
                throttle.wrong(address, "anna")
                tried += 1
        assert tried == MAXIMUM and not await may(throttle, "10.99.0.1")
        assert len(throttle._strangers._known) <= 21
        assert not any([await may(throttle, address) for address in blocked])
        # And a device that is known needs none of this.
        assert await may(throttle, "10.99.0.1", device=HERS) and throttle.believes(HERS)
        clock.now += WITHIN + 1
        assert await may(throttle, "10.99.0.1") and await may(throttle, blocked[0])

    asyncio.run(story())


def test_known_devices_have_a_memory_of_their_own(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAXIMUM_REMEMBERED", 20)

    async def story() -> None:
        throttle = Throttle()
        await wrong(throttle, "192.168.0.7", device=HERS, times=MAXIMUM)
        for number in range(500):
            await wrong(throttle, f"10.{number // 250}.0.{number % 250}")
            await wrong(throttle, "192.168.0.7", device=f"{number:032x}")
        assert not throttle.believes(HERS)
        assert len(throttle._devices._known) <= 21

    asyncio.run(story())
