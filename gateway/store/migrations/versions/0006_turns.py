"""What the fair queue keeps of each job, and the limits of single users. It does not know how a turn is chosen."""

import sqlalchemy as sa
from alembic import op

from gateway.store.columns import TEXT, WHOLE, short_text

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make them."""
    op.create_table(
        "turns",
        sa.Column("seq", WHOLE, sa.ForeignKey("jobs.seq", ondelete="CASCADE"), primary_key=True),
        _user_id(),
        sa.Column("shape", short_text(32), nullable=False),
        sa.Column("weight", sa.Float(), nullable=False, server_default=sa.text("1")),
        sa.Column("time_limit", sa.Integer()),
    )
    op.create_index("turns_by_shape", "turns", ["user_id", "shape", "seq"])
    op.create_table(
        "user_limits",
        _user_id(primary_key=True),
        sa.Column("limits", TEXT, nullable=False),
    )


def _user_id(*, primary_key: bool = False) -> "sa.Column[int]":
    owner = sa.ForeignKey("users.id", ondelete="CASCADE")
    return sa.Column("user_id", sa.Integer(), owner, nullable=False, primary_key=primary_key)
