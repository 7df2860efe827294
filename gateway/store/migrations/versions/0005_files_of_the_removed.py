"""The records of a removed user's files stay, as nobody's. It does not know the steps around it.

SQLite cannot change a foreign key, so the table is made anew.
"""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

_COLUMNS = "server, boot, type, subfolder, filename, user_id, prompt_id"


def upgrade() -> None:
    """Make it anew, with what is in it."""
    op.drop_index("recorded_files_by_user")
    op.rename_table("recorded_files", "recorded_files_before")
    op.create_table(
        "recorded_files",
        sa.Column("server", sa.Text(), primary_key=True),
        sa.Column("boot", sa.Text(), primary_key=True),
        sa.Column("type", sa.String(8), primary_key=True),
        sa.Column("subfolder", sa.Text(), primary_key=True),
        sa.Column("filename", sa.Text(), primary_key=True),
        sa.Column("user_id", sa.Integer(), sa.ForeignKey("users.id", ondelete="SET NULL")),
        sa.Column("prompt_id", sa.String(36), nullable=False),
    )
    op.execute(f"INSERT INTO recorded_files ({_COLUMNS}) SELECT {_COLUMNS} FROM recorded_files_before")
    op.drop_table("recorded_files_before")
    op.create_index("recorded_files_by_user", "recorded_files", ["user_id"])
