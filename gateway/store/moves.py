"""How a job moves: the statements of each move, as parts of somebody's transaction.

It does not know why a job moves. Each statement names the states that it may start from, so that of two that are at it
one finds nothing to do.
"""

from collections.abc import Collection, Mapping
from functools import lru_cache
from typing import Any, Final

import orjson
from sqlalchemy import Integer, Row, Update, bindparam, case, delete, select, update
from sqlalchemy.engine import Connection

from gateway.store import books, shares, turns
from gateway.store.books import Ended
from gateway.store.job import FINISHED, Job, Owned, as_stored, job_of
from gateway.store.shares import Estimate
from gateway.store.tables import jobs

_COMING: Final = ("submitting", "unknown")
_AT_SERVER: Final = ("handed", "running")
_AT_LEAST_ONE: Final = case((jobs.c.attempts < 1, 1), else_=jobs.c.attempts)
"""A job that is at the server was handed over, however it came there."""

_THIS: Final = jobs.c.prompt_id == bindparam("this")
_FROM: Final = jobs.c.state.in_(bindparam("expect", expanding=True))
_OUTPUTS: Final = select(jobs.c.outputs).where(_THIS).with_for_update()
_CHARGED: Final = select(jobs.c.user_id, jobs.c.charged_ms).where(_THIS, _FROM).with_for_update()
"""What is read here is written back changed: where writers run beside each other, they wait for the row."""

_WITHDRAW: Final = delete(jobs).where(_THIS, _FROM).returning(jobs.c.user_id, jobs.c.charged_ms)
_CHARGE: Final = update(jobs).where(_THIS, _FROM, jobs.c.charged_ms == 0).values(charged_ms=bindparam("cost"))
_HAND: Final = (
    update(jobs)
    .where(_THIS, jobs.c.state == "waiting")
    .values(state="handing", attempts=jobs.c.attempts + 1, charged_ms=bindparam("cost"), server=bindparam("at"))
    .returning(jobs)
)
_GIVE_BACK: Final = (
    update(jobs)
    .where(_THIS, _FROM)
    .values(
        state="waiting",
        charged_ms=0,
        server=None,
        handed_at=None,
        started_at=None,
        outputs="{}",
        attempts=jobs.c.attempts - bindparam("never_sent", type_=Integer),
    )
)


@lru_cache(maxsize=256)
def _setting(names: tuple[str, ...], *, counts: bool) -> Update:
    """The statement that sets these columns: to build it costs more than to run it. `counts`: the job is at the
    server."""
    values: dict[str, Any] = {name: bindparam(f"to_{name}", type_=jobs.c[name].type) for name in names}
    return update(jobs).where(_THIS).values(**values, **({"attempts": _AT_LEAST_ONE} if counts else {}))


@lru_cache(maxsize=256)
def _moving(names: tuple[str, ...], *, counts: bool) -> Any:
    """The same from expected states only; it returns what the books need of the job."""
    kept = (jobs.c.seq, jobs.c.user_id, jobs.c.charged_ms, jobs.c.created_at, jobs.c.handed_at)
    return _setting(names, counts=counts).where(_FROM).returning(*kept)


def _given(columns: Mapping[str, Any]) -> dict[str, Any]:
    return {f"to_{name}": value for name, value in as_stored(columns).items()}


def advance(
    connection: Connection, prompt_id: str, *, to: str, expect: Collection[str], columns: Mapping[str, Any]
) -> bool:
    """Change the state, and set columns with it; False when the job is in none of the states in `expect`."""
    return _advanced(connection, prompt_id, to=to, expect=expect, columns=columns) is not None


def _advanced(
    connection: Connection, prompt_id: str, *, to: str, expect: Collection[str], columns: Mapping[str, Any]
) -> Row[Any] | None:
    """Some columns of a job that moved; None if it did not move."""
    values = {"state": to, **columns}
    statement = _moving(tuple(values), counts=to in _AT_SERVER)
    given = {"this": prompt_id, "expect": tuple(expect), **_given(values)}
    moved: Row[Any] | None = connection.execute(statement, given).one_or_none()
    return moved


def note(connection: Connection, prompt_id: str, *, columns: Mapping[str, Any]) -> None:
    """Set columns of a job in whatever state."""
    connection.execute(_setting(tuple(columns), counts=False), {"this": prompt_id, **_given(columns)})


def withdraw(connection: Connection, prompt_id: str, *, weight: float) -> bool:
    """See `Ledger.withdraw`."""
    gone = connection.execute(_WITHDRAW, {"this": prompt_id, "expect": _COMING}).one_or_none()
    if gone is None:
        return False
    shares.correct(connection, gone.user_id, -gone.charged_ms / weight)
    return True


def accept(
    connection: Connection,
    job: Owned,
    *,
    to: str,
    said: Mapping[str, Any],
    estimate: Estimate,
    weight: float,
    columns: Mapping[str, Any],
) -> bool:
    """See `Ledger.accept`."""
    moved = advance(connection, job.prompt_id, to=to, expect=_COMING, columns={**said, **columns})
    if not moved:
        note(connection, job.prompt_id, columns=said)
    if not moved or to in _AT_SERVER:
        _charge(connection, job, estimate=estimate, weight=weight)
    return moved


def _charge(connection: Connection, job: Owned, *, estimate: Estimate, weight: float) -> None:
    """Charge a job that the server has, once."""
    cost = _estimated(connection, job, estimate)
    given = {"this": job.prompt_id, "expect": _AT_SERVER, "cost": cost}
    if connection.execute(_CHARGE, given).rowcount:
        _book(connection, job, cost=cost, weight=weight)


def _estimated(connection: Connection, job: Owned, estimate: Estimate) -> int:
    same = turns.same_costs(connection, job.prompt_id, user_id=job.user_id)
    return estimate(same, shares.recent_costs(connection, job.user_id))


def _book(connection: Connection, job: Owned, *, cost: int, weight: float) -> None:
    turns.weigh(connection, job.prompt_id, weight=weight)
    shares.correct(connection, job.user_id, cost / weight)


def hand(connection: Connection, job: Owned, *, estimate: Estimate, weight: float, server: str) -> Job | None:
    """See `Ledger.hand`."""
    cost = _estimated(connection, job, estimate)
    row = connection.execute(_HAND, {"this": job.prompt_id, "cost": cost, "at": server}).one_or_none()
    if row is None:
        return None
    _book(connection, job, cost=cost, weight=weight)
    return job_of(row)


def give_back(
    connection: Connection, prompt_id: str, *, expect: Collection[str], weight: float, never_sent: bool
) -> bool:
    """See `Ledger.give_back`."""
    mine = {"this": prompt_id, "expect": tuple(expect)}
    charge = connection.execute(_CHARGED, mine).one_or_none()
    if charge is None:
        return False
    connection.execute(_GIVE_BACK, {**mine, "never_sent": int(never_sent)})
    shares.correct(connection, charge.user_id, -charge.charged_ms / weight)
    return True


def finish(
    connection: Connection,
    job: Owned,
    *,
    state: str,
    weight: float,
    expect: Collection[str],
    now: int,
    columns: Mapping[str, Any],
) -> bool:
    """See `Ledger.finish`; `columns` hold `gpu_ms` and `ended_at`."""
    row = _advanced(connection, job.prompt_id, to=state, expect=expect, columns=columns)
    if row is None:
        return False
    shares.correct(connection, job.user_id, (columns["gpu_ms"] - row.charged_ms) / weight)
    ended = Ended(
        seq=row.seq,
        user_id=row.user_id,
        state=state,
        gpu_ms=columns["gpu_ms"],
        ended_ms=columns["ended_at"],
        left_ms=row.handed_at or row.created_at,
        now_ms=now,
    )
    books.book(connection, ended)
    return True


def record_output(connection: Connection, prompt_id: str, *, node: str, output: Mapping[str, Any]) -> None:
    """See `Ledger.record_output`."""
    text = connection.execute(_OUTPUTS, {"this": prompt_id}).scalar_one_or_none()
    if text is not None:
        note(connection, prompt_id, columns={"outputs": {**orjson.loads(text), node: output}})


def hide(connection: Connection, user_id: int, *, prompt_ids: Collection[str] | None) -> None:
    """See `Ledger.hide`."""
    mine = [jobs.c.user_id == user_id, jobs.c.state.in_(FINISHED)]
    if prompt_ids is not None:
        mine.append(jobs.c.prompt_id.in_(tuple(prompt_ids)))
    connection.execute(update(jobs).where(*mine).values(hidden=True))


def forget_before(connection: Connection, created_at: int) -> int:
    """See `Ledger.forget_before`."""
    old = delete(jobs).where(jobs.c.created_at < created_at, jobs.c.state.in_(FINISHED))
    return connection.execute(old).rowcount
