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
from gateway.jobs.desk import EQUAL_WEIGHT, Desk
from gateway.jobs.follow import Follower
from gateway.jobs.live import Live, live_of
from gateway.jobs.look import Sighting
from gateway.jobs.park import COMING, handed, outputs_of, park, started
from gateway.jobs.settle import Settler
from gateway.log import get_logger
from gateway.upstream.reply import AnswerTooLarge, UnreadableAnswer

TICK_SECONDS: Final = 1.0
DEAF_SECONDS: Final = 10.0
"""ComfyUI broadcasts `status` at once when it takes a job; ten seconds after its answer without one, we are not being
heard by it."""
LOOK_EVERY_SECONDS: Final = 5.0
ABSENT_SECONDS: Final = 30.0
"""A POST without an answer can arrive late: one look missed 8 of 9 jobs that were there 2.5 s later."""
REFUSED_SECONDS: Final = 3.0
"""A port that refuses for this long has no process behind it, so what ran there is lost; a restarting one is not waited
for."""

FRAMES_SECONDS: Final = 0.3
"""The events that tell of an end seen by a look may still be on their way; their owner should not miss them."""

UNSURE: Final = (*COMING, "handing")

log = get_logger(__name__)


class Recovery:
    """Compares and repairs. The follower is handed to `watch`, because it is made later and needs `arrived`."""

    def __init__(self, desk: Desk, settler: Settler, canceller: Canceller, catalogue: Catalogue) -> None:
        self._desk, self._settler, self._canceller, self._catalogue = desk, settler, canceller, catalogue
        self._looked_at = 0.0
        self._reopened_for: Live | None = None

    async def load(self) -> None:
        """At start: the unfinished rows as they stood when the gateway stopped, wherever it stopped."""
        for job in await self._desk.ledger.unfinished():
            live = live_of(job)
            self._desk.board.add(live)
            if live.state == "waiting":
                await self._canceller.resume(live)

    async def arrived(self) -> None:
        """The event socket is open (again): the server may be another process than before."""
        self._catalogue.forget()
        await self._desk.files.server_arrived(self._has_ended)
        await self.look()

    async def _has_ended(self, prompt_id: str) -> bool:
        return await look.entry(self._desk, prompt_id) is not None

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
        for live in self._desk.board:
            if live.state == "waiting" and live.cancel_requested:
                await self._canceller.resume(live)
        if not self._desk.link.up.is_set():
            await self._while_down(follower)
        elif self._is_deaf(follower):
            await self._prove_deaf(follower)
        else:
            await self._look_if_due(follower)

    async def _while_down(self, follower: Follower) -> None:
        since = follower.refused_since
        if since is not None and _now() - since >= REFUSED_SECONDS:
            await self._server_is_gone()

    async def _prove_deaf(self, follower: Follower) -> None:
        """A server that is silent altogether, as it is while a model loads, is not deaf to us: it answers first, and
        has a moment to send what it held back."""
        await look.queue(self._desk)
        await asyncio.sleep(TICK_SECONDS)
        if self._is_deaf(follower):
            log.warning("event_socket_deaf")
            await follower.reconnect()

    async def _look_if_due(self, follower: Follower) -> None:
        silent, heard_at = self._is_silent(follower), follower.frame_at
        if _now() - self._looked_at < LOOK_EVERY_SECONDS or not (silent or self._unsure()):
            return
        changed = await self.look()
        if silent:
            await asyncio.sleep(TICK_SECONDS)
            if follower.frame_at == heard_at and (changed or self._runs_unheard()):
                log.warning("events_missed")
                await follower.reconnect()

    def _runs_unheard(self) -> bool:
        """A job runs and says nothing, and the server answers: that is a slow node, or we are deaf. A new socket is
        heard for sure, so one is opened once for each job."""
        running = self._desk.board.running()
        first = running is not None and running is not self._reopened_for
        self._reopened_for = running
        return first

    def _is_silent(self, follower: Follower) -> bool:
        return _now() - follower.frame_at >= DEAF_SECONDS and bool(self._upstream())

    def _is_deaf(self, follower: Follower) -> bool:
        """The `status` of a job may come before the answer to its POST, but not before the POST."""
        return any(
            live.posted_at is not None
            and live.posted_at > follower.status_at
            and live.answered_at is not None
            and _now() - live.answered_at >= DEAF_SECONDS
            for live in self._desk.board
        )

    def _upstream(self) -> list[Live]:
        """The jobs that ComfyUI has or may have, but for those that somebody moves just now or whose end is being
        written down."""
        return [live for live in self._desk.board if live.state != "waiting" and self._is_free(live)]

    def _is_free(self, live: Live) -> bool:
        return self._desk.board.get(live.prompt_id) is live and not live.busy and not self._settler.is_settling(live)

    def _unsure(self) -> bool:
        """A job somewhere between two states, a wish that is not fulfilled, or an end that could not be written
        down."""
        return any(
            live.state in UNSURE or live.cancel_requested or (live.state == "running" and not live.placed)
            for live in self._upstream()
        )

    async def _server_is_gone(self) -> None:
        for live in self._upstream():
            if live.state == "running":
                await self._settler.lost(live, "The ComfyUI server stopped while this job ran. Submit it again.")

    async def look(self) -> bool:
        """Compare with the server once; whether anything was other than we thought. Raises UpstreamFault when it does
        not answer. An answer about one job that cannot be read is that job's misfortune, not the others'.

        Who is compared is fixed before the server is asked: a job handed over in between would look absent.
        """
        there = [(live, live.state) for live in self._upstream()]
        asked_at = self._looked_at = _now()
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
        elif await self._desk.ledger.withdraw(live.prompt_id, weight=EQUAL_WEIGHT):
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
