"""Where everybody's jobs stand."""

import asyncio

import pytest

from gateway.jobs.outlook import Picture, Place
from gateway.policy.fairness import UNKNOWN_COST_MS
from gateway.policy.terms import Terms
from tests.jobs.house import House, Person, graph


async def places(house: House) -> dict[str, Place]:
    """The queue, looked at anew."""
    house.works.outlook._good_until = 0.0
    return {place.prompt_id: place for place in (await house.works.outlook.look()).places}


async def test_an_estimate_is_what_the_same_shape_took(house: House, alice: Person) -> None:
    """The expected time of a job is what the user's jobs of the same shape took, and what runs is expected to take only
    the rest."""
    first = await house.ended(await house.submit(alice, graph("first", seconds=0.5)))
    running = await house.submit(alice, graph("second", seconds=0.5))
    after = await house.submit(alice, graph("third", seconds=0.5))
    await house.in_state(running, "running")
    seen = await places(house)
    assert seen[after].estimate_ms == first.gpu_ms
    start_ms = seen[after].start_ms
    assert start_ms is not None and start_ms <= house.works.desk.milliseconds() + first.gpu_ms


async def test_a_change_of_the_terms_changes_the_order(house: House, alice: Person, bob: Person) -> None:
    """What is foreseen is what the dispatcher will choose, on the terms of now."""
    running = await house.submit(alice, graph("runs", seconds=5, steps=50))
    ids = [await house.submit(alice, graph(f"a{number}", seconds=5)) for number in range(3)]
    other = await house.submit(bob, graph("bob", seconds=5))
    await house.in_state(running, "running")
    seen = await places(house)
    assert [seen[one].position for one in (running, ids[0], other, *ids[1:])] == [0, 1, 2, 3, 4]
    assert seen[other].estimate_ms == UNKNOWN_COST_MS
    house.terms[alice.id] = Terms(priority=1)
    seen = await places(house)
    assert [seen[one].position for one in (running, *ids, other)] == [0, 1, 2, 3, 4]
    house.terms[alice.id] = Terms(priority=1, max_running=1)
    assert (await places(house))[other].position == 2


async def test_an_empty_queue(house: House) -> None:
    """Nobody waits: there is nothing to see."""
    picture = await house.works.outlook.look()
    assert (picture.connected, picture.places, picture.standings) == (True, (), {})


async def test_many_looks_cost_little(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever asks all the time gets the last look again, for ten times as long as it took."""
    looks = 0

    async def slow() -> Picture:
        nonlocal looks
        looks += 1
        await asyncio.sleep(0.2)
        return Picture(True, (), {})

    monkeypatch.setattr(house.works.outlook, "_look", slow)
    await asyncio.gather(*(house.works.outlook.look() for _ in range(50)))
    assert looks == 1
    house.works.outlook._good_until = 0.0
    await house.works.outlook.look()
    assert looks == 2
