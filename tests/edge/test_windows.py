"""Moving windows in memory."""

import time
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st
from limits import parse
from limits.storage import storage_from_string
from limits.strategies import MovingWindowRateLimiter

from gateway.edge.windows import SCHEME, Windows


@dataclass(slots=True)
class Clock:
    """Seconds, as the test says."""

    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


waits = st.one_of(st.just(0.0), st.integers(0, 40).map(lambda number: number / 4))


@given(limit=st.integers(1, 7), waits=st.lists(waits, max_size=80))
def test_R11_never_more_than_the_limit_in_any_window(limit: int, waits: list[float]) -> None:
    """However requests are spread, no window holds more of them than the limit, and none is refused below it."""
    clock = Clock()
    limiter = MovingWindowRateLimiter(Windows(clock=clock))
    item = parse(f"{limit}/10 seconds")
    let_through: list[float] = []
    for wait in waits:
        clock.now += wait
        lately = [moment for moment in let_through if moment > clock.now - 10]
        assert limiter.test(item, "who", "what") is (len(lately) < limit)
        reset, remaining = limiter.get_window_stats(item, "who", "what")
        assert (reset, remaining) == ((lately[0] if lately else clock.now) + 10, limit - len(lately))
        if limiter.hit(item, "who", "what"):
            let_through.append(clock.now)
            assert len(lately) < limit
        else:
            assert len(lately) == limit


@given(waits=st.lists(waits, min_size=1, max_size=60), amount=st.integers(1, 4))
def test_several_at_once(waits: list[float], amount: int) -> None:
    """A hit that counts more than once is let through whole, or not at all."""
    clock = Clock()
    windows = Windows(clock=clock)
    let_through: list[float] = []
    for wait in waits:
        clock.now += wait
        lately = sum(moment > clock.now - 10 for moment in let_through)
        assert windows.acquire_entry("key", 6, 10, amount) is (lately + amount <= 6)
        if lately + amount <= 6:
            let_through += [clock.now] * amount


def test_R11_the_clock_cannot_go_back() -> None:
    """Without a clock of the test's it is the monotonic one: nobody is locked out when the wall clock is set back."""
    assert Windows().clock is time.monotonic


def test_R05_what_is_over_goes(clock: Clock) -> None:
    """Keys whose last hit is over are forgotten with the next new one, however many they were and whatever else is."""
    windows = Windows(clock=clock)
    windows.acquire_entry("all day", 5, 86400)
    for number in range(1000):
        windows.acquire_entry(f"address {number}", 5, 60)
    clock.now += 61
    windows.acquire_entry("one more", 5, 60)
    assert (windows.keys, windows.hits) == (2, 2)


def test_R05_memory_is_bounded(clock: Clock) -> None:
    """Ever new keys do not grow without end; those that are in use are not forgotten for them."""
    windows = Windows(clock=clock, most_hits=300)
    for number in range(10_000):
        clock.now += 1 / 1024
        assert windows.acquire_entry("busy", 50, 1) is (number % 1024 < 50)
        windows.acquire_entry(f"address {number}", 1, 60)
        assert windows.hits <= 350
    assert windows.keys <= 301


def test_R05_one_key_is_bounded(clock: Clock) -> None:
    """One key keeps at most twice as many times as its limit, however long it goes on."""
    windows = Windows(clock=clock)
    for _ in range(10_000):
        clock.now += 1
        assert windows.acquire_entry("key", 10, 10)
        assert windows.hits <= 20


def test_it_is_a_storage_of_the_library(clock: Clock) -> None:
    """The library finds it by its address; it can be cleared and reset, and has no fixed windows."""
    windows = storage_from_string(f"{SCHEME}://", clock=clock)
    assert isinstance(windows, Windows) and windows.check()
    for key in ("a", "b", "c"):
        assert windows.acquire_entry(key, 1, 60)
    windows.clear("a")
    assert windows.acquire_entry("a", 1, 60) and not windows.acquire_entry("b", 1, 60)
    assert (windows.reset(), windows.hits, windows.keys) == (3, 0, 0)
    with pytest.raises(NotImplementedError):
        windows.incr("a", 60)
    with pytest.raises(NotImplementedError):
        windows.get("a")
    with pytest.raises(NotImplementedError):
        windows.get_expiry("a")
