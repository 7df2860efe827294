"""Something of somebody else's that is fetched when it is needed and kept for a while. It does not know what it is.

However many ask, one fetch is under way, and there is a pause before the next: nobody can make us ask a stranger's
server as often as they ask us. While that server is down, what is kept is good for some time longer, but not for ever.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from gateway.errors import IssuerUnavailable

FRESH_SECONDS: Final = 600.0
STALE_SECONDS: Final = 24 * 3600.0
PAUSE_SECONDS: Final = 10.0

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Held(Generic[T]):
    """What was fetched, and until when it need not be fetched again, on the clock of the Kept."""

    value: T
    fresh_until: float
    stale_until: float


class Kept(Generic[T]):
    """One such thing. `fetch` raises IssuerUnavailable; `ticks` gives seconds that only go forward."""

    def __init__(self, fetch: Callable[[], Awaitable[T]], *, ticks: Callable[[], float]) -> None:
        self._fetch: Final = fetch
        self._ticks: Final = ticks
        self._held: Held[T] | None = None
        self._next_try = float("-inf")
        self._failure = IssuerUnavailable("never asked")
        self._flight: asyncio.Task[Held[T]] | None = None

    async def get(self) -> Held[T]:
        """What is kept, or anew if it is too old. Raises IssuerUnavailable."""
        held = self._held
        return held if held is not None and self._ticks() < held.fresh_until else await self._renewed()

    async def newer(self) -> Held[T]:
        """Anew, if the pause is over: what is kept seems to lack something. Raises IssuerUnavailable."""
        return await self._renewed()

    async def _renewed(self) -> Held[T]:
        if self._flight is None and self._ticks() >= self._next_try:
            self._flight = asyncio.create_task(self._fetched())
            self._flight.add_done_callback(self._landed)
        try:
            if self._flight is not None:
                # Shielded: whoever asked first may leave, and others wait for the same answer.
                return await asyncio.shield(self._flight)
        except IssuerUnavailable as error:
            self._failure = error
        held = self._held
        if held is None or self._ticks() >= held.stale_until:
            raise IssuerUnavailable(self._failure.reason)
        return held

    async def _fetched(self) -> Held[T]:
        self._next_try = self._ticks() + PAUSE_SECONDS
        value = await self._fetch()
        now = self._ticks()
        self._held = Held(value, now + FRESH_SECONDS, now + STALE_SECONDS)
        return self._held

    def _landed(self, flight: "asyncio.Task[Held[T]]") -> None:
        """Those who waited may all have left; then nobody asks for the error."""
        self._flight = None
        if not flight.cancelled():
            flight.exception()
