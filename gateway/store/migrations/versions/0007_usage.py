"""What each user used, and what is known of a job when it is submitted. It does not know what a user may use.

Jobs that ended before are not booked: which of them a budget would have counted is not known any more.
"""

import sqlalchemy as sa
from alembic import op

from gateway.store.columns import TEXT, WHOLE, short_text

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make them."""
    op.add_column("turns", sa.Column("expected_ms", WHOLE, nullable=False, server_default=sa.text("0")))
    op.add_column("turns", sa.Column("token_id", short_text(16), nullable=False, server_default=sa.text("''")))
    op.add_column("turns", sa.Column("model", TEXT, nullable=False, server_default=sa.text("''")))
    op.create_table(
        "gpu_days",
        _user_id(),
        sa.Column("day", sa.Integer(), primary_key=True),
        sa.Column("gpu_ms", sa.BigInteger(), nullable=False),
    )
    op.create_table(
        "usage",
        _user_id(),
        sa.Column("day", sa.Integer(), primary_key=True),
        sa.Column("token_id", short_text(16), primary_key=True),
        sa.Column("model", TEXT, primary_key=True),
        sa.Column("token", short_text(64), nullable=False),
        sa.Column("jobs", sa.Integer(), nullable=False),
        sa.Column("failed", sa.Integer(), nullable=False),
        sa.Column("cancelled", sa.Integer(), nullable=False),
        sa.Column("gpu_ms", sa.BigInteger(), nullable=False),
        sa.Column("uploaded_bytes", sa.BigInteger(), nullable=False),
    )
    op.create_index("usage_by_day", "usage", ["day"])


def _user_id() -> "sa.Column[int]":
    owner = sa.ForeignKey("users.id", ondelete="CASCADE")
    return sa.Column("user_id", sa.Integer(), owner, nullable=False, primary_key=True)
