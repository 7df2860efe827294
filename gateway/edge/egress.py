"""Bytes of files that went to users: counted as they leave, and written into the books every few seconds.

It does not know what was sent. What a crash takes along are the counts of the last seconds: a trip to the database for
each picture would cost more than the count is worth.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from gateway.errors import StoreUnavailable, UserGone
from gateway.identity.principal import Principal
from gateway.log import get_logger
from gateway.store.books import Sent

EVERY_SECONDS: Final = 5.0
_DAY_SECONDS: Final = 24 * 3600

log = get_logger(__name__)


class Egress:
    """The counts that are not written yet. `clock` gives seconds since 1970; `write` is that of the books."""

    def __init__(self, write: Callable[[Sequence[Sent]], Awaitable[None]], *, clock: Callable[[], float]) -> None:
        self._write: Final = write
        self._clock: Final = clock
        self._counts: Counter[tuple[int, str, int]] = Counter()
        self._writing: asyncio.Task[None] | None = None

    def count(self, principal: Principal, size: int) -> None:
        """Bytes that the server took for the principal, to the end or not."""
        if size:
            day = int(self._clock()) // _DAY_SECONDS
            self._counts[principal.user_id, principal.token_id or "", day] += size

    async def run(self) -> None:
        """Write what was counted, again and again."""
        while True:
            await asyncio.sleep(EVERY_SECONDS)
            await self.flush()

    async def flush(self) -> None:
        """Write what was counted; it is counted on where that cannot be done now. Whoever is cancelled here leaves the
        writing to its end, which the next one waits for: nobody could say what was written of it."""
        if self._writing is not None:
            await asyncio.shield(self._writing)
        self._writing = asyncio.create_task(self._written())
        await asyncio.shield(self._writing)

    async def _written(self) -> None:
        counts, self._counts = self._counts, Counter()
        if not counts:
            return
        try:
            await self._write([Sent(*key, size) for key, size in counts.items()])
        except (StoreUnavailable, UserGone) as error:
            self._counts.update(counts)
            log.warning("sent_bytes_not_written_yet", reason=error.reason or error.type)
