"""What is fetched when it is needed and kept for a while."""

import asyncio
from collections.abc import Callable

import pytest

from gateway.edge.kept import FRESH_SECONDS, PAUSE_SECONDS, STALE_SECONDS, Kept
from gateway.errors import IssuerUnavailable


class Far:
    """Somebody else's server: counts how often it is asked, and can be down or slow."""

    def __init__(self) -> None:
        self.now, self.asked, self.is_down = 1000.0, 0, False
        self.answers = asyncio.Event()
        self.answers.set()

    def ticks(self) -> float:
        return self.now

    async def fetch(self) -> int:
        self.asked += 1
        number = self.asked
        await self.answers.wait()
        if self.is_down:
            raise IssuerUnavailable(f"down at {number}")
        return number


@pytest.fixture
def far() -> Far:
    return Far()


@pytest.fixture
def kept(far: Far) -> Kept[int]:
    return Kept(far.fetch, ticks=far.ticks)


async def test_it_is_fetched_once_and_then_again(far: Far, kept: Kept[int]) -> None:
    """What is fresh is not fetched again; what is not, is, though nobody asked for long."""
    assert [(await kept.get()).value for _ in range(3)] == [1, 1, 1]
    far.now += FRESH_SECONDS - 0.1
    assert (await kept.get()).value == 1
    far.now += 0.1
    assert (await kept.get()).value == 2
    far.now += 10 * STALE_SECONDS
    assert (await kept.get()).value == 3


async def test_one_fetch_for_all_who_wait(far: Far, kept: Kept[int]) -> None:
    """However many ask at once, one fetch is under way; one who leaves ends it for nobody."""
    far.answers.clear()
    waiting = [asyncio.create_task(kept.get()) for _ in range(50)]
    await asyncio.sleep(0)
    waiting[0].cancel()
    await asyncio.sleep(0)
    far.answers.set()
    held = await asyncio.gather(*waiting[1:])
    assert {one.value for one in held} == {1} and far.asked == 1


async def test_something_newer_after_a_pause(far: Far, kept: Kept[int]) -> None:
    """Whoever asks for newer ones gets what is there until the pause is over, however often."""
    await kept.get()
    assert {(await kept.newer()).value for _ in range(100)} == {1}
    far.now += PAUSE_SECONDS
    assert (await kept.newer()).value == 2
    assert (await kept.newer()).value == 2


async def test_what_is_kept_holds_while_nobody_answers(far: Far, kept: Kept[int]) -> None:
    """A server that is down is asked after pauses, and what it said last holds for a day and no longer."""
    await kept.get()
    far.is_down = True
    far.now += FRESH_SECONDS
    assert [(await kept.get()).value for _ in range(5)] == [1] * 5
    assert far.asked == 2
    far.now += STALE_SECONDS - FRESH_SECONDS - 0.1
    assert (await kept.get()).value == 1
    far.now += 0.1
    with pytest.raises(IssuerUnavailable):
        await kept.get()
    far.is_down = False
    far.now += PAUSE_SECONDS
    assert (await kept.get()).value > 1


async def test_what_never_came(far: Far, kept: Kept[int]) -> None:
    """Without anything to keep there is an error, the last one's reason is said, and pauses are kept."""
    far.is_down = True
    asks: tuple[Callable[[], object], ...] = (kept.get, kept.newer, kept.get)
    for _ in asks:
        with pytest.raises(IssuerUnavailable) as caught:
            await kept.get()
        assert caught.value.reason == "down at 1"
    assert far.asked == 1
    far.is_down = False
    far.now += PAUSE_SECONDS
    assert (await kept.get()).value == 2
