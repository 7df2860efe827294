"""When somebody who was let in has to be put out: for open sockets, which authenticate once and then stay for hours.

It does not know what is open, nor how it is closed.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from gateway.edge.proofs import Authenticated, Proofs
from gateway.errors import StoreUnavailable
from gateway.identity.principal import Principal
from gateway.store.changes import Changes

POLL_SECONDS: Final = 0.1
_RETRY_SECONDS: Final = 1.0
_LONGEST: Final = 30.0
"""Seconds until the clock is looked at again: a timer does not notice that the clock was set."""


class Validity:
    """Looks for changes of users, tokens and sessions with one timer, however many sockets wait for one."""

    def __init__(self, proofs: Proofs, *, changes: Changes, clock: Callable[[], float]) -> None:
        self._proofs: Final = proofs
        self._changes: Final = changes
        self._clock: Final = clock
        self._answers: Final[dict[Principal, asyncio.Task[bool]]] = {}
        self._answers_of = -1
        self._moved = asyncio.Event()
        self._seen = -1
        self._waiting = 0
        self._poll: asyncio.Task[None] | None = None

    async def still(self, principal: Principal) -> bool:
        """Whether the credential would be accepted now, with the same permissions. Raises StoreUnavailable."""
        if principal.expires_at is not None and self._clock() >= principal.expires_at:
            return False
        version = self._changes.version()
        if version != self._answers_of:
            self._answers.clear()
            self._answers_of = version
        answer = self._answers.get(principal)
        if answer is None:
            answer = self._answers[principal] = asyncio.create_task(self._look(principal))
        return await asyncio.shield(answer)

    async def ended(self, principal: Principal) -> None:
        """Return as soon as the principal is no longer valid: at its expiry, or about a tenth of a second after a
        change; half a minute late, if the clock was set forward.

        While the store cannot answer, whoever is in stays in: only what is known to have ended is put out.
        """
        while True:
            try:
                version = self._changes.version()
                if not await self.still(principal):
                    return
                await self._change(version, at_most=self._left(principal))
            except StoreUnavailable:
                await asyncio.sleep(_RETRY_SECONDS)

    async def _look(self, principal: Principal) -> bool:
        """One look for all sockets of the same principal. One that failed is not an answer to be kept."""
        try:
            return isinstance(principal, Authenticated) and await self._proofs.still(principal)
        except StoreUnavailable:
            self._answers.pop(principal, None)
            raise

    def _left(self, principal: Principal) -> float:
        if principal.expires_at is None:
            return _LONGEST
        return min(_LONGEST, max(0.0, principal.expires_at - self._clock()))

    async def _change(self, version: int, *, at_most: float) -> None:
        """Return when the version is no longer `version`, or after `at_most` seconds.

        No change can fall through: from the look here to the wait there is no await, and the poll begins with what
        was seen here.
        """
        if self._changes.version() != version:
            return
        self._waiting += 1
        if self._poll is None or self._poll.done():
            self._seen = version
            self._poll = asyncio.create_task(self._watch())
        try:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._moved.wait(), at_most)
        finally:
            self._waiting -= 1

    async def _watch(self) -> None:
        while self._waiting:
            with suppress(StoreUnavailable):
                version = self._changes.version()
                if version != self._seen:
                    self._seen = version
                    self._moved.set()
                    self._moved = asyncio.Event()
            await asyncio.sleep(POLL_SECONDS)
