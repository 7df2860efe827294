"""What the fair queue keeps of each job."""

import uuid
from collections.abc import Sequence

from gateway.store import Store, User
from gateway.store.ledger import UNFINISHED, Job, NewJob
from gateway.store.turns import JobTurn


def longest(same: Sequence[int], recent: Sequence[int]) -> int:
    """An estimate that tells where it comes from."""
    return max(same, default=0) * 1000 + max(recent, default=0)


async def waiting(store: Store, user: User, shape: str) -> Job:
    new = NewJob(
        prompt_id=str(uuid.uuid4()),
        user_id=user.id,
        client_id=None,
        front=False,
        number=None,
        created_at=1000,
        prompt={},
        extra_data={},
        targets=None,
        had_secrets=False,
        shape=shape,
    )
    job = await store.ledger.reserve(new, cap=100)
    assert job is not None
    assert await store.ledger.move(job.prompt_id, "waiting", expect=("submitting",))
    return job


async def ran(store: Store, user: User, shape: str, gpu_ms: int, *, state: str = "succeeded") -> None:
    job = await waiting(store, user, shape)
    assert await store.ledger.finish(job, state, weight=1.0, gpu_ms=gpu_ms, ended_at=1)


async def test_an_estimate_is_made_of_the_users_own_jobs(store: Store, ann: User) -> None:
    """What an estimate is made of are the last five of the user's jobs of that shape that succeeded, and the last five
    of all shapes."""
    bea = await store.users.add("Bea", role="member", now=1.5, random=bytes)
    for gpu_ms in (90, 1, 2, 3, 4, 5):
        await ran(store, ann, "a", gpu_ms)
    await ran(store, ann, "a", 70, state="failed")
    await ran(store, ann, "b", 20)
    await ran(store, bea, "a", 80)
    wanted = [(ann.id, "a"), (ann.id, "c"), (bea.id, "b")]
    assert await store.ledger.costs(wanted) == {
        (ann.id, "a"): ([5, 4, 3, 2, 1], [20, 70, 5, 4, 3]),
        (ann.id, "c"): ([], [20, 70, 5, 4, 3]),
        (bea.id, "b"): ([], [80]),
    }


async def test_a_hand_over_is_charged_by_shape_and_weight(store: Store, ann: User) -> None:
    """A job that is handed over is charged the estimate of its shape, by the weight, which is remembered with it."""
    await ran(store, ann, "a", 7)
    await ran(store, ann, "b", 100)
    job = await waiting(store, ann, "a")
    before = (await store.ledger.virtual_times())[ann.id]
    handed = await store.ledger.hand(job, estimate=longest, weight=4.0, server="http://x")
    assert handed is not None and handed.charged_ms == 7100
    assert (await store.ledger.virtual_times())[ann.id] == before + 7100 / 4
    assert await store.ledger.turns() == {job.seq: JobTurn("a", 4.0, None)}


async def test_the_turns_go_with_their_jobs(store: Store, ann: User) -> None:
    """Why a job was stopped is remembered until it ends; what is forgotten of a job is forgotten whole."""
    job = await waiting(store, ann, "a")
    await store.ledger.stop(job.prompt_id, time_limit=60)
    assert (await store.ledger.turns())[job.seq].time_limit == 60
    await store.ledger.finish(job, "failed", weight=1.0, gpu_ms=1, ended_at=1, expect=UNFINISHED)
    assert await store.ledger.turns() == {}
    await store.ledger.forget_before(5000)
    async with store.read() as connection:
        assert (await connection.exec_driver_sql("SELECT count(*) FROM turns")).scalar_one() == 0
