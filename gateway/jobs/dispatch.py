"""The queue moves: each time a place at the server is free, the next job is chosen and handed over.

It does not know who submits and what events say; it is woken by a bell and looks for itself.
"""

import asyncio
from contextlib import suppress
from typing import Final

from gateway.errors import FileNotAllowed, NoServer, UpstreamFault, UserGone
from gateway.jobs.cancel import Canceller
from gateway.jobs.desk import DRAIN_SECONDS, Desk
from gateway.jobs.live import PLACES, Live
from gateway.jobs.park import handed
from gateway.jobs.post import Refused, post, submission_of
from gateway.jobs.settle import SECRETS_LOST, Settler
from gateway.log import get_logger
from gateway.policy import fairness
from gateway.store.ledger import Job

LOOK_SECONDS: Final = 5.0
"""The bell is enough; this is for the case that somebody forgot to ring it."""

PAUSE_SECONDS: Final = 1.0

log = get_logger(__name__)


class Dispatcher:
    """Hands jobs over, one after the other: least virtual time first (`policy.fairness`)."""

    def __init__(self, desk: Desk, settler: Settler, canceller: Canceller) -> None:
        self._desk, self._settler, self._canceller = desk, settler, canceller
        self._one = asyncio.Lock()

    async def drain(self) -> None:
        """Let the hand-over under way come to its end, at shutdown; the server must not be up any more."""
        with suppress(TimeoutError):
            async with asyncio.timeout(DRAIN_SECONDS), self._one:
                pass

    async def run(self) -> None:
        """Work until cancelled. A fault with one job, or a database that is away for a moment, must not stop the
        queue."""
        while True:
            try:
                async with asyncio.timeout(LOOK_SECONDS):
                    await self._desk.bell.wait()
            except TimeoutError:
                pass
            self._desk.bell.clear()
            try:
                await self._fill()
            except Exception:
                log.exception("dispatch_failed")
                await asyncio.sleep(PAUSE_SECONDS)
                self._desk.bell.set()

    async def _fill(self) -> None:
        while self._may_hand_over() and self._desk.board.waiting():
            live = await self._choose()
            if live is None:
                return
            async with self._one:
                if not await self._hand_over(live):
                    return

    async def _choose(self) -> Live | None:
        """The next job, as users stand now; None when none may go."""
        board = self._desk.board
        virtual = await self._desk.ledger.virtual_times()
        standings = {
            user_id: (await self._desk.terms_of(user_id)).standing(virtual.get(user_id, 0.0))
            for user_id in {job.user_id for job in board.waiting()}
        }
        # Whoever came while this was looked up has rung the bell.
        known = [job for job in board.waiting() if job.user_id in standings]
        chosen = fairness.next_job(known, standings, held=board.held(), places=PLACES)
        return board.get(chosen.prompt_id) if chosen else None

    def _may_hand_over(self) -> bool:
        return self._desk.link.up.is_set() and len(self._desk.board.placed()) < PLACES

    async def _hand_over(self, live: Live) -> bool:
        """Post one job; False when there is nothing more to do until the bell rings."""
        if live.state != "waiting" or live.cancel_requested or live.busy:
            return True
        if not self._may_hand_over():
            return False
        live.busy = True
        try:
            return await self._held(live)
        finally:
            live.busy = False

    async def _held(self, live: Live) -> bool:
        if live.had_secrets and not live.secrets:
            await self._settler.fail(live, "secrets_lost", SECRETS_LOST)
            return True
        job = await self._take(live)
        if job is None:
            await self._settler.align(live)
            return False
        go_on = await self._post(job, live)
        await self._canceller.pursue(live)
        return go_on

    async def _take(self, live: Live) -> Job | None:
        """Hold a place from before the first await, so that nobody else gets it; give it back if the ledger does not
        agree."""
        live.state, live.placed = "handing", True
        try:
            live.weight = (await self._desk.terms_of(live.user_id)).weight
            job = await self._desk.ledger.hand(
                live, estimate=fairness.estimate, weight=live.weight, server=self._desk.server.url
            )
        except BaseException:
            live.wait()
            raise
        if job is None:
            live.wait()
        else:
            live.attempts += 1
        return job

    async def _post(self, job: Job, live: Live) -> bool:
        submission = submission_of(job, live.secrets)
        try:
            outcome = await post(self._desk, live, submission, number=job.seq, created_ms=job.created_at)
        except FileNotAllowed as refusal:
            await self._settler.fail(live, refusal.type, f"{refusal.message} {refusal.details}".strip())
            return True
        except UpstreamFault as fault:
            return await self._not_taken(live, fault)
        except UserGone:
            await self._canceller.disown(live)
            return True
        if isinstance(outcome, Refused):
            await self._refused(live, outcome)
        else:
            await self._taken(live)
        return True

    async def _taken(self, live: Live) -> None:
        await handed(self._desk, live)
        self._desk.changed(live)

    async def _refused(self, live: Live, outcome: Refused) -> None:
        """It was valid when it was submitted: a model or an input file is gone since."""
        error = outcome.body.get("error")
        words = error.get("message") if isinstance(error, dict) else None
        await self._settler.fail(
            live, "validation_failed", f"ComfyUI does not accept this job any more: {words or 'validation failed'}"
        )

    async def _not_taken(self, live: Live, fault: UpstreamFault) -> bool:
        """Never sent: it waits again. Sent without an answer: it stays `handing`, holding its place, until `recover`
        knows. Answered with an error of ComfyUI's own: it would be the same the next time, and all others wait."""
        log.warning("hand_over_failed", prompt_id=live.prompt_id, sent=fault.sent, reason=fault.reason or fault.message)
        if fault.sent:
            return False
        if isinstance(fault, NoServer):
            await self._settler.back_to_queue(live, never_sent=True)
            return False
        await self._settler.fail(live, "validation_failed", f"{fault.message} {fault.details}".strip())
        return True
