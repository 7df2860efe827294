"""The one statement that each database spells in its own way: insert, unless the row is there. It does not know which
rows.
"""

from sqlalchemy import Table
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Connection
from sqlalchemy.ext.asyncio import AsyncConnection

Upsert = sqlite.Insert | postgresql.Insert


def upsert(database: Connection | AsyncConnection | str, table: Table) -> Upsert:
    """An insert that can say `on_conflict_do_nothing` and `on_conflict_do_update`; the latter always with
    `index_elements`. `database` is the connection that it is for, or the name of the kind of database."""
    name = database if isinstance(database, str) else database.dialect.name
    return postgresql.insert(table) if name == "postgresql" else sqlite.insert(table)
