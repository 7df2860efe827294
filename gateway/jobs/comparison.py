"""The ledger and the server, side by side: what each says of every job, and what has to be repaired.

It does not know when to look; `recover` does. It believes only what the server answered: silence, however long, says
nothing about any job.
"""

import asyncio
from typing import Final

from gateway.jobs import look
from gateway.jobs.cancel import Canceller
from gateway.jobs.catalogue import Catalogue
from gateway.jobs.desk import Desk
from gateway.jobs.live import Live
from gateway.jobs.look import Sighting
from gateway.jobs.park import COMING, handed, outputs_of, park, started
from gateway.jobs.settle import Settler
from gateway.log import get_logger
from gateway.upstream.reply import AnswerTooLarge, UnreadableAnswer

ABSENT_SECONDS: Final = 30.0
"""A POST without an answer can arrive late: one look missed 8 of 9 jobs that were there 2.5 s later."""
FRAMES_SECONDS: Final = 0.3
"""The events that tell of an end seen by a look may still be on their way; their owner should not miss them."""

log = get_logger(__name__)


class Comparison:
    """Compares and repairs. `looked_at` is when the server was asked last, by the event loop's clock."""

    def __init__(self, desk: Desk, settler: Settler, canceller: Canceller, catalogue: Catalogue) -> None:
        self._desk, self._settler, self._canceller, self._catalogue = desk, settler, canceller, catalogue
        self.looked_at = 0.0

    def upstream(self) -> list[Live]:
        """The jobs that ComfyUI has or may have, but for those that somebody moves just now or whose end is being
        written down."""
        return [live for live in self._desk.board if live.state != "waiting" and self._is_free(live)]

    def _is_free(self, live: Live) -> bool:
        return self._desk.board.get(live.prompt_id) is live and not live.busy and not self._settler.is_settling(live)

    async def look(self) -> bool:
        """Compare with the server once; whether anything was other than we thought. Raises UpstreamFault when it does
        not answer. An answer about one job that cannot be read is that job's misfortune, not the others'.

        Who is compared is fixed before the server is asked: a job handed over in between would look absent.
        """
        there = [(live, live.state) for live in self.upstream()]
        asked_at = self.looked_at = _now()
        if not there:
            return False
        sighting = await look.queue(self._desk)
        changes = [await self._compare(live, state, sighting, asked_at) for live, state in there]
        self._desk.bell.set()
        return any(changes)

    async def _compare(self, live: Live, state: str, sighting: Sighting, asked_at: float) -> bool:
        if live.state != state or not self._is_free(live) or _posted_since(live, asked_at):
            return False
        live.busy = True
        try:
            changed = await self._repair(live, sighting)
            await self._canceller.pursue(live)
            return changed
        except AnswerTooLarge:
            await self._settler.too_large(live)
            return True
        except UnreadableAnswer as fault:
            log.warning("job_unread", prompt_id=live.prompt_id, reason=fault.reason or fault.message)
            return False
        finally:
            live.busy = False

    async def _repair(self, live: Live, sighting: Sighting) -> bool:
        place = sighting.place(live.prompt_id)
        if place == "running":
            return await self._found_running(live)
        if place == "pending":
            return await self._found_pending(live, parked=live.prompt_id in sighting.parked)
        believed = live.state
        entry = await look.entry(self._desk, live.prompt_id)
        if entry is not None:
            await asyncio.sleep(FRAMES_SECONDS)
        if self._settler.is_settling(live) or self._desk.board.get(live.prompt_id) is not live:
            return False
        if entry is not None:
            await self._settler.ended(live, entry)
            return True
        # What an event says of a job since the server was asked is newer than the answer.
        return live.state == believed and await self._found_nowhere(live)

    async def _found_running(self, live: Live) -> bool:
        live.absent_since = None
        known = live.state == "running"
        if not known:
            await started(self._desk, live, self._desk.milliseconds())
        if self._desk.board.running() is None and not self._settler.is_settling(live):
            self._desk.board.runs(live)
        return not known

    async def _found_pending(self, live: Live, *, parked: bool) -> bool:
        """A job that was only to be validated must not stay at its parking number, where every later job would overtake
        it."""
        live.absent_since = None
        if live.state in COMING or parked:
            await self._park(live)
        elif live.state == "handing":
            await handed(self._desk, live)
        else:
            return False
        self._desk.changed(live)
        return True

    async def _park(self, live: Live) -> None:
        job = await self._desk.ledger.get(live.prompt_id)
        if job is None:
            self._desk.board.remove(live)
            return
        if live.state in COMING:
            outputs = await outputs_of(self._catalogue, job, {})
            await self._desk.ledger.describe(live.prompt_id, outputs_to_execute=outputs, node_errors={})
        await park(self._desk, live)

    async def _found_nowhere(self, live: Live) -> bool:
        if live.state == "running":
            await self._settler.lost(live, "The ComfyUI server restarted while this job ran. Submit it again.")
        elif live.state == "handed":
            log.warning("handed_job_vanished", prompt_id=live.prompt_id)
            await self._settler.back_to_queue(live)
        elif self._absent_long_enough(live):
            await self._conclude(live)
        else:
            return False
        return True

    def _absent_long_enough(self, live: Live) -> bool:
        if live.absent_since is None:
            live.absent_since = _now()
        return _now() - live.absent_since >= ABSENT_SECONDS

    async def _conclude(self, live: Live) -> None:
        """Absent in two answered looks: what was accepted waits again; what never was is forgotten, and gives its place
        back."""
        if live.state == "handing":
            await self._settler.back_to_queue(live)
        elif await self._desk.ledger.withdraw(live.prompt_id, weight=live.weight):
            log.warning("unanswered_submit_withdrawn", prompt_id=live.prompt_id)
            self._desk.board.remove(live)
            self._desk.changed(live)
        else:
            await self._settler.align(live)


def _now() -> float:
    return asyncio.get_running_loop().time()


def _posted_since(live: Live, asked_at: float) -> bool:
    """Handed over after the server was asked: it would look absent, or as it was after an earlier run."""
    return live.posted_at is not None and live.posted_at >= asked_at
