"""The store: one database with everything in it, opened and closed. It does not know what the rows mean."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, Self

from sqlalchemy import Connection, update
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, ProgrammingError

from gateway.errors import StoreUnavailable
from gateway.store import schema
from gateway.store.books import Books
from gateway.store.changes import Changes
from gateway.store.files import Files
from gateway.store.identities import Identities
from gateway.store.ledger import Ledger
from gateway.store.limits import Limits
from gateway.store.postgresql import PostgresTransactions
from gateway.store.removed_users import RemovedUsers
from gateway.store.roles import Roles
from gateway.store.roots import Roots
from gateway.store.servers import Servers
from gateway.store.sessions import Sessions
from gateway.store.sqlite import SQLiteTransactions
from gateway.store.tables import identity_version
from gateway.store.tokens import Tokens
from gateway.store.transactions import Transactions
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
        self.identities: Final = Identities(transactions, self.users)
        self.servers: Final = Servers(transactions)
        self.ledger: Final = Ledger(transactions)
        self.books: Final = Books(transactions)
        self.user_files: Final = UserFiles(transactions)
        self.files: Final = Files(transactions)
        self.roots: Final = Roots(self.users)
        self.upload_days: Final = UploadDays(transactions)
        self.removed_users: Final = RemovedUsers(transactions)
        self.changes: Final[Changes] = transactions.changes
        self.roles: Final = Roles(self.users, self.changes)
        self.transactions: Final = transactions

    @classmethod
    async def open(cls, url: str, *, create: bool = True) -> Self:
        """The store at `url`, made new if there is none and `create` is set.

        Raises:
            StoreUnavailable: there is none, it cannot be opened, migrations are missing, or a newer gateway made it.
        """
        transactions = transactions_on(url)
        transactions.find(create=create)
        store = cls(transactions)
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
        await self.transactions.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_error: object) -> None:
        await self.close()

    async def _prepare(self, *, create: bool) -> None:
        # In one transaction, alone: of two processes that start on the same new database, the second finds it ready.
        with _refusals():
            async with self.write() as connection:
                await connection.run_sync(_make_ready if create else _require_current)
        await self.transactions.ready()


def transactions_on(url: str, *, patient: bool = False) -> Transactions:
    """The kind of database that `url` is of: the one place where it is chosen. `patient`: statements may take hours.

    Raises:
        StoreUnavailable: it is of another kind. The address is not repeated: it may hold a password.
    """
    try:
        kind = make_url(url).get_backend_name()
    except (ArgumentError, ValueError):
        raise StoreUnavailable("The database address cannot be read.", sent=False) from None
    match kind:
        case "sqlite":
            return SQLiteTransactions(url)
        case "postgresql" | "postgres":
            return PostgresTransactions(url, patient=patient)
    raise StoreUnavailable("Only SQLite files and PostgreSQL are supported.", sent=False)


async def upgrade(url: str) -> bool:
    """Run the migrations that the database at `url` lacks; whether there were any.

    Raises:
        StoreUnavailable: it cannot be opened, or a newer gateway made it.
    """
    transactions = transactions_on(url, patient=True)
    transactions.find(create=True)
    try:
        with _refusals():
            async with transactions.write() as connection:
                return await connection.run_sync(_upgrade)
    finally:
        await transactions.close()


@contextmanager
def _refusals() -> Iterator[None]:
    """A database that lets us in and then allows us nothing: no right to make tables, or others' by our names."""
    try:
        yield
    except ProgrammingError as error:
        reason = str(error.orig)
        raise StoreUnavailable("The database refuses our tables.", sent=False, reason=reason) from error


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
