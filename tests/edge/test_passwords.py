"""Names and passwords."""

import asyncio
import threading

import pytest

from gateway.edge.passwords import PasswordCheck
from gateway.errors import LockedOut
from gateway.identity.passwords import Passwords
from tests.edge.conftest import Town
from tests.house import until


class Counting(Passwords):
    """Counts what it computes, and how much of it at once."""

    def __init__(self) -> None:
        super().__init__(memory_kib=64, passes=1)
        self.real = self.for_nobody = self.at_once = self.most_at_once = 0
        self._lock = threading.Lock()

    def verify(self, password: str, stored: str) -> bool:
        with self._lock:
            self.real += 1
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            return super().verify(password, stored)
        finally:
            with self._lock:
                self.at_once -= 1

    def verify_nothing(self, password: str) -> None:
        self.for_nobody += 1
        super().verify_nothing(password)


@pytest.fixture
def counting() -> Counting:
    return Counting()


@pytest.fixture
def check(town: Town, counting: Counting) -> PasswordCheck:
    return PasswordCheck(town.store, passwords=counting, slowdown=town.slowdown, clock=town.clock, random=town.random)


async def test_the_right_one(town: Town, check: PasswordCheck) -> None:
    """The user is found by the name in any case and the exact password."""
    user = await town.user("alice", password="correct horse")
    assert await check.user("Alice", "correct horse", ip="1.1.1.1") == user
    for name, password in (("alice", "correct horse "), ("alice", ""), ("alic", "correct horse"), ("", "x")):
        assert await check.user(name, password, ip="1.1.1.1") is None


async def test_a_good_one_is_remembered_for_a_minute(town: Town, check: PasswordCheck, counting: Counting) -> None:
    """A script that sends its password with every request pays for argon2 once a minute."""
    await town.user("alice", password="correct horse")
    for _ in range(10):
        assert await check.user("alice", "correct horse", ip="1.1.1.1")
    assert counting.real == 1
    assert await check.user("alice", "wrong", ip="1.1.1.1") is None
    town.clock.now += 61
    assert await check.user("alice", "correct horse", ip="1.1.1.1")
    assert counting.real == 3


async def test_nothing_is_remembered_after_a_change(town: Town, check: PasswordCheck, counting: Counting) -> None:
    """After `forget` the store is asked again."""
    user = await town.user("alice", password="correct horse")
    assert await check.user("alice", "correct horse", ip="1.1.1.1")
    await town.store.users.set(user.id, password_hash=counting.hash("another"))
    check.forget()
    assert await check.user("alice", "correct horse", ip="1.1.1.1") is None


async def test_T21_unknown_names_cost_the_same(town: Town, check: PasswordCheck, counting: Counting) -> None:
    """A name that nobody has, one without a password, a disabled one: each costs one argon2, like a wrong password."""
    await town.user("alice", password="correct horse")
    await town.user("bot")
    disabled = await town.user("carol", password="correct horse")
    await town.store.users.set(disabled.id, disabled=True)
    for number, name in enumerate(("alice", "bot", "carol", "nobody", "no\nname", "x" * 100_000), start=1):
        assert await check.user(name, "wrong" if name == "alice" else "correct horse", ip=f"1.1.1.{number}") is None
        assert counting.real == number
    assert counting.for_nobody == 4


async def test_T22_failures_count(town: Town, check: PasswordCheck) -> None:
    """The fifth wrong one is 429, a further one waits first, and the right one then gets in."""
    await town.user("alice", password="correct horse")
    for _ in range(4):
        assert await check.user("alice", "wrong", ip="1.1.1.1") is None
    for _ in range(2):
        with pytest.raises(LockedOut):
            await check.user("alice", "wrong", ip="1.1.1.1")
    assert town.naps == [0.5]
    assert await check.user("alice", "correct horse", ip="1.1.1.1")
    assert town.naps == [0.5, 0.5]
    town.naps.clear()
    assert await check.user("alice", "wrong", ip="1.1.1.1") is None
    assert town.naps == []


async def test_T24_work_at_once_is_bounded(town: Town, check: PasswordCheck, counting: Counting) -> None:
    """Of many logins at once two are computed at a time."""
    await town.user("alice", password="correct horse")
    tries = [check.user(f"user{number}", "wrong", ip=f"1.1.1.{number}") for number in range(12)]
    assert await asyncio.gather(*tries) == [None] * 12
    assert counting.most_at_once <= 2


async def test_an_old_hash_is_renewed(town: Town, check: PasswordCheck, counting: Counting) -> None:
    """A password that was hashed with other parameters is hashed anew when it is right."""
    old = Passwords(memory_kib=128, passes=1).hash("correct horse")
    user = await town.store.users.add("alice", role="member", now=0, random=town.random, password_hash=old)
    assert await check.user("alice", "correct horse", ip="1.1.1.1")
    stored = await town.store.users.get(user.id)
    assert stored and stored.password_hash and stored.password_hash != old
    assert not counting.needs_rehash(stored.password_hash)


class Gated(Counting):
    """Looks at a password only when it may."""

    def __init__(self) -> None:
        super().__init__()
        self.may = threading.Event()

    def verify(self, password: str, stored: str) -> bool:
        assert self.may.wait(10)
        return super().verify(password, stored)


async def test_T12_a_look_that_was_under_way_at_a_change_is_not_remembered(town: Town) -> None:
    """Password changed: the next request is 401, also when the old one was just being looked at."""
    gated = Gated()
    check = PasswordCheck(town.store, passwords=gated, slowdown=town.slowdown, clock=town.clock, random=town.random)
    user = await town.user("alice", password="correct horse")
    early = asyncio.create_task(check.user("alice", "correct horse", ip="1.1.1.1"))
    await until(lambda: check._free._value != 2)
    await town.store.users.set(user.id, password_hash=gated.hash("another"))
    check.forget()
    gated.may.set()
    await early
    assert await check.user("alice", "correct horse", ip="1.1.1.1") is None


async def test_the_same_at_the_same_time_is_looked_at_once(town: Town) -> None:
    """A stranger cannot keep the owner out: ten connections with the right password wait one turn, not ten."""
    gated = Gated()
    check = PasswordCheck(town.store, passwords=gated, slowdown=town.slowdown, clock=town.clock, random=town.random)
    user = await town.user("alice", password="correct horse")
    for number in range(12):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(town.slowdown, "_wait", lambda _who: 0.0)
            town.slowdown.failed(f"9.9.9.{number}", "alice")
    gated.may.set()
    tries = [check.user("alice", "correct horse", ip="1.1.1.1") for _ in range(10)]
    assert await asyncio.gather(*tries) == [user] * 10
    assert gated.real == 1
