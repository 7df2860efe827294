"""Cancel, interrupt and clear."""

import asyncio
import uuid
from typing import Any

import pytest

from gateway.demo.server import Simulator
from gateway.errors import StoreUnavailable, UpstreamFault
from gateway.jobs import cancel
from tests.jobs.conftest import BOTH
from tests.jobs.house import House, Person, graph

pytestmark = pytest.mark.parametrize("version", BOTH, indirect=True)
OTHER_ID = "00000000-0000-4000-8000-000000000000"


async def crowd(house: House, *people: Person, each: int = 3, seconds: float = 2.0) -> dict[Person, list[str]]:
    """Everybody has `each` jobs; the first one runs, the second is at ComfyUI, the rest wait."""
    ids: dict[Person, list[str]] = {person: [] for person in people}
    for _ in range(each):
        for person in people:
            nodes = graph(uuid.uuid4(), seconds=seconds, steps=int(seconds * 50))
            ids[person].append(await house.submit(person, nodes, client_id="browser"))
    await house.in_state(ids[people[0]][0], "running")
    return ids


def states(house: House, ids: list[str]) -> list[str | None]:
    return [house.state(one) for one in ids]


async def test_a_waiting_job_is_taken_out(house: House, sim: Simulator, alice: Person) -> None:
    """A cancelled waiting job never runs, leaves no history, and its owner's `status` counts it no longer."""
    ear = house.listen(alice)
    (ids,) = (await crowd(house, alice)).values()
    assert house.state(ids[2]) == "waiting"
    assert await house.works.canceller.cancel(alice.id, ids[2]) is True
    assert (house.live(ids[2]), house.runs(ids[2])) == (None, 0)
    assert ear.of("status")[-1]["status"]["exec_info"]["queue_remaining"] == 2
    row = await house.row(ids[2])
    assert row is not None
    assert (row.state, row.hidden, row.gpu_ms) == ("cancelled", True, 0)
    assert ids[2] not in sim.history


async def test_a_handed_job_is_taken_out_of_comfyui(house: House, sim: Simulator, alice: Person) -> None:
    """A job that waits at ComfyUI is deleted there and seen gone, and its charge is given back."""
    (ids,) = (await crowd(house, alice)).values()
    assert house.state(ids[1]) == "handed"
    assert await house.works.canceller.cancel(alice.id, ids[1]) is True
    assert ids[1] not in sim.queue_pending
    assert house.live(ids[1]) is None
    await house.until(lambda: sim.queue_pending == [ids[2]], "the next one has its place")
    assert house.runs(ids[1]) == 0


async def test_a_running_job_is_stopped(house: House, sim: Simulator, alice: Person) -> None:
    """A cancelled running job is interrupted, and its history says so, as ComfyUI's does."""
    ear = house.listen(alice)
    (ids,) = (await crowd(house, alice)).values()
    assert await house.works.canceller.cancel(alice.id, ids[0]) is True
    row = await house.ended(ids[0])
    assert (row.state, row.hidden, row.attempts) == ("cancelled", False, 1)
    assert ear.types(ids[0])[-2:] == ["execution_interrupted", "executing"]
    await house.until(lambda: sim.queue_running == [ids[1]], "the next one runs")


async def test_there_is_nothing_to_cancel(house: House, alice: Person, bob: Person) -> None:
    """Unknown, ended and other users' jobs: False, and nothing happens."""
    done = await house.submit(alice, graph(1))
    await house.ended(done)
    ids = await crowd(house, bob)
    for prompt_id in (OTHER_ID, "not an id", done, *ids[bob]):
        assert await house.works.canceller.cancel(alice.id, prompt_id) is False
    assert states(house, ids[bob]) == ["running", "handed", "waiting"]
    assert not house.happened("interrupted")


async def test_delete_takes_out_what_waits_and_leaves_what_runs(house: House, sim: Simulator, alice: Person) -> None:
    """POST /queue delete takes waiting jobs out; running and unknown ones are left alone, silently."""
    (ids,) = (await crowd(house, alice, each=4)).values()
    await house.works.canceller.delete(alice.id, [ids[0], ids[1], ids[3], ids[3], OTHER_ID])
    assert (house.state(ids[0]), house.live(ids[1]), house.live(ids[3])) == ("running", None, None)
    await house.until(lambda: sim.queue_pending == [ids[2]], "the one that is left has a place")
    assert sim.queue_running == [ids[0]]


async def test_clear_takes_out_all_that_waits(house: House, sim: Simulator, alice: Person, bob: Person) -> None:
    """`clear` empties the caller's queue: nothing of it starts, what runs goes on, and others are untouched (Q15)."""
    ids = await crowd(house, alice, bob)
    await house.works.canceller.clear(alice.id)
    assert [house.live(one) is None for one in ids[alice]] == [False, True, True]
    assert house.state(ids[alice][0]) == "running"
    await house.works.canceller.cancel(alice.id, ids[alice][0])
    await house.until(lambda: sim.queue_running == [ids[bob][0]], "bob's first runs")
    assert all(house.live(one) for one in ids[bob])
    assert [house.runs(one) for one in ids[alice]] == [1, 0, 0]


async def test_a_bare_interrupt_stops_ones_own_running_job_only(
    house: House, sim: Simulator, alice: Person, bob: Person
) -> None:
    """A bare interrupt acts on the caller's running job, targeted upstream; with another's job running, on none
    (Q16)."""
    ids = await crowd(house, alice, bob)
    await house.works.canceller.interrupt(bob.id, None)
    await house.works.canceller.interrupt(bob.id, ids[alice][0])
    await house.works.canceller.interrupt(alice.id, ids[alice][1])
    await asyncio.sleep(0.1)
    assert sim.queue_running == [ids[alice][0]]
    await house.works.canceller.interrupt(alice.id, None)
    assert (await house.ended(ids[alice][0])).state == "cancelled"
    await house.until(lambda: len(sim.queue_running) == 1, "the next one runs")
    assert states(house, ids[bob])[0] in ("running", "handed")


async def test_an_interrupt_with_an_id_stops_the_one_that_runs(house: House, alice: Person) -> None:
    """With its id the running job is stopped."""
    (ids,) = (await crowd(house, alice)).values()
    await house.works.canceller.interrupt(alice.id, ids[0])
    assert (await house.ended(ids[0])).state == "cancelled"


async def test_no_other_job_is_ever_hit(house: House, sim: Simulator, alice: Person, bob: Person) -> None:
    """ComfyUI's targeted interrupt checks first and acts later: the next job, if it is hit, runs again."""
    sim.faults.interrupt_lag = 0.15
    first = await house.submit(alice, graph(1, seconds=0.25, steps=20))
    second = await house.submit(bob, graph(2, seconds=0.4, steps=20))
    await house.in_state(first, "running")
    await asyncio.sleep(0.15)
    await house.works.canceller.cancel(alice.id, first)
    rows = [await house.ended(one) for one in (first, second)]
    assert rows[0].state in ("succeeded", "cancelled")
    assert (rows[1].state, rows[1].attempts) == ("succeeded", house.runs(second))


async def test_a_job_that_starts_while_it_is_taken_out(
    house: House, sim: Simulator, alice: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A job that starts before it could be deleted: cancel stops it, delete leaves it alone, as ComfyUI does."""
    for stops in (True, False):
        (ids,) = (await crowd(house, alice, each=2, seconds=0.3)).values()
        real = cancel.take_out

        async def late(desk: Any, prompt_id: str, ids: list[str] = ids, real: Any = real) -> None:
            await house.until(lambda: sim.queue_running == [ids[1]], "it has started")
            await real(desk, prompt_id)

        monkeypatch.setattr(cancel, "take_out", late)
        if stops:
            assert await house.works.canceller.cancel(alice.id, ids[1])
        else:
            await house.works.canceller.delete(alice.id, [ids[1]])
        monkeypatch.setattr(cancel, "take_out", real)
        row = await house.ended(ids[1])
        assert (row.state, row.cancel_requested) == (("cancelled", True) if stops else ("succeeded", False))
        assert house.runs(ids[1]) == 1


async def test_a_wish_for_a_job_on_its_way_is_kept(
    house: House, sim: Simulator, alice: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A job that is cancelled before ComfyUI has answered its submit is taken out as soon as it has."""
    sim.faults.stop_executing = True
    for number in range(2):
        await house.submit(alice, graph(f"held{number}"))
    sim.faults.hold_answers = 0.3
    prompt_id = str(uuid.uuid4())
    submitting = asyncio.create_task(house.submit(alice, graph(1), prompt_id=prompt_id))
    await house.until(lambda: house.state(prompt_id) == "submitting", "it is on its way")
    assert await house.works.canceller.cancel(alice.id, prompt_id) is True
    row = await house.row(prompt_id)
    assert row is not None
    assert row.cancel_requested
    assert await submitting == prompt_id
    sim.faults.stop_executing = False
    assert (await house.ended(prompt_id)).state == "cancelled"
    assert house.runs(prompt_id) == 0


async def test_a_wish_for_an_unknown_job_is_kept(house: House, sim: Simulator, alice: Person) -> None:
    """A job whose submit was not answered is cancelled when it is found."""
    sim.faults.stop_executing = True
    await house.submit(alice, graph("held"))
    sim.faults.drop_post_answer = 1
    with pytest.raises(UpstreamFault) as caught:
        await house.submit(alice, graph(1))
    prompt_id = str(caught.value.extra_info["prompt_id"])
    assert await house.works.canceller.cancel(alice.id, prompt_id) is True
    assert (await house.ended(prompt_id)).state == "cancelled"
    assert house.runs(prompt_id) == 0
    assert prompt_id not in sim.queue_pending


async def test_a_wish_that_comfyui_did_not_hear_is_fulfilled_later(
    house: House, alice: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cancellation that fails upstream is told as a fault, kept, and carried out at the next look."""
    (ids,) = (await crowd(house, alice, seconds=0.5)).values()
    real = house.server.send_json
    failures = 0

    async def broken(method: str, path: str, body: bytes | None, **options: Any) -> Any:
        nonlocal failures
        if path == "/queue" and failures < 2:
            failures += 1
            raise UpstreamFault("ComfyUI broke off the connection.")
        return await real(method, path, body, **options)

    monkeypatch.setattr(house.server, "send_json", broken)
    with pytest.raises(UpstreamFault):
        await house.works.canceller.cancel(alice.id, ids[1])
    assert house.state(ids[1]) == "handed"
    assert (await house.ended(ids[1])).state == "cancelled"
    assert failures == 2


async def test_a_database_that_is_away_does_not_lose_a_wish(
    house: House, alice: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A waiting job whose end could not be written down neither runs nor stays for ever."""
    (ids,) = (await crowd(house, alice)).values()
    real = type(house.store.ledger).finish

    async def away(*_: Any, **__: Any) -> bool:
        raise StoreUnavailable("The database cannot answer now.", sent=False)

    monkeypatch.setattr(type(house.store.ledger), "finish", away)
    with pytest.raises(StoreUnavailable):
        await house.works.canceller.cancel(alice.id, ids[2])
    monkeypatch.setattr(type(house.store.ledger), "finish", real)
    assert (await house.ended(ids[2])).state == "cancelled"
    assert house.runs(ids[2]) == 0


async def test_a_client_that_leaves_does_not_take_its_wish_along(house: House, alice: Person) -> None:
    """A cancellation whose request was given up half-way is carried out all the same."""
    (ids,) = (await crowd(house, alice)).values()
    for prompt_id in (ids[2], ids[1]):
        cancelling = asyncio.create_task(house.works.canceller.cancel(alice.id, prompt_id))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        cancelling.cancel()
        await asyncio.gather(cancelling, return_exceptions=True)
        await house.until(lambda one=prompt_id: house.live(one) is None, "it is gone")
    assert [house.runs(one) for one in ids] == [1, 0, 0]


async def test_one_fault_does_not_save_the_others(
    house: House, alice: Person, bob: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A clear that fails with one job ends the others, and then tells the fault."""
    ids = await crowd(house, bob, alice, each=3)
    assert house.state(ids[alice][0]) == "handed"
    real = house.server.send_json

    async def broken(method: str, path: str, body: bytes | None, **options: Any) -> Any:
        if path == "/queue":
            raise UpstreamFault("ComfyUI broke off the connection.")
        return await real(method, path, body, **options)

    monkeypatch.setattr(house.server, "send_json", broken)
    with pytest.raises(UpstreamFault):
        await house.works.canceller.delete(alice.id, ids[alice])
    assert [house.live(one) is None for one in ids[alice]] == [False, True, True]


async def test_everybody_at_once(house: House, sim: Simulator, alice: Person, bob: Person) -> None:
    """Submits, deletes, clears and interrupts at the same time leave no place taken and no job behind (Q03)."""
    works = house.works

    async def one(number: int) -> None:
        person = (alice, bob)[number % 2]
        prompt_id = await house.submit(person, graph(number, seconds=0.03))
        acts = (
            lambda: works.canceller.cancel(person.id, prompt_id),
            lambda: works.canceller.delete(person.id, [prompt_id]),
            lambda: works.canceller.clear(person.id),
            lambda: works.canceller.interrupt(person.id, None),
            lambda: asyncio.sleep(0),
        )
        await acts[number % len(acts)]()

    await asyncio.gather(*(one(number) for number in range(30)))
    await house.idle()
    assert works.desk.board.placed() == []
    assert sim.queue_running == sim.queue_pending == []
    assert await house.store.ledger.unfinished() == []
    for row in await house.store.ledger.history(alice.id, limit=50):
        assert house.runs(row.prompt_id) == row.attempts >= 1
