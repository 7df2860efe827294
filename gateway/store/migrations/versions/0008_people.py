"""What is kept of people: how they come in, which groups they are in, what they did. Not what they may do."""

import sqlalchemy as sa
from alembic import op

from gateway.store.columns import TEXT, WHOLE, short_text

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make it."""
    op.add_column("users", sa.Column("must_change", sa.Boolean(), nullable=False, server_default=sa.false()))
    op.add_column("servers", sa.Column("draining", sa.Boolean(), nullable=False, server_default=sa.false()))
    op.add_column("turns", sa.Column("priority", sa.Integer()))
    op.add_column("usage", sa.Column("sent_bytes", sa.BigInteger(), nullable=False, server_default=sa.text("0")))
    _add_session_columns()
    _make_ways_in()
    _make_groups()
    _make_records()


def _add_session_columns() -> None:
    op.add_column("sessions", sa.Column("via", short_text(16), nullable=False, server_default=sa.text("'password'")))
    op.add_column("sessions", sa.Column("ip", short_text(64), nullable=False, server_default=sa.text("''")))
    op.add_column("sessions", sa.Column("agent", short_text(256), nullable=False, server_default=sa.text("''")))
    op.add_column("sessions", sa.Column("last_used_at", sa.Float()))


def _make_ways_in() -> None:
    op.create_table(
        "invites",
        sa.Column("id", short_text(16), primary_key=True),
        _user_id(),
        sa.Column("digest", sa.LargeBinary(32), nullable=False),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.Column("expires_at", sa.Float(), nullable=False),
        sa.Column("used_at", sa.Float()),
    )
    op.create_index("invites_by_user", "invites", ["user_id"])
    op.create_table(
        "identities",
        sa.Column("issuer", TEXT, primary_key=True),
        sa.Column("subject", TEXT, primary_key=True),
        _user_id(),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.Column("last_used_at", sa.Float(), nullable=False),
        sa.Column("said_at", sa.Float(), nullable=False, server_default=sa.text("0")),
        sa.Column("groups", TEXT, nullable=False, server_default=sa.text("'[]'")),
    )
    op.create_index("identities_by_user", "identities", ["user_id"])


def _make_groups() -> None:
    workspace = sa.ForeignKey("users.id", ondelete="SET NULL")
    op.create_table(
        "groups",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column("name", short_text(64), nullable=False),
        sa.Column("workspace_id", sa.Integer(), workspace, unique=True),
        sa.Column("limits", TEXT, nullable=False, server_default=sa.text("'{}'")),
        sa.Column("created_at", sa.Float(), nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_index("groups_by_name", "groups", [sa.text("lower(name)")], unique=True)
    group = sa.ForeignKey("groups.id", ondelete="CASCADE")
    op.create_table(
        "memberships",
        sa.Column("group_id", sa.Integer(), group, primary_key=True),
        _user_id(primary_key=True),
    )
    op.create_index("memberships_by_user", "memberships", ["user_id"])


def _make_records() -> None:
    op.create_table(
        "audit",
        sa.Column("id", WHOLE, primary_key=True),
        sa.Column("at", sa.Float(), nullable=False),
        sa.Column("actor_id", sa.Integer()),
        sa.Column("actor", short_text(64), nullable=False),
        sa.Column("via", short_text(16), nullable=False),
        sa.Column("ip", short_text(64), nullable=False),
        sa.Column("action", short_text(64), nullable=False),
        sa.Column("target", TEXT, nullable=False),
        sa.Column("outcome", short_text(16), nullable=False),
        sa.Column("details", TEXT, nullable=False, server_default=sa.text("'{}'")),
        sa.Column("request_id", short_text(36), nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_index("audit_by_time", "audit", ["at"])
    op.create_table(
        "allowed_routes",
        sa.Column("role", short_text(64), primary_key=True),
        sa.Column("route", TEXT, primary_key=True),
        sa.Column("created_at", sa.Float(), nullable=False),
    )


def _user_id(*, primary_key: bool = False) -> "sa.Column[int]":
    owner = sa.ForeignKey("users.id", ondelete="CASCADE")
    return sa.Column("user_id", sa.Integer(), owner, nullable=False, primary_key=primary_key)
