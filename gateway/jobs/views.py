"""A user's jobs as ComfyUI would show them, read from the ledger, with what memory knows of the unfinished ones laid
over.

It does not know HTTP, nor how a queue or a history is written: `comfy.jobs` does.
"""

from collections.abc import Collection, Mapping
from typing import Final

from gateway.comfy.jobs import JobState, JobView
from gateway.comfy.listing import JobsQuery, select_jobs
from gateway.jobs.desk import Desk
from gateway.store.ledger import FINISHED, Job

MOST_LISTED: Final = 10_000
"""What one `/api/jobs` looks at, at the most: as many jobs as ComfyUI itself keeps (10,001 history entries)."""

SHOWN: Final[Mapping[str, JobState]] = {
    "waiting": "pending",
    "handing": "pending",
    "handed": "pending",
    "unknown": "pending",
    "running": "in_progress",
    "succeeded": "completed",
    "failed": "failed",
    "cancelled": "cancelled",
}
"""A job is shown once it was accepted: while it is `submitting` its client has not got an id yet."""


class Views:
    """One user's jobs at a time; there is no way to ask for everybody's."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def count(self, user_id: int) -> int:
        """Unfinished jobs: what ComfyUI calls queue_remaining."""
        return self._desk.board.count(user_id)

    async def queue(self, user_id: int) -> list[JobView]:
        """Running and pending jobs, in the order in which they will run."""
        jobs = sorted(await self._desk.ledger.unfinished(user_id), key=self._turn)
        return [view for job in jobs if (view := self._view(job))]

    async def history(self, user_id: int, *, limit: int, offset: int | None) -> list[JobView]:
        """Ended jobs, oldest first."""
        found = await self._desk.ledger.history(user_id, limit=limit, offset=offset)
        return [view for job in found if (view := self._view(job))]

    async def one(self, user_id: int, prompt_id: str) -> JobView | None:
        """One job of the user, ended or not; None also for somebody else's, and for what was taken out of the
        history."""
        job = await self._desk.ledger.get(prompt_id, user_id=user_id)
        return None if job is None or job.hidden else self._view(job)

    async def page(self, user_id: int, query: JobsQuery) -> tuple[list[JobView], int]:
        """One page of `/api/jobs`, and how many jobs there are in all."""
        states = [state for state, shown in SHOWN.items() if shown in query.status]
        found = await self._desk.ledger.visible(user_id, states=states, limit=MOST_LISTED)
        return select_jobs([view for job in found if (view := self._view(job))], query)

    async def hide(self, user_id: int, prompt_ids: Collection[str] | None) -> None:
        """Take ended jobs (None: all) out of the user's sight. Raises StoreUnavailable."""
        await self._desk.ledger.hide(user_id, prompt_ids)
        self._desk.board.touch(user_id)

    def revision(self, user_id: int) -> int:
        """Counts what changed for the user since the gateway started."""
        return self._desk.board.revision(user_id)

    def _turn(self, job: Job) -> tuple[bool, float, int]:
        """What was handed over comes before what waits, whatever its number."""
        live = self._desk.board.get(job.prompt_id)
        return live is None or live.state == "waiting", job.position, job.seq

    def _view(self, job: Job) -> JobView | None:
        live = self._desk.board.get(job.prompt_id)
        state = SHOWN.get(live.state if live and job.state not in FINISHED else job.state)
        if state is None:
            return None
        extra_data = dict(job.extra_data)
        if job.client_id is not None:
            extra_data["client_id"] = job.client_id
        extra_data["create_time"] = job.created_at
        return JobView(
            prompt_id=job.prompt_id,
            number=job.number,
            prompt=job.prompt,
            extra_data=extra_data,
            outputs_to_execute=tuple(job.outputs_to_execute),
            state=state,
            create_time=job.created_at,
            started=job.started_at,
            ended=job.ended_at,
            outputs=job.outputs,
            status=job.status,
            meta=job.meta,
            error=job.error,
        )
