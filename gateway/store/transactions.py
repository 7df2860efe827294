"""Transactions on the database: many readers, one writer at a time. It does not know what is read or written.

SQLite's driver opens transactions by itself, late and deferred: two that read first and write later then fail with
"database is locked" whatever the time-out. So the driver is told to keep out of it (`isolation_level=None`), and every
transaction starts as what it is: `BEGIN` for one snapshot to read, `BEGIN IMMEDIATE` to write, where waiting for
another process (the command line) works.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any, Final

from sqlalchemy import event
from sqlalchemy.engine import Connection, make_url
from sqlalchemy.exc import ArgumentError, DataError, DBAPIError, IntegrityError, ProgrammingError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from gateway.config import Settings
from gateway.errors import StoreUnavailable

FILE_NAME: Final = "gateway.db"

_READERS: Final = 4
_BUSY_SECONDS: Final = 10
_STATEMENT_FAULTS: Final = (IntegrityError, ProgrammingError, DataError)
"""The database did its part and refused the statement: that is for the caller to explain."""

_WRITER: Final = (
    "PRAGMA journal_mode = WAL",
    # Not NORMAL: with it a power cut takes back the last commits, and neither an accepted job nor a revocation may
    # come undone. The price is one fsync for each commit.
    "PRAGMA synchronous = FULL",
    "PRAGMA foreign_keys = ON",
)
_READER: Final = ("PRAGMA query_only = ON",)


class Transactions:
    """The connections to one database; they are opened when they are needed first."""

    def __init__(self, url: str) -> None:
        self.path: Final = path_of(url)
        self._writer: Final = _engine(self.path, connections=1, begin="BEGIN IMMEDIATE", pragmas=_WRITER)
        self._readers: Final = _engine(self.path, connections=_READERS, begin="BEGIN", pragmas=_READER)
        self._one_writer: Final = asyncio.Lock()

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncConnection]:
        """One snapshot to read from.

        Raises:
            StoreUnavailable: the database cannot be opened, is damaged, or is locked for longer than 10 s.
        """
        with translated():
            async with self._readers.begin() as connection:
                yield connection

    @asynccontextmanager
    async def write(self) -> AsyncIterator[AsyncConnection]:
        """One transaction, alone: committed at the end of the block, rolled back if an error or a cancellation ends it.

        Raises:
            StoreUnavailable: as in `read`; then nothing was written.
        """
        async with self._one_writer:
            with translated():
                async with self._writer.begin() as connection:
                    yield connection

    async def close(self) -> None:
        """Give all connections back; the last one folds the write-ahead log into the file."""
        await self._readers.dispose()
        await self._writer.dispose()


def url_of(settings: Settings) -> str:
    """Where the database is: the setting, or `gateway.db` in the data directory."""
    return settings.database_url or f"sqlite+aiosqlite:///{settings.data_dir.absolute() / FILE_NAME}"


def path_of(url: str) -> Path:
    """The file that `sqlite:///relative.db` or `sqlite+aiosqlite:////absolute.db` names.

    Raises:
        StoreUnavailable: for every other kind of database.
    """
    try:
        parts = make_url(url)
    except ArgumentError:
        raise StoreUnavailable("The database address cannot be read.", sent=False) from None
    if parts.get_backend_name() != "sqlite" or parts.database in (None, "", ":memory:"):
        raise StoreUnavailable("Only SQLite files are supported: sqlite:///path/to/gateway.db", sent=False)
    return Path(str(parts.database))


@contextmanager
def translated() -> Iterator[None]:
    """Turn what the database failed to do into our own word; the log gets SQLAlchemy's."""
    try:
        yield
    except _STATEMENT_FAULTS:
        raise
    except (DBAPIError, PoolTimeout) as error:
        # Only the driver's own words: SQLAlchemy's would carry the values of the statement into the log.
        reason = str(error.orig) if isinstance(error, DBAPIError) else str(error)
        raise StoreUnavailable("The database cannot answer now.", sent=False, reason=reason) from error


def _engine(path: Path, *, connections: int, begin: str, pragmas: tuple[str, ...]) -> AsyncEngine:
    engine = create_async_engine(
        f"sqlite+aiosqlite:///{path}",
        pool_size=connections,
        max_overflow=0,
        hide_parameters=True,
        connect_args={"isolation_level": None, "timeout": _BUSY_SECONDS},
    )

    @event.listens_for(engine.sync_engine, "connect")
    def set_up(driver_connection: Any, _record: object) -> None:
        cursor = driver_connection.cursor()
        for pragma in pragmas:
            cursor.execute(pragma)
        cursor.close()

    @event.listens_for(engine.sync_engine, "begin")
    def start(connection: Connection) -> None:
        connection.exec_driver_sql(begin)

    @event.listens_for(engine.sync_engine, "invalidate")
    def undo(driver_connection: Any, _record: object, _error: object) -> None:
        # SQLAlchemy closes the connection of a task that was cancelled inside a statement. To SQLite that is no
        # rollback while Python still holds one of its statements: without this the write lock stayed until the next
        # garbage collection. Cancelled again here, it is still done: it waits in the connection's own thread.
        with suppress(asyncio.CancelledError):
            driver_connection.rollback()

    return engine
