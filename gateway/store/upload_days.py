"""How many bytes each user uploaded today, in the database. It does not know how many they may."""

from typing import Final

from sqlalchemy import and_, case, select, update

from gateway.store.tables import upload_days
from gateway.store.transactions import Transactions
from gateway.store.upsert import upsert


class UploadDays:
    """One row for each user: the last day, in days since 1970 in UTC, and the bytes of that day.

    A clock that is set back counts on in the last day: it frees nothing.
    """

    def __init__(self, transactions: Transactions) -> None:
        self._transactions: Final = transactions

    async def take(self, user_id: int, day: int, size: int, *, limit: int) -> bool:
        """Count `size` more bytes in one statement; False, and nothing is counted, if they would be over `limit`."""
        if size > limit:
            return False
        so_far = case((upload_days.c.day >= day, upload_days.c.size), else_=0)
        last = case((upload_days.c.day < day, day), else_=upload_days.c.day)
        async with self._transactions.write() as connection:
            first = upsert(connection, upload_days).values(user_id=user_id, day=day, size=size)
            counted = first.on_conflict_do_update(
                index_elements=[upload_days.c.user_id],
                set_={"size": so_far + size, "day": last},
                where=so_far + size <= limit,
            )
            return (await connection.execute(counted)).rowcount == 1

    async def give_back(self, user_id: int, day: int, size: int) -> None:
        """Take back bytes that were counted on that day and did not come; those of a day before are forgotten."""
        mine = and_(upload_days.c.user_id == user_id, upload_days.c.day <= day)
        left = case((upload_days.c.size > size, upload_days.c.size - size), else_=0)
        async with self._transactions.write() as connection:
            await connection.execute(update(upload_days).where(mine).values(size=left))

    async def used(self, user_id: int, day: int) -> int:
        """The bytes of that day."""
        query = select(upload_days.c.size).where(upload_days.c.user_id == user_id, upload_days.c.day >= day)
        async with self._transactions.read() as connection:
            return await connection.scalar(query) or 0
