"""The store: one database with everything in it, opened and closed. It does not know what the rows mean."""

import os
from pathlib import Path
from typing import Final, Self

from sqlalchemy import Connection, update

from gateway.errors import StoreUnavailable
from gateway.store import schema
from gateway.store.books import Books
from gateway.store.changes import Changes, SQLiteChanges
from gateway.store.files import Files
from gateway.store.ledger import Ledger
from gateway.store.limits import Limits
from gateway.store.removed_users import RemovedUsers
from gateway.store.roles import Roles
from gateway.store.roots import Roots
from gateway.store.servers import Servers
from gateway.store.sessions import Sessions
from gateway.store.tables import identity_version
from gateway.store.tokens import Tokens
from gateway.store.transactions import Transactions, path_of
from gateway.store.upload_days import UploadDays
from gateway.store.user_data import UserFiles
from gateway.store.users import Users


class Store:
    """An open database. Made by `open`; given back by `close`, or by the end of an `async with` block."""

    def __init__(self, transactions: Transactions) -> None:
        self.read: Final = transactions.read
        self.write: Final = transactions.write
        self.users: Final = Users(transactions)
        self.limits: Final = Limits(transactions)
        self.tokens: Final = Tokens(transactions)
        self.sessions: Final = Sessions(transactions)
        self.servers: Final = Servers(transactions)
        self.ledger: Final = Ledger(transactions)
        self.books: Final = Books(transactions)
        self.user_files: Final = UserFiles(transactions)
        self.files: Final = Files(transactions)
        self.roots: Final = Roots(self.users)
        self.upload_days: Final = UploadDays(transactions)
        self.removed_users: Final = RemovedUsers(transactions)
        self.changes: Final[Changes] = SQLiteChanges(transactions.path)
        self.roles: Final = Roles(self.users, self.changes)
        self.transactions: Final = transactions

    @classmethod
    async def open(cls, url: str, *, create: bool = True) -> Self:
        """The store at `url`, made new if there is none and `create` is set.

        Raises:
            StoreUnavailable: there is none, it cannot be opened, migrations are missing, or a newer gateway made it.
        """
        path = path_of(url)
        if create:
            _make_file(path)
        elif not path.exists():
            raise StoreUnavailable(
                f"There is no database at {path}.", sent=False, details="The first “serve” or “user add” makes it."
            )
        store = cls(Transactions(url))
        try:
            await store._prepare(create=create)
        except BaseException:
            await store.close()
            raise
        return store

    async def is_current(self) -> bool:
        """Whether the database has every migration of this version."""
        async with self.read() as connection:
            return await connection.run_sync(schema.revision_of) == schema.newest()

    async def prove_writable(self) -> None:
        """Write a row as it is. Raises StoreUnavailable where that cannot be done: a full disk, another user's file."""
        async with self.write() as connection:
            await connection.execute(update(identity_version).values(version=identity_version.c.version))

    async def close(self) -> None:
        self.changes.close()
        await self.transactions.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_error: object) -> None:
        await self.close()

    async def _prepare(self, *, create: bool) -> None:
        # Inside one write transaction: of two processes that start on the same new file, the second one finds it ready.
        async with self.write() as connection:
            await connection.run_sync(_make_ready if create else _require_current)
        # What an engine does at its first connection cannot be cleaned up after a task that is cancelled in it.
        async with self.read():
            pass


async def upgrade(url: str) -> bool:
    """Run the migrations that the database at `url` lacks; whether there were any.

    Raises:
        StoreUnavailable: it cannot be opened, or a newer gateway made it.
    """
    path = path_of(url)
    _make_file(path)
    transactions = Transactions(url)
    try:
        async with transactions.write() as connection:
            return await connection.run_sync(_upgrade)
    finally:
        await transactions.close()


def _upgrade(connection: Connection) -> bool:
    revision = schema.revision_of(connection)
    if revision == schema.newest():
        return False
    if revision is not None and not schema.is_known(revision):
        _refuse_newer()
    schema.migrate(connection)
    return True


def _make_ready(connection: Connection) -> None:
    if schema.is_empty(connection):
        schema.migrate(connection)
    _require_current(connection)


def _require_current(connection: Connection) -> None:
    revision = schema.revision_of(connection)
    if revision == schema.newest():
        return
    if revision is not None and not schema.is_known(revision):
        _refuse_newer()
    raise StoreUnavailable("The database lacks migrations: run “comfy-gateway db upgrade” first.", sent=False)


def _refuse_newer() -> None:
    raise StoreUnavailable("The database was made by a newer gateway than this one.", sent=False)


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
