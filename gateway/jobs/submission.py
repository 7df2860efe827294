"""A job comes in: a row first, then ComfyUI's own validation, then a place at the server or one in the queue.

It does not know who may submit what; it is handed a user id, a parsed submission and the user's cap.
"""

import asyncio
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final

from gateway.comfy.main_model import main_model
from gateway.comfy.prompt import Submission
from gateway.comfy.shape import shape as shape_of
from gateway.errors import FileNotAllowed, NoServer, PromptIdTaken, QueueFull, UpstreamFault, UserGone
from gateway.jobs.cancel import Canceller
from gateway.jobs.catalogue import Catalogue
from gateway.jobs.desk import DRAIN_SECONDS, Desk, cancelled
from gateway.jobs.live import Live, live_of
from gateway.jobs.look import PARKING, Place
from gateway.jobs.park import accepted, leave, outputs_of, to_unknown
from gateway.jobs.post import Refused, post
from gateway.policy import fairness
from gateway.policy.balance import Balance
from gateway.policy.budgets import Left, Purse
from gateway.policy.terms import Terms
from gateway.store.ledger import MOST_BYTES, Job, NewJob, Spending
from gateway.store.shares import Joining
from gateway.store.turns import JobTurn

FULL_SECONDS: Final = 5.0
"""After which it is worth another try: nobody knows when a job ends."""
LINK_SECONDS: Final = 1.0


@dataclass(frozen=True, slots=True)
class Accepted:
    """What the client is told. `left` is how the user's budgets stand now."""

    prompt_id: str
    number: float
    node_errors: dict[str, Any]
    left: tuple[Left, ...] = ()


class Submitter:
    """Takes jobs in. A submit runs to its end even if the client leaves: a job must have an owner, and a row must have
    an outcome."""

    def __init__(
        self, desk: Desk, catalogue: Catalogue, canceller: Canceller, *, mint: Callable[[], uuid.UUID] = uuid.uuid4
    ) -> None:
        self._desk, self._catalogue, self._canceller, self._mint = desk, catalogue, canceller, mint
        self._under_way: set[asyncio.Task[Accepted | Refused]] = set()

    async def submit(
        self, user_id: int, submission: Submission, *, cap: int, token_id: str | None = None
    ) -> Accepted | Refused:
        """Submit for a user, who came with this token. Raises MissingNode, PartNotAllowed, QueueFull, BudgetExhausted,
        PromptIdTaken, UserGone, StoreUnavailable, NoServer, or another UpstreamFault when ComfyUI did not say what it
        did."""
        task = asyncio.create_task(self._submit(user_id, submission, cap, token_id))
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)
        return await asyncio.shield(task)

    async def drain(self) -> None:
        """Wait for the submits under way, at shutdown; those that take too long are found by the next start."""
        if self._under_way:
            await asyncio.wait(self._under_way, timeout=DRAIN_SECONDS)
        await cancelled(*self._under_way)

    async def _submit(self, user_id: int, submission: Submission, cap: int, token_id: str | None) -> Accepted | Refused:
        await self._server_is_up()
        submission = replace(submission, prompt=await self._desk.files.accepted(user_id, submission.prompt))
        terms = await self._desk.terms_of(user_id)
        new = await self._new(user_id, submission, token_id=token_id)
        purse = Purse(terms.budgets, self._desk.now())
        job = await self._reserve(new, cap=cap, purse=purse)
        live = live_of(job, JobTurn(new.shape, terms.weight))
        live.secrets, live.busy, live.placed = dict(submission.secrets), True, False
        self._desk.board.add(live)
        try:
            return await self._introduce(job, live, submission, left=purse.left)
        except FileNotAllowed:
            await self._withdraw(live)
            raise
        except UserGone:
            await self._canceller.disown(live)
            raise
        except UpstreamFault as fault:
            # A fault after ComfyUI's answer is the database's: the job is there, and the next look finds it.
            if live.answered_at is None:
                await self._fell_through(live, fault)
            raise
        finally:
            live.busy = False
            self._desk.bell.set()

    async def _server_is_up(self) -> None:
        """A link that is opened anew is back in a moment, which a client should not notice."""
        try:
            async with asyncio.timeout(LINK_SECONDS):
                await self._desk.link.up.wait()
        except TimeoutError:
            raise _no_server() from None

    async def _introduce(
        self, job: Job, live: Live, submission: Submission, *, left: tuple[Left, ...]
    ) -> Accepted | Refused:
        terms = await self._desk.terms_of(live.user_id)
        placed = self._desk.board.take_place(live, max_running=terms.max_running)
        number = job.seq if placed else PARKING + job.seq
        outcome = await post(self._desk, live, submission, number=number, created_ms=job.created_at)
        if isinstance(outcome, Refused):
            await self._withdraw(live)
            return outcome
        await self._accepted(job, live, outcome.node_errors, placed=placed)
        return Accepted(job.prompt_id, job.number, outcome.node_errors, left)

    async def _new(self, user_id: int, submission: Submission, *, token_id: str | None) -> NewJob:
        classes = await self._catalogue.classes({str(node["class_type"]) for node in submission.prompt.values()})
        return NewJob(
            prompt_id=submission.prompt_id or str(self._mint()),
            user_id=user_id,
            client_id=submission.client_id,
            front=submission.front,
            number=submission.number,
            created_at=self._desk.milliseconds(),
            prompt=submission.prompt,
            extra_data=submission.extra_data,
            targets=submission.targets,
            had_secrets=bool(submission.secrets),
            shape=shape_of(submission.prompt, targets=submission.targets),
            token_id=token_id,
            model=main_model(submission.prompt, classes, targets=submission.targets),
        )

    async def _reserve(self, new: NewJob, *, cap: int, purse: Purse) -> Job:
        if self._desk.board.is_disowned(new.prompt_id):
            raise PromptIdTaken(f"The prompt_id {new.prompt_id} was used before.", details="Choose another.")
        job = await self._desk.ledger.reserve(
            new,
            cap=cap,
            joining=await self._joining(new.user_id),
            spending=Spending(purse, fairness.estimate) if purse.budgets else None,
        )
        if job is None:
            raise _queue_full(cap, self._desk.board.count(new.user_id))
        return job

    async def _joining(self, user_id: int) -> Joining | None:
        """A user without unfinished jobs becomes active; None for one who has some."""
        board = self._desk.board
        if board.count(user_id):
            return None
        others = board.users() - {user_id}
        return partial(_starts_at, user_id, {user: await self._desk.terms_of(user) for user in (user_id, *others)})

    async def _accepted(self, job: Job, live: Live, node_errors: dict[str, Any], *, placed: bool) -> None:
        """A job at a parking number is taken out before anything else is done: each moment there it could start."""
        place: Place = "running" if placed else await leave(self._desk, live)
        outputs = await outputs_of(self._catalogue, job, node_errors)
        await accepted(self._desk, live, place, node_errors=node_errors, outputs=outputs)
        self._desk.changed(live)
        await self._canceller.pursue(live)

    async def _withdraw(self, live: Live) -> None:
        if await self._desk.ledger.withdraw(live.prompt_id, weight=live.weight):
            self._desk.board.remove(live)
            self._desk.changed(live)

    async def _fell_through(self, live: Live, fault: UpstreamFault) -> None:
        """No usable answer: what ComfyUI cannot have is forgotten, what it may have keeps its place until that is
        known."""
        if not fault.sent:
            await self._withdraw(live)
            return
        fault.extra_info.setdefault("prompt_id", live.prompt_id)
        await to_unknown(self._desk, live)


def _starts_at(
    user_id: int, terms: Mapping[int, Terms], virtual: Mapping[int, float], charges: Mapping[int, int]
) -> float:
    """Where a newly active user starts, who is in `terms` with the active ones."""
    standings = {user: its.standing(virtual.get(user, 0.0)) for user, its in terms.items()}
    idle_clock_ms = max(virtual.values(), default=0.0)
    return fairness.joining(user_id, standings, active=terms.keys(), open_ms=charges, idle_clock_ms=idle_clock_ms)


def _queue_full(cap: int, current: int) -> QueueFull:
    """Too many jobs; or, when there are fewer than the cap, too large ones."""
    if current >= cap:
        jobs = "1 job" if cap == 1 else f"{cap} jobs"
        words = f"Your queue is full: you may have {jobs} waiting or running, and have {current}."
    else:
        words = f"Your queue is full: the workflows of your jobs may have {MOST_BYTES >> 20} MiB together."
    return QueueFull(
        # With what frees a place in it: ComfyUI's editor shows the message alone.
        f"{words} There is room again as soon as one of them has ended.",
        details="Wait until one of your jobs has finished, or cancel one.",
        extra_info={"limit": cap, "current": current, "frees": "when one of your jobs ends"},
        headers=Balance(cap, 0, FULL_SECONDS).refusal_headers(),
    )


def _no_server() -> NoServer:
    return NoServer(
        "No ComfyUI server can be reached at the moment.",
        details="The gateway keeps trying; submit again in a little while.",
        headers={"Retry-After": "5"},
        sent=False,
    )
