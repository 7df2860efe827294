"""Whether each server's old inputs are shared, once that was decided. It does not know the steps around it."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column."""
    op.add_column("servers", sa.Column("share_inputs", sa.Boolean()))
