"""How a job moves: the statements of each move, as parts of somebody's transaction.

It does not know why a job moves. Each statement names the states that it may start from, so that of two that are at it
one finds nothing to do.
"""

from collections.abc import Collection, Mapping
from typing import Any, Final

import orjson
from sqlalchemy import case, delete, select, update
from sqlalchemy.engine import Connection

from gateway.store import shares
from gateway.store.job import FINISHED, Job, Owned, as_stored, job_of, text_of
from gateway.store.shares import Estimate
from gateway.store.tables import jobs

_COMING: Final = ("submitting", "unknown")
_AT_SERVER: Final = ("handed", "running")
_AT_LEAST_ONE: Final = case((jobs.c.attempts < 1, 1), else_=jobs.c.attempts)
"""A job that is at the server was handed over, however it came there."""


def advance(
    connection: Connection, prompt_id: str, *, to: str, expect: Collection[str], columns: Mapping[str, Any]
) -> bool:
    """Change the state, and set columns with it; False when the job is in none of the states in `expect`."""
    values = {"state": to, **as_stored(columns)}
    if to in _AT_SERVER:
        values["attempts"] = _AT_LEAST_ONE
    mine = (jobs.c.prompt_id == prompt_id, jobs.c.state.in_(tuple(expect)))
    return connection.execute(update(jobs).where(*mine).values(**values)).rowcount == 1


def note(connection: Connection, prompt_id: str, *, columns: Mapping[str, Any]) -> None:
    """Set columns of a job in whatever state."""
    connection.execute(update(jobs).where(jobs.c.prompt_id == prompt_id).values(**as_stored(columns)))


def withdraw(connection: Connection, prompt_id: str, *, weight: float) -> bool:
    """See `Ledger.withdraw`."""
    mine = (jobs.c.prompt_id == prompt_id, jobs.c.state.in_(_COMING))
    gone = connection.execute(delete(jobs).where(*mine).returning(jobs.c.user_id, jobs.c.charged_ms)).one_or_none()
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
    cost = estimate(shares.recent_costs(connection, job.user_id))
    uncharged = (jobs.c.prompt_id == job.prompt_id, jobs.c.state.in_(_AT_SERVER), jobs.c.charged_ms == 0)
    if connection.execute(update(jobs).where(*uncharged).values(charged_ms=cost)).rowcount:
        shares.correct(connection, job.user_id, cost / weight)


def hand(connection: Connection, job: Owned, *, estimate: Estimate, weight: float, server: str) -> Job | None:
    """See `Ledger.hand`."""
    cost = estimate(shares.recent_costs(connection, job.user_id))
    values = {"state": "handing", "attempts": jobs.c.attempts + 1, "charged_ms": cost, "server": server}
    mine = (jobs.c.prompt_id == job.prompt_id, jobs.c.state == "waiting")
    row = connection.execute(update(jobs).where(*mine).values(**values).returning(jobs)).one_or_none()
    if row is None:
        return None
    shares.correct(connection, job.user_id, cost / weight)
    return job_of(row)


def give_back(
    connection: Connection, prompt_id: str, *, expect: Collection[str], weight: float, never_sent: bool
) -> bool:
    """See `Ledger.give_back`."""
    mine = (jobs.c.prompt_id == prompt_id, jobs.c.state.in_(tuple(expect)))
    charge = connection.execute(select(jobs.c.user_id, jobs.c.charged_ms).where(*mine)).one_or_none()
    if charge is None:
        return False
    values = {
        "state": "waiting",
        "charged_ms": 0,
        "server": None,
        "handed_at": None,
        "started_at": None,
        "outputs": "{}",
        "attempts": jobs.c.attempts - int(never_sent),
    }
    connection.execute(update(jobs).where(*mine).values(**values))
    shares.correct(connection, charge.user_id, -charge.charged_ms / weight)
    return True


def finish(
    connection: Connection,
    job: Owned,
    *,
    state: str,
    weight: float,
    expect: Collection[str],
    columns: Mapping[str, Any],
) -> bool:
    """See `Ledger.finish`; `columns` hold `gpu_ms`."""
    mine = (jobs.c.prompt_id == job.prompt_id, jobs.c.state.in_(tuple(expect)))
    ended = update(jobs).where(*mine).values(state=state, **as_stored(columns)).returning(jobs.c.charged_ms)
    charged = connection.execute(ended).scalar_one_or_none()
    if charged is None:
        return False
    shares.correct(connection, job.user_id, (columns["gpu_ms"] - charged) / weight)
    return True


def record_output(connection: Connection, prompt_id: str, *, node: str, output: Mapping[str, Any]) -> None:
    """See `Ledger.record_output`."""
    mine = jobs.c.prompt_id == prompt_id
    text = connection.execute(select(jobs.c.outputs).where(mine)).scalar_one_or_none()
    if text is not None:
        merged = text_of({**orjson.loads(text), node: output})
        connection.execute(update(jobs).where(mine).values(outputs=merged))


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
