"""Databases as earlier versions of the gateway left them."""

from functools import partial

from sqlalchemy import text

from gateway.store import schema
from gateway.store.database import transactions_on

USER = "INSERT INTO users (id, key, name, role, disabled, created_at) VALUES (7, :key, 'Ann', 'member', false, 1.5)"


async def database_of(url: str, revision: str, *rows: str) -> int:
    """A new database of that revision, with the user Ann, whose id it is, and these rows: statements of SQL."""
    transactions = transactions_on(url)
    transactions.find(create=True)
    try:
        async with transactions.write() as connection:
            await connection.run_sync(partial(schema.migrate, to=revision))
            await connection.execute(text(USER), {"key": "0" * 32})
            for row in rows:
                await connection.execute(text(row))
    finally:
        await transactions.close()
    return 7
