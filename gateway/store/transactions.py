"""Transactions on the database: many readers, one writer at a time. It does not know what is read or written.

SQLite's driver opens transactions by itself, late and deferred: two that read first and write later then fail with
"database is locked" whatever the time-out. So the driver is told to keep out of it (`isolation_level=None`), and every
transaction starts as what it is: `BEGIN` for one snapshot to read, `BEGIN IMMEDIATE` to write, where waiting for
another process (the command line) works.

There are two ways to each. `read` and `write` are blocks, whose every statement goes to the driver's thread and back:
2 ms for two statements, most of it spent on the way. `run_read` and `run_write` take a function of a connection, which
runs in one piece in a thread of ours: 0.4 ms, and writers that wait together share one commit. (With a driver that
needs no thread such a function is handed to `AsyncConnection.run_sync`.)
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any, Final, TypeVar

from sqlalchemy import create_engine, event
from sqlalchemy.engine import Connection, Engine, make_url
from sqlalchemy.exc import ArgumentError, DataError, DBAPIError, IntegrityError, ProgrammingError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from gateway.config import Settings
from gateway.errors import StoreUnavailable, UserGone
from gateway.store.group_commit import GroupCommit

FILE_NAME: Final = "gateway.db"

_READERS: Final = 4
_BUSY_SECONDS: Final = 10
_STATEMENT_FAULTS: Final = (IntegrityError, ProgrammingError, DataError)
"""The database did its part and refused the statement: that is for the caller to explain."""

_FOREIGN_KEY: Final = "FOREIGN KEY constraint failed"
"""SQLite's words. Every foreign key of ours is a user, who was removed since somebody looked."""

_WRITER: Final = (
    "PRAGMA journal_mode = WAL",
    # Not NORMAL: with it a power cut takes back the last commits, and neither an accepted job nor a revocation may
    # come undone. The price is one fsync for each commit.
    "PRAGMA synchronous = FULL",
    "PRAGMA foreign_keys = ON",
)
_READER: Final = ("PRAGMA query_only = ON",)

T = TypeVar("T")


class Transactions:
    """The connections to one database; they are opened when they are needed first."""

    def __init__(self, url: str) -> None:
        self.path: Final = path_of(url)
        self._writer: Final = _async_engine(self.path, connections=1, begin="BEGIN IMMEDIATE", pragmas=_WRITER)
        self._readers: Final = _async_engine(self.path, connections=_READERS, begin="BEGIN", pragmas=_READER)
        self._one_writer: Final = asyncio.Lock()
        self._group_engine: Final = _engine(self.path, connections=1, begin="BEGIN IMMEDIATE", pragmas=_WRITER)
        self._group: Final = GroupCommit(self._group_engine, self._one_writer)
        self._reading_engine: Final = _engine(self.path, connections=_READERS, begin="BEGIN", pragmas=_READER)
        self._reading: Final = ThreadPoolExecutor(_READERS, thread_name_prefix="store-reader")
        self._is_closed = False

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
            UserGone: it was about a user who was removed meanwhile; then nothing was written either.
        """
        async with self._one_writer:
            with translated():
                async with self._writer.begin() as connection:
                    yield connection

    async def run_read(self, work: Callable[[Connection], T]) -> T:
        """What `work` returns, of one snapshot. It runs in a thread, so it touches nothing but its connection.

        Raises:
            StoreUnavailable: as in `read`, and after `close`.
        """
        self._require_open()
        with translated():
            return await asyncio.get_running_loop().run_in_executor(self._reading, self._in_snapshot, work)

    def _in_snapshot(self, work: Callable[[Connection], T]) -> T:
        with self._reading_engine.begin() as connection:
            return work(connection)

    async def run_write(self, work: Callable[[Connection], T]) -> T:
        """What `work` returns, once it is committed; what it raises takes back all that it did. It runs in a thread, so
        it touches nothing but its connection. Cancelled, it has written all or nothing.

        Raises:
            StoreUnavailable: as in `read`, and after `close`; then nothing was written.
        """
        self._require_open()
        with translated():
            return await self._group.write(work)

    def _require_open(self) -> None:
        """The threads are gone after `close`."""
        if self._is_closed:
            raise StoreUnavailable("The database is closed.", sent=False)

    async def close(self) -> None:
        """Give all connections back; the last one folds the write-ahead log into the file."""
        self._is_closed = True
        await self._group.close()
        self._reading.shutdown()
        self._group_engine.dispose()
        self._reading_engine.dispose()
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
    except IntegrityError as error:
        if _FOREIGN_KEY in str(error.orig):
            raise UserGone from error
        raise
    except _STATEMENT_FAULTS:
        raise
    except (DBAPIError, PoolTimeout) as error:
        # Only the driver's own words: SQLAlchemy's would carry the values of the statement into the log.
        reason = str(error.orig) if isinstance(error, DBAPIError) else str(error)
        raise StoreUnavailable("The database cannot answer now.", sent=False, reason=reason) from error


def _engine(path: Path, *, connections: int, begin: str, pragmas: tuple[str, ...]) -> Engine:
    engine = create_engine(
        f"sqlite:///{path}",
        pool_size=connections,
        max_overflow=0,
        hide_parameters=True,
        connect_args={"isolation_level": None, "timeout": _BUSY_SECONDS, "check_same_thread": False},
    )
    _set_up(engine, begin=begin, pragmas=pragmas)
    return engine


def _async_engine(path: Path, *, connections: int, begin: str, pragmas: tuple[str, ...]) -> AsyncEngine:
    engine = create_async_engine(
        f"sqlite+aiosqlite:///{path}",
        pool_size=connections,
        max_overflow=0,
        hide_parameters=True,
        connect_args={"isolation_level": None, "timeout": _BUSY_SECONDS},
    )
    _set_up(engine.sync_engine, begin=begin, pragmas=pragmas)

    @event.listens_for(engine.sync_engine, "invalidate")
    def undo(driver_connection: Any, _record: object, _error: object) -> None:
        # SQLAlchemy closes the connection of a task that was cancelled inside a statement. To SQLite that is no
        # rollback while Python still holds one of its statements: without this the write lock stayed until the next
        # garbage collection. Cancelled again here, it is still done: it waits in the connection's own thread.
        with suppress(asyncio.CancelledError):
            driver_connection.rollback()

    return engine


def _set_up(engine: Engine, *, begin: str, pragmas: tuple[str, ...]) -> None:
    @event.listens_for(engine, "connect")
    def prepare(driver_connection: Any, _record: object) -> None:
        try:
            cursor = driver_connection.cursor()
            for pragma in pragmas:
                cursor.execute(pragma)
            cursor.close()
        except BaseException:
            # Nobody else knows of this connection yet, and a task can be cancelled in the middle of a pragma.
            driver_connection.close()
            raise

    @event.listens_for(engine, "begin")
    def start(connection: Connection) -> None:
        connection.exec_driver_sql(begin)
