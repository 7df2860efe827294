"""Budgets of GPU time, in front of a ComfyUI that runs jobs."""

import asyncio
from typing import Any

import pytest

from gateway.errors import BudgetExhausted
from gateway.jobs.post import Refused
from gateway.jobs.submission import Accepted
from gateway.policy.budgets import DAY_SECONDS, Budget
from gateway.policy.terms import Terms
from gateway.store.ledger import Ledger
from tests.jobs.house import INVALID, House, Person, graph


def allow(house: House, person: Person, seconds: int) -> None:
    house.terms[person.id] = Terms(budgets=(Budget("day", seconds),))


async def refused(house: House, person: Person) -> BudgetExhausted:
    with pytest.raises(BudgetExhausted) as caught:
        await house.submit(person, graph("refused"))
    return caught.value


async def test_comfyuis_own_time_is_booked(house: House, alice: Person, bob: Person) -> None:
    """What ComfyUI's timestamps say is booked for the owner, under the token that came along; what waits longer or is
    cancelled in the queue costs nothing."""
    body = graph("a", seconds=0.3)
    outcome = await house.offer(alice, body, token_id="laptop")
    assert isinstance(outcome, Accepted)
    waiting = [await house.submit(bob, graph(number, seconds=0.2)) for number in range(3)]
    assert await house.works.canceller.cancel(bob.id, waiting[-1])
    await house.idle()
    assert house.booked() == house.ended_rows()
    ((token_id, gpu_ms),) = house.read(f"select token_id, gpu_ms from usage where user_id = {alice.id}")
    row = await house.row(outcome.prompt_id)
    assert row is not None and row.status is not None
    told = {name: data["timestamp"] for name, data in row.status["messages"]}
    assert (token_id, gpu_ms) == ("laptop", told["execution_success"] - told["execution_start"])


async def test_who_has_used_it_up_is_refused(house: House, alice: Person, bob: Person) -> None:
    """At 100 % a submit is refused, and others are not; what runs and what waits already is done, and the refusal takes
    no place."""
    allow(house, alice, 15)
    ids = [await house.submit(alice, graph(number, seconds=0.2)) for number in range(2)]
    error = await refused(house, alice)
    assert error.extra_info["frees"] == "when your jobs end"
    await house.submit(bob, graph("bob"))
    assert [(await house.ended(prompt_id)).state for prompt_id in ids] == ["succeeded", "succeeded"]
    await house.submit(alice, graph("the estimate was wrong"))
    await house.idle()
    allow(house, alice, 1)
    while sum(row[4] for row in house.booked() if row[0] == alice.id) < 1000:
        await house.ended(await house.submit(alice, graph(object(), seconds=0.6)))
    assert (await refused(house, alice)).extra_info["current"] >= 1
    assert house.works.desk.board.count(alice.id) == 0
    allow(house, alice, 1000)
    await house.submit(alice, graph("more is allowed now"))


async def test_a_new_day_begins_anew(house: House, alice: Person) -> None:
    """The next day there is a whole budget again, and a clock that is set back frees nothing."""
    allow(house, alice, 1)
    await house.ended(await house.submit(alice, graph("a", seconds=1.1)))
    for house.clock_offset in (0.0, -DAY_SECONDS, -5 * DAY_SECONDS, 0.0):
        await refused(house, alice)
    house.clock_offset = DAY_SECONDS
    await house.ended(await house.submit(alice, graph("b", seconds=1.1)))
    assert len(house.read("select day from gpu_days")) == 2
    for house.clock_offset in (DAY_SECONDS, 0.0, -DAY_SECONDS):
        await refused(house, alice)
    assert house.booked() == house.ended_rows()


async def test_what_comfyui_refuses_costs_nothing(house: House, alice: Person) -> None:
    """A workflow that ComfyUI does not take gives back at once what was held back for it."""
    allow(house, alice, 1)
    for _ in range(3):
        assert isinstance(await house.offer(alice, INVALID), Refused)
    outcome = await house.offer(alice, graph("a"))
    assert isinstance(outcome, Accepted) and [left.remaining_ms for left in outcome.left] == [0]
    assert house.read("select count(*) from usage") == [(0,)]


async def test_submits_at_once_do_not_slip_through(house: House, alice: Person) -> None:
    """Of many submits at a time only as many are accepted as are expected to fit into what is left."""
    allow(house, alice, 25)
    house.sim.faults.stop_executing = True
    outcomes = await asyncio.gather(
        *(house.offer(alice, graph(number)) for number in range(12)), return_exceptions=True
    )
    assert sum(isinstance(outcome, Accepted) for outcome in outcomes) == 3
    assert sum(isinstance(outcome, BudgetExhausted) for outcome in outcomes) == 9
    house.sim.faults.stop_executing = False


@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_clock_that_jumps_while_the_gateway_dies(
    house: House, alice: Person, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    """A gateway that dies beside the write of an end, and finds another day when it comes back, books it once."""
    allow(house, alice, 1000)
    reached, real = asyncio.Event(), Ledger.finish

    async def dying(*arguments: Any, **options: Any) -> bool:
        if when == "after":
            await real(*arguments, **options)
        reached.set()
        await asyncio.Event().wait()
        raise AssertionError("it is dead")

    monkeypatch.setattr(Ledger, "finish", dying)
    prompt_id = await house.submit(alice, graph("a", seconds=0.2))
    await house.until(reached.is_set, "the end is being written")
    await house.kill()
    monkeypatch.setattr(Ledger, "finish", real)
    house.clock_offset = DAY_SECONDS
    await house.start()
    assert (await house.ended(prompt_id)).state == "succeeded"
    assert house.booked() == house.ended_rows()
    ((days,),) = house.read("select count(*) from gpu_days")
    assert days == 1
