"""Failed logins make further ones slower, and keep nobody out."""

import asyncio

import pytest

from gateway.edge.slowdown import Pace, Slowdown
from gateway.errors import LockedOut


class Naps:
    """A sleep that only writes down how long."""

    def __init__(self) -> None:
        self.taken: list[float] = []

    async def __call__(self, seconds: float) -> None:
        self.taken.append(seconds)


@pytest.fixture
def naps() -> Naps:
    return Naps()


@pytest.fixture
def slowdown(naps: Naps) -> Slowdown:
    return Slowdown(sleep=naps)


def fail(slowdown: Slowdown, ip: str, account: str, times: int = 1) -> int:
    """How many of the failures were answered with 429."""
    refused = 0
    for _ in range(times):
        try:
            slowdown.failed(ip, account)
        except LockedOut:
            refused += 1
    return refused


async def wait_of(slowdown: Slowdown, naps: Naps, ip: str, account: str) -> float:
    """The seconds that a try now has to wait."""
    naps.taken.clear()
    async with slowdown.turn(ip, account):
        return sum(naps.taken)


async def test_few_failures_cost_nothing(slowdown: Slowdown, naps: Naps) -> None:
    """Four wrong passwords are answered as wrong, and the next try waits for nothing."""
    assert fail(slowdown, "1.1.1.1", "alice", 4) == 0
    assert await wait_of(slowdown, naps, "1.1.1.1", "alice") == 0


async def test_T22_many_failures_wait_ever_longer(slowdown: Slowdown, naps: Naps) -> None:
    """From the fifth on the answer is 429 with Retry-After, and each further try waits."""
    fail(slowdown, "1.1.1.1", "alice", 5)
    with pytest.raises(LockedOut) as caught:
        slowdown.failed("1.1.1.1", "alice")
    assert (caught.value.status, caught.value.type, caught.value.headers["Retry-After"]) == (429, "locked_out", "1")
    assert await wait_of(slowdown, naps, "1.1.1.1", "alice") == 0.5
    fail(slowdown, "1.1.1.1", "alice", 20)
    assert await wait_of(slowdown, naps, "1.1.1.1", "alice") == 2.0
    fail(slowdown, "1.1.1.1", "alice", 100)
    assert await wait_of(slowdown, naps, "1.1.1.1", "alice") == 10.0


async def test_T22_strangers_cannot_keep_the_owner_out(slowdown: Slowdown, naps: Naps) -> None:
    """However often many strangers guess, the owner's try from another address waits for seconds, and is looked at."""
    for number in range(2000):
        fail(slowdown, f"10.0.{number // 250}.{number % 250}", "alice")
    assert 0 < await wait_of(slowdown, naps, "9.9.9.9", "alice") <= 10.0
    assert await wait_of(slowdown, naps, "9.9.9.9", "bob") == 0


async def test_T22_one_counter_for_an_account(slowdown: Slowdown, naps: Naps) -> None:
    """Failures from many addresses, and in any case of the name, add up."""
    for number in range(10):
        fail(slowdown, f"10.0.0.{number}", "Alice" if number % 2 else "aLICE")
    assert await wait_of(slowdown, naps, "9.9.9.9", "alice") > 0


async def test_one_address_with_many_names(slowdown: Slowdown, naps: Naps) -> None:
    """Whoever tries one password with many names is slowed down by the address."""
    for number in range(20):
        fail(slowdown, "1.1.1.1", f"user{number}")
    assert await wait_of(slowdown, naps, "1.1.1.1", "another") > 0
    assert await wait_of(slowdown, naps, "2.2.2.2", "another") == 0


async def test_R06_ipv6_neighbours_are_one(slowdown: Slowdown, naps: Naps) -> None:
    """Changing the address within a /64 is no new start."""
    for number in range(5):
        fail(slowdown, f"2001:db8::{number:x}", "alice")
    assert await wait_of(slowdown, naps, "2001:db8::ffff", "alice") > 0


async def test_a_right_password_forgives_its_own(slowdown: Slowdown, naps: Naps) -> None:
    """After a success one's own mistakes are forgotten; the failures of the address for others are not."""
    fail(slowdown, "1.1.1.1", "alice", 6)
    slowdown.succeeded("1.1.1.1", "alice")
    assert await wait_of(slowdown, naps, "1.1.1.1", "alice") == 0
    fail(slowdown, "1.1.1.1", "bob", 20)
    slowdown.succeeded("1.1.1.1", "alice")
    assert await wait_of(slowdown, naps, "1.1.1.1", "carol") > 0


async def test_tries_of_one_take_turns() -> None:
    """Of several tries of one address for one account one waits at a time, and too many are refused unseen."""
    gate, begun = asyncio.Event(), list[float]()

    async def nap(seconds: float) -> None:
        begun.append(seconds)
        await gate.wait()

    slowdown = Slowdown(pace=Pace(waiting_for_both=3), sleep=nap)
    fail(slowdown, "1.1.1.1", "alice", 6)
    tries = [asyncio.create_task(_try(slowdown, "1.1.1.1", "alice")) for _ in range(5)]
    other = asyncio.create_task(_try(slowdown, "2.2.2.2", "alice"))
    await asyncio.wait_for(other, 5)
    assert len(begun) == 1
    gate.set()
    results = await asyncio.wait_for(asyncio.gather(*tries), 5)
    assert sorted(results) == ["looked", "looked", "looked", "refused", "refused"]
    assert await _try(slowdown, "1.1.1.1", "alice") == "looked"


async def _try(slowdown: Slowdown, ip: str, account: str) -> str:
    try:
        async with slowdown.turn(ip, account):
            return "looked"
    except LockedOut:
        return "refused"


async def test_one_address_cannot_fill_the_room() -> None:
    """Tries of one address for many accounts are bounded together."""
    slowdown = Slowdown(pace=Pace(waiting_at_address=2), sleep=lambda _seconds: asyncio.sleep(0.05))
    fail(slowdown, "1.1.1.1", "alice", 30)
    tries = [_try(slowdown, "1.1.1.1", f"user{number}") for number in range(5)]
    assert sorted(await asyncio.gather(*tries)) == ["looked", "looked", "refused", "refused", "refused"]


def test_wrong_tokens_are_counted_by_the_address() -> None:
    """A thousand wrong tokens a minute get a plain 401; from then on it is 429."""
    slowdown = Slowdown(pace=Pace(free_tokens=3))
    for _ in range(3):
        slowdown.failed_token("1.1.1.1")
    with pytest.raises(LockedOut):
        slowdown.failed_token("1.1.1.1")
    slowdown.failed_token("2.2.2.2")


def test_R05_memory_is_bounded() -> None:
    """Failures of ever new names do not grow without end."""
    slowdown = Slowdown(pace=Pace(most_counters=100))
    for number in range(1000):
        fail(slowdown, "1.1.1.1", f"user{number}")
    assert len(slowdown._storage.storage) <= 102
