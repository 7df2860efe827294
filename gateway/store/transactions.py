"""Transactions on the database, whichever it is: what the rest of the store relies on, the same for every kind. It does
not know how one is begun, nor what is read or written.

There are two ways to each. `read` and `write` are blocks. `run_read` and `run_write` take a function of a connection,
which runs in one piece; each kind of database has its reasons to be faster at that.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager, contextmanager
from typing import Any, Final, Protocol, TypeVar

from sqlalchemy.engine import Connection
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, ProgrammingError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.config import Settings
from gateway.errors import StoreUnavailable, UserGone
from gateway.store.changes import Changes

FILE_NAME: Final = "gateway.db"

_STATEMENT_FAULTS: Final = (IntegrityError, ProgrammingError, DataError)
"""The database did its part and refused the statement: that is for the caller to explain."""

_FOREIGN_KEY: Final = "FOREIGN KEY constraint failed"
_FOREIGN_KEY_STATE: Final = "23503"
"""SQLite's words, PostgreSQL's number. Every foreign key of ours is a user, who was removed since somebody looked."""

T = TypeVar("T")


class Transactions(Protocol):
    """The connections to one database; they are opened when they are needed first."""

    @property
    def changes(self) -> Changes:
        """Whether identities changed in this database; it can be asked from `ready` on."""

    def find(self, *, create: bool) -> None:
        """Make the place of a new database where that is ours to make, if `create` is set.

        Raises:
            StoreUnavailable: there is none, or it cannot be made.
        """

    async def ready(self) -> None:
        """The database has its tables now. Raises StoreUnavailable."""

    def read(self) -> AbstractAsyncContextManager[AsyncConnection]:
        """One snapshot to read from.

        Raises:
            StoreUnavailable: the database cannot be reached or opened, is damaged, or is locked for longer than 10 s.
        """

    def write(self) -> AbstractAsyncContextManager[AsyncConnection]:
        """One transaction, alone among those of all processes: committed at the end of the block, rolled back if an
        error or a cancellation ends it.

        Raises:
            StoreUnavailable: as in `read`; then nothing was written, unless the answer to the commit was lost.
            UserGone: it was about a user who was removed meanwhile; then nothing was written either.
        """

    async def run_read(self, work: Callable[[Connection], T]) -> T:
        """What `work` returns, of one snapshot. It touches nothing but its connection, because it may run in a thread.

        Raises:
            StoreUnavailable: as in `read`, and after `close`.
        """

    async def run_write(self, work: Callable[[Connection], T]) -> T:
        """What `work` returns, once it is committed; what it raises takes back all that it did.

        It touches nothing but its connection, may run in a thread, and may be run again from its beginning after it was
        taken back. No `write` block runs meanwhile, but other functions may: what is read to be written back changed is
        selected FOR UPDATE, or changed where it is kept. Cancelled, it has written all or nothing.

        Raises:
            StoreUnavailable: as in `write`, and after `close`.
        """

    async def close(self) -> None:
        """Let functions that were begun come to their end, and give all connections back."""


def url_of(settings: Settings) -> str:
    """Where the database is: the setting, or `gateway.db` in the data directory."""
    if settings.database_url is not None:
        return settings.database_url.get_secret_value()
    return f"sqlite+aiosqlite:///{settings.data_dir.absolute() / FILE_NAME}"


@contextmanager
def translated() -> Iterator[None]:
    """Turn what the database failed to do into our own word; the log gets the driver's."""
    try:
        yield
    except IntegrityError as error:
        if _FOREIGN_KEY in str(error.orig) or state_of(error) == _FOREIGN_KEY_STATE:
            raise UserGone from error
        raise
    except _STATEMENT_FAULTS:
        raise
    except (DBAPIError, PoolTimeout) as error:
        # Only the driver's own words: SQLAlchemy's would carry the values of the statement into the log.
        reason = str(error.orig) if isinstance(error, DBAPIError) else str(error)
        raise StoreUnavailable("The database cannot answer now.", sent=False, reason=reason) from error


def state_of(error: DBAPIError) -> str | None:
    """The SQLSTATE of an error, five characters, where the database gives one."""
    driver_error: Any = error.orig
    return getattr(driver_error, "sqlstate", None)
