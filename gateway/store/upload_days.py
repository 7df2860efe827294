"""How many bytes each user uploaded today, in the database. It does not know how many they may."""

from typing import Final

from sqlalchemy import and_, case, func, select, update
from sqlalchemy.dialects.sqlite import insert as upsert

from gateway.store.tables import upload_days
from gateway.store.transactions import Transactions


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
        statement = upsert(upload_days).values(user_id=user_id, day=day, size=size)
        counted = statement.on_conflict_do_update(
            index_elements=[upload_days.c.user_id],
            set_={"size": so_far + size, "day": func.max(upload_days.c.day, day)},
            where=so_far + size <= limit,
        )
        async with self._transactions.write() as connection:
            return (await connection.execute(counted)).rowcount == 1

    async def give_back(self, user_id: int, day: int, size: int) -> None:
        """Take back bytes that were counted on that day and did not come; those of a day before are forgotten."""
        mine = and_(upload_days.c.user_id == user_id, upload_days.c.day <= day)
        left = func.max(upload_days.c.size - size, 0)
        async with self._transactions.write() as connection:
            await connection.execute(update(upload_days).where(mine).values(size=left))

    async def used(self, user_id: int, day: int) -> int:
        """The bytes of that day."""
        query = select(upload_days.c.size).where(upload_days.c.user_id == user_id, upload_days.c.day >= day)
        async with self._transactions.read() as connection:
            return await connection.scalar(query) or 0
