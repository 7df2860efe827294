"""The tables of people and groups, as `migrations/` makes them. They do not know who reads them.

Times are seconds since 1970.
"""

from sqlalchemy import Column, Float, ForeignKey, Index, Integer, Table, func, text

from gateway.store.columns import TEXT, short_text
from gateway.store.tables import metadata, user_id_column

__all__ = ["groups", "identities", "memberships", "metadata"]

identities = Table(
    "identities",
    metadata,
    Column("issuer", TEXT, primary_key=True),
    Column("subject", TEXT, primary_key=True),
    user_id_column(),
    Column("created_at", Float, nullable=False),
    Column("last_used_at", Float, nullable=False),
    Column("said_at", Float, nullable=False, server_default=text("0")),
    Column("groups", TEXT, nullable=False, server_default=text("'[]'")),
    Index("identities_by_user", "user_id"),
)
"""Who somebody is whom another issuer knows. Names there may change and be given to others; subjects are not. `said_at`
is when the issuer said what was taken over last, `groups` the gateway's groups that it put the user into, as JSON.
"""

groups = Table(
    "groups",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("name", short_text(64), nullable=False),
    Column("created_at", Float, nullable=False),
    sqlite_autoincrement=True,
)
Index("groups_by_name", func.lower(groups.c.name), unique=True)

memberships = Table(
    "memberships",
    metadata,
    Column("group_id", Integer, ForeignKey("groups.id", ondelete="CASCADE"), primary_key=True),
    user_id_column(primary_key=True),
    Index("memberships_by_user", "user_id"),
)
