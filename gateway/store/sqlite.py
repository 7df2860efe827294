"""Transactions on a SQLite file: many readers, one writer at a time. It does not know what is read or written.

SQLite's driver opens transactions by itself, late and deferred: two that read first and write later then fail with
"database is locked" whatever the time-out. So the driver is told to keep out of it (`isolation_level=None`), and every
transaction starts as what it is: `BEGIN` for one snapshot to read, `BEGIN IMMEDIATE` to write, where waiting for
another process (the command line) works.

In a block every statement goes to the driver's thread and back: 2 ms for two statements, most of it spent on the way. A
function runs in one piece in a thread of ours: 0.4 ms, and writers that wait together share one commit.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, Final, TypeVar

from sqlalchemy import create_engine, event
from sqlalchemy.engine import Connection, Engine, make_url
from sqlalchemy.exc import ArgumentError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from gateway.errors import StoreUnavailable
from gateway.store.changes import SQLiteChanges
from gateway.store.group_commit import GroupCommit
from gateway.store.transactions import translated

_READERS: Final = 4
_BUSY_SECONDS: Final = 10

_WRITER: Final = (
    "PRAGMA journal_mode = WAL",
    # Not NORMAL: with it a power cut takes back the last commits, and neither an accepted job nor a revocation may
    # come undone. The price is one fsync for each commit.
    "PRAGMA synchronous = FULL",
    "PRAGMA foreign_keys = ON",
)
_READER: Final = ("PRAGMA query_only = ON",)

T = TypeVar("T")


class SQLiteTransactions:
    """The connections to one file; they are opened when they are needed first. See `Transactions`."""

    def __init__(self, url: str) -> None:
        self.path: Final = path_of(url)
        self.changes: Final = SQLiteChanges(self.path)
        self._writer: Final = _async_engine(self.path, connections=1, begin="BEGIN IMMEDIATE", pragmas=_WRITER)
        self._readers: Final = _async_engine(self.path, connections=_READERS, begin="BEGIN", pragmas=_READER)
        self._one_writer: Final = asyncio.Lock()
        self._group_engine: Final = _engine(self.path, connections=1, begin="BEGIN IMMEDIATE", pragmas=_WRITER)
        self._group: Final = GroupCommit(self._group_engine, self._one_writer)
        self._reading_engine: Final = _engine(self.path, connections=_READERS, begin="BEGIN", pragmas=_READER)
        self._reading: Final = ThreadPoolExecutor(_READERS, thread_name_prefix="store-reader")
        self._is_closed = False

    def find(self, *, create: bool) -> None:
        """See `Transactions`."""
        if create:
            _make_file(self.path)
        elif not self.path.exists():
            raise StoreUnavailable(
                f"There is no database at {self.path}.", sent=False, details="The first “serve” or “user add” makes it."
            )

    async def ready(self) -> None:
        """See `Transactions`."""
        # What an engine does at its first connection cannot be cleaned up after a task that is cancelled in it.
        async with self.read():
            pass

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncConnection]:
        """See `Transactions`. It is locked when another process has been writing for 10 s."""
        with translated():
            async with self._readers.begin() as connection:
                yield connection

    @asynccontextmanager
    async def write(self) -> AsyncIterator[AsyncConnection]:
        """See `Transactions`."""
        async with self._one_writer:
            with translated():
                async with self._writer.begin() as connection:
                    yield connection

    async def run_read(self, work: Callable[[Connection], T]) -> T:
        """See `Transactions`. It runs in a thread."""
        self._require_open()
        with translated():
            return await asyncio.get_running_loop().run_in_executor(self._reading, self._in_snapshot, work)

    def _in_snapshot(self, work: Callable[[Connection], T]) -> T:
        with self._reading_engine.begin() as connection:
            return work(connection)

    async def run_write(self, work: Callable[[Connection], T]) -> T:
        """See `Transactions`. It runs in a thread."""
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
        await self.changes.close()
        await self._group.close()
        self._reading.shutdown()
        self._group_engine.dispose()
        self._reading_engine.dispose()
        await self._readers.dispose()
        await self._writer.dispose()


def path_of(url: str) -> Path:
    """The file that `sqlite:///relative.db` or `sqlite+aiosqlite:////absolute.db` names.

    Raises:
        StoreUnavailable: it names none.
    """
    try:
        parts = make_url(url)
    except ArgumentError:
        raise StoreUnavailable("The database address cannot be read.", sent=False) from None
    if parts.get_backend_name() != "sqlite" or parts.database in (None, "", ":memory:"):
        raise StoreUnavailable("A SQLite database is a file: sqlite:///path/to/gateway.db", sent=False)
    return Path(str(parts.database))


def _make_file(path: Path) -> None:
    """An empty file that only its owner can read, before SQLite makes one with the process's wider mode.

    One that is there is not touched: to close a file drops all the locks that this process has on it, SQLite's too, and
    another process then takes the log of a database away that is in use.
    """
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not path.exists():
            os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
    except OSError as error:
        raise StoreUnavailable(f"The database {path} cannot be made: {error.strerror}.", sent=False) from error


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
