"""The ledger: a job is a row from before it leaves the gateway until long after ComfyUI forgot it, and the waiting rows
are the queue.

It does not know why a job moves; it only makes sure that each move starts from a state it may start from, in one
transaction.

    submitting ─► waiting ─► handing ─► handed ─► running ─► succeeded | failed | cancelled
        │  └────► handed ───────────────────────────┘
        └──► unknown  (ComfyUI was asked and did not say; holds its place until it is known)
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import orjson
from sqlalchemy import Row, Select, and_, case, delete, func, insert, literal, or_, select, update
from sqlalchemy.dialects.sqlite import insert as upsert
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.errors import PromptIdTaken
from gateway.store.tables import jobs, shares
from gateway.store.transactions import Transactions

MOST_BYTES: Final = 64 * 1024 * 1024
"""Of workflows and results that are read at once, or that one user may have waiting: 200 jobs may hold 8 MiB each."""
UNFINISHED: Final = ("submitting", "waiting", "handing", "handed", "running", "unknown")
FINISHED: Final = ("succeeded", "failed", "cancelled")


@dataclass(frozen=True, slots=True, kw_only=True)
class NewJob:
    """What is known of a job when it is submitted. Times are milliseconds since the epoch."""

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


_SIZE: Final = sum(
    (func.length(func.coalesce(jobs.c[name], "")) for name in ("extra_data", "outputs", "status")),
    start=func.length(jobs.c.prompt),
)
_ID_PATH: Final = "$.extra_pnginfo.workflow.id"
_WORKFLOW_ID: Final = func.json_object(
    "extra_pnginfo",
    func.json_object("workflow", func.json_object("id", func.json_extract(jobs.c.extra_data, _ID_PATH))),
)


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


def _job(row: Row[Any]) -> Job:
    values = dict(row._mapping)
    for name in _JSON_COLUMNS:
        values[name] = None if values[name] is None else orjson.loads(values[name])
    return Job(**values)


def _text(value: Any) -> str:
    return orjson.dumps(value, option=orjson.OPT_NON_STR_KEYS).decode()


def _as_stored(columns: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: _text(value) if name in _JSON_COLUMNS and value is not None else value for name, value in columns.items()
    }


_AT_LEAST_ONE: Final = case((jobs.c.attempts < 1, 1), else_=jobs.c.attempts)
"""A job that is at the server was handed over, however it came there."""


@dataclass(frozen=True, slots=True)
class Ledger:
    """The table of jobs, and of what each user has used."""

    database: Transactions

    async def reserve(self, new: NewJob, *, cap: int) -> Job | None:
        """Write the row `submitting` if the user has fewer than `cap` unfinished jobs, of less than `MOST_BYTES`
        together, in one statement; None if not.

        Count-then-insert let 12 jobs through a cap of 5 (measured with 8 processes); one INSERT … SELECT cannot.

        Raises PromptIdTaken when some job has the id already.
        """
        async with self.database.write() as connection:
            # As in ComfyUI, a number of the client's own does not advance the counter.
            counter = await _next_counter(connection, new.user_id, step=int(new.number is None))
            number = new.number if new.number is not None else float(-counter if new.front else counter)
            values: dict[str, Any] = {
                "prompt_id": new.prompt_id,
                "user_id": new.user_id,
                "client_id": new.client_id,
                "state": "submitting",
                "position": number,
                "number": number,
                "created_at": new.created_at,
                "had_secrets": new.had_secrets,
                "prompt": _text(new.prompt),
                "extra_data": _text(new.extra_data),
                "targets": None if new.targets is None else _text(new.targets),
                "outputs_to_execute": "[]",
            }
            try:
                done = await connection.execute(insert(jobs).from_select(list(values), _if_room(values, cap)))
            except IntegrityError as error:
                raise PromptIdTaken(
                    f"The prompt_id {new.prompt_id} was used before.", details="Leave it out, or choose another."
                ) from error
            if done.rowcount != 1:
                return None
            return _job((await connection.execute(select(jobs).where(jobs.c.prompt_id == new.prompt_id))).one())

    async def withdraw(self, prompt_id: str, *, weight: float) -> bool:
        """Forget a job that ComfyUI refused or never got: its place in the cap and its charge are given back at once.
        False if it is another kind of job by now."""
        mine = (jobs.c.prompt_id == prompt_id, jobs.c.state.in_(("submitting", "unknown")))
        async with self.database.write() as connection:
            gone = (
                await connection.execute(delete(jobs).where(*mine).returning(jobs.c.user_id, jobs.c.charged_ms))
            ).all()
            for user_id, charged_ms in gone:
                await _correct(connection, user_id, -charged_ms / weight)
            return bool(gone)

    async def move(self, prompt_id: str, to: str, *, expect: Collection[str], **columns: Any) -> bool:
        """Change the state from one of `expect`; False when the job is in another one (somebody was faster)."""
        async with self.database.write() as connection:
            return await _advance(connection, prompt_id, to, expect=expect, **_as_stored(columns))

    async def accept(
        self,
        job: Job,
        to: str,
        *,
        outputs_to_execute: Sequence[str],
        node_errors: Mapping[str, Any],
        charged_ms: int,
        weight: float,
        **columns: Any,
    ) -> bool:
        """Note what ComfyUI's validation said of a job, move it to where it went, and charge its user if the server has
        it, in one transaction.

        False if its events were faster and it has moved by itself: one that has started is charged all the same, one
        that has ended was booked with the truth.
        """
        mine = jobs.c.prompt_id == job.prompt_id
        said = {"outputs_to_execute": _text(outputs_to_execute), "node_errors": _text(node_errors)}
        at_server = (mine, jobs.c.state.in_(("handed", "running")), jobs.c.charged_ms == 0)
        async with self.database.write() as connection:
            await connection.execute(update(jobs).where(mine).values(**said))
            moved = await _advance(connection, job.prompt_id, to, expect=("submitting", "unknown"), **columns)
            charge = update(jobs).where(*at_server).values(charged_ms=charged_ms)
            if (await connection.execute(charge)).rowcount:
                await _correct(connection, job.user_id, charged_ms / weight)
            return moved

    async def describe(
        self, prompt_id: str, *, outputs_to_execute: Sequence[str], node_errors: Mapping[str, Any]
    ) -> None:
        """Note what ComfyUI's validation said of a job that was found at the server."""
        columns = {"outputs_to_execute": _text(outputs_to_execute), "node_errors": _text(node_errors)}
        async with self.database.write() as connection:
            await connection.execute(update(jobs).where(jobs.c.prompt_id == prompt_id).values(**columns))

    async def hand(self, job: Job, *, charged_ms: int, weight: float, server: str) -> bool:
        """Take a waiting job out of the queue for `server` and charge its user, in one transaction; False if it waits
        no longer. `attempts` counts the hand-overs that may have reached a server."""
        values = {"attempts": jobs.c.attempts + 1, "charged_ms": charged_ms, "server": server}
        async with self.database.write() as connection:
            if not await _advance(connection, job.prompt_id, "handing", expect=("waiting",), **values):
                return False
            await _correct(connection, job.user_id, charged_ms / weight)
            return True

    async def start(self, prompt_id: str, *, expect: Collection[str], started_at: int, server: str) -> bool:
        """The server executes the job; False when it is in none of the states in `expect`."""
        values = {"started_at": started_at, "server": server}
        async with self.database.write() as connection:
            return await _advance(connection, prompt_id, "running", expect=expect, **values)

    async def give_back(
        self, prompt_id: str, *, expect: Collection[str], weight: float, never_sent: bool = False
    ) -> bool:
        """Put a job that did not run to its end back into the queue, and its charge back to its user. `never_sent`
        takes back the hand-over as well."""
        mine = (jobs.c.prompt_id == prompt_id, jobs.c.state.in_(tuple(expect)))
        values = {
            "charged_ms": 0,
            "server": None,
            "handed_at": None,
            "started_at": None,
            "outputs": "{}",
            "attempts": jobs.c.attempts - int(never_sent),
        }
        async with self.database.write() as connection:
            charge = (await connection.execute(select(jobs.c.user_id, jobs.c.charged_ms).where(*mine))).one_or_none()
            if charge is None or not await _advance(connection, prompt_id, "waiting", expect=expect, **values):
                return False
            await _correct(connection, charge.user_id, -charge.charged_ms / weight)
            return True

    async def finish(
        self,
        job: Job,
        state: str,
        *,
        weight: float,
        gpu_ms: int,
        ended_at: int,
        expect: Collection[str] = UNFINISHED,
        **columns: Any,
    ) -> bool:
        """End a job that is in one of the states in `expect`, book its GPU milliseconds and correct the user's virtual
        time, exactly once; False if it was in none of them."""
        async with self.database.write() as connection:
            ended = (
                update(jobs)
                .where(jobs.c.prompt_id == job.prompt_id, jobs.c.state.in_(tuple(expect)))
                .values(state=state, gpu_ms=gpu_ms, ended_at=ended_at, **_as_stored(columns))
                .returning(jobs.c.charged_ms)
            )
            charged = (await connection.execute(ended)).scalar_one_or_none()
            if charged is None:
                return False
            await _correct(connection, job.user_id, (gpu_ms - charged) / weight)
            return True

    async def request_cancel(self, prompt_id: str, *, wanted: bool = True) -> None:
        """Remember that the owner wants this job to end (or does not any more), also over a crash of the gateway."""
        async with self.database.write() as connection:
            await connection.execute(update(jobs).where(jobs.c.prompt_id == prompt_id).values(cancel_requested=wanted))

    async def record_output(self, prompt_id: str, node: str, output: Mapping[str, Any]) -> None:
        """Remember what a node of a running job produced."""
        async with self.database.write() as connection:
            text = (
                await connection.execute(select(jobs.c.outputs).where(jobs.c.prompt_id == prompt_id))
            ).scalar_one_or_none()
            if text is not None:
                merged = {**orjson.loads(text), node: output}
                await connection.execute(
                    update(jobs).where(jobs.c.prompt_id == prompt_id).values(outputs=_text(merged))
                )

    async def hide(self, user_id: int, prompt_ids: Collection[str] | None) -> None:
        """Take finished jobs (None: all of them) out of the user's history. The rows stay: they are what was used."""
        mine = [jobs.c.user_id == user_id, jobs.c.state.in_(FINISHED)]
        if prompt_ids is not None:
            mine.append(jobs.c.prompt_id.in_(tuple(prompt_ids)))
        async with self.database.write() as connection:
            await connection.execute(update(jobs).where(*mine).values(hidden=True))

    async def forget_before(self, created_at: int) -> int:
        """Delete finished rows older than `created_at` (ms); how many."""
        async with self.database.write() as connection:
            old = delete(jobs).where(jobs.c.created_at < created_at, jobs.c.state.in_(FINISHED))
            return (await connection.execute(old)).rowcount

    async def get(self, prompt_id: str, *, user_id: int | None = None) -> Job | None:
        """One job; with `user_id`, only if it is that user's."""
        query = select(jobs).where(jobs.c.prompt_id == prompt_id)
        return await self._one(query if user_id is None else query.where(jobs.c.user_id == user_id))

    async def unfinished(self, user_id: int | None = None) -> list[Job]:
        """Jobs that have not ended, oldest first; of one user or of all."""
        query = select(jobs).where(jobs.c.state.in_(UNFINISHED)).order_by(jobs.c.seq)
        return await self._all(query if user_id is None else query.where(jobs.c.user_id == user_id))

    async def history(self, user_id: int, *, limit: int, offset: int | None = None) -> list[Job]:
        """A user's ended jobs as `/history` shows them, oldest end first: the newest `limit`, or `limit` from `offset`
        counted from the oldest; fewer where they would be over `MOST_BYTES` together.
        """
        ended = (jobs.c.user_id == user_id, jobs.c.state.in_(FINISHED), jobs.c.hidden.is_(False))
        order = (jobs.c.ended_at, jobs.c.seq) if offset is not None else (jobs.c.ended_at.desc(), jobs.c.seq.desc())
        sizes = select(jobs.c.seq, _SIZE.label("size")).where(*ended).order_by(*order).limit(limit).offset(offset)
        async with self.database.read() as connection:
            fitting = _fitting(await connection.execute(sizes))
            chosen = select(jobs).where(jobs.c.seq.in_(fitting)).order_by(jobs.c.ended_at, jobs.c.seq)
            return [_job(row) for row in await connection.execute(chosen)]

    async def visible(self, user_id: int, *, states: Collection[str], limit: int) -> list[Job]:
        """A user's jobs in the given ledger states that are not removed from the history, newest first.

        For lists, which show no workflow: `prompt` is empty, and of `extra_data` only the workflow's id is read.
        """
        mine = and_(jobs.c.user_id == user_id, jobs.c.hidden.is_(False), jobs.c.state.in_(tuple(states)))
        whole = [column for column in jobs.c if column.name not in ("prompt", "extra_data")]
        light = (literal("{}").label("prompt"), _WORKFLOW_ID.label("extra_data"))
        return await self._all(select(*whole, *light).where(mine).order_by(jobs.c.seq.desc()).limit(limit))

    async def recent_costs(self, user_id: int, *, limit: int = 5) -> list[int]:
        """GPU milliseconds of the user's last jobs that ran."""
        ran = or_(jobs.c.state == "succeeded", jobs.c.gpu_ms > 0)
        query = (
            select(jobs.c.gpu_ms)
            .where(jobs.c.user_id == user_id, jobs.c.state.in_(FINISHED), ran)
            .order_by(jobs.c.seq.desc())
            .limit(limit)
        )
        async with self.database.read() as connection:
            return [int(cost) for cost in (await connection.execute(query)).scalars()]

    async def virtual_times(self) -> dict[int, float]:
        """Every user's virtual time, in weighted GPU milliseconds."""
        async with self.database.read() as connection:
            rows = await connection.execute(select(shares.c.user_id, shares.c.virtual_ms))
            return {user_id: float(virtual_ms) for user_id, virtual_ms in rows}

    async def open_charges(self) -> dict[int, int]:
        """GPU milliseconds that each user is charged for jobs that have not ended."""
        charges = select(jobs.c.user_id, func.sum(jobs.c.charged_ms)).where(jobs.c.state.in_(UNFINISHED))
        async with self.database.read() as connection:
            return {
                user_id: int(charged) for user_id, charged in await connection.execute(charges.group_by(jobs.c.user_id))
            }

    async def join(self, user_id: int, virtual_ms: float) -> None:
        """Raise the user's virtual time to where a newly active user starts; it never falls here."""
        async with self.database.write() as connection:
            higher = case((shares.c.virtual_ms < virtual_ms, virtual_ms), else_=shares.c.virtual_ms)
            await connection.execute(update(shares).where(shares.c.user_id == user_id).values(virtual_ms=higher))

    async def _one(self, query: Select[Any]) -> Job | None:
        async with self.database.read() as connection:
            row = (await connection.execute(query)).one_or_none()
            return None if row is None else _job(row)

    async def _all(self, query: Select[Any]) -> list[Job]:
        async with self.database.read() as connection:
            return [_job(row) for row in await connection.execute(query)]


def _if_room(values: Mapping[str, Any], cap: int) -> Select[Any]:
    """The row, if its user has fewer than `cap` unfinished jobs and room for it under `MOST_BYTES`; else no row."""
    mine = (jobs.c.user_id == values["user_id"], jobs.c.state.in_(UNFINISHED))
    size = func.length(jobs.c.prompt) + func.length(jobs.c.extra_data)
    active = select(func.count()).where(*mine).scalar_subquery()
    held = select(func.coalesce(func.sum(size), 0)).where(*mine).scalar_subquery()
    room = MOST_BYTES - len(values["prompt"]) - len(values["extra_data"])
    row = (literal(value, jobs.c[name].type) for name, value in values.items())
    return select(*row).where(active < cap, held <= room)


async def _advance(
    connection: AsyncConnection, prompt_id: str, to: str, *, expect: Collection[str], **values: Any
) -> bool:
    """The one statement by which every job moves: only from a state that it may move from."""
    if to in ("handed", "running"):
        values.setdefault("attempts", _AT_LEAST_ONE)
    mine = (jobs.c.prompt_id == prompt_id, jobs.c.state.in_(tuple(expect)))
    return (await connection.execute(update(jobs).where(*mine).values(state=to, **values))).rowcount == 1


async def _next_counter(connection: AsyncConnection, user_id: int, *, step: int) -> int:
    """The user's own prompt number: ComfyUI's counter starts at 0 and counts every job."""
    one = upsert(shares).values(user_id=user_id, virtual_ms=0.0, counter=step)
    counted = one.on_conflict_do_update(index_elements=[shares.c.user_id], set_={"counter": shares.c.counter + step})
    return int((await connection.execute(counted.returning(shares.c.counter))).scalar_one()) - step


async def _correct(connection: AsyncConnection, user_id: int, difference_ms: float) -> None:
    """Add to a virtual time where it is kept: two that read it first and wrote it later would lose one change."""
    corrected = case((shares.c.virtual_ms + difference_ms < 0, 0.0), else_=shares.c.virtual_ms + difference_ms)
    await connection.execute(update(shares).where(shares.c.user_id == user_id).values(virtual_ms=corrected))
