"""Looks at the server."""

import orjson
import pytest

from gateway.demo.server import Simulator
from gateway.errors import UpstreamFault
from gateway.jobs import look
from gateway.jobs.look import Sighting
from tests.jobs.conftest import BOTH
from tests.jobs.house import House, Person, graph

UNKNOWN = "00000000-0000-4000-8000-000000000000"


def test_a_sighting_places_a_job() -> None:
    """Running, pending, or absent from the queue."""
    seen = Sighting(frozenset({"a"}), frozenset({"b"}))
    assert [seen.place(one) for one in "abc"] == ["running", "pending", "absent"]


@pytest.mark.parametrize("version", BOTH, indirect=True)
async def test_a_job_is_somewhere(house: House, sim: Simulator, alice: Person) -> None:
    """A job is running, pending, ended or absent; those at a parking number are told apart."""
    desk = house.works.desk
    ended = await house.submit(alice, graph("ended"))
    await house.ended(ended)
    sim.faults.stop_executing = True
    running, pending = [await house.submit(alice, graph(number)) for number in range(2)]
    await house.in_state(running, "running")
    places = [await look.whereabouts(desk, one) for one in (running, pending, ended, UNKNOWN)]
    assert places == ["running", "pending", "ended", "absent"]
    body = orjson.dumps({"prompt": graph("parked"), "number": look.PARKING + 7})
    await house.server.send_json("POST", "/prompt", body, timeout=5)
    seen = await look.queue(desk)
    assert len(seen.parked) == 1
    assert seen.pending == {pending, *seen.parked}


async def test_a_job_is_taken_out_of_the_queue_and_of_the_history(house: House, sim: Simulator, alice: Person) -> None:
    """One job is taken out, the others stay."""
    desk = house.works.desk
    ended = [await house.submit(alice, graph(f"ended{number}")) for number in range(2)]
    await house.idle()
    await look.forget(desk, ended[0])
    assert list(sim.history) == ended[1:]
    sim.faults.stop_executing = True
    ids = [await house.submit(alice, graph(number)) for number in range(2)]
    await look.take_out(desk, ids[1])
    assert sim.queue_running + sim.queue_pending == ids[:1]
    sim.faults.refuse_status = 500
    with pytest.raises(UpstreamFault):
        await look.take_out(desk, ids[0])


@pytest.mark.parametrize("status", [500, 404])
async def test_a_server_that_does_not_answer_says_nothing(house: House, sim: Simulator, status: int) -> None:
    """An error is no answer: it must never be taken for an empty queue or history."""
    sim.faults.refuse_status = status
    for question in (look.queue(house.works.desk), look.entry(house.works.desk, UNKNOWN)):
        with pytest.raises(UpstreamFault):
            await question


@pytest.mark.parametrize("answer", [[], {}, {"queue_running": []}, {"queue_running": [[]], "queue_pending": []}, None])
async def test_a_queue_in_another_shape_says_nothing(
    house: House, monkeypatch: pytest.MonkeyPatch, answer: object
) -> None:
    """What cannot be read is a fault, and not an empty queue (F27)."""

    async def strange(*_: object, **__: object) -> object:
        return answer

    monkeypatch.setattr(house.server, "get_json", strange)
    with pytest.raises(UpstreamFault):
        await look.queue(house.works.desk)
