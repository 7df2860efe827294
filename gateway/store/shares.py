"""What each user has used: a place in the fair queue, the costs it comes from, and the counter of the user's prompts.

It does not know whose turn it is; `policy.fairness` says. Everything here is part of somebody's transaction.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Final

from sqlalchemy import Executable, bindparam, case, func, or_, select, update
from sqlalchemy.engine import Connection

from gateway.store.job import FINISHED, UNFINISHED
from gateway.store.tables import jobs, shares
from gateway.store.upsert import upsert

Joining = Callable[[Mapping[int, float], Mapping[int, int]], float]
"""Where a newly active user starts, in weighted GPU milliseconds: of everybody's virtual times and open charges."""
Estimate = Callable[[Sequence[int], Sequence[int]], int]
"""What a job will cost, in GPU milliseconds: of what the user's last ones of the same shape did, and the last ones of
all shapes."""

LAST: Final = 5
"""So many of a user's last jobs make the estimate."""

_OF_USER: Final = shares.c.user_id == bindparam("of_user")
_MOVED: Final = shares.c.virtual_ms + bindparam("difference")
_CORRECT: Final = update(shares).where(_OF_USER).values(virtual_ms=case((_MOVED < 0, 0.0), else_=_MOVED))
_JOIN: Final = update(shares).where(_OF_USER).values(virtual_ms=bindparam("start"))
_VIRTUAL: Final = select(shares.c.user_id, shares.c.virtual_ms)
_CHARGES: Final = (
    select(jobs.c.user_id, func.sum(jobs.c.charged_ms)).where(jobs.c.state.in_(UNFINISHED)).group_by(jobs.c.user_id)
)
_COSTS: Final = (
    select(jobs.c.gpu_ms)
    .where(
        jobs.c.user_id == bindparam("of_user"),
        jobs.c.state.in_(FINISHED),
        or_(jobs.c.state == "succeeded", jobs.c.gpu_ms > 0),
    )
    .order_by(jobs.c.seq.desc())
    .limit(LAST)
)


@cache
def _counting(database: str) -> Executable:
    first = upsert(database, shares).values(user_id=bindparam("of_user"), virtual_ms=0.0, counter=bindparam("step"))
    return first.on_conflict_do_update(
        index_elements=[shares.c.user_id], set_={"counter": shares.c.counter + bindparam("step")}
    ).returning(shares.c.counter)


def count(connection: Connection, user_id: int, *, step: int) -> int:
    """The user's own prompt number, which `step` moves on: ComfyUI's counter starts at 0 and counts every job."""
    counting = _counting(connection.dialect.name)
    return int(connection.execute(counting, {"of_user": user_id, "step": step}).scalar_one()) - step


def correct(connection: Connection, user_id: int, difference_ms: float) -> None:
    """Add to a virtual time where it is kept: two that read it first and wrote it later would lose one change."""
    connection.execute(_CORRECT, {"of_user": user_id, "difference": difference_ms})


def join(connection: Connection, user_id: int, virtual_ms: float) -> None:
    """Put the user's virtual time to where a newly active user starts (`fairness.joining`: hardly ever lower)."""
    connection.execute(_JOIN, {"of_user": user_id, "start": virtual_ms})


def virtual_times(connection: Connection) -> dict[int, float]:
    """Every user's virtual time, in weighted GPU milliseconds."""
    return {user_id: float(virtual_ms) for user_id, virtual_ms in connection.execute(_VIRTUAL)}


def open_charges(connection: Connection) -> dict[int, int]:
    """GPU milliseconds that each user is charged for jobs that have not ended."""
    return {user_id: int(charged) for user_id, charged in connection.execute(_CHARGES)}


def recent_costs(connection: Connection, user_id: int) -> list[int]:
    """GPU milliseconds of the user's last jobs that ran, the newest first."""
    return [int(cost) for cost in connection.execute(_COSTS, {"of_user": user_id}).scalars()]
