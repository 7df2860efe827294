"""The ledger: a job is a row from before it leaves the gateway until long after ComfyUI forgot it, and the waiting rows
are the queue.

It does not know why a job moves; it only makes sure that each move starts from a state it may start from, in one
transaction.

    submitting ─► waiting ─► handing ─► handed ─► running ─► succeeded | failed | cancelled
        │  └────► handed ───────────────────────────┘
        └──► unknown  (ComfyUI was asked and did not say; holds its place until it is known)
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from gateway.store import listings, moves, reservation, shares, turns
from gateway.store.job import FINISHED, UNFINISHED, Job, NewJob, Owned
from gateway.store.reservation import MOST_BYTES, Spending
from gateway.store.shares import Estimate, Joining
from gateway.store.transactions import Transactions
from gateway.store.turns import JobTurn

__all__ = ["FINISHED", "MOST_BYTES", "UNFINISHED", "Job", "Ledger", "NewJob", "Spending"]


@dataclass(frozen=True, slots=True)
class Ledger:
    """The table of jobs, and of what each user has used: each method is one transaction."""

    database: Transactions

    async def reserve(
        self, new: NewJob, *, cap: int, joining: Joining | None = None, spending: Spending | None = None
    ) -> Job | None:
        """Write the row `submitting` if the user has fewer than `cap` unfinished jobs; None if not. `joining` says
        where a user who had none starts, `spending` what a user with budgets is held to. Raises PromptIdTaken when some
        job has the id already, UserGone when the user was removed or disabled, BudgetExhausted.
        """
        return await self.database.run_write(
            partial(reservation.reserve, new=new, cap=cap, joining=joining, spending=spending)
        )

    async def withdraw(self, prompt_id: str, *, weight: float) -> bool:
        """Forget a job that ComfyUI refused or never got: its place in the cap and its charge are given back at once.
        False if it is another kind of job by now."""
        return await self.database.run_write(partial(moves.withdraw, prompt_id=prompt_id, weight=weight))

    async def move(self, prompt_id: str, to: str, *, expect: Collection[str], **columns: Any) -> bool:
        """Change the state from one of `expect`; False when the job is in another one (somebody was faster)."""
        return await self.database.run_write(
            partial(moves.advance, prompt_id=prompt_id, to=to, expect=expect, columns=columns)
        )

    async def accept(
        self,
        job: Owned,
        to: str,
        *,
        outputs_to_execute: Sequence[str],
        node_errors: Mapping[str, Any],
        estimate: Estimate,
        weight: float,
        **columns: Any,
    ) -> bool:
        """Note what ComfyUI's validation said of a job, move it to where it went, and charge its user if the server has
        it.

        False if its events were faster and it has moved by itself: one that has started is charged all the same, one
        that has ended was booked with the truth.
        """
        said = {"outputs_to_execute": outputs_to_execute, "node_errors": node_errors}
        return await self.database.run_write(
            partial(moves.accept, job=job, to=to, said=said, estimate=estimate, weight=weight, columns=columns)
        )

    async def describe(
        self, prompt_id: str, *, outputs_to_execute: Sequence[str], node_errors: Mapping[str, Any]
    ) -> None:
        """Note what ComfyUI's validation said of a job that was found at the server."""
        said = {"outputs_to_execute": outputs_to_execute, "node_errors": node_errors}
        await self.database.run_write(partial(moves.note, prompt_id=prompt_id, columns=said))

    async def hand(self, job: Owned, *, estimate: Estimate, weight: float, server: str) -> Job | None:
        """Take a waiting job out of the queue for `server` and charge its user; None if it waits no longer. `attempts`
        counts the hand-overs that may have reached a server."""
        return await self.database.run_write(
            partial(moves.hand, job=job, estimate=estimate, weight=weight, server=server)
        )

    async def start(self, prompt_id: str, *, expect: Collection[str], started_at: int, server: str) -> bool:
        """The server executes the job; False when it is in none of the states in `expect`."""
        return await self.move(prompt_id, "running", expect=expect, started_at=started_at, server=server)

    async def give_back(
        self, prompt_id: str, *, expect: Collection[str], weight: float, never_sent: bool = False
    ) -> bool:
        """Put a job that did not run to its end back into the queue, and its charge back to its user. `never_sent`
        takes back the hand-over as well."""
        return await self.database.run_write(
            partial(moves.give_back, prompt_id=prompt_id, expect=expect, weight=weight, never_sent=never_sent)
        )

    async def finish(
        self,
        job: Owned,
        state: str,
        *,
        weight: float,
        gpu_ms: int,
        ended_at: int,
        now: int | None = None,
        expect: Collection[str] = UNFINISHED,
        **columns: Any,
    ) -> bool:
        """End a job that is in one of the states in `expect`, book its GPU milliseconds and correct the user's virtual
        time, exactly once; False if it was in none of them. `ended_at` is by ComfyUI's clock, and `now`, if it is
        given, is by ours: the books know no later time."""
        columns |= {"gpu_ms": gpu_ms, "ended_at": ended_at}
        now = ended_at if now is None else now
        return await self.database.run_write(
            partial(moves.finish, job=job, state=state, weight=weight, expect=expect, now=now, columns=columns)
        )

    async def request_cancel(self, prompt_id: str, *, wanted: bool = True) -> None:
        """Remember that the owner wants this job to end (or does not any more), also over a crash of the gateway."""
        await self.database.run_write(partial(moves.note, prompt_id=prompt_id, columns={"cancel_requested": wanted}))

    async def record_output(self, prompt_id: str, node: str, output: Mapping[str, Any]) -> None:
        """Remember what a node of a running job produced."""
        await self.database.run_write(partial(moves.record_output, prompt_id=prompt_id, node=node, output=output))

    async def hide(self, user_id: int, prompt_ids: Collection[str] | None) -> None:
        """Take finished jobs (None: all of them) out of the user's history. The rows stay: they are what was used."""
        await self.database.run_write(partial(moves.hide, user_id=user_id, prompt_ids=prompt_ids))

    async def forget_before(self, created_at: int) -> int:
        """Delete finished rows older than `created_at` (ms); how many."""
        return await self.database.run_write(partial(moves.forget_before, created_at=created_at))

    async def get(self, prompt_id: str, *, user_id: int | None = None) -> Job | None:
        """One job; with `user_id`, only if it is that user's."""
        return await self.database.run_read(partial(listings.one, prompt_id=prompt_id, user_id=user_id))

    async def unfinished(self, user_id: int | None = None) -> list[Job]:
        """Jobs that have not ended, oldest first; of one user or of all."""
        return await self.database.run_read(partial(listings.unfinished, user_id=user_id))

    async def history(self, user_id: int, *, limit: int, offset: int | None = None) -> list[Job]:
        """A user's ended jobs as `/history` shows them, oldest end first: the newest `limit`, or `limit` from `offset`
        counted from the oldest; fewer where they would be over `MOST_BYTES` together."""
        return await self.database.run_read(partial(listings.history, user_id=user_id, limit=limit, offset=offset))

    async def visible(self, user_id: int, *, states: Collection[str], limit: int) -> list[Job]:
        """A user's jobs in the given ledger states that are not removed from the history, newest first, without their
        workflows."""
        return await self.database.run_read(partial(listings.visible, user_id=user_id, states=states, limit=limit))

    async def stop(self, prompt_id: str, *, time_limit: int) -> None:
        """Remember that a running job is stopped because it took longer than `time_limit` seconds, also over a crash of
        the gateway."""
        await self.database.run_write(partial(turns.stop, prompt_id=prompt_id, time_limit=time_limit))

    async def turns(self) -> dict[int, JobTurn]:
        """What the fair queue keeps of the jobs that have not ended, by sequence."""
        return await self.database.run_read(turns.unfinished)

    async def costs(self, wanted: Collection[tuple[int, str]]) -> Mapping[tuple[int, str], tuple[list[int], list[int]]]:
        """GPU milliseconds for estimates, by user and shape: of the last jobs of that shape, and of the user's last."""
        return await self.database.run_read(partial(turns.costs, wanted=wanted))

    async def virtual_times(self) -> dict[int, float]:
        """Every user's virtual time, in weighted GPU milliseconds."""
        return await self.database.run_read(shares.virtual_times)
