"""The ledger: each move starts from a state it may start from, in one transaction."""

import asyncio
import secrets
import uuid
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.errors import PromptIdTaken
from gateway.store import Store, User, shares
from gateway.store.ledger import FINISHED, UNFINISHED, Job, Ledger, NewJob
from gateway.store.shares import Estimate, Joining

SERVER = "http://comfyui"


@pytest.fixture
def ledger(store: Store) -> Ledger:
    return store.ledger


@pytest.fixture
async def bea(store: Store) -> User:
    return await store.users.add("Bea", role="member", now=1.5, random=secrets.token_bytes)


def new(user: User, **changes: Any) -> NewJob:
    plain = NewJob(
        prompt_id=str(uuid.uuid4()),
        user_id=user.id,
        client_id="browser",
        front=False,
        number=None,
        created_at=1000,
        prompt={"1": {"class_type": "X", "inputs": {"text": "ünï", "big": 2**62}}},
        extra_data={"extra_pnginfo": {"workflow": {}}},
        targets=None,
        had_secrets=False,
    )
    return replace(plain, **changes)


async def reserved(
    ledger: Ledger, user: User, *, cap: int = 100, joining: Joining | None = None, **changes: Any
) -> Job:
    job = await ledger.reserve(new(user, **changes), cap=cap, joining=joining)
    assert job is not None
    return job


async def again(ledger: Ledger, job: Job) -> Job:
    found = await ledger.get(job.prompt_id)
    assert found is not None
    return found


async def accepted(ledger: Ledger, job: Job, to: str, *, cost: int = 100) -> bool:
    return await ledger.accept(
        job, to, outputs_to_execute=["1"], node_errors={"2": {}}, estimate=costing(cost), weight=1.0, server=SERVER
    )


async def waiting(ledger: Ledger, user: User, **changes: Any) -> Job:
    job = await reserved(ledger, user, **changes)
    assert await accepted(ledger, job, "waiting")
    return await again(ledger, job)


async def started(ledger: Ledger, job: Job) -> bool:
    return await ledger.start(job.prompt_id, expect=UNFINISHED, started_at=2000, server=SERVER)


async def finished(ledger: Ledger, job: Job, state: str = "succeeded", *, gpu_ms: int = 70, at: int = 3000) -> bool:
    return await ledger.finish(job, state, weight=1.0, gpu_ms=gpu_ms, ended_at=at)


def costing(milliseconds: int) -> Estimate:
    return lambda _same, _last: milliseconds


async def recent_costs(ledger: Ledger, user: User) -> list[int]:
    return await ledger.database.run_read(partial(shares.recent_costs, user_id=user.id))


async def virtual(ledger: Ledger, user: User) -> float:
    return (await ledger.virtual_times())[user.id]


async def test_a_job_is_kept_as_it_was_submitted(ledger: Ledger, ann: User) -> None:
    """The row holds what was submitted, and starts `submitting`."""
    sent = new(ann, targets=["1"], had_secrets=True)
    job = await ledger.reserve(sent, cap=1)
    assert job is not None
    assert (job.prompt, job.extra_data, job.targets) == (sent.prompt, sent.extra_data, ["1"])
    assert (job.state, job.client_id, job.had_secrets, job.attempts, job.outputs) == (
        "submitting",
        "browser",
        True,
        0,
        {},
    )
    assert job == await ledger.get(job.prompt_id)


async def test_numbers_are_the_users_own(ledger: Ledger, ann: User, bea: User) -> None:
    """Each user counts from 0; `front` counts and is negative; a number of one's own does not count."""
    numbers = [
        (await reserved(ledger, user, **changes)).number
        for user, changes in (
            (ann, {"front": True}),
            (ann, {}),
            (bea, {}),
            (ann, {"number": 2.5}),
            (ann, {"front": True}),
            (ann, {}),
        )
    ]
    assert numbers == [0, 1, 0, 2.5, -2, 3]


async def test_a_used_id_is_refused(ledger: Ledger, ann: User, bea: User) -> None:
    """An id that some job has is PromptIdTaken, whoever's it is, and does not count."""
    job = await reserved(ledger, ann)
    with pytest.raises(PromptIdTaken):
        await ledger.reserve(new(bea, prompt_id=job.prompt_id), cap=5)
    assert (await reserved(ledger, bea)).number == 0


async def test_the_cap_counts_unfinished_jobs_of_one_user(ledger: Ledger, ann: User, bea: User) -> None:
    """A user has at most `cap` unfinished jobs; finished ones and others' do not count."""
    first = await reserved(ledger, ann)
    await reserved(ledger, ann)
    await reserved(ledger, bea)
    assert await ledger.reserve(new(ann), cap=2) is None
    await finished(ledger, first)
    assert await ledger.reserve(new(ann), cap=2) is not None


async def test_parallel_submits_never_pass_the_cap(ledger: Ledger, ann: User) -> None:
    """Count and insert are one: of 200 at once exactly as many get in as may."""
    outcomes = await asyncio.gather(*(ledger.reserve(new(ann), cap=5) for _ in range(200)))
    assert sum(job is not None for job in outcomes) == len(await ledger.unfinished(ann.id)) == 5


async def test_two_processes_never_pass_the_cap(store: Store, url: str, ann: User) -> None:
    """The cap holds over several processes, each with connections of its own."""
    async with await Store.open(url) as other:
        both = (store.ledger, other.ledger)
        outcomes = await asyncio.gather(*(both[number % 2].reserve(new(ann), cap=5) for number in range(200)))
    assert sum(job is not None for job in outcomes) == len(await store.ledger.unfinished(ann.id)) == 5


async def test_what_is_withdrawn_never_was(ledger: Ledger, ann: User) -> None:
    """A withdrawn row is gone; only a job that may not be at ComfyUI can be withdrawn."""
    job, other = await reserved(ledger, ann), await waiting(ledger, ann)
    assert await ledger.withdraw(job.prompt_id, weight=1.0)
    assert not await ledger.withdraw(job.prompt_id, weight=1.0)
    assert not await ledger.withdraw(other.prompt_id, weight=1.0)
    assert await ledger.get(job.prompt_id) is None
    assert (await reserved(ledger, ann, prompt_id=job.prompt_id)).state == "submitting"


@pytest.mark.parametrize(("to", "charge", "attempts"), [("waiting", 0, 0), ("handing", 0, 0), ("handed", 100, 1)])
async def test_a_job_is_charged_when_the_server_has_it(
    ledger: Ledger, ann: User, to: str, charge: int, attempts: int
) -> None:
    """What ComfyUI said is noted, and what it has is charged, in one transaction."""
    job = await reserved(ledger, ann)
    assert await accepted(ledger, job, to)
    job = await again(ledger, job)
    assert (job.state, job.charged_ms, job.attempts) == (to, charge, attempts)
    assert (job.outputs_to_execute, job.node_errors) == (["1"], {"2": {}})
    assert await virtual(ledger, ann) == charge


async def test_a_job_that_was_faster_than_its_answer_is_charged_once(ledger: Ledger, ann: User) -> None:
    """A job that runs already is charged and does not go back; one that has ended was booked with the truth."""
    running, over = await reserved(ledger, ann), await reserved(ledger, ann)
    await started(ledger, running)
    await finished(ledger, over, gpu_ms=7)
    assert [await accepted(ledger, job, "handed") for job in (running, over)] == [False, False]
    assert [(await again(ledger, job)).charged_ms for job in (running, over)] == [100, 0]
    assert await virtual(ledger, ann) == 107
    await finished(ledger, running, gpu_ms=30)
    assert await virtual(ledger, ann) == 37


async def test_a_waiting_job_is_handed_over_once(ledger: Ledger, ann: User) -> None:
    """Of many that take a waiting job one gets it, and its user is charged once."""
    job = await waiting(ledger, ann)
    taken = await asyncio.gather(*(ledger.hand(job, estimate=costing(40), weight=2.0, server=SERVER) for _ in range(5)))
    job = await again(ledger, job)
    assert [one for one in taken if one is not None] == [job]
    assert (job.state, job.attempts, job.charged_ms, job.server) == ("handing", 1, 40, SERVER)
    assert await virtual(ledger, ann) == 20


async def test_charges_at_the_same_time_all_count(ledger: Ledger, ann: User) -> None:
    """A charge is added where the virtual time is kept, so that none is lost."""
    jobs = [await waiting(ledger, ann) for _ in range(10)]
    await asyncio.gather(*(ledger.hand(job, estimate=costing(10), weight=1.0, server=SERVER) for job in jobs))
    assert await virtual(ledger, ann) == 100
    await asyncio.gather(*(finished(ledger, job, gpu_ms=3) for job in jobs))
    assert await virtual(ledger, ann) == 30


@pytest.mark.parametrize("never_sent", [True, False])
async def test_what_did_not_run_waits_again(ledger: Ledger, ann: User, *, never_sent: bool) -> None:
    """A job that is given back waits, and its charge is its user's again; a hand-over that was never sent is none."""
    job = await waiting(ledger, ann)
    await ledger.hand(job, estimate=costing(40), weight=1.0, server=SERVER)
    await started(ledger, job)
    await ledger.record_output(job.prompt_id, "3", {"images": []})
    assert await ledger.give_back(job.prompt_id, expect=("running",), weight=1.0, never_sent=never_sent)
    job = await again(ledger, job)
    assert (job.state, job.charged_ms, job.attempts) == ("waiting", 0, 0 if never_sent else 1)
    assert (job.outputs, job.started_at, job.handed_at, job.server) == ({}, None, None, None)
    assert await virtual(ledger, ann) == 0
    assert not await ledger.give_back(job.prompt_id, expect=("running",), weight=1.0)


async def test_a_job_is_given_back_once(store: Store, url: str, ledger: Ledger, ann: User) -> None:
    """Of many that give the same job back at once, in several processes, one does, and the charge comes back once."""
    job = await waiting(ledger, ann)
    assert await ledger.hand(job, estimate=costing(100), weight=1.0, server=SERVER)
    other = await waiting(ledger, ann)
    assert await ledger.hand(other, estimate=costing(1000), weight=1.0, server=SERVER)
    async with await Store.open(url) as second:
        both = (ledger, second.ledger)
        tries = (both[number % 2].give_back(job.prompt_id, expect=["handing"], weight=1.0) for number in range(20))
        assert sum(await asyncio.gather(*tries)) == 1
    assert await virtual(ledger, ann) == 1000.0


async def test_a_start_counts_as_a_hand_over(ledger: Ledger, ann: User) -> None:
    """A job that started though it was never handed over has one attempt; one that was handed over has no other."""
    parked, handed = await waiting(ledger, ann), await waiting(ledger, ann)
    await ledger.hand(handed, estimate=costing(1), weight=1.0, server=SERVER)
    assert [await started(ledger, job) for job in (parked, handed)] == [True, True]
    found = [await again(ledger, job) for job in (parked, handed)]
    assert [(job.state, job.attempts, job.started_at) for job in found] == [("running", 1, 2000)] * 2


async def test_a_job_ends_once(ledger: Ledger, ann: User) -> None:
    """However often its end is written down, the first one counts, and GPU time is booked once."""
    job = await reserved(ledger, ann)
    ends = await asyncio.gather(*(finished(ledger, job, state, gpu_ms=50) for state in FINISHED))
    assert ends == [True, False, False]
    assert (await again(ledger, job)).state == FINISHED[0]
    assert await virtual(ledger, ann) == 50
    assert not await started(ledger, job)


async def test_an_end_can_be_bound_to_a_state(ledger: Ledger, ann: User) -> None:
    """A job that moved on is not ended by one who believed it to be waiting."""
    job = await waiting(ledger, ann)
    await ledger.hand(job, estimate=costing(1), weight=1.0, server=SERVER)
    end = {"weight": 1.0, "gpu_ms": 0, "ended_at": 1}
    assert not await ledger.finish(job, "cancelled", expect=("waiting",), **end)
    assert (await again(ledger, job)).state == "handing"


async def test_the_columns_of_an_end_are_read_as_they_were_written(ledger: Ledger, ann: User) -> None:
    """Outputs, status, meta and error are JSON, whatever is in them."""
    job = await reserved(ledger, ann)
    columns: dict[str, Any] = {"outputs": {"3": {"images": [{"filename": "ü.png"}]}}, "status": {"messages": []}}
    end = {"weight": 1.0, "gpu_ms": 1, "ended_at": 9}
    assert await ledger.finish(job, "failed", **end, meta={"3": {}}, error={"traceback": ["\u2028"]}, **columns)
    found = await again(ledger, job)
    assert {name: getattr(found, name) for name in columns} == columns
    assert (found.meta, found.error, found.ended_at) == ({"3": {}}, {"traceback": ["\u2028"]}, 9)


async def test_a_move_starts_where_it_may(ledger: Ledger, ann: User) -> None:
    """A job is moved from an expected state only."""
    job = await reserved(ledger, ann)
    assert not await ledger.move(job.prompt_id, "handed", expect=("waiting",))
    assert await ledger.move(job.prompt_id, "handed", expect=("submitting",), handed_at=5)
    found = await again(ledger, job)
    assert (found.state, found.handed_at) == ("handed", 5)
    assert not await ledger.move("unknown", "handed", expect=UNFINISHED)


async def test_a_wish_is_kept_and_can_be_taken_back(ledger: Ledger, ann: User) -> None:
    """That the owner wants a job to end is in the row, until it is wanted no more."""
    job = await reserved(ledger, ann)
    for wanted in (True, False):
        await ledger.request_cancel(job.prompt_id, wanted=wanted)
        assert (await again(ledger, job)).cancel_requested is wanted


async def test_outputs_are_collected(ledger: Ledger, ann: User) -> None:
    """What the nodes of a running job produce is kept by node, the newest for each."""
    job = await reserved(ledger, ann)
    for node, output in (("3", {"images": [1]}), ("4", {"text": ["x"]}), ("3", {"images": [2]})):
        await ledger.record_output(job.prompt_id, node, output)
    await ledger.record_output("unknown", "3", {})
    assert (await again(ledger, job)).outputs == {"3": {"images": [2]}, "4": {"text": ["x"]}}


async def test_outputs_at_once_are_all_kept(ledger: Ledger, ann: User) -> None:
    """Each node's output is added to those that are there, also when they come at the same moment."""
    job = await reserved(ledger, ann)
    outputs = {str(number): {"text": [str(number)]} for number in range(20)}
    await asyncio.gather(*(ledger.record_output(job.prompt_id, node, output) for node, output in outputs.items()))
    assert (await again(ledger, job)).outputs == outputs


async def test_the_history_is_in_the_order_of_ending(ledger: Ledger, ann: User, bea: User) -> None:
    """A user's ended jobs, the oldest end first: the newest so many, or so many from an offset."""
    jobs = [await reserved(ledger, ann) for _ in range(5)]
    await finished(ledger, await reserved(ledger, bea))
    for at, job in zip((50, 40, 30, 20), jobs[:4], strict=True):
        await finished(ledger, job, at=at)
    order = [job.prompt_id for job in reversed(jobs[:4])]

    async def shown(**wanted: Any) -> list[str]:
        return [job.prompt_id for job in await ledger.history(ann.id, **wanted)]

    assert await shown(limit=9) == order
    assert await shown(limit=2) == order[2:]
    assert await shown(limit=2, offset=1) == order[1:3]
    assert await shown(limit=9, offset=9) == []


async def test_hidden_jobs_are_not_shown_but_counted(ledger: Ledger, ann: User, bea: User) -> None:
    """What a user removes from the history is out of sight; the row, and what was used, stays. Only one's own ended
    jobs can be removed."""
    jobs = [await reserved(ledger, ann) for _ in range(3)]
    foreign = await reserved(ledger, bea)
    for job in (*jobs[:2], foreign):
        await finished(ledger, job)
    await ledger.hide(ann.id, [jobs[0].prompt_id, jobs[2].prompt_id, foreign.prompt_id])
    assert [job.prompt_id for job in await ledger.history(ann.id, limit=9)] == [jobs[1].prompt_id]
    assert len(await ledger.history(bea.id, limit=9)) == 1
    assert await recent_costs(ledger, ann) == [70, 70]
    await ledger.hide(ann.id, None)
    assert await ledger.history(ann.id, limit=9) == []
    assert [job.prompt_id for job in await ledger.unfinished(ann.id)] == [jobs[2].prompt_id]
    shown = await ledger.visible(ann.id, states=(*FINISHED, *UNFINISHED), limit=9)
    assert [job.prompt_id for job in shown] == [jobs[2].prompt_id]


async def test_one_job_is_given_to_its_owner_only(ledger: Ledger, ann: User, bea: User) -> None:
    """Asked for with a user, a job is found only if it is that user's."""
    job = await reserved(ledger, ann)
    assert await ledger.get(job.prompt_id, user_id=ann.id) == job
    assert await ledger.get(job.prompt_id, user_id=bea.id) is None


async def test_visible_jobs_are_the_newest_first(ledger: Ledger, ann: User) -> None:
    """The jobs in some states, newest first, no more than asked for."""
    jobs = [await reserved(ledger, ann) for _ in range(4)]
    await finished(ledger, jobs[1])
    found = await ledger.visible(ann.id, states=("submitting",), limit=2)
    assert [job.prompt_id for job in found] == [jobs[3].prompt_id, jobs[2].prompt_id]


async def test_old_jobs_are_forgotten_when_they_have_ended(ledger: Ledger, ann: User) -> None:
    """Records are kept for so long; an unfinished job is never forgotten."""
    old, unfinished, young = [await reserved(ledger, ann, created_at=at) for at in (10, 10, 20)]
    for job in (old, young):
        await finished(ledger, job)
    assert await ledger.forget_before(15) == 1
    assert await ledger.get(old.prompt_id) is None
    assert [await ledger.get(job.prompt_id) is not None for job in (unfinished, young)] == [True, True]


async def test_costs_are_those_of_jobs_that_ran(ledger: Ledger, ann: User) -> None:
    """The estimate goes by the last jobs that used the GPU; one that was cancelled before it ran says nothing."""
    for state, cost in (("succeeded", 10), ("succeeded", 0), ("failed", 5), ("failed", 0), ("cancelled", 0)):
        await finished(ledger, await reserved(ledger, ann), state, gpu_ms=cost)
    assert await recent_costs(ledger, ann) == [5, 0, 10]
    for cost in (1, 2, 3):
        await finished(ledger, await reserved(ledger, ann), gpu_ms=cost)
    assert await recent_costs(ledger, ann) == [3, 2, 1, 5, 0]


async def test_open_charges_are_those_of_unfinished_jobs(ledger: Ledger, ann: User, bea: User) -> None:
    """What a user is charged for and has not used yet."""
    jobs = [await waiting(ledger, ann) for _ in range(3)]
    await waiting(ledger, bea)
    for job in jobs[:2]:
        await ledger.hand(job, estimate=costing(40), weight=1.0, server=SERVER)
    await finished(ledger, jobs[0])
    charges = await ledger.database.run_read(shares.open_charges)
    assert (charges[ann.id], charges.get(bea.id, 0)) == (40, 0)


async def test_who_joins_starts_where_it_is_decided(ledger: Ledger, ann: User) -> None:
    """A user who becomes active starts where `fairness` says: it knows what the user had before."""
    for asked in (50.0, 60.0):
        await reserved(ledger, ann, joining=lambda _virtual, _charges, asked=asked: asked)
        assert await virtual(ledger, ann) == asked


async def test_who_joins_is_told_where_the_others_stand(ledger: Ledger, ann: User, bea: User) -> None:
    """Where a newly active user starts is decided in the same transaction, of what everybody has used and is charged
    for."""
    await finished(ledger, await reserved(ledger, ann))
    await ledger.hand(await waiting(ledger, ann), estimate=costing(40), weight=2.0, server=SERVER)
    seen: list[object] = []

    def joining(virtual_ms: Mapping[int, float], charges: Mapping[int, int]) -> float:
        seen.extend((virtual_ms[ann.id], charges[ann.id]))
        return virtual_ms[ann.id]

    await reserved(ledger, bea, joining=joining)
    assert seen == [90, 40]
    assert await virtual(ledger, bea) == 90


async def test_a_virtual_time_is_never_negative(ledger: Ledger, ann: User) -> None:
    """A correction below nothing is nothing."""
    job = await reserved(ledger, ann)
    await finished(ledger, job, gpu_ms=-5)
    assert await virtual(ledger, ann) == 0


async def test_the_jobs_of_a_removed_user_go(store: Store, ledger: Ledger, ann: User) -> None:
    """Removing a user removes the user's rows."""
    job = await reserved(ledger, ann)
    await store.users.remove(ann.id)
    assert (await ledger.get(job.prompt_id), await ledger.virtual_times()) == (None, {})


MOVE = st.sampled_from(["accept", "park", "hand", "start", "back", "end", "withdraw"])
MOVES = st.lists(st.tuples(st.integers(0, 2), MOVE, st.integers(0, 50)), max_size=25)


@settings(max_examples=15, derandomize=True, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(moves=MOVES)
async def test_the_books_balance(url: str, moves: list[tuple[int, str, int]]) -> None:
    """After any moves a user's virtual time is what the ended jobs used and what the others are charged."""
    async with await Store.open(url) as store:
        user = await store.users.add(secrets.token_hex(8), role="member", now=1.5, random=secrets.token_bytes)
        ledger = store.ledger
        jobs = [await reserved(ledger, user) for _ in range(3)]
        for which, move, cost in moves:
            await moved(ledger, jobs[which], move, cost)
        rows = [row for job in jobs if (row := await ledger.get(job.prompt_id))]
        due = sum(row.gpu_ms if row.state in FINISHED else row.charged_ms for row in rows)
        assert await virtual(ledger, user) == pytest.approx(due)
        assert all(row.attempts >= (row.state in ("handing", "handed", "running")) for row in rows)


async def moved(ledger: Ledger, job: Job, move: str, cost: int) -> None:
    match move:
        case "accept" | "park":
            await accepted(ledger, job, "handed" if move == "accept" else "waiting", cost=cost)
        case "hand":
            await ledger.hand(job, estimate=costing(cost), weight=1.0, server=SERVER)
        case "start":
            await ledger.start(job.prompt_id, expect=(*UNFINISHED[:4], "unknown"), started_at=1, server=SERVER)
        case "back":
            await ledger.give_back(job.prompt_id, expect=("handing", "handed", "running"), weight=1.0)
        case "end":
            await finished(ledger, job, gpu_ms=cost)
        case "withdraw":
            await ledger.withdraw(job.prompt_id, weight=1.0)


async def test_E15_histories_are_bounded_in_bytes(ledger: Ledger, ann: User, monkeypatch: pytest.MonkeyPatch) -> None:
    """E15: what is read at once stays below a bound, the newest first; one job at least is always read."""
    for number in range(4):
        job = await waiting(ledger, ann, extra_data={"extra_pnginfo": {"workflow": {"text": "x" * 1000}}})
        assert await finished(ledger, job, at=3000 + number)
    everything = await ledger.history(ann.id, limit=10)
    monkeypatch.setattr("gateway.store.listings.MOST_BYTES", 2500)
    assert await ledger.history(ann.id, limit=10) == everything[-2:]
    assert await ledger.history(ann.id, limit=10, offset=1) == everything[1:3]
    monkeypatch.setattr("gateway.store.listings.MOST_BYTES", 1)
    assert await ledger.history(ann.id, limit=10) == everything[-1:]


async def test_waiting_jobs_are_bounded_in_bytes(ledger: Ledger, ann: User, monkeypatch: pytest.MonkeyPatch) -> None:
    """A user's unfinished jobs hold so many bytes together and no more, however few they are."""
    monkeypatch.setattr("gateway.store.reservation.MOST_BYTES", 2500)
    large = {"extra_pnginfo": {"workflow": {"text": "x" * 1000}}}
    first = await reserved(ledger, ann, extra_data=large)
    await reserved(ledger, ann, extra_data=large)
    assert await ledger.reserve(new(ann, extra_data=large), cap=100) is None
    assert await finished(ledger, first)
    await reserved(ledger, ann, extra_data=large)


async def test_lists_read_no_workflow_but_its_id(ledger: Ledger, ann: User) -> None:
    """A list of jobs shows no workflow, so none is read; the workflow's id, by which it can be filtered, is."""
    await waiting(ledger, ann, extra_data={"extra_pnginfo": {"workflow": {"id": "wf-1", "nodes": ["x" * 100]}}})
    await waiting(ledger, ann, extra_data={})
    plain, named = await ledger.visible(ann.id, states=["waiting"], limit=10)
    assert (named.prompt, named.extra_data) == ({}, {"extra_pnginfo": {"workflow": {"id": "wf-1"}}})
    assert plain.extra_data["extra_pnginfo"]["workflow"]["id"] is None


@pytest.mark.parametrize("workflow_id", ["\\u0000", "ü\\", 7, None, {"of": ["any kind"]}])
async def test_a_workflow_s_id_is_whatever_was_sent(ledger: Ledger, ann: User, workflow_id: object) -> None:
    """A list tells whatever a client sent as a workflow's id, as it was sent."""
    pnginfo = {"workflow": {"id": workflow_id}}
    await waiting(ledger, ann, extra_data={"extra_pnginfo": pnginfo})
    (job,) = await ledger.visible(ann.id, states=["waiting"], limit=10)
    assert job.extra_data["extra_pnginfo"] == pnginfo


async def test_no_text_is_an_error(ledger: Ledger, ann: User) -> None:
    """A name with a NUL in it is nobody's, and no fault of the database."""
    assert await ledger.get("a\0b") is None
    assert (await reserved(ledger, ann, client_id="a\0b")).client_id == "a\0b"
