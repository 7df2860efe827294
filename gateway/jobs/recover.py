"""Makes the ledger and the server agree again: after a crash of the gateway, after a lost connection, and while events
are missing.

It does not know what users do. It believes only what the server answered: silence, however long, says nothing about any
job.
"""

import asyncio
from typing import Final

from gateway.errors import GatewayError
from gateway.jobs import look
from gateway.jobs.cancel import Canceller
from gateway.jobs.catalogue import Catalogue
from gateway.jobs.desk import Desk
from gateway.jobs.follow import Follower
from gateway.jobs.live import Live, live_of
from gateway.jobs.look import Place
from gateway.jobs.park import describe, handed, park, started
from gateway.jobs.settle import Settler
from gateway.log import get_logger

TICK_SECONDS: Final = 1.0
DEAF_SECONDS: Final = 10.0
"""ComfyUI broadcasts `status` at once when it takes a job; ten seconds after its answer without one, we are not being
heard by it."""
LOOK_EVERY_SECONDS: Final = 5.0
ABSENT_SECONDS: Final = 30.0
"""A POST without an answer can arrive late: one look missed 8 of 9 jobs that were there 2.5 s later (design §4.6)."""
REFUSED_SECONDS: Final = 3.0
"""A port that refuses for this long has no process behind it, so what ran there is lost; a restarting one is not waited
for."""

UNSURE: Final = ("submitting", "unknown", "handing")

log = get_logger(__name__)


class Recovery:
    """Compares and repairs. `follower` is set once it exists: each needs the other."""

    def __init__(self, desk: Desk, settler: Settler, canceller: Canceller, catalogue: Catalogue) -> None:
        self._desk, self._settler, self._canceller, self._catalogue = desk, settler, canceller, catalogue
        self._looked_at = 0.0

    async def load(self) -> None:
        """At start: the unfinished rows as they stood when the gateway stopped, wherever it stopped."""
        for job in await self._desk.ledger.unfinished():
            self._desk.board.add(live_of(job))
        for live in self._desk.board:
            if live.state == "waiting" and live.cancel_requested:
                await self._settler.cancelled_unstarted(live)

    async def arrived(self) -> None:
        """The event socket is open (again): the server may be another process than before."""
        self._catalogue.forget()
        await self.look()

    async def watch(self, follower: Follower) -> None:
        """Once a second, until cancelled: is the server gone, are we deaf, is something unsure?"""
        while True:
            await asyncio.sleep(TICK_SECONDS)
            try:
                await self._tick(follower)
            except GatewayError as fault:
                log.info("look_failed", reason=fault.reason or fault.message)
            except Exception:
                log.exception("watch_failed")

    async def _tick(self, follower: Follower) -> None:
        now = asyncio.get_running_loop().time()
        if not self._desk.link.up.is_set():
            if follower.refused_since is not None and now - follower.refused_since >= REFUSED_SECONDS:
                await self._server_is_gone()
            return
        if self._is_deaf(follower, now):
            log.warning("event_socket_deaf")
            await follower.reconnect()
            return
        silent = now - follower.frame_at >= DEAF_SECONDS and bool(self._upstream())
        due = now - self._looked_at >= LOOK_EVERY_SECONDS and (silent or self._unsure())
        if due and await self.look() and silent:
            log.warning("events_missed")
            await follower.reconnect()

    def _is_deaf(self, follower: Follower, now: float) -> bool:
        """The `status` of a job may come before the answer to its POST, but not before the POST."""
        return any(
            live.posted_at is not None
            and live.posted_at > follower.status_at
            and live.answered_at is not None
            and now - live.answered_at >= DEAF_SECONDS
            for live in self._desk.board
        )

    def _upstream(self) -> list[Live]:
        """The jobs that ComfyUI has or may have, but for those whose POST is under way or whose end is being written
        down."""
        return [
            live
            for live in self._desk.board
            if live.state != "waiting" and not live.posting and not self._settler.is_settling(live)
        ]

    def _unsure(self) -> bool:
        return any(live.state in UNSURE for live in self._upstream())

    async def _server_is_gone(self) -> None:
        for live in self._upstream():
            if live.state == "running":
                await self._settler.lost(live, "The ComfyUI server stopped while this job ran. Submit it again.")

    async def look(self) -> bool:
        """Compare with the server once; whether anything was other than we thought. Raises UpstreamFault when it does
        not answer.

        Who is compared is fixed before the server is asked: a job handed over in between would look absent.
        """
        there = self._upstream()
        self._looked_at = asyncio.get_running_loop().time()
        if not there:
            return False
        sighting = await look.queue(self._desk)
        changes = [await self._compare(live, sighting.place(live.prompt_id)) for live in there]
        self._desk.bell.set()
        return any(changes)

    async def _compare(self, live: Live, place: Place) -> bool:
        if self._desk.board.get(live.prompt_id) is not live or live.posting or self._settler.is_settling(live):
            return False
        if place == "running":
            return await self._found_running(live)
        if place == "pending":
            return await self._found_pending(live)
        entry = await look.entry(self._desk, live.prompt_id)
        if self._settler.is_settling(live):
            return False
        if entry is not None:
            await self._settler.ended(live, entry)
            return True
        return await self._found_nowhere(live)

    async def _found_running(self, live: Live) -> bool:
        live.absent_since = None
        if live.state == "running":
            return False
        await started(self._desk, live, self._desk.milliseconds())
        await self._canceller.pursue(live)
        return True

    async def _found_pending(self, live: Live) -> bool:
        """A job that was only to be validated must not stay at its parking number, where every later job would overtake
        it."""
        live.absent_since = None
        if live.state == "handing":
            await handed(self._desk, live)
        elif live.state in ("submitting", "unknown"):
            job = await self._desk.ledger.get(live.prompt_id)
            if job is not None:
                await describe(self._desk, self._catalogue, job, {})
            await park(self._desk, live)
        else:
            return False
        self._desk.changed(live)
        await self._canceller.pursue(live)
        return True

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
        now = asyncio.get_running_loop().time()
        if live.absent_since is None:
            live.absent_since = now
        return now - live.absent_since >= ABSENT_SECONDS

    async def _conclude(self, live: Live) -> None:
        """Absent in two answered looks: what was accepted waits again; what never was is forgotten, and gives its place
        back."""
        if live.state == "handing":
            await self._settler.back_to_queue(live)
            return
        log.warning("unanswered_submit_withdrawn", prompt_id=live.prompt_id)
        await self._desk.ledger.withdraw(live.prompt_id)
        self._desk.board.remove(live)
        self._desk.changed(live)
