"""Ends the jobs of users who were removed or disabled, whichever process did that.

It does not know why somebody has to go, nor what becomes of their sockets: those are closed where they are served.

A disabled user's jobs are cancelled as if the user had wished it, and the history stays. A removed user's rows went
with the user, so nothing can be written about those jobs any more: they leave the board at once, are nobody's, and are
ended at ComfyUI.
"""

import asyncio
from collections.abc import Coroutine
from typing import Any, Final

from gateway.errors import StoreUnavailable
from gateway.jobs.cancel import Canceller, stop_stray
from gateway.jobs.desk import Desk, cancelled
from gateway.jobs.live import Live
from gateway.log import get_logger
from gateway.store.changes import Changes
from gateway.store.users import Users

POLL_SECONDS: Final = 0.1
AGAIN_SECONDS: Final = 1.0
"""A job can be reserved just before its user goes, and be on the board just after the first look."""

log = get_logger(__name__)


class Departures:
    """Looks at everybody with an unfinished job each time that anything about users changed."""

    def __init__(self, desk: Desk, canceller: Canceller, *, users: Users, changes: Changes) -> None:
        self._desk, self._canceller, self._users, self._changes = desk, canceller, users, changes
        self._seen = -1
        self._again_at = 0.0
        self._under_way: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Work until cancelled. What cannot be ended at shutdown is found by the next start."""
        try:
            while True:
                try:
                    await self._look_if_due()
                except StoreUnavailable as fault:
                    log.info("users_not_looked_at", reason=fault.reason)
                except Exception:
                    log.exception("departures_failed")
                await asyncio.sleep(POLL_SECONDS)
        finally:
            await cancelled(*self._under_way)

    async def _look_if_due(self) -> None:
        version, now = self._changes.version(), asyncio.get_running_loop().time()
        if version != self._seen:
            await self._look()
            self._seen, self._again_at = version, now + AGAIN_SECONDS
        elif self._again_at and now >= self._again_at:
            self._again_at = 0.0
            await self._look()

    async def _look(self) -> None:
        for user_id in self._desk.board.users():
            user = await self._users.get(user_id)
            if user is None:
                self._begin(self._disown(user_id))
            elif user.disabled:
                self._begin(self._canceller.evict(user_id))

    async def _disown(self, user_id: int) -> None:
        log.info("jobs_of_removed_user_ended", user_id=user_id)
        mine = reversed(self._desk.board.of(user_id))
        await asyncio.gather(*[self._disown_one(live) for live in mine])

    async def _disown_one(self, live: Live) -> None:
        is_gone = await self._canceller.disown(live)
        while not is_gone:
            await asyncio.sleep(AGAIN_SECONDS)
            is_gone = await stop_stray(self._desk, live.prompt_id)

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        """On its own: a server that loads a model answers late, and somebody else may have to go meanwhile."""
        task = asyncio.create_task(work)
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)
