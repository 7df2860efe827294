"""Membership in groups as an issuer says it. It does not know what a group may do.

Only groups that exist here count, by their names to the letter; and only what an issuer gave does it take away again,
so whom an administrator put into a group stays there.
"""

from collections.abc import Collection
from typing import Any

from sqlalchemy import delete, select
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.store.people_tables import groups, memberships
from gateway.store.upsert import upsert


async def set_groups(
    connection: AsyncConnection, user_id: int, names: Collection[str], *, before: Collection[str]
) -> int:
    """Put a user into the groups of these names, and out of those of `before` that are not among them; how many
    memberships that changed."""
    mine = memberships.c.user_id == user_id
    changed = 0
    for group_id in await _ids(connection, names):
        row = upsert(connection, memberships).values(group_id=group_id, user_id=user_id).on_conflict_do_nothing()
        changed += (await connection.execute(row)).rowcount
    left = await _ids(connection, set(before) - set(names))
    if left:
        gone = await connection.execute(delete(memberships).where(mine, memberships.c.group_id.in_(left)))
        changed += gone.rowcount
    return changed


async def _ids(connection: AsyncConnection, names: Collection[str]) -> list[int]:
    if not names:
        return []
    rows: Any = await connection.execute(select(groups.c.id, groups.c.name))
    # Compared here, not by the database, which may have thousands of names to compare and its own idea of case.
    return [row.id for row in rows if row.name in names]
