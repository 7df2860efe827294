"""The books: each job once, on its day, under its token and model."""

import asyncio
import secrets
import uuid
from collections.abc import Sequence
from typing import Any

import pytest

from gateway.comfy.files import FileRef
from gateway.errors import BudgetExhausted, UserGone
from gateway.policy.budgets import Budget, Purse
from gateway.store import Store, TokenRow, User
from gateway.store.books import DAY_MS, Sent
from gateway.store.database import upgrade
from gateway.store.ledger import Job, NewJob, Spending
from tests.store.earlier import database_of

DAY = 20_000
NOON = DAY * DAY_MS + DAY_MS // 2


def cost(same: Sequence[int], recent: Sequence[int]) -> int:
    """An estimate: a second, or what the last one of that shape took."""
    return same[0] if same else 1000


async def token_of(store: Store, user: User, name: str) -> str:
    row = TokenRow(
        id=secrets.token_hex(4),
        user_id=user.id,
        name=name,
        digest=secrets.token_bytes(32),
        scopes=None,
        created_at=1.0,
        expires_at=None,
    )
    await store.tokens.add(row)
    return row.id


async def reserved(store: Store, user: User, *, purse: Purse | None = None, **changes: Any) -> Job:
    fields: dict[str, Any] = {
        "prompt_id": str(uuid.uuid4()),
        "user_id": user.id,
        "client_id": None,
        "front": False,
        "number": None,
        "created_at": NOON,
        "prompt": {},
        "extra_data": {},
        "targets": None,
        "had_secrets": False,
    }
    spending = None if purse is None else Spending(purse, cost)
    job = await store.ledger.reserve(NewJob(**{**fields, **changes}), cap=100, spending=spending)
    assert job is not None
    return job


async def end(
    store: Store, job: Job, state: str = "succeeded", *, gpu_ms: int = 500, at: int = NOON, **more: Any
) -> bool:
    return await store.ledger.finish(job, state, weight=1.0, gpu_ms=gpu_ms, ended_at=at, **more)


async def spent(store: Store, user: User) -> tuple[dict[int, int], int]:
    return await store.books.spent(user.id, first=0, last=10**6)


def purse_of(seconds: int) -> Purse:
    return Purse((Budget("day", seconds),), NOON / 1000)


async def test_a_job_is_booked_once(store: Store, ann: User) -> None:
    """An end is booked in the transaction that writes it; a second end of the same job books nothing, however many come
    at a time."""
    job = await reserved(store, ann)
    outcomes = await asyncio.gather(*(end(store, job, at=NOON + number) for number in range(20)))
    assert outcomes.count(True) == 1
    assert await spent(store, ann) == ({DAY: 500}, 0)
    (row,) = await store.books.used(first=0, last=10**6, most=10)
    assert (row.user, row.day, row.jobs, row.gpu_ms) == ("Ann", DAY, 1, 500)


async def test_by_token_and_model(store: Store, ann: User) -> None:
    """Rows are by day, token and model; they count jobs, failures and GPU time, and uploads in rows without a model. A
    job counts for the token that it was submitted with, and the rows keep the name that the token had."""
    laptop = await token_of(store, ann, "laptop")
    for state, model in (("succeeded", "checkpoints/a"), ("failed", "checkpoints/a"), ("cancelled", "")):
        await end(store, await reserved(store, ann, token_id=laptop, model=model), state)
    await end(store, await reserved(store, ann))
    await end(store, await reserved(store, ann), at=NOON + DAY_MS)
    for size in (70, 7):
        await store.files.note_upload(ann.id, FileRef("input", "", "a.png"), size=size, now=NOON, by=laptop)
    await store.files.note_upload(ann.id, FileRef("input", "", "found.png"), size=1000, now=NOON)
    async with store.write() as connection:
        await connection.exec_driver_sql("DELETE FROM tokens")
    rows = await store.books.used(first=DAY, last=DAY + 1, user_id=ann.id, most=10)
    found = {(row.day - DAY, row.token, row.model): row for row in rows}
    assert found.keys() == {(0, "", ""), (0, "laptop", ""), (0, "laptop", "checkpoints/a"), (1, "", "")}
    both = found[0, "laptop", "checkpoints/a"]
    assert (both.token_id, both.jobs, both.failed, both.cancelled, both.gpu_ms) == (laptop, 2, 1, 0, 1000)
    other = found[0, "laptop", ""]
    assert (other.jobs, other.cancelled, other.uploaded_bytes) == (1, 1, 77)
    assert len(await store.books.used(first=DAY, last=DAY, most=10)) == 3
    assert len(await store.books.used(first=0, last=10**6, most=2)) == 2


async def test_sent_bytes_add_up_by_token(store: Store, ann: User) -> None:
    """Bytes that went out add to the row of their day and token, without a model; those of nobody are left out."""
    laptop = await token_of(store, ann, "laptop")
    for size in (70, 7):
        await store.books.sent(
            [Sent(ann.id, laptop, DAY, size), Sent(ann.id + 1, "", DAY, 5), Sent(ann.id, "", DAY, 1)]
        )
    rows = await store.books.used(first=DAY, last=DAY, most=10)
    assert [(row.token, row.model, row.jobs, row.sent_bytes) for row in rows] == [("", "", 0, 2), ("laptop", "", 0, 77)]


async def test_the_books_outlive_the_jobs_and_not_the_user(store: Store, ann: User) -> None:
    """What the ledger forgets stays booked; a user's rows go with the user, and nothing more is booked."""
    await end(store, await reserved(store, ann))
    assert await store.ledger.forget_before(NOON + 1) == 1
    assert await spent(store, ann) == ({DAY: 500}, 0)
    job = await reserved(store, ann)
    await store.users.remove(ann.id)
    assert not await end(store, job)
    with pytest.raises(UserGone):
        await store.files.note_upload(ann.id, FileRef("input", "", "a.png"), size=1, now=NOON, by="")
    assert await store.books.used(first=0, last=10**6, most=10) == []
    assert await spent(store, ann) == ({}, 0)


@pytest.mark.parametrize(
    ("ended", "now", "day"),
    [
        (NOON + 5, NOON + 10, 0),
        (NOON + DAY_MS, NOON + DAY_MS + 10, 1),
        (NOON - 300 * DAY_MS, NOON + 10, 0),
        (NOON + 300 * DAY_MS, NOON + DAY_MS, 1),
        (NOON + 5, NOON - DAY_MS, -1),
    ],
)
async def test_a_server_with_a_wrong_clock(store: Store, ann: User, ended: int, now: int, day: int) -> None:
    """A job counts for the day on which it ended by ComfyUI's clock, but for none before it was submitted and none in
    the future."""
    await end(store, await reserved(store, ann), at=ended, now=now)
    assert await spent(store, ann) == ({DAY + day: 500}, 0)


async def test_a_submit_is_held_to_the_budget(store: Store, ann: User) -> None:
    """While something is left a job may come; when the budget is used up none may, and a refused one takes no place and
    no number."""
    await end(store, await reserved(store, ann, purse=purse_of(1)), gpu_ms=999)
    job = await reserved(store, ann, purse=purse_of(1))
    await end(store, job, gpu_ms=1)
    with pytest.raises(BudgetExhausted):
        await reserved(store, ann, purse=purse_of(1))
    assert await store.ledger.unfinished(ann.id) == []
    assert (await reserved(store, ann, purse=purse_of(2))).number == job.number + 1
    bea = await store.users.add("Bea", role="member", now=1.5, random=secrets.token_bytes)
    await reserved(store, bea, purse=purse_of(1))


async def test_many_submits_at_once_at_the_edge(store: Store, ann: User) -> None:
    """Of a hundred submits at a time only as many get in as are expected to fit; a job that ComfyUI refuses, or that is
    cancelled, gives its part back at once."""

    async def submit() -> Job | None:
        try:
            return await reserved(store, ann, purse=purse_of(5))
        except BudgetExhausted:
            return None

    jobs = [job for job in await asyncio.gather(*(submit() for _ in range(100))) if job]
    assert len(jobs) == 5
    assert await spent(store, ann) == ({}, 5000)
    assert await store.ledger.withdraw(jobs[0].prompt_id, weight=1.0)
    assert await end(store, jobs[1], "cancelled", gpu_ms=0)
    assert [job is not None for job in await asyncio.gather(*(submit() for _ in range(10)))].count(True) == 2


async def test_a_charge_takes_the_place_of_what_was_expected(store: Store, ann: User) -> None:
    """A job that was handed over is held back with its charge, which is newer, until the truth is booked."""
    job = await reserved(store, ann, purse=purse_of(100))
    assert await store.ledger.move(job.prompt_id, "waiting", expect=("submitting",))
    await store.ledger.hand(job, estimate=lambda same, recent: 7, weight=1.0, server="http://x")
    assert await spent(store, ann) == ({}, 7)
    await end(store, job, gpu_ms=40)
    assert await spent(store, ann) == ({DAY: 40}, 0)


async def test_what_a_job_is_expected_to_take(store: Store, ann: User) -> None:
    """It is estimated from the user's jobs of the same shape, and the purse says what is left with it."""
    await end(store, await reserved(store, ann, shape="a"), gpu_ms=2500)
    purse = purse_of(10)
    await reserved(store, ann, purse=purse, shape="a")
    assert [(left.used_ms, left.expected_ms) for left in purse.left] == [(2500, 2500)]


async def test_an_earlier_database_gets_the_books(url: str) -> None:
    """A database of the version before is upgraded with its jobs, and what ends from then on is booked."""
    job = (
        "INSERT INTO jobs (seq, prompt_id, user_id, state, position, number, created_at, prompt, extra_data, "
        f"outputs_to_execute) VALUES (3, 'old', 7, 'waiting', 1, 1, {NOON}, '{{}}', '{{}}', '[]')"
    )
    user = await database_of(url, "0006", job, "INSERT INTO turns (seq, user_id, shape) VALUES (3, 7, 'a')")
    assert await upgrade(url) is True
    async with await Store.open(url) as store:
        old = await store.ledger.get("old")
        assert old is not None and await end(store, old)
        assert await store.books.spent(user, first=DAY, last=DAY) == ({DAY: 500}, 0)
