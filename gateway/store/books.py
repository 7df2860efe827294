"""The books: what each user used on each day, for budgets and for whoever wants to know. It does not know what a user
may use.

A job is booked in the transaction that ends it, and only there, so whatever crashes and whenever, it is booked once.
Days are those of UTC, as numbers since 1970.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import Any, Final

from sqlalchemy import Executable, bindparam, case, cast, func, literal, select, union_all
from sqlalchemy.engine import Connection
from sqlalchemy.sql import ColumnElement

from gateway.policy.budgets import Budget, Left, days_of, left_of
from gateway.store.columns import WHOLE
from gateway.store.job import UNFINISHED
from gateway.store.tables import gpu_days, jobs, tokens, turns, usage, users
from gateway.store.transactions import Transactions
from gateway.store.upsert import upsert

DAY_MS: Final = 24 * 3600 * 1000
_EXPECTED: Final = -1
"""In the place of a day, what unfinished jobs are expected to take."""


@dataclass(frozen=True, slots=True)
class Ended:
    """A job that has just ended, and how: `ended_ms` by ComfyUI's clock, the other times by ours, in milliseconds."""

    seq: int
    user_id: int
    state: str
    gpu_ms: int
    ended_ms: int
    left_ms: int
    now_ms: int

    @property
    def day(self) -> int:
        """The day that it counts for: a job cannot have ended before it left the gateway, nor in the future. So a
        server with a wrong clock takes nothing out of a budget."""
        return min(max(self.ended_ms, self.left_ms), self.now_ms) // DAY_MS


@dataclass(frozen=True, slots=True)
class Used:
    """One row: what a user used on one day, with one token and one model. `token_id` is "" for what came with a
    password or from the login page, `model` "" for jobs without a model and for files."""

    user: str
    day: int
    token_id: str
    token: str
    model: str
    jobs: int
    failed: int
    cancelled: int
    gpu_ms: int
    uploaded_bytes: int
    sent_bytes: int


@dataclass(frozen=True, slots=True)
class Sent:
    """Bytes of files that went to a user, with one token ("" for none), on one day."""

    user_id: int
    token_id: str
    day: int
    size: int


_UNFINISHED: Final = (jobs.c.user_id == bindparam("of_user"), jobs.c.state.in_(UNFINISHED))
_COST: Final = case((jobs.c.charged_ms > 0, jobs.c.charged_ms), else_=turns.c.expected_ms)
# One statement, so that a job that ends meanwhile is in it once: as expected, or as booked.
_SPENT: Final = union_all(
    select(literal(_EXPECTED).label("day"), cast(func.coalesce(func.sum(_COST), 0), WHOLE).label("gpu_ms"))
    .select_from(jobs.join(turns, turns.c.seq == jobs.c.seq))
    .where(*_UNFINISHED),
    select(gpu_days.c.day, gpu_days.c.gpu_ms).where(
        gpu_days.c.user_id == bindparam("of_user"), gpu_days.c.day.between(bindparam("first"), bindparam("last"))
    ),
)
_OF_JOB: Final = (
    select(turns.c.token_id, turns.c.model, func.coalesce(tokens.c.name, "").label("token"))
    .select_from(turns.outerjoin(tokens, tokens.c.id == turns.c.token_id))
    .where(turns.c.seq == bindparam("of_job"))
)
_TOKEN: Final = select(tokens.c.name).where(tokens.c.id == bindparam("of_token"))


def _adding(
    database: str, table: Any, *, key: tuple[str, ...], counters: tuple[str, ...], rest: tuple[str, ...] = ()
) -> Executable:
    """The statement that adds to the counters of a row, which it makes if there is none."""
    row = upsert(database, table).values({name: bindparam(f"to_{name}") for name in (*key, *counters, *rest)})
    return row.on_conflict_do_update(
        index_elements=[table.c[name] for name in key],
        set_={name: table.c[name] + row.excluded[name] for name in counters},
    )


@cache
def _adding_day(database: str) -> Executable:
    return _adding(database, gpu_days, key=("user_id", "day"), counters=("gpu_ms",))


@cache
def _adding_use(database: str) -> Executable:
    return _adding(
        database,
        usage,
        key=("user_id", "day", "token_id", "model"),
        counters=("jobs", "failed", "cancelled", "gpu_ms", "uploaded_bytes", "sent_bytes"),
        rest=("token",),
    )


def book(connection: Connection, ended: Ended) -> None:
    """Write a job that has just ended into the books: part of the transaction that ends it."""
    of_job = connection.execute(_OF_JOB, {"of_job": ended.seq}).one_or_none()
    token_id, model, token = ("", "", "") if of_job is None else of_job
    _add(
        connection,
        user_id=ended.user_id,
        day=ended.day,
        token_id=token_id,
        token=token,
        model=model,
        jobs=1,
        failed=int(ended.state == "failed"),
        cancelled=int(ended.state == "cancelled"),
        gpu_ms=ended.gpu_ms,
    )
    if ended.gpu_ms:
        day = {"to_user_id": ended.user_id, "to_day": ended.day, "to_gpu_ms": ended.gpu_ms}
        connection.execute(_adding_day(connection.dialect.name), day)


def book_upload(connection: Connection, *, user_id: int, size: int, now: int, token_id: str) -> None:
    """Count bytes that came in: part of the transaction that notes the file. `now` is in milliseconds."""
    token = connection.execute(_TOKEN, {"of_token": token_id}).scalar_one_or_none() or ""
    row = {"user_id": user_id, "day": now // DAY_MS, "token_id": token_id, "token": token, "model": ""}
    _add(connection, **row, uploaded_bytes=size)


def book_sent(connection: Connection, batch: Sequence[Sent]) -> None:
    """Count bytes that went out, in a transaction of their own. Those of users who are gone count no more."""
    ids = {sent.user_id for sent in batch}
    there = set(connection.execute(select(users.c.id).where(users.c.id.in_(ids))).scalars())
    # In one order, so that two gateways that write the same rows do not wait for each other.
    for sent in sorted(batch, key=lambda one: (one.user_id, one.day, one.token_id)):
        if sent.user_id in there:
            token = connection.execute(_TOKEN, {"of_token": sent.token_id}).scalar_one_or_none() or ""
            row = {"user_id": sent.user_id, "day": sent.day, "token_id": sent.token_id, "token": token, "model": ""}
            _add(connection, **row, sent_bytes=sent.size)


def _add(connection: Connection, **values: Any) -> None:
    row = {"jobs": 0, "failed": 0, "cancelled": 0, "gpu_ms": 0, "uploaded_bytes": 0, "sent_bytes": 0, **values}
    connection.execute(_adding_use(connection.dialect.name), {f"to_{name}": value for name, value in row.items()})


def spent(connection: Connection, user_id: int, *, first: int, last: int) -> tuple[dict[int, int], int]:
    """GPU milliseconds that the user has used, by day, from the first day to the last; and those that the user's
    unfinished jobs are expected to take."""
    rows = connection.execute(_SPENT, {"of_user": user_id, "first": first, "last": last})
    used = {int(row.day): int(row.gpu_ms) for row in rows}
    return used, used.pop(_EXPECTED)


class Books:
    """The books, to be read; and to be written where no job is concerned."""

    def __init__(self, transactions: Transactions) -> None:
        self._transactions: Final = transactions

    async def spent(self, user_id: int, *, first: int, last: int) -> tuple[dict[int, int], int]:
        """See the function `spent`."""
        return await self._transactions.run_read(partial(spent, user_id=user_id, first=first, last=last))

    async def left(self, user_id: int, budgets: Sequence[Budget], *, now: float) -> tuple[Left, ...]:
        """How the user's budgets stand; `now` is in seconds."""
        if not budgets:
            return ()
        first, last = days_of(budgets, now=now)
        used_ms, expected_ms = await self.spent(user_id, first=first, last=last)
        return left_of(budgets, used_ms, expected_ms, now=now)

    async def sent(self, batch: Sequence[Sent]) -> None:
        """See the function `book_sent`. Raises UserGone for a user who is removed at this moment; then nothing is
        counted yet."""
        await self._transactions.run_write(partial(book_sent, batch=batch))

    async def used(self, *, first: int, last: int, user_id: int | None = None, most: int) -> list[Used]:
        """What was used from the first day to the last, of one user or of all, by day and user: at most `most` rows."""
        wanted: list[ColumnElement[bool]] = [usage.c.day.between(first, last)]
        if user_id is not None:
            wanted.append(usage.c.user_id == user_id)
        columns = [usage.c[name] for name in Used.__dataclass_fields__ if name != "user"]
        rows = (
            select(users.c.name.label("user"), *columns)
            .join(users, users.c.id == usage.c.user_id)
            .where(*wanted)
            .order_by(usage.c.day, func.lower(users.c.name), usage.c.token_id, usage.c.model)
            .limit(most)
        )
        async with self._transactions.read() as connection:
            return [Used(**row._mapping) for row in await connection.execute(rows)]
