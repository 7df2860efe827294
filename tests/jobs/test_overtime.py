"""Jobs that run for too long are stopped."""

import asyncio
from typing import Any

import pytest

from gateway.jobs import overtime
from gateway.policy.terms import Terms
from tests.jobs.conftest import BOTH
from tests.jobs.house import House, Person, graph

SECOND = Terms(max_job_seconds=1)


@pytest.mark.parametrize("version", BOTH, indirect=True)
async def test_a_job_over_its_time_is_interrupted_and_says_so(house: House, alice: Person, bob: Person) -> None:
    """A job over `max_job_seconds` is interrupted, ends failed with a type of its own, and its owner gets an error
    event that names the limit; what it used is booked, and the next job runs."""
    house.terms[alice.id] = SECOND
    ear = house.listen(alice)
    long = await house.submit(alice, graph("long", seconds=30, steps=300), client_id="browser")
    after = await house.submit(bob, graph("after"))
    row = await house.ended(long)
    assert row.state == "failed" and row.error is not None
    assert row.error["exception_type"] == "time_limit"
    assert "1 seconds" in row.error["exception_message"]
    assert 900 < row.gpu_ms < 10_000
    assert ear.types(long)[-2:] == ["execution_error", "executing"]
    assert "execution_interrupted" not in ear.types(long)
    assert ear.of("execution_error")[0]["exception_type"] == "time_limit"
    assert (await house.ended(after)).state == "succeeded"
    assert house.runs(long) == 1


async def test_others_may_run_on(house: House, alice: Person) -> None:
    """A job within its limit, and one of a role without a limit, are left alone."""
    house.terms[alice.id] = Terms(max_job_seconds=60)
    assert (await house.ended(await house.submit(alice, graph("short", seconds=1.2)))).state == "succeeded"


async def test_who_cancels_a_job_gets_it_cancelled(house: House, alice: Person) -> None:
    """A job that its owner cancelled is cancelled, also when its time is over at that moment."""
    house.terms[alice.id] = SECOND
    ear = house.listen(alice)
    long = await house.submit(alice, graph("long", seconds=30, steps=300), client_id="browser")
    await house.in_state(long, "running")
    live = house.live(long)
    assert live is not None
    live.time_limit = 1
    await house.works.canceller.interrupt(alice.id, None)
    assert (await house.ended(long)).state == "cancelled"
    assert "execution_interrupted" in ear.types(long) and "execution_error" not in ear.types(long)


async def test_a_crash_after_the_interrupt_does_not_run_the_job_again(
    house: House, alice: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A gateway that dies between the interrupt and the end of the job finds it ended, and knows why."""
    house.terms[alice.id] = SECOND
    stopped = asyncio.Event()
    real = overtime.stop

    async def stop(*arguments: object) -> None:
        stopped.set()
        await asyncio.sleep(60)

    monkeypatch.setattr(overtime, "stop", stop)
    long = await house.submit(alice, graph("long", seconds=30, steps=300))
    await asyncio.wait_for(stopped.wait(), 10)
    desk = house.works.desk
    await house.kill()
    await house.server.start()
    await real(desk, long)
    await house.server.close()
    await house.start()
    row = await house.ended(long)
    assert row.error is not None and row.error["exception_type"] == "time_limit"
    assert house.runs(long) == 1


async def test_an_interrupt_that_was_lost_is_sent_again(
    house: House, alice: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A job that runs on after the interrupt is interrupted again."""
    house.terms[alice.id] = SECOND
    real, sent = overtime.stop, 0

    async def lost(*arguments: Any) -> None:
        nonlocal sent
        sent += 1
        if sent > 1:
            await real(*arguments)

    monkeypatch.setattr(overtime, "stop", lost)
    row = await house.ended(await house.submit(alice, graph("long", seconds=30, steps=300)))
    assert row.error is not None and row.error["exception_type"] == "time_limit"
    assert sent == 2
