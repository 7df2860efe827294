"""Work that many want at once."""

import asyncio

import pytest

from gateway.proxy.shared_work import SharedWork


class Work:
    """Counts how often it is begun, and ends when the test says so."""

    def __init__(self) -> None:
        self.begun = 0
        self.outcome: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def __call__(self) -> str:
        self.begun += 1
        return await asyncio.shield(self.outcome)


async def wanted(shared: SharedWork[str, str], work: Work, times: int, key: str = "k") -> list[asyncio.Task[str]]:
    tasks = [asyncio.create_task(shared.do(key, work)) for _ in range(times)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    return tasks


async def test_it_is_done_once() -> None:
    """All who ask while it is under way get the one result; who asks later gets a new one; keys are apart."""
    shared: SharedWork[str, str] = SharedWork()
    work, other = Work(), Work()
    tasks = await wanted(shared, work, 5)
    await wanted(shared, other, 1, key="other")
    work.outcome.set_result("done")
    other.outcome.set_result("other")
    assert await asyncio.gather(*tasks) == ["done"] * 5
    assert (work.begun, other.begun) == (1, 1)
    assert (await shared.do("k", work), work.begun) == ("done", 2)


async def test_a_waiting_caller_that_leaves_cancels_nobody() -> None:
    """The first caller is cancelled; the others still get the result of the same work."""
    shared: SharedWork[str, str] = SharedWork()
    work = Work()
    first, *others = await wanted(shared, work, 3)
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    work.outcome.set_result("done")
    assert first.cancelled() and await asyncio.gather(*others) == ["done"] * 2
    assert work.begun == 1


async def test_a_failure_is_everybody_s() -> None:
    """What the work raises, all raise; it is begun anew for the next."""
    shared: SharedWork[str, str] = SharedWork()
    work = Work()
    tasks = await wanted(shared, work, 2)
    work.outcome.set_exception(OSError("no"))
    assert [type(outcome) for outcome in await asyncio.gather(*tasks, return_exceptions=True)] == [OSError] * 2
    with pytest.raises(OSError):
        await shared.do("k", work)
    assert work.begun == 2
