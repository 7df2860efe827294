"""The queue moves."""

import asyncio
import uuid
from functools import partial
from itertools import pairwise
from typing import Any

import pytest

from gateway.demo.server import Simulator
from gateway.errors import StoreUnavailable, UpstreamFault
from gateway.jobs import dispatch
from gateway.policy.terms import Terms
from gateway.store import shares
from tests.jobs.conftest import BOTH
from tests.jobs.house import House, Person, graph


async def hold(house: House) -> None:
    """Let ComfyUI take jobs and start none: its worker, asked to free memory, passes the barrier before the queue."""
    house.sim.faults.stop_executing = True
    await house.server.send_json("POST", "/free", b'{"free_memory": true}', timeout=5)
    await asyncio.sleep(0.01)


async def used(house: House, person: Person, virtual_ms: float) -> None:
    """Let a user have used as much."""
    await house.store.transactions.run_write(partial(shares.join, user_id=person.id, virtual_ms=virtual_ms))


async def release(house: House) -> None:
    house.sim.faults.stop_executing = False
    await house.idle()


@pytest.mark.parametrize("version", BOTH, indirect=True)
async def test_comfyui_never_holds_more_than_two(house: House, alice: Person, bob: Person) -> None:
    """ComfyUI holds at most the running job and the next one; everything else waits in the ledger."""
    people = [alice, bob]
    offers = [house.submit(people[number % 2], graph(number, seconds=0.05)) for number in range(20)]
    ids = await asyncio.gather(*offers)
    await house.idle()
    assert house.most_held() <= 2
    assert sorted(house.order()) == sorted(ids)


async def test_the_next_job_hides_the_gap(house: House, sim: Simulator, alice: Person) -> None:
    """While one job runs and others wait, the next one is at ComfyUI already."""
    for number in range(4):
        await house.submit(alice, graph(number, seconds=0.3))
    await house.until(lambda: len(sim.queue_running) == len(sim.queue_pending) == 1, "two are there")
    await house.until(lambda: len(house.happened("finished")) == 1, "the first has ended")
    await house.until(lambda: len(sim.queue_running) == len(sim.queue_pending) == 1, "two are there again")


async def test_least_virtual_time_goes_first(house: House, alice: Person, bob: Person) -> None:
    """Each time a place frees, the job of the user who used least is chosen."""
    await hold(house)
    first = [await house.submit(alice, graph(f"a{number}")) for number in range(4)]
    other = [await house.submit(bob, graph(f"b{number}")) for number in range(4)]
    ledger = house.store.ledger
    before = await ledger.virtual_times()
    # Alice was charged for the two that were handed over; bob, who came later, started where she stood.
    assert before[alice.id] > 0
    await used(house, alice, before[alice.id] + 1e9)
    await release(house)
    assert house.order() == [*first[:2], *other, *first[2:]]


async def test_equal_users_take_turns(house: House, alice: Person, bob: Person) -> None:
    """Of two users with equal jobs neither gets two turns in a row for long."""
    await hold(house)
    mine = {await house.submit(alice, graph(f"a{number}", seconds=0.05)) for number in range(8)}
    for number in range(8):
        await house.submit(bob, graph(f"b{number}", seconds=0.05))
    await release(house)
    turns = [prompt_id in mine for prompt_id in house.order()][2:]
    longest = 1
    for before, after in pairwise(turns[:10]):
        longest = longest + 1 if before == after else 1
        assert longest <= 3, turns


async def test_someone_new_waits_for_what_was_handed_over_only(house: House, alice: Person, bob: Person) -> None:
    """200 queued jobs of one user delay another's first by no more than what runs and what was handed over."""
    await hold(house)
    crowd = [await house.submit(alice, graph(f"a{number}", seconds=0.0)) for number in range(3)]
    await house.kill()
    crowd += house.copies(crowd[2], 197)
    await house.start()
    assert house.works.views.count(alice.id) == 200
    first = await house.submit(bob, graph("bob"))
    there = [one for one in crowd if (live := house.live(one)) and live.placed]
    house.sim.faults.stop_executing = False
    await house.until(lambda: house.runs(first) == 1, "bob's job runs")
    assert set(house.order()[: house.order().index(first)]) == set(there)
    assert len(there) == 2


async def test_turns_go_by_weight(house: House, alice: Person, bob: Person) -> None:
    """A user with three times the weight gets three times the GPU: ComfyUI's own log says in which order jobs ran."""
    house.terms[alice.id] = Terms(weight=3.0)
    await hold(house)
    held = [await house.submit(alice, graph(f"held{number}", seconds=0.1)) for number in range(2)]
    mine = [await house.submit(alice, graph(f"a{number}", seconds=0.1)) for number in range(9)]
    other = [await house.submit(bob, graph(f"b{number}", seconds=0.1)) for number in range(9)]
    await release(house)
    turns = [prompt_id in mine for prompt_id in house.order() if prompt_id not in held]
    assert 7 <= sum(turns[:12]) <= 9, turns
    assert other == [prompt_id for prompt_id in house.order() if prompt_id in other]


async def test_a_higher_priority_goes_first(house: House, alice: Person, bob: Person) -> None:
    """All jobs of a higher priority run before those of a lower one, but for what was handed over."""
    house.terms[bob.id] = Terms(priority=1)
    await hold(house)
    first = [await house.submit(alice, graph(f"a{number}")) for number in range(5)]
    other = [await house.submit(bob, graph(f"b{number}")) for number in range(4)]
    await release(house)
    assert house.order() == [*first[:2], *other, *first[2:]]


async def test_max_running_binds_at_the_hand_over(house: House, alice: Person, bob: Person) -> None:
    """ComfyUI never has more jobs of a user than `max_running`; the place goes to the next user."""
    house.terms[alice.id] = Terms(max_running=1)
    await hold(house)
    mine = [await house.submit(alice, graph(f"a{number}")) for number in range(3)]
    assert [live.placed for one in mine if (live := house.live(one))] == [True, False, False]
    other = await house.submit(bob, graph("bob"))
    await house.in_state(other, "handed")
    await release(house)
    assert house.order() == [mine[0], other, *mine[1:]]


async def test_a_charge_is_given_back_at_the_weight_it_was_taken_with(house: House, alice: Person) -> None:
    """A change of the weight while a job is at the server neither earns nor costs anything, also over a restart."""
    house.terms[alice.id] = Terms(weight=0.5)
    await hold(house)
    ids = [await house.submit(alice, graph(number)) for number in range(2)]
    assert (await house.store.ledger.virtual_times())[alice.id] > 0
    await house.kill()
    house.terms[alice.id] = Terms(weight=100.0)
    await house.start()
    await house.works.canceller.cancel(alice.id, ids[1])
    house.sim.faults.stop_executing = False
    row = await house.ended(ids[0])
    assert (await house.store.ledger.virtual_times())[alice.id] == pytest.approx(row.gpu_ms / 0.5)


async def test_a_shape_is_charged_what_it_cost_before(house: House, alice: Person) -> None:
    """A job is charged what the user's finished jobs of the same shape took, whatever the others took since."""
    slow = [await house.submit(alice, graph(f"slow{number}", seconds=0.6)) for number in range(2)]
    await house.idle()
    for number in range(6):
        await house.submit(alice, graph(f"quick{number}", seconds=0.01))
    await house.idle()
    await hold(house)
    again = await house.submit(alice, graph("another", seconds=0.6))
    await house.in_state(again, "handed")
    row, before = await house.row(again), await house.row(slow[0])
    assert row is not None and before is not None
    assert row.charged_ms == pytest.approx(before.gpu_ms, rel=0.5) and row.charged_ms > 500
    await release(house)


async def test_front_is_the_front_of_ones_own_jobs(house: House, alice: Person, bob: Person) -> None:
    """`front` overtakes the user's own waiting jobs, and nobody else's."""
    await hold(house)
    held = [await house.submit(alice, graph(f"held{number}")) for number in range(2)]
    mine = [await house.submit(alice, graph(f"a{number}")) for number in range(2)]
    other = await house.submit(bob, graph("bob"))
    urgent = await house.submit(alice, graph("urgent"), front=True)
    await used(house, alice, 1e9)
    await release(house)
    assert house.order() == [*held, other, urgent, *mine]


async def test_a_clients_number_orders_its_own_jobs(house: House, alice: Person, bob: Person) -> None:
    """A number of the client's own, however small, puts no job before another user's."""
    await hold(house)
    held = [await house.submit(bob, graph(f"held{number}")) for number in range(2)]
    later, sooner = [await house.submit(alice, graph(f"n{number}"), number=number) for number in (5, -1e9)]
    other = await house.submit(bob, graph("bob"))
    await used(house, alice, 1e9)
    await release(house)
    assert house.order() == [*held, other, sooner, later]


async def test_the_charge_becomes_the_truth(house: House, alice: Person) -> None:
    """A user is charged an estimate at hand-over, which is corrected with the truth at the end."""
    for number in range(4):
        await house.submit(alice, graph(number, seconds=0.1))
    await house.idle()
    rows = await house.store.ledger.history(alice.id, limit=10)
    assert len(rows) == 4
    assert all(row.gpu_ms >= 100 for row in rows)
    assert (await house.store.ledger.virtual_times())[alice.id] == pytest.approx(sum(row.gpu_ms for row in rows))


async def test_a_refused_hand_over_fails_the_job(house: House, sim: Simulator, alice: Person, bob: Person) -> None:
    """A job that ComfyUI accepted once and refuses at hand-over ends failed, with an event, and the next one goes."""
    name = sim.directory / "input" / (await house.store.roots.of(alice.id)).path / "there.png"
    name.parent.mkdir(parents=True)
    name.write_bytes(b"not looked into")
    await hold(house)
    held = [await house.submit(bob, graph(f"held{number}")) for number in range(2)]
    nodes: dict[str, Any] = {
        "1": {"class_type": "LoadImage", "inputs": {"image": "there.png"}},
        "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "x"}},
    }
    ear = house.listen(alice)
    refused = await house.submit(alice, nodes, client_id="browser")
    after = await house.submit(alice, graph("after"))
    name.unlink()
    await release(house)
    row = await house.row(refused)
    assert row is not None
    assert row.error is not None
    assert (row.state, row.error["exception_type"], row.gpu_ms) == ("failed", "validation_failed", 0)
    assert ear.types(refused) == ["execution_error", "executing"]
    assert ear.is_over(refused)
    assert house.order() == [*held, after]


async def test_a_prompt_that_breaks_comfyui_does_not_stop_the_queue(
    house: House, alice: Person, bob: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A hand-over that ComfyUI answers with 500 fails that job; it would be the same the next time."""
    await hold(house)
    for number in range(2):
        await house.submit(bob, graph(f"held{number}"))
    broken = await house.submit(alice, graph("broken"))
    after = await house.submit(bob, graph("after"))
    real = dispatch.post

    async def breaking(desk: Any, live: Any, *rest: Any, **options: Any) -> Any:
        if live.prompt_id == broken:
            raise UpstreamFault("ComfyUI could not read this prompt.", sent=False)
        return await real(desk, live, *rest, **options)

    monkeypatch.setattr(dispatch, "post", breaking)
    await release(house)
    rows = [await house.row(one) for one in (broken, after)]
    assert [row.state for row in rows if row] == ["failed", "succeeded"]


async def test_a_lost_answer_of_a_hand_over_is_not_posted_twice(house: House, sim: Simulator, alice: Person) -> None:
    """A hand-over without an answer keeps its place until it is known, and the job runs once."""
    await hold(house)
    ids = [await house.submit(alice, graph(number)) for number in range(3)]
    sim.faults.drop_post_answer = 1
    await release(house)
    assert house.order() == ids
    rows = [await house.row(one) for one in ids]
    assert [(row.state, row.attempts) for row in rows if row] == [("succeeded", 1)] * 3


async def test_what_could_not_be_sent_waits_again(house: House, sim: Simulator, alice: Person) -> None:
    """A hand-over that was never sent gives the charge and the hand-over back."""
    await hold(house)
    ids = [await house.submit(alice, graph(number)) for number in range(3)]
    await house.works.canceller.cancel(alice.id, ids[0])
    await house.until(lambda: house.state(ids[2]) == "handed" or house.state(ids[2]) == "waiting", "it moves")
    await sim.crash()
    for one in ids[1:]:
        live = house.live(one)
        assert live is not None
        if live.state == "waiting":
            live.busy = False
    house.works.desk.link.up.set()
    house.works.desk.bell.set()
    await asyncio.sleep(0.2)
    await sim.start()
    await house.connected()
    await release(house)
    for one in ids[1:]:
        row = await house.row(one)
        assert row is not None
        assert row.state in ("succeeded", "failed")
        assert row.attempts >= house.runs(one)


async def test_a_removed_users_jobs_do_not_stop_the_queue(house: House, alice: Person, bob: Person) -> None:
    """When a user is removed, and the rows with the user, the others' jobs go on (Q18)."""
    await hold(house)
    for number in range(2):
        await house.submit(bob, graph(f"held{number}"))
    gone = [await house.submit(alice, graph(f"a{number}")) for number in range(2)]
    after = await house.submit(bob, graph("after"))
    await house.store.users.remove(alice.id)
    await release(house)
    assert (await house.ended(after)).state == "succeeded"
    assert [house.runs(one) for one in gone] == [0, 0]
    assert house.works.views.count(alice.id) == 0


async def test_a_database_that_fails_at_the_hand_over_loses_neither_job_nor_place(
    house: House, alice: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A hand-over that cannot be written down does not happen; it is tried again."""
    real = type(house.store.ledger).hand
    failures = 0

    async def failing(*arguments: Any, **options: Any) -> bool:
        nonlocal failures
        failures += 1
        if failures < 3:
            raise StoreUnavailable("The database cannot answer now.", sent=False)
        return await real(*arguments, **options)

    monkeypatch.setattr(type(house.store.ledger), "hand", failing)
    monkeypatch.setattr(dispatch, "PAUSE_SECONDS", 0.02)
    ids = await asyncio.gather(*(house.submit(alice, graph(number)) for number in range(4)))
    await house.idle()
    assert sorted(house.order()) == sorted(ids)
    assert failures > 2


async def test_a_wish_that_comes_during_the_hand_over_is_fulfilled(
    house: House, alice: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A job that is cancelled while it is being posted is taken out again, and never runs."""
    await hold(house)
    ids = [await house.submit(alice, graph(number)) for number in range(3)]
    real, asked = dispatch.post, asyncio.Event()

    async def slow(*arguments: Any, **options: Any) -> Any:
        outcome = await real(*arguments, **options)
        asked.set()
        await house.until(lambda: bool(live := house.live(ids[2])) and live.cancel_requested, "the wish is there")
        return outcome

    monkeypatch.setattr(dispatch, "post", slow)
    await house.works.canceller.cancel(alice.id, ids[1])
    await asked.wait()
    assert house.state(ids[2]) == "handing"
    assert await house.works.canceller.cancel(alice.id, ids[2])
    await house.until(lambda: house.live(ids[2]) is None, "it is gone")
    await release(house)
    assert house.order() == [ids[0]]
    row = await house.row(ids[2])
    assert row is not None
    assert (row.state, row.hidden) == ("cancelled", True)


async def test_a_job_that_lost_its_secrets_fails_when_its_turn_comes(house: House, alice: Person) -> None:
    """A job whose keys are gone is not posted without them: it fails and says so."""
    await hold(house)
    for number in range(2):
        await house.submit(alice, graph(f"held{number}"))
    prompt_id = await house.submit(alice, graph(1), extra_data={"auth_token_comfy_org": "hush"}, client_id="browser")
    ear = house.listen(alice)
    live = house.live(prompt_id)
    assert live is not None
    live.secrets.clear()
    await release(house)
    row = await house.row(prompt_id)
    assert row is not None
    assert row.error is not None
    assert (row.state, row.error["exception_type"]) == ("failed", "secrets_lost")
    assert "Submit it again" in ear.of("execution_error")[0]["exception_message"]
    assert house.runs(prompt_id) == 0


async def test_ids_in_the_queue_are_the_clients_ids(house: House, sim: Simulator, alice: Person) -> None:
    """A job runs under the id that its client was told, however often it was posted."""
    await hold(house)
    ids = [await house.submit(alice, graph(number), prompt_id=str(uuid.uuid4())) for number in range(4)]
    await release(house)
    assert list(sim.history) == ids
