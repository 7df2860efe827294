"""The whole room, put together."""

import asyncio
import time
from typing import Any

import pytest

from gateway.demo.server import Simulator
from gateway.errors import StoreUnavailable
from gateway.jobs import works
from tests.jobs.house import House, Person, graph


async def test_stopping_leaves_no_task_behind(house: House, sim: Simulator, alice: Person) -> None:
    """Whatever was under way is ended and waited for: a task that is cancelled inside a statement to the database and
    again at the end of the event loop would keep the process from ending (F15)."""
    for _ in range(5):
        submitting = [asyncio.create_task(house.submit(alice, graph(number, steps=5))) for number in range(6)]
        await asyncio.sleep(0.05)
        await house.stop()
        await asyncio.gather(*submitting, return_exceptions=True)
        own = [task for task in asyncio.all_tasks() if "gateway/jobs" in str(task) or "gateway/store" in str(task)]
        assert own == []
        await house.start()
    await house.idle()


async def test_stopping_twice_is_stopping_once(house: House) -> None:
    """A second stop finds nothing to do."""
    await house.works.stop()
    await house.works.stop()


async def test_with_the_gateway_stopping_nothing_is_taken(house: House, alice: Person) -> None:
    """While the gateway stops no new job begins, and what waits is left for the next start."""
    ids = [await house.submit(alice, graph(number, seconds=0.3)) for number in range(4)]
    await house.works.stop()
    before = len(house.happened("queued"))
    await asyncio.sleep(0.5)
    assert len(house.happened("queued")) == before
    await house.kill()
    await house.start()
    assert [(await house.ended(one)).state for one in ids] == ["succeeded"] * 4


async def test_old_jobs_are_forgotten_whatever_happens(
    house: House, alice: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Records older than the setting are deleted, again and again, also after a time in which that failed."""
    real = type(house.store.ledger).forget_before
    faults = [StoreUnavailable("The database cannot answer now.", sent=False)]
    limits: list[int] = []

    async def sometimes(ledger: Any, created_at: int) -> int:
        limits.append(created_at)
        if faults:
            raise faults.pop()
        return await real(ledger, created_at)

    prompt_id = await house.submit(alice, graph(1))
    await house.ended(prompt_id)
    await house.kill()
    monkeypatch.setattr(type(house.store.ledger), "forget_before", sometimes)
    monkeypatch.setattr(works, "HOUR", 0.02)
    await house.start()
    await house.until(lambda: len(limits) > 2, "it is tried again")
    assert await house.row(prompt_id) is not None
    assert abs(limits[-1] - (time.time() - 90 * 24 * 3600) * 1000) < 60_000
    monkeypatch.setattr(house.works, "_history_days", -1)
    await house.until(lambda: house.read("select count(*) from jobs") == [(0,)], "it is forgotten")
