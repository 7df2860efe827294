"""Whether anything about users, tokens or sessions changed, also by another process. It does not know what changed.

It is asked on every request, so it must cost next to nothing. On SQLite `PRAGMA data_version` (a few microseconds)
moves when another connection committed to the file, whichever process it belongs to; only then is the row
`identity_version` read. For PostgreSQL see `postgresql_changes`.
"""

import sqlite3
from pathlib import Path
from typing import Final, Protocol
from urllib.parse import quote

from sqlalchemy import func, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.errors import StoreUnavailable
from gateway.store.tables import identity_version

CHANNEL: Final = "comfyui_gateway_identities"
"""Where PostgreSQL notifies of each change."""
ANNOUNCED: Final = "announced"
"""Under this key a connection's `info` holds the number that its transaction announced last."""

_BUSY_SECONDS: Final = 0.5
"""Short, because the event loop waits meanwhile; in WAL mode a reader has hardly anything to wait for."""


class Changes(Protocol):
    """A number that grows with each change of users, tokens or sessions."""

    def version(self) -> int:
        """The number now; every change that was committed before the call is in it. (On PostgreSQL one of another
        process may be missing for up to 3 s; mostly it is milliseconds.)

        Raises:
            StoreUnavailable: it cannot be said, so nothing that was remembered may be trusted.
        """

    async def close(self) -> None:
        """Give the connection back."""


class SQLiteChanges:
    """The number, from a file that exists, over a connection of its own that only reads and never holds a transaction.

    An own connection, because `data_version` does not move for commits of the connection that asks.
    """

    def __init__(self, path: Path) -> None:
        self._path: Final = path
        self._connection: sqlite3.Connection | None = None
        self._data_version = -1
        self._version = 0

    def version(self) -> int:
        """See `Changes`."""
        try:
            connection = self._connection or self._connect()
            data_version = connection.execute("PRAGMA data_version").fetchone()[0]
            if data_version != self._data_version:
                # In this order: a commit between the two reads moves data_version again and is seen by the next call.
                self._version = connection.execute("SELECT version FROM identity_version WHERE id = 1").fetchone()[0]
                self._data_version = data_version
        except (sqlite3.Error, TypeError) as error:
            self._data_version = -1
            raise StoreUnavailable("The database cannot answer now.", sent=False, reason=str(error)) from error
        return self._version

    async def close(self) -> None:
        """See `Changes`."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None
            self._data_version = -1

    def _connect(self) -> sqlite3.Connection:
        # Not bound to one thread: the calls come one after another, but whoever opened the store may be in another one.
        address = f"file:{quote(str(self._path))}?mode=ro"
        self._connection = sqlite3.connect(
            address, uri=True, isolation_level=None, check_same_thread=False, timeout=_BUSY_SECONDS
        )
        return self._connection


async def note_change(connection: AsyncConnection) -> None:
    """Say, in the transaction of the change itself, that something about identities changed."""
    grown = update(identity_version).values(version=identity_version.c.version + 1)
    if connection.dialect.name == "sqlite":
        await connection.execute(grown)
        return
    version = await connection.scalar(grown.returning(identity_version.c.version))
    await connection.execute(select(func.pg_notify(CHANNEL, str(version))))
    connection.info[ANNOUNCED] = version
