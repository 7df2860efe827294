"""A job comes in: a row first, then ComfyUI's own validation, then a place at the server or one in the queue.

It does not know who may submit what; it is handed a user id, a parsed submission and the user's cap.
"""

import asyncio
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from gateway.comfy.prompt import Submission
from gateway.errors import NoServer, QueueFull, UpstreamFault
from gateway.jobs.cancel import Canceller
from gateway.jobs.catalogue import Catalogue
from gateway.jobs.desk import EQUAL_WEIGHT, Desk
from gateway.jobs.live import Live, live_of
from gateway.jobs.park import describe, handed, park, to_unknown
from gateway.jobs.post import Refused, post
from gateway.policy import fairness
from gateway.store.ledger import Job, NewJob

PARKING: Final = 1e12
"""A job that only wants to be validated is posted behind everything that could run, and taken out again at once."""


@dataclass(frozen=True, slots=True)
class Accepted:
    """What the client is told."""

    prompt_id: str
    number: float
    node_errors: dict[str, Any]


class Submitter:
    """Takes jobs in. A submit runs to its end even if the client leaves: a job must have an owner, and a row must have
    an outcome."""

    def __init__(
        self, desk: Desk, catalogue: Catalogue, canceller: Canceller, *, mint: Callable[[], uuid.UUID] = uuid.uuid4
    ) -> None:
        self._desk, self._catalogue, self._canceller, self._mint = desk, catalogue, canceller, mint
        self._under_way: set[asyncio.Task[Accepted | Refused]] = set()

    async def submit(self, user_id: int, submission: Submission, *, cap: int) -> Accepted | Refused:
        """Submit for a user. Raises QueueFull, PromptIdTaken, NoServer, or another UpstreamFault when ComfyUI did not
        say what it did."""
        task = asyncio.create_task(self._submit(user_id, submission, cap))
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)
        return await asyncio.shield(task)

    async def drain(self) -> None:
        """Wait for the submits under way, at shutdown."""
        if self._under_way:
            await asyncio.wait(self._under_way, timeout=10)

    async def _submit(self, user_id: int, submission: Submission, cap: int) -> Accepted | Refused:
        if not self._desk.link.up.is_set():
            raise _no_server()
        job = await self._reserve(user_id, submission, cap)
        live = live_of(job)
        live.secrets = dict(submission.secrets)
        await self._join(live)
        self._desk.board.add(live)
        placed = self._desk.board.take_place(live)
        try:
            number = job.seq if placed else PARKING + job.seq
            outcome = await post(self._desk, live, submission, number=number, created_ms=job.created_at)
        except UpstreamFault as fault:
            await self._fell_through(live, fault)
            raise
        if isinstance(outcome, Refused):
            await self._withdraw(live)
            return outcome
        live.accepted = True
        await self._accepted(job, live, outcome.node_errors)
        return Accepted(job.prompt_id, job.number, outcome.node_errors)

    async def _reserve(self, user_id: int, submission: Submission, cap: int) -> Job:
        now = self._desk.milliseconds()
        new = NewJob(
            prompt_id=submission.prompt_id or str(self._mint()),
            user_id=user_id,
            client_id=submission.client_id,
            front=submission.front,
            number=submission.number,
            created_at=now,
            prompt=submission.prompt,
            extra_data=submission.extra_data,
            targets=submission.targets,
            had_secrets=bool(submission.secrets),
        )
        job = await self._desk.ledger.reserve(new, cap=cap)
        if job is None:
            raise QueueFull(
                f"You have {cap} jobs waiting or running, which is as many as you may have.",
                details="Wait until one has finished, or cancel one.",
                extra_info={"limit": cap, "current": self._desk.board.count(user_id)},
                headers={"Retry-After": "5"},
            )
        return job

    async def _join(self, live: Live) -> None:
        """A user without unfinished jobs becomes active: no credit for the time away."""
        desk = self._desk
        if desk.board.count(live.user_id):
            return
        virtual = await desk.ledger.virtual_times()
        active = [virtual.get(user, 0.0) for user in desk.board.users()]
        clock = max(virtual.values(), default=0.0)
        await desk.ledger.join(live.user_id, fairness.joining(virtual.get(live.user_id, 0.0), active, clock))

    async def _accepted(self, job: Job, live: Live, node_errors: dict[str, Any]) -> None:
        await describe(self._desk, self._catalogue, job, node_errors)
        if live.placed:
            await self._charge(job, live)
            await handed(self._desk, live)
        else:
            await park(self._desk, live)
        self._desk.changed(live)
        await self._canceller.pursue(live)

    async def _charge(self, job: Job, live: Live) -> None:
        live.attempts = 1
        cost = fairness.estimate(await self._desk.ledger.recent_costs(live.user_id))
        virtual = (await self._desk.ledger.virtual_times()).get(live.user_id, 0.0)
        await self._desk.ledger.charge(
            job.prompt_id, live.user_id, virtual_ms=fairness.charged(virtual, cost, EQUAL_WEIGHT), charged_ms=cost
        )

    async def _withdraw(self, live: Live) -> None:
        await self._desk.ledger.withdraw(live.prompt_id)
        self._desk.board.remove(live)
        self._desk.bell.set()

    async def _fell_through(self, live: Live, fault: UpstreamFault) -> None:
        """No usable answer: what ComfyUI cannot have is forgotten, what it may have keeps its place until that is
        known."""
        if not fault.sent:
            await self._withdraw(live)
            return
        fault.extra_info.setdefault("prompt_id", live.prompt_id)
        await to_unknown(self._desk, live)


def _no_server() -> NoServer:
    return NoServer(
        "No ComfyUI server can be reached at the moment.",
        details="The gateway keeps trying; submit again in a little while.",
        headers={"Retry-After": "5"},
        sent=False,
    )
