"""What the fair queue and the books keep of each job beside its row: its shape, the weight that it was charged with,
whether it was stopped for running too long, what it was expected to cost, and the token and the model that it counts
for.

It does not know what a shape is. Everything here is part of somebody's transaction.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Final

from sqlalchemy import bindparam, insert, select, update
from sqlalchemy.engine import Connection

from gateway.store.job import UNFINISHED, NewJob
from gateway.store.shares import LAST, recent_costs
from gateway.store.tables import jobs, turns


@dataclass(frozen=True, slots=True)
class JobTurn:
    """One row. `time_limit` are the seconds after which the job was stopped, None for one that was not."""

    shape: str = ""
    weight: float = 1.0
    time_limit: int | None = None


_SEQ: Final = select(jobs.c.seq).where(jobs.c.prompt_id == bindparam("this")).scalar_subquery()
_ADD: Final = insert(turns)
_WEIGH: Final = update(turns).where(turns.c.seq == _SEQ).values(weight=bindparam("charged_with"))
_STOP: Final = update(turns).where(turns.c.seq == _SEQ).values(time_limit=bindparam("after"))
_UNFINISHED: Final = (
    select(turns.c.seq, turns.c.shape, turns.c.weight, turns.c.time_limit)
    .join(jobs, jobs.c.seq == turns.c.seq)
    .where(jobs.c.state.in_(UNFINISHED))
)
_SHAPE: Final = select(turns.c.shape).where(turns.c.seq == _SEQ)
_SAME: Final = (
    select(jobs.c.gpu_ms)
    .join(turns, jobs.c.seq == turns.c.seq)
    .where(
        turns.c.user_id == bindparam("of_user"),
        turns.c.shape == bindparam("of_shape"),
        jobs.c.state == "succeeded",
    )
    .order_by(turns.c.seq.desc())
    .limit(LAST)
)


def add(connection: Connection, seq: int, new: NewJob, *, expected_ms: int) -> None:
    """The row of a new job."""
    row = {
        "seq": seq,
        "user_id": new.user_id,
        "shape": new.shape,
        "expected_ms": expected_ms,
        "token_id": new.token_id or "",
        "model": new.model,
    }
    connection.execute(_ADD, row)


def weigh(connection: Connection, prompt_id: str, *, weight: float) -> None:
    """Remember the weight of a charge: what is given back later must be what was taken, whatever the role says then."""
    connection.execute(_WEIGH, {"this": prompt_id, "charged_with": weight})


def stop(connection: Connection, prompt_id: str, *, time_limit: int) -> None:
    """Remember that a job was stopped because it ran for longer than `time_limit` seconds."""
    connection.execute(_STOP, {"this": prompt_id, "after": time_limit})


def unfinished(connection: Connection) -> dict[int, JobTurn]:
    """The rows of the jobs that have not ended, by sequence."""
    return {row.seq: JobTurn(row.shape, row.weight, row.time_limit) for row in connection.execute(_UNFINISHED)}


def same_costs(connection: Connection, prompt_id: str, *, user_id: int) -> list[int]:
    """GPU milliseconds of the user's last jobs of the same shape that succeeded, the newest first."""
    shape = connection.execute(_SHAPE, {"this": prompt_id}).scalar_one_or_none()
    return [] if shape is None else shape_costs(connection, user_id, shape=shape)


def shape_costs(connection: Connection, user_id: int, *, shape: str) -> list[int]:
    """The same, of a shape."""
    return [int(cost) for cost in connection.execute(_SAME, {"of_user": user_id, "of_shape": shape}).scalars()]


def costs(
    connection: Connection, wanted: Collection[tuple[int, str]]
) -> Mapping[tuple[int, str], tuple[list[int], list[int]]]:
    """What an estimate is made of, for each user and shape: costs of the same shape, and of the user's last jobs."""
    recent = {user_id: recent_costs(connection, user_id) for user_id in {user_id for user_id, _ in wanted}}
    return {
        (user_id, shape): (shape_costs(connection, user_id, shape=shape), recent[user_id]) for user_id, shape in wanted
    }
