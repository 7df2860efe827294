"""A job comes in."""

import asyncio
import uuid

import pytest

from gateway.demo.server import Simulator
from gateway.errors import NoServer, PromptIdTaken, QueueFull, StoreUnavailable, UpstreamFault
from gateway.jobs.post import Refused
from gateway.jobs.submission import Accepted
from tests.jobs.conftest import BOTH
from tests.jobs.house import INVALID, House, Person, graph

PARKING = 1e12


async def busy(house: House, person: Person, *, seconds: float = 3.0) -> list[str]:
    """Fill both places with jobs that take long."""
    ids = [await house.submit(person, graph(f"busy-{number}", seconds=seconds)) for number in range(2)]
    await house.in_state(ids[0], "running")
    return ids


async def numbers(house: House) -> dict[str, float]:
    """ComfyUI's numbers of what it holds now."""
    answer = await house.server.get_json("/queue", timeout=5)
    return {item[1]: item[0] for part in answer.values() for item in part}


async def test_a_free_place_is_taken_at_once(house: House, alice: Person) -> None:
    """If a place is free the job is simply posted, with a small number: the ledger's sequence."""
    first = await house.submit(alice, graph(1, seconds=2))
    second = await house.submit(alice, graph(2, seconds=2))
    assert all(number < 1000 for number in (await numbers(house)).values())
    assert set(await numbers(house)) == {first, second}
    assert not house.happened("deleted")
    assert house.state(second) == "handed"


@pytest.mark.parametrize("version", BOTH, indirect=True)
async def test_without_a_free_place_a_job_is_validated_and_withdrawn(
    house: House, sim: Simulator, alice: Person, bob: Person
) -> None:
    """Else it is posted at a parking number and taken out again: nothing of it is left in ComfyUI."""
    held = await busy(house, alice)
    seen: list[float] = []
    parked = asyncio.create_task(house.submit(bob, graph("parked")))
    while not parked.done():
        seen += [number for prompt_id, number in (await numbers(house)).items() if prompt_id not in held]
    prompt_id = await parked
    assert house.state(prompt_id) == "waiting"
    assert sim.queue_running + sim.queue_pending == held
    assert prompt_id not in sim.history
    assert [entry.kind for entry in sim.log if entry.prompt_id == prompt_id] == ["queued", "deleted"]
    assert all(number > PARKING for number in seen)
    live = house.live(prompt_id)
    assert live is not None
    assert not live.placed
    row = await house.row(prompt_id)
    assert row is not None
    assert (row.state, row.charged_ms, row.attempts, row.outputs_to_execute) == ("waiting", 0, 0, ["3"])


@pytest.mark.parametrize("version", BOTH, indirect=True)
@pytest.mark.parametrize("full", [False, True])
async def test_a_prompt_that_comfyui_refuses_leaves_no_trace(
    house: House, alice: Person, bob: Person, *, full: bool
) -> None:
    """ComfyUI's own 400 comes back, whether a place is free or not, and the row is withdrawn."""
    if full:
        await busy(house, bob)
    prompt_id = str(uuid.uuid4())
    outcome = await house.offer(alice, INVALID, prompt_id=prompt_id)
    assert isinstance(outcome, Refused)
    assert outcome.body["error"]["type"] == "prompt_outputs_failed_validation"
    assert await house.row(prompt_id) is None
    assert (house.live(prompt_id), house.works.views.count(alice.id)) == (None, 0)
    virtual = await house.store.ledger.virtual_times()
    assert virtual[alice.id] <= virtual.get(bob.id, 0.0)


async def test_a_refused_prompt_frees_its_place_in_the_cap_and_its_id(house: House, alice: Person) -> None:
    """A refused prompt never was: its place in the cap and its id can be used (Q04)."""
    prompt_id = str(uuid.uuid4())
    for _ in range(3):
        assert isinstance(await house.offer(alice, INVALID, prompt_id=prompt_id, cap=1), Refused)
    assert await house.submit(alice, graph(1), prompt_id=prompt_id, cap=1) == prompt_id
    await house.ended(prompt_id)


async def test_200_submits_at_once_never_leave_more_than_the_cap(house: House, alice: Person, bob: Person) -> None:
    """200 parallel POST /prompt with a cap of 5: exactly 5 are accepted (Q01)."""
    other = await house.submit(bob, graph("bob", seconds=1))
    offers = (house.offer(alice, graph(number, seconds=1), cap=5) for number in range(200))
    outcomes = await asyncio.gather(*offers, return_exceptions=True)
    accepted = [one for one in outcomes if isinstance(one, Accepted)]
    full = [one for one in outcomes if isinstance(one, QueueFull)]
    assert (len(accepted), len(full)) == (5, 195)
    assert len(await house.store.ledger.unfinished(alice.id)) == house.works.views.count(alice.id) == 5
    assert full[0].extra_info["limit"] == 5
    assert full[0].headers["Retry-After"]
    assert house.most_held() <= 2
    await house.ended(other)


async def test_a_used_id_is_refused_whoever_used_it(house: House, alice: Person, bob: Person) -> None:
    """A used prompt_id is PromptIdTaken, also after the job has ended, and for another user."""
    prompt_id = await house.submit(alice, graph(1), prompt_id=str(uuid.uuid4()))
    with pytest.raises(PromptIdTaken):
        await house.submit(bob, graph(2), prompt_id=prompt_id)
    await house.ended(prompt_id)
    with pytest.raises(PromptIdTaken):
        await house.submit(alice, graph(3), prompt_id=prompt_id)
    assert house.runs(prompt_id) == 1


async def test_with_the_server_down_nothing_is_taken(house: House, sim: Simulator, alice: Person) -> None:
    """With ComfyUI down a submit is NoServer with Retry-After, and there is no row (Q06)."""
    await sim.crash()
    await house.until(lambda: not house.works.connected, "the gateway notices")
    with pytest.raises(NoServer) as caught:
        await house.submit(alice, graph(1))
    assert caught.value.headers["Retry-After"]
    assert await house.store.ledger.unfinished() == []


async def test_a_server_that_goes_down_in_between_leaves_no_row(house: House, sim: Simulator, alice: Person) -> None:
    """What was never sent is withdrawn, also when the gateway did not yet know that the server is gone."""
    await sim.stop()
    house.works.desk.link.up.set()
    with pytest.raises(NoServer):
        await house.submit(alice, graph(1))
    assert await house.store.ledger.unfinished() == []
    assert (house.works.views.count(alice.id), house.works.desk.board.placed()) == (0, [])


async def test_a_link_that_is_opened_anew_is_waited_for(house: House, alice: Person) -> None:
    """A submit in the moment in which the event socket is opened anew is not refused."""
    await house.works.follower.reconnect()
    await house.until(lambda: not house.works.connected, "the link is down")
    assert (await house.ended(await house.submit(alice, graph(1)))).state == "succeeded"


async def test_a_lost_answer_leaves_the_job_unknown_and_it_runs_once(
    house: House, sim: Simulator, alice: Person
) -> None:
    """Sent but no answer: the job holds its place as `unknown`, is found later, and runs once (Q07)."""
    sim.faults.stop_executing = True
    sim.faults.drop_post_answer = 1
    with pytest.raises(UpstreamFault) as caught:
        await house.submit(alice, graph(1))
    prompt_id = str(caught.value.extra_info["prompt_id"])
    live = house.live(prompt_id)
    assert live is not None
    assert live.placed
    assert house.works.views.count(alice.id) == 1
    sim.faults.stop_executing = False
    row = await house.ended(prompt_id)
    assert (row.state, row.attempts, house.runs(prompt_id)) == ("succeeded", 1, 1)


async def test_a_lost_answer_of_a_parked_job_is_healed(
    house: House, sim: Simulator, alice: Person, bob: Person
) -> None:
    """A job whose answer was lost at its parking number is taken out when it is found, and waits for its turn."""
    held = await busy(house, alice)
    sim.faults.drop_post_answer = 1
    with pytest.raises(UpstreamFault) as caught:
        await house.submit(bob, graph(1))
    prompt_id = str(caught.value.extra_info["prompt_id"])
    assert house.state(prompt_id) == "unknown"
    await house.in_state(prompt_id, "waiting")
    assert sim.queue_running + sim.queue_pending == held
    for one in held:
        await house.works.canceller.cancel(alice.id, one)
    assert ((await house.ended(prompt_id)).state, house.runs(prompt_id)) == ("succeeded", 1)


async def test_a_job_that_cannot_be_seen_gone_is_not_forgotten(
    house: House, sim: Simulator, alice: Person, bob: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A job that was accepted and then not seen gone from ComfyUI waits again when it is absent in two looks: nothing
    that was accepted disappears."""
    await busy(house, alice, seconds=0.7)
    real = house.server.get_json

    async def broken(path: str, **_: float) -> object:
        raise UpstreamFault("ComfyUI broke off the connection.")

    monkeypatch.setattr(house.server, "get_json", broken)
    prompt_id = await house.submit(bob, graph(1))
    assert house.state(prompt_id) == "handing"
    assert prompt_id not in sim.queue_pending
    monkeypatch.setattr(house.server, "get_json", real)
    assert ((await house.ended(prompt_id)).state, house.runs(prompt_id)) == ("succeeded", 1)


async def test_a_parked_job_that_starts_meanwhile_runs(
    house: House, sim: Simulator, alice: Person, bob: Person
) -> None:
    """If a parked job starts before it is withdrawn, it runs, and counts as handed over."""
    held = await busy(house, alice, seconds=0.4)
    take_out = house.server.send_json

    async def late(method: str, path: str, body: bytes | None, **options: float) -> object:
        if path == "/queue":
            await house.until(lambda: set(held) <= set(sim.history) and bool(sim.queue_running), "it has started")
        return await take_out(method, path, body, **options)

    house.server.send_json = late
    prompt_id = await house.submit(bob, graph("parked", seconds=0.3))
    row = await house.ended(prompt_id)
    assert (row.state, row.attempts, house.runs(prompt_id)) == ("succeeded", 1, 1)
    assert row.charged_ms > 0


async def test_a_submit_runs_to_its_end_when_the_client_leaves(house: House, alice: Person) -> None:
    """A client that disconnects during a submit leaves a job that has an owner and an outcome (Q08)."""
    prompt_id = str(uuid.uuid4())
    submitting = asyncio.create_task(house.submit(alice, graph(1), prompt_id=prompt_id))
    await house.until(lambda: house.live(prompt_id) is not None, "it is on its way")
    submitting.cancel()
    await asyncio.gather(submitting, return_exceptions=True)
    await house.works.submitter.drain()
    assert ((await house.ended(prompt_id)).user_id, house.runs(prompt_id)) == (alice.id, 1)


async def test_clients_see_their_own_counter(house: House, sim: Simulator, alice: Person, bob: Person) -> None:
    """`number` is the user's own counter, negative for `front`; a number of the client's own is given back and does not
    advance it."""
    sim.faults.stop_executing = True
    told = [
        (await house.offer(person, graph(number), **fields)).number
        for number, (person, fields) in enumerate(
            [
                (alice, {}),
                (bob, {}),
                (alice, {}),
                (alice, {"number": 7.5}),
                (alice, {"front": True}),
                (bob, {}),
                (alice, {}),
            ]
        )
    ]
    assert told == [0, 0, 1, 7.5, -2, 1, 3]


async def test_the_outputs_to_execute_are_noted(house: House, alice: Person) -> None:
    """outputs_to_execute is computed from object_info, partial targets and node_errors."""
    nodes = graph(1) | {
        "4": {"class_type": "PreviewImage", "inputs": {"images": ["2", 0]}},
        "5": {"class_type": "SaveImage", "inputs": {"filename_prefix": "no picture"}},
    }
    every = await house.submit(alice, nodes)
    some = await house.submit(alice, nodes, partial_execution_targets=["4"])
    rows = [await house.ended(one) for one in (every, some)]
    assert [row.outputs_to_execute for row in rows] == [["3", "4"], ["4"]]
    assert [list(row.node_errors) for row in rows] == [["5"], []]


async def test_a_database_that_fails_before_the_post_sends_nothing(
    house: House, sim: Simulator, alice: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the database nothing is submitted (Q20), and nothing stays behind."""

    async def away(*_: object, **__: object) -> None:
        raise StoreUnavailable("The database cannot answer now.", sent=False)

    monkeypatch.setattr(type(house.store.ledger), "reserve", away)
    prompt_id = str(uuid.uuid4())
    with pytest.raises(StoreUnavailable):
        await house.submit(alice, graph(1), prompt_id=prompt_id)
    assert not house.happened("queued")
    assert (await house.row(prompt_id), house.works.views.count(alice.id)) == (None, 0)


async def test_a_database_that_fails_after_the_post_loses_no_job(
    house: House, alice: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A job that ComfyUI took while the database was away is found by the next look, and runs once (Q21)."""

    async def away(*_: object, **__: object) -> bool:
        raise StoreUnavailable("The database cannot answer now.", sent=False)

    real = type(house.store.ledger).accept
    monkeypatch.setattr(type(house.store.ledger), "accept", away)
    prompt_id = str(uuid.uuid4())
    with pytest.raises(StoreUnavailable):
        await house.submit(alice, graph(1, seconds=0.3), prompt_id=prompt_id)
    monkeypatch.setattr(type(house.store.ledger), "accept", real)
    assert ((await house.ended(prompt_id)).state, house.runs(prompt_id)) == ("succeeded", 1)


@pytest.mark.parametrize("version", ["0.3.64"], indirect=True)
async def test_the_secrets_go_along_and_are_not_stored(house: House, alice: Person, bob: Person) -> None:
    """Secrets in extra_data are sent to ComfyUI (whose old version shows them in its queue) and kept in memory only."""
    await busy(house, bob, seconds=0.3)
    extra_data = {"api_key_comfy_org": "hush-hush", "preview_method": "x"}
    prompt_id = await house.submit(alice, graph(1, seconds=0.3), extra_data=extra_data)
    live = house.live(prompt_id)
    assert live is not None
    assert live.secrets == {"api_key_comfy_org": "hush-hush"}
    row = await house.row(prompt_id)
    assert row is not None
    assert (row.had_secrets, row.extra_data) == (True, {"preview_method": "x"})
    await house.in_state(prompt_id, "running")
    answer = await house.server.get_json("/queue", timeout=5)
    assert answer["queue_running"][0][3]["api_key_comfy_org"] == "hush-hush"
    assert (await house.ended(prompt_id)).state == "succeeded"
    assert b"hush-hush" not in house.database_bytes()
