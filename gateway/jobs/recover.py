"""When the ledger and the server are compared: after a crash of the gateway, after a lost connection, and while events
are missing.

It does not know what users do, nor what a difference means (`comparison` does). Only a refused connection tells it that
a server is gone; silence, however long, does not.
"""

import asyncio
from typing import Final

from gateway.errors import GatewayError
from gateway.jobs import look
from gateway.jobs.cancel import Canceller, stop_stray
from gateway.jobs.catalogue import Catalogue
from gateway.jobs.comparison import Comparison
from gateway.jobs.desk import Desk
from gateway.jobs.follow import Follower
from gateway.jobs.live import Live, live_of
from gateway.jobs.park import COMING
from gateway.jobs.settle import Settler
from gateway.log import get_logger
from gateway.store.turns import JobTurn

TICK_SECONDS: Final = 1.0
DEAF_SECONDS: Final = 10.0
"""ComfyUI broadcasts `status` at once when it takes a job; ten seconds after its answer without one, we are not being
heard by it."""
LOOK_EVERY_SECONDS: Final = 5.0
REFUSED_SECONDS: Final = 3.0
"""A port that refuses for this long has no process behind it, so what ran there is lost; a restarting one is not waited
for."""

UNSURE: Final = (*COMING, "handing")

log = get_logger(__name__)


class Recovery:
    """Watches. The follower is handed to `watch`, because it is made later and needs `arrived`."""

    def __init__(self, desk: Desk, settler: Settler, canceller: Canceller, catalogue: Catalogue) -> None:
        self._desk, self._settler, self._canceller, self._catalogue = desk, settler, canceller, catalogue
        self._comparison = Comparison(desk, settler, canceller, catalogue)
        self._reopened_for: Live | None = None

    async def load(self) -> None:
        """At start: the unfinished rows as they stood when the gateway stopped, wherever it stopped."""
        turns = await self._desk.ledger.turns()
        for job in await self._desk.ledger.unfinished():
            live = live_of(job, turns.get(job.seq, JobTurn()))
            self._desk.board.add(live)
            if live.state == "waiting":
                await self._canceller.resume(live)

    async def arrived(self) -> None:
        """The event socket is open (again): the server may be another process than before."""
        self._catalogue.forget()
        await self._desk.files.server_arrived(self._has_ended)
        await self._comparison.look()
        await self._stop_strays()

    async def _stop_strays(self) -> None:
        """End what ComfyUI has under our client id and the ledger does not: its user was removed while we were away.

        A job that has ended since the server was asked is not there to be hit.
        """
        ours = (await look.queue(self._desk)).ours
        for prompt_id in ours:
            if self._desk.board.get(prompt_id) is None:
                await stop_stray(self._desk, prompt_id)

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
        if _now() - self._comparison.looked_at < LOOK_EVERY_SECONDS or not (silent or self._unsure()):
            return
        changed = await self._comparison.look()
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
        return _now() - follower.frame_at >= DEAF_SECONDS and bool(self._comparison.upstream())

    def _is_deaf(self, follower: Follower) -> bool:
        """The `status` of a job may come before the answer to its POST, but not before the POST."""
        return any(
            live.posted_at is not None
            and live.posted_at > follower.status_at
            and live.answered_at is not None
            and _now() - live.answered_at >= DEAF_SECONDS
            for live in self._desk.board
        )

    def _unsure(self) -> bool:
        """A job somewhere between two states, a wish that is not fulfilled, or an end that could not be written
        down."""
        return any(
            live.state in UNSURE or live.cancel_requested or (live.state == "running" and not live.placed)
            for live in self._comparison.upstream()
        )

    async def _server_is_gone(self) -> None:
        for live in self._comparison.upstream():
            if live.state == "running":
                await self._settler.lost(live, "The ComfyUI server stopped while this job ran. Submit it again.")


def _now() -> float:
    return asyncio.get_running_loop().time()
