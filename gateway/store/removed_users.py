"""Which removed users' files are still to be deleted, by the key of their root. It does not know the files.

The row is written in the transaction that removes the user: after a crash between the two, or when a job of theirs
wrote on, somebody still knows that the folder was theirs.
"""

from dataclasses import dataclass
from typing import Final

from sqlalchemy import delete, select

from gateway.comfy.files import Root
from gateway.store.tables import removed_users
from gateway.store.transactions import Transactions


@dataclass(frozen=True, slots=True)
class RemovedUser:
    """A root whose files go. `removed_at` is in seconds since 1970."""

    root: Root
    removed_at: float


class RemovedUsers:
    """Made by `Users.remove`."""

    def __init__(self, transactions: Transactions) -> None:
        self._transactions: Final = transactions

    async def all(self) -> tuple[RemovedUser, ...]:
        """Everybody whose files are to go."""
        query = select(removed_users)
        async with self._transactions.read() as connection:
            rows = await connection.execute(query.order_by(removed_users.c.removed_at))
            return tuple(RemovedUser(Root(row.key), row.removed_at) for row in rows)

    async def forget(self, root: Root) -> None:
        """Nothing can be left of this one."""
        async with self._transactions.write() as connection:
            await connection.execute(delete(removed_users).where(removed_users.c.key == root.key))
