"""The queue moves: each time a place at the server is free, the next job is chosen and handed over.

It does not know who submits and what events say; it is woken by a bell and looks for itself.
"""

import asyncio
from typing import Final

from gateway.errors import UpstreamFault
from gateway.jobs.cancel import Canceller
from gateway.jobs.desk import EQUAL_WEIGHT, Desk
from gateway.jobs.live import PLACES, Live
from gateway.jobs.park import handed
from gateway.jobs.post import Refused, post, submission_of
from gateway.jobs.settle import SECRETS_LOST, Settler
from gateway.log import get_logger
from gateway.policy import fairness
from gateway.store.ledger import Job

LOOK_SECONDS: Final = 5.0
"""The bell is enough; this is for the case that somebody forgot to ring it."""

log = get_logger(__name__)


class Dispatcher:
    """Hands jobs over, one after the other: least virtual time first (`policy.fairness`)."""

    def __init__(self, desk: Desk, settler: Settler, canceller: Canceller) -> None:
        self._desk, self._settler, self._canceller = desk, settler, canceller

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
                await asyncio.sleep(1)
                self._desk.bell.set()

    async def _fill(self) -> None:
        while self._desk.link.up.is_set() and len(self._desk.board.placed()) < PLACES:
            chosen = fairness.next_job(self._desk.board.waiting(), await self._desk.ledger.virtual_times())
            live = self._desk.board.get(chosen.prompt_id) if chosen else None
            if live is None or not await self._hand_over(live):
                return

    async def _hand_over(self, live: Live) -> bool:
        """Post one job; False when the server cannot take any now."""
        job = await self._desk.ledger.get(live.prompt_id)
        if job is None or not await self._charge_and_take(job, live):
            return self._gone(live)
        try:
            outcome = await post(
                self._desk, live, submission_of(job, live.secrets), number=job.seq, created_ms=job.created_at
            )
        except UpstreamFault as fault:
            return await self._not_taken(live, fault)
        if isinstance(outcome, Refused):
            await self._refused(live, outcome)
        else:
            await self._taken(live)
        return True

    async def _charge_and_take(self, job: Job, live: Live) -> bool:
        if live.had_secrets and not live.secrets:
            await self._settler.fail(
                live,
                "secrets_lost",
                SECRETS_LOST,
            )
            return False
        cost = fairness.estimate(await self._desk.ledger.recent_costs(live.user_id))
        virtual = (await self._desk.ledger.virtual_times()).get(live.user_id, 0.0)
        charged = fairness.charged(virtual, cost, EQUAL_WEIGHT)
        if live.state != "waiting" or live.cancel_requested:
            return False
        live.state, live.placed = "handing", True
        if not await self._desk.ledger.hand(job, virtual_ms=charged, charged_ms=cost, server=self._desk.server.url):
            live.state, live.placed = "waiting", False
            return False
        live.attempts += 1
        return True

    def _gone(self, live: Live) -> bool:
        """Cancelled or ended meanwhile: the next one, please. A waiting row that cannot be taken is asked for again
        after a pause, not at once."""
        return live.state != "waiting" or live.cancel_requested or self._desk.board.get(live.prompt_id) is None

    async def _taken(self, live: Live) -> None:
        await handed(self._desk, live)
        self._desk.changed(live)
        await self._canceller.pursue(live)

    async def _refused(self, live: Live, outcome: Refused) -> None:
        """It was valid when it was submitted: a model or an input file is gone since."""
        error = outcome.body.get("error")
        words = error.get("message") if isinstance(error, dict) else None
        await self._settler.fail(
            live, "validation_failed", f"ComfyUI does not accept this job any more: {words or 'validation failed'}"
        )

    async def _not_taken(self, live: Live, fault: UpstreamFault) -> bool:
        """Never sent: it waits again. Sent without an answer: it stays `handing`, holding its place, until `recover`
        knows."""
        log.warning("hand_over_failed", prompt_id=live.prompt_id, sent=fault.sent, reason=fault.reason or fault.message)
        if not fault.sent:
            await self._settler.back_to_queue(live)
        return False
