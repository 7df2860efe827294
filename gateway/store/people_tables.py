"""The tables of people: ways in, groups, and what was done, as `migrations/` makes them. They know no readers.

Times are seconds since 1970.
"""

from sqlalchemy import Column, Float, ForeignKey, Index, Integer, LargeBinary, Table, func, text

from gateway.store.columns import TEXT, WHOLE, short_text
from gateway.store.tables import metadata, user_id_column

__all__ = ["allowed_routes", "audit", "groups", "identities", "invites", "memberships", "metadata"]

invites = Table(
    "invites",
    metadata,
    Column("id", short_text(16), primary_key=True),
    user_id_column(),
    Column("digest", LargeBinary(32), nullable=False),
    Column("created_at", Float, nullable=False),
    Column("expires_at", Float, nullable=False),
    Column("used_at", Float),
    Index("invites_by_user", "user_id"),
)
"""Links with which a user chooses a password, once."""

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
    Column("workspace_id", Integer, ForeignKey("users.id", ondelete="SET NULL"), unique=True),
    Column("limits", TEXT, nullable=False, server_default=text("'{}'")),
    Column("created_at", Float, nullable=False),
    sqlite_autoincrement=True,
)
"""`workspace_id`: the row in `users`, which nobody can log in as, that owns what the members of a workspace share."""

Index("groups_by_name", func.lower(groups.c.name), unique=True)

memberships = Table(
    "memberships",
    metadata,
    Column("group_id", Integer, ForeignKey("groups.id", ondelete="CASCADE"), primary_key=True),
    user_id_column(primary_key=True),
    Index("memberships_by_user", "user_id"),
)

audit = Table(
    "audit",
    metadata,
    Column("id", WHOLE, primary_key=True),
    Column("at", Float, nullable=False),
    Column("actor_id", Integer),
    Column("actor", short_text(64), nullable=False),
    Column("via", short_text(16), nullable=False),
    Column("ip", short_text(64), nullable=False),
    Column("action", short_text(64), nullable=False),
    Column("target", TEXT, nullable=False),
    Column("outcome", short_text(16), nullable=False),
    Column("details", TEXT, nullable=False, server_default=text("'{}'")),
    Column("request_id", short_text(36), nullable=False),
    Index("audit_by_time", "at"),
    sqlite_autoincrement=True,
)
"""Who did what, when and from where. No foreign key: it outlives whom it names."""

allowed_routes = Table(
    "allowed_routes",
    metadata,
    Column("role", short_text(64), primary_key=True),
    Column("route", TEXT, primary_key=True),
    Column("created_at", Float, nullable=False),
)
"""Routes of node packs that an administrator opened for a role while the gateway ran, as in a role's `routes`."""
