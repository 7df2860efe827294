"""The limits that single users have instead of their role's. It does not know which limits there are, nor what they
mean.
"""

from collections.abc import Collection, Mapping
from typing import Any, Final

import orjson
from sqlalchemy import delete, select

from gateway.store.changes import note_change
from gateway.store.tables import user_limits
from gateway.store.transactions import Transactions
from gateway.store.upsert import upsert

NONE: Final = "{}"
"""What is kept of a user who has the role's limits."""


class Limits:
    """A JSON object for each user who has any; the users of `Users` come with theirs."""

    def __init__(self, transactions: Transactions) -> None:
        self._transactions: Final = transactions

    async def change(self, user_id: int, *, given: Mapping[str, Any], taken: Collection[str] = ()) -> None:
        """Set some limits of a user, and let the role decide again on others, from the next request on."""
        mine = user_limits.c.user_id == user_id
        async with self._transactions.write() as connection:
            text = (await connection.execute(select(user_limits.c.limits).where(mine))).scalar_one_or_none()
            before = {} if text is None else orjson.loads(text)
            kept = {name: value for name, value in {**before, **given}.items() if name not in taken}
            if kept:
                row = upsert(connection, user_limits).values(user_id=user_id, limits=text_of(kept))
                changed = {"limits": row.excluded.limits}
                await connection.execute(row.on_conflict_do_update(index_elements=["user_id"], set_=changed))
            else:
                await connection.execute(delete(user_limits).where(mine))
            await note_change(connection)


def text_of(limits: Mapping[str, Any]) -> str:
    """Limits as they are kept: the same limits are the same text."""
    return orjson.dumps(limits, option=orjson.OPT_SORT_KEYS).decode()
