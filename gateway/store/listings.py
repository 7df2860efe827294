"""What can be asked about jobs: one of them, the unfinished ones, a user's history, a user's list.

It changes nothing, and does not know in which shape anybody is told.
"""

from collections.abc import Collection, Iterable
from typing import Any, Final

from sqlalchemy import ColumnElement, Row, Select, and_, bindparam, func, literal, literal_column, select
from sqlalchemy.engine import Connection

from gateway.store.job import FINISHED, UNFINISHED, Job, job_of
from gateway.store.reservation import MOST_BYTES
from gateway.store.tables import jobs

_ONE: Final = select(jobs).where(jobs.c.prompt_id == bindparam("wanted"))
_SIZE: Final = sum(
    (func.length(func.coalesce(jobs.c[name], "")) for name in ("extra_data", "outputs", "status")),
    start=func.length(jobs.c.prompt),
)
_ID_PATH: Final = "$.extra_pnginfo.workflow.id"
_WORKFLOW_ID: Final[dict[str, ColumnElement[str]]] = {
    "sqlite": func.json_object(
        "extra_pnginfo",
        func.json_object("workflow", func.json_object("id", func.json_extract(jobs.c.extra_data, _ID_PATH))),
    ),
    # PostgreSQL reads no JSON that holds an escaped NUL anywhere; such a one is read whole.
    "postgresql": literal_column(
        r"""CASE WHEN position('\u0000' IN jobs.extra_data) > 0 THEN jobs.extra_data
        ELSE json_build_object('extra_pnginfo', json_build_object('workflow', json_build_object(
            'id', CAST(jobs.extra_data AS json) #> '{extra_pnginfo,workflow,id}'
        )))::text END"""
    ),
}
"""`extra_data` with nothing in it but the workflow's id, as each database takes it out of a JSON text."""


def one(connection: Connection, prompt_id: str, user_id: int | None) -> Job | None:
    """One job; with a user, only if it is that user's."""
    row = connection.execute(_ONE, {"wanted": prompt_id}).one_or_none()
    return None if row is None or user_id not in (None, row.user_id) else job_of(row)


def unfinished(connection: Connection, user_id: int | None) -> list[Job]:
    """Jobs that have not ended, oldest first; of one user or of all."""
    query = select(jobs).where(jobs.c.state.in_(UNFINISHED)).order_by(jobs.c.seq)
    return _all(connection, query if user_id is None else query.where(jobs.c.user_id == user_id))


def history(connection: Connection, user_id: int, *, limit: int, offset: int | None) -> list[Job]:
    """A user's ended jobs as `/history` shows them, oldest end first: the newest `limit`, or `limit` from `offset`
    counted from the oldest; fewer where they would be over `MOST_BYTES` together.
    """
    ended = (jobs.c.user_id == user_id, jobs.c.state.in_(FINISHED), jobs.c.hidden.is_(False))
    order = (jobs.c.ended_at, jobs.c.seq) if offset is not None else (jobs.c.ended_at.desc(), jobs.c.seq.desc())
    sizes = select(jobs.c.seq, _SIZE.label("size")).where(*ended).order_by(*order).limit(limit).offset(offset)
    fitting = _fitting(connection.execute(sizes))
    return _all(connection, select(jobs).where(jobs.c.seq.in_(fitting)).order_by(jobs.c.ended_at, jobs.c.seq))


def visible(connection: Connection, user_id: int, *, states: Collection[str], limit: int) -> list[Job]:
    """A user's jobs in the given ledger states that are not removed from the history, newest first.

    For lists, which show no workflow: `prompt` is empty, and of `extra_data` only the workflow's id is read.
    """
    mine = and_(jobs.c.user_id == user_id, jobs.c.hidden.is_(False), jobs.c.state.in_(tuple(states)))
    whole = [column for column in jobs.c if column.name not in ("prompt", "extra_data")]
    light = (literal("{}").label("prompt"), _WORKFLOW_ID[connection.dialect.name].label("extra_data"))
    return _all(connection, select(*whole, *light).where(mine).order_by(jobs.c.seq.desc()).limit(limit))


def _all(connection: Connection, query: Select[Any]) -> list[Job]:
    return [job_of(row) for row in connection.execute(query)]


def _fitting(sizes: Iterable[Row[Any]]) -> list[int]:
    """The sequence numbers of the first rows that fit into `MOST_BYTES` together; of one row at least."""
    fitting: list[int] = []
    total = 0
    for row in sizes:
        seq, size = int(row.seq), int(row.size)
        total += size
        if fitting and total > MOST_BYTES:
            break
        fitting.append(seq)
    return fitting
