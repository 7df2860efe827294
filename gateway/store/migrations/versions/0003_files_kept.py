"""Tables for how much was uploaded in a day and whose files are still to be deleted. It does not know the steps around
it.
"""

import sqlalchemy as sa
from alembic import op

from gateway.store.columns import WHOLE, short_text

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make them."""
    owner = sa.ForeignKey("users.id", ondelete="CASCADE")
    op.create_table(
        "upload_days",
        sa.Column("user_id", sa.Integer(), owner, nullable=False, primary_key=True),
        sa.Column("day", sa.Integer(), nullable=False),
        sa.Column("size", WHOLE, nullable=False),
    )
    op.create_table(
        "removed_users",
        sa.Column("key", short_text(32), primary_key=True),
        sa.Column("removed_at", sa.Float(), nullable=False),
    )
