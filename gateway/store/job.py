"""One job as the ledger keeps it: the values, and the way from a row of the table to them and back.

It does not know which moves a job may make, nor who asks.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

import orjson
from sqlalchemy import Row

UNFINISHED: Final = ("submitting", "waiting", "handing", "handed", "running", "unknown")
FINISHED: Final = ("succeeded", "failed", "cancelled")

_JSON_COLUMNS: Final = (
    "prompt",
    "extra_data",
    "targets",
    "outputs_to_execute",
    "outputs",
    "status",
    "meta",
    "error",
    "node_errors",
)


class Owned(Protocol):
    """Whatever says which job it is, and whose."""

    @property
    def prompt_id(self) -> str:
        """The job."""

    @property
    def user_id(self) -> int:
        """Its owner."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NewJob:
    """What is known of a job when it is submitted. Times are milliseconds since the epoch. `token_id` and `model` are
    what it is booked under."""

    prompt_id: str
    user_id: int
    client_id: str | None
    front: bool
    number: float | None
    created_at: int
    prompt: Mapping[str, Any]
    extra_data: Mapping[str, Any]
    targets: Sequence[str] | None
    had_secrets: bool
    shape: str = ""
    token_id: str | None = None
    model: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One row. `number` is what the client sees, `position` orders the user's own jobs, `seq` everybody's."""

    seq: int
    prompt_id: str
    user_id: int
    client_id: str | None
    state: str
    position: float
    number: float
    server: str | None
    created_at: int
    handed_at: int | None
    started_at: int | None
    ended_at: int | None
    attempts: int
    charged_ms: int
    gpu_ms: int
    had_secrets: bool
    cancel_requested: bool
    hidden: bool
    prompt: dict[str, Any]
    extra_data: dict[str, Any]
    targets: list[str] | None
    outputs_to_execute: list[str]
    outputs: dict[str, Any]
    status: dict[str, Any] | None
    meta: dict[str, Any]
    error: dict[str, Any] | None
    node_errors: dict[str, Any]


def fresh(new: NewJob, *, seq: int, number: float) -> Job:
    """The job of the row that was just made of `new`: what the table puts into the other columns by itself, here too,
    because to read it back costs more than all the rest of a submit."""
    return Job(
        seq=seq,
        prompt_id=new.prompt_id,
        user_id=new.user_id,
        client_id=new.client_id,
        state="submitting",
        position=number,
        number=number,
        server=None,
        created_at=new.created_at,
        handed_at=None,
        started_at=None,
        ended_at=None,
        attempts=0,
        charged_ms=0,
        gpu_ms=0,
        had_secrets=new.had_secrets,
        cancel_requested=False,
        hidden=False,
        prompt=dict(new.prompt),
        extra_data=dict(new.extra_data),
        targets=None if new.targets is None else list(new.targets),
        outputs_to_execute=[],
        outputs={},
        status=None,
        meta={},
        error=None,
        node_errors={},
    )


def job_of(row: Row[Any]) -> Job:
    """The job of a row with all columns."""
    values = dict(row._mapping)
    for name in _JSON_COLUMNS:
        values[name] = None if values[name] is None else orjson.loads(values[name])
    return Job(**values)


def text_of(value: Any) -> str:
    """A value as the JSON columns keep it."""
    return orjson.dumps(value, option=orjson.OPT_NON_STR_KEYS).decode()


def as_stored(columns: Mapping[str, Any]) -> dict[str, Any]:
    """Values of columns, the JSON ones as text."""
    return {
        name: text_of(value) if name in _JSON_COLUMNS and value is not None else value
        for name, value in columns.items()
    }
