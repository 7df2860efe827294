"""Transactions on PostgreSQL. It does not know what is read or written, nor whether identities changed.

Writers run READ COMMITTED with locks. SERIALIZABLE would need each transaction to be repeatable, which a `write` block
is not, and of 200 submits of one user at once it would throw most of the work away, where a lock lets them queue. So:

- a `write` block holds an advisory lock alone, functions share it: a block is alone in all processes, as it is on
  SQLite, and it sees what was committed before it, because each statement has a snapshot of its own, taken after that;
- functions run beside each other, and lock the rows that they read to write. Two that wait for each other are the one
  case that is tried again;
- whoever makes the tables is in a block, so of two first starts the second one waits.

Readers have one snapshot and write nothing (REPEATABLE READ, READ ONLY), which waits for nobody.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Final, TypeVar

from sqlalchemy import event, func, select
from sqlalchemy.engine import Connection, ExceptionContext
from sqlalchemy.exc import DBAPIError, DisconnectionError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from gateway.errors import StoreUnavailable
from gateway.store.changes import ANNOUNCED
from gateway.store.postgresql_changes import PostgresChanges
from gateway.store.postgresql_server import PostgresServer
from gateway.store.transactions import state_of, translated

READERS: Final = 4
WRITERS: Final = 5
"""Connections, of which one gateway has ten with that for the changes."""
POOL_SECONDS: Final = 10.0
TRIES: Final = 5

_LOCK: Final = 0x436F6D6679475721
"""The advisory lock of all gateways on one database; the number means nothing."""
_ALONE: Final = select(func.pg_advisory_xact_lock(_LOCK))
_TOGETHER: Final = select(func.pg_advisory_xact_lock_shared(_LOCK))
_COLLISIONS: Final = frozenset({"40001", "40P01"})
"""Serialization failure and deadlock: the transaction was taken back, and can be tried again at once."""
_SNAPSHOTS: Final = {"default_transaction_isolation": "repeatable read", "default_transaction_read_only": "on"}

T = TypeVar("T")


class PostgresTransactions:
    """The connections to one database. See `Transactions`. `patient`: statements may take as long as they want."""

    def __init__(self, url: str, *, patient: bool = False) -> None:
        self._server: Final = PostgresServer.of(url, patient=patient)
        self.changes: Final = PostgresChanges(self._server)
        self._writers: Final = _engine(self._server, WRITERS, {"default_transaction_isolation": "read committed"})
        self._readers: Final = _engine(self._server, READERS, _SNAPSHOTS)
        self._one_block: Final = asyncio.Lock()
        self._running, self._idle = 0, asyncio.Event()
        self._is_closed = False

    def find(self, *, create: bool) -> None:
        """See `Transactions`: the database itself is made by its administrator."""

    async def ready(self) -> None:
        """See `Transactions`."""
        await self.changes.start()

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncConnection]:
        """See `Transactions`."""
        self._require_open()
        with translated():
            async with self._readers.begin() as connection:
                yield connection

    @asynccontextmanager
    async def write(self) -> AsyncIterator[AsyncConnection]:
        """See `Transactions`."""
        self._require_open()
        # Of this process's blocks one waits at the database, so that they leave connections to the functions.
        async with self._one_block:
            with translated():
                async with self._writers.begin() as connection:
                    connection.info.pop(ANNOUNCED, None)
                    await connection.execute(_ALONE)
                    yield connection
                    announced = connection.info.pop(ANNOUNCED, None)
        if announced is not None:
            self.changes.note(announced)

    async def run_read(self, work: Callable[[Connection], T]) -> T:
        """See `Transactions`."""
        with self._used(), translated():
            async with self._readers.begin() as connection:
                return await connection.run_sync(work)

    async def run_write(self, work: Callable[[Connection], T]) -> T:
        """See `Transactions`."""
        with self._used(), translated():
            for _ in range(TRIES - 1):
                try:
                    return await self._write_once(work)
                except DBAPIError as error:
                    if state_of(error) not in _COLLISIONS:
                        raise
            return await self._write_once(work)

    async def _write_once(self, work: Callable[[Connection], T]) -> T:
        async with self._writers.begin() as connection:
            await connection.execute(_TOGETHER)
            return await connection.run_sync(work)

    @contextmanager
    def _used(self) -> Iterator[None]:
        self._require_open()
        self._running += 1
        try:
            yield
        finally:
            self._running -= 1
            if not self._running:
                self._idle.set()

    def _require_open(self) -> None:
        if self._is_closed:
            raise StoreUnavailable("The database is closed.", sent=False)

    async def close(self) -> None:
        """See `Transactions`."""
        self._is_closed = True
        await self.changes.close()
        while self._running:
            self._idle.clear()
            await self._idle.wait()
        await self._readers.dispose()
        await self._writers.dispose()


def _engine(server: PostgresServer, connections: int, server_settings: dict[str, str]) -> AsyncEngine:
    async def connect() -> Any:
        return await server.connect(**server_settings)

    engine = create_async_engine(
        "postgresql+asyncpg://",
        async_creator=connect,
        pool_size=connections,
        max_overflow=0,
        pool_timeout=POOL_SECONDS,
        hide_parameters=True,
    )

    @event.listens_for(engine.sync_engine, "checkout")
    def require_open(connection: Any, _record: object, _proxy: object) -> None:
        # What the server closed while nobody used it is known here without asking; the pool then makes a new one.
        if connection.driver_connection.is_closed():
            raise DisconnectionError

    @event.listens_for(engine.sync_engine, "handle_error")
    def lost(context: ExceptionContext) -> StoreUnavailable | None:
        # The driver lets through what the network said, and its own time-out.
        fault = context.original_exception
        if not isinstance(fault, OSError | TimeoutError):
            return None
        context.is_disconnect = True
        return StoreUnavailable("The database cannot answer now.", sent=False, reason=str(fault) or "it kept silent")

    return engine
