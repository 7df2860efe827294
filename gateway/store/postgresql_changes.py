"""Whether identities changed, on PostgreSQL: a number kept in memory and renewed. It does not know what changed.

It is asked on every request, by functions that cannot wait. So a connection of its own listens: each change notifies in
its transaction, and then the number is read. A notification can be lost, so it is read every half second anyway.

The bound: what this process commits counts when the commit returns; what others commit counts as soon as the
notification is here, which is a matter of milliseconds. At the worst it is FRESH_SECONDS (3 s): what was known is
trusted for that long, counted from when the last answered question was asked, and then nobody is let in.
"""

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

import asyncpg

from gateway.errors import StoreUnavailable
from gateway.log import get_logger
from gateway.store.changes import CHANNEL
from gateway.store.postgresql_server import PostgresServer

POLL_SECONDS: Final = 0.5
ANSWER_SECONDS: Final = 1.0
RETRY_SECONDS: Final = 0.5
FRESH_SECONDS: Final = 3.0
"""What is known is older than the last renewal by no more than one question and one pause."""

_QUESTION: Final = "SELECT version FROM identity_version WHERE id = 1"
_FAULTS: Final = (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError, StoreUnavailable)
_LOG: Final = get_logger(__name__)


class PostgresChanges:
    """The number; `start` renews it for the first time. `clock` gives seconds that only grow.

    It counts the differences that were seen, not what the database counts: after a backup was restored that begins
    again at a number that it had, and nothing that was remembered under it may come back.
    """

    def __init__(self, server: PostgresServer, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._server: Final = server
        self._clock: Final = clock
        self._version, self._known = 0, -1
        self._asked_at: float | None = None
        self._noted = 0
        self._told: Final = asyncio.Event()
        self._connection: Any = None
        self._following: asyncio.Task[None] | None = None

    def version(self) -> int:
        """See `Changes`, but for the bound."""
        if self._asked_at is None or self._clock() - self._asked_at > FRESH_SECONDS:
            raise StoreUnavailable("The database cannot answer now.", sent=False, reason="it was not heard of for 3 s")
        return self._version

    def note(self, known: int) -> None:
        """This process committed the change that has this number in the database."""
        self._noted += 1
        self._take(known)

    async def start(self) -> None:
        """Raises StoreUnavailable when the number cannot be read."""
        try:
            await self._listen()
            await self._renew()
        except _FAULTS as fault:
            raise StoreUnavailable("The database cannot answer now.", sent=False, reason=str(fault)) from fault
        self._following = asyncio.create_task(self._follow())

    async def close(self) -> None:
        """See `Changes`."""
        self._asked_at = None
        if self._following is not None:
            self._following.cancel()
            with suppress(asyncio.CancelledError):
                await self._following
            self._following = None
        self._hang_up()

    async def _follow(self) -> None:
        """Whatever goes wrong, it is tried again: without an answer nobody is let in, so this must not end."""
        while True:
            try:
                await self._renew_for_ever()
            except Exception as fault:
                if self._connection is not None:
                    _LOG.warning("database_changes_not_heard", reason=str(fault) or type(fault).__name__)
                self._hang_up()
                await asyncio.sleep(RETRY_SECONDS)

    async def _renew_for_ever(self) -> None:
        if self._connection is None:
            await self._listen()
            # What was changed meanwhile was told to nobody.
            self._told.set()
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(POLL_SECONDS):
                    await self._told.wait()
            await self._renew()

    async def _renew(self) -> None:
        self._told.clear()
        asked_at, noted = self._clock(), self._noted
        known = await self._connection.fetchval(_QUESTION, timeout=ANSWER_SECONDS)
        if known is None:
            raise StoreUnavailable("The database has lost its identity_version.", sent=False)
        if noted != self._noted:
            # Asked before a commit of our own, which this answer may not have: it says nothing.
            self._told.set()
            return
        self._asked_at = asked_at
        self._take(known)

    def _take(self, known: int) -> None:
        if known != self._known:
            self._known = known
            self._version += 1

    async def _listen(self) -> None:
        self._connection = await self._server.connect()
        await self._connection.add_listener(CHANNEL, self._hear)

    def _hang_up(self) -> None:
        if self._connection is not None:
            self._connection.terminate()
            self._connection = None

    def _hear(self, *_notification: object) -> None:
        self._told.set()
