"""A place in the ledger for a new job: the row, if the user's cap has room for it and the user's budgets have something
left. It does not know what happens to the job then."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import bindparam, func, insert, select
from sqlalchemy.engine import Connection
from sqlalchemy.exc import IntegrityError

from gateway.errors import PromptIdTaken, UserGone
from gateway.policy.budgets import Purse
from gateway.store import books, shares, turns
from gateway.store.job import UNFINISHED, Job, NewJob, fresh, text_of
from gateway.store.shares import Estimate, Joining
from gateway.store.tables import jobs, users

MOST_BYTES: Final = 64 * 1024 * 1024
"""Of workflows and results that are read at once, or that one user may have waiting: 200 jobs may hold 8 MiB each."""

_COLUMNS: Final = (
    "prompt_id",
    "user_id",
    "client_id",
    "state",
    "position",
    "number",
    "created_at",
    "had_secrets",
    "prompt",
    "extra_data",
    "targets",
    "outputs_to_execute",
)
_VALUES: Final = {name: bindparam(f"new_{name}", type_=jobs.c[name].type) for name in _COLUMNS}
_MINE: Final = (jobs.c.user_id == _VALUES["user_id"], jobs.c.state.in_(UNFINISHED))
_ACTIVE: Final = select(func.count()).where(*_MINE).scalar_subquery()
_SIZE: Final = func.length(jobs.c.prompt) + func.length(jobs.c.extra_data)
_HELD: Final = select(func.coalesce(func.sum(_SIZE), 0)).where(*_MINE).scalar_subquery()
_IF_ROOM: Final = select(*_VALUES.values()).where(bindparam("cap") > _ACTIVE, bindparam("room") >= _HELD)
_RESERVE: Final = insert(jobs).from_select(_COLUMNS, _IF_ROOM).returning(jobs.c.seq)
"""Count-then-insert let 12 jobs through a cap of 5 (measured with 8 processes); one INSERT … SELECT cannot
where one writes at a time."""

_USER: Final = (
    select(users.c.id).where(users.c.id == bindparam("of_user"), users.c.disabled.is_(False)).with_for_update()
)
"""Locked, where the database has more than one writer: there the one INSERT let 32 through a cap of 5, because none of
those that run at once counts the others' rows. Those of one user go one by one, those of others beside them. (Their row
in `shares` is locked by the counter too, but that is not what it is for.)
"""


@dataclass(frozen=True, slots=True)
class Spending:
    """For a user with budgets: what the submit is held to, and how what it will cost is estimated."""

    purse: Purse
    estimate: Estimate


def reserve(
    connection: Connection, new: NewJob, *, cap: int, joining: Joining | None, spending: Spending | None
) -> Job | None:
    """Write the row `submitting` if the user has fewer than `cap` unfinished jobs, of less than `MOST_BYTES` together;
    None if not. `joining` is given for a user who had none.

    Raises PromptIdTaken when some job has the id already, UserGone when the user was removed or disabled,
    BudgetExhausted when nothing is left to spend.
    """
    _require_user(connection, new.user_id)
    expected_ms = 0 if spending is None else _afforded(connection, new, spending)
    # As in ComfyUI, a number of the client's own does not advance the counter.
    counter = shares.count(connection, new.user_id, step=int(new.number is None))
    number = float(new.number if new.number is not None else -counter if new.front else counter)
    values = _values(new, number)
    room = MOST_BYTES - len(values["prompt"]) - len(values["extra_data"])
    given = {f"new_{name}": value for name, value in values.items()}
    try:
        seq = connection.execute(_RESERVE, {**given, "cap": cap, "room": room}).scalar_one_or_none()
    except IntegrityError as error:
        raise PromptIdTaken(
            f"The prompt_id {new.prompt_id} was used before.", details="Leave it out, or choose another."
        ) from error
    if seq is None:
        return None
    turns.add(connection, seq, new, expected_ms=expected_ms)
    if joining is not None:
        start = joining(shares.virtual_times(connection), shares.open_charges(connection))
        shares.join(connection, new.user_id, start)
    return fresh(new, seq=seq, number=number)


def _afforded(connection: Connection, new: NewJob, spending: Spending) -> int:
    """What the job is expected to take, of a user who has something left. The next submit counts it with the others, so
    many at once do not get through the same gap."""
    first, last = spending.purse.days
    used_ms, expected_ms = books.spent(connection, new.user_id, first=first, last=last)
    spending.purse.require(used_ms, expected_ms)
    same = turns.shape_costs(connection, new.user_id, shape=new.shape)
    cost_ms = spending.estimate(same, shares.recent_costs(connection, new.user_id))
    spending.purse.take(cost_ms)
    return cost_ms


def _require_user(connection: Connection, user_id: int) -> None:
    """In the transaction that reserves: whoever ends a user's jobs finds all those that came before the user's end."""
    if connection.execute(_USER, {"of_user": user_id}).scalar_one_or_none() is None:
        raise UserGone


def _values(new: NewJob, number: float) -> Mapping[str, Any]:
    return {
        "prompt_id": new.prompt_id,
        "user_id": new.user_id,
        "client_id": new.client_id,
        "state": "submitting",
        "position": number,
        "number": number,
        "created_at": new.created_at,
        "had_secrets": new.had_secrets,
        "prompt": text_of(new.prompt),
        "extra_data": text_of(new.extra_data),
        "targets": None if new.targets is None else text_of(new.targets),
        "outputs_to_execute": "[]",
    }
