"""Who somebody is whom another issuer knows, the groups that one may be in, and bytes sent. Not what anybody may do."""

import sqlalchemy as sa
from alembic import op

from gateway.store.columns import TEXT, short_text

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make them."""
    op.add_column("usage", sa.Column("sent_bytes", sa.BigInteger(), nullable=False, server_default=sa.text("0")))
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
    op.create_table(
        "groups",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column("name", short_text(64), nullable=False),
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


def _user_id(*, primary_key: bool = False) -> "sa.Column[int]":
    owner = sa.ForeignKey("users.id", ondelete="CASCADE")
    return sa.Column("user_id", sa.Integer(), owner, nullable=False, primary_key=primary_key)
