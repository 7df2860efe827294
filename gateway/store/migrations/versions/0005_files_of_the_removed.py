"""The records of a removed user's files stay, as nobody's. It does not know the steps around it.

SQLite cannot change a foreign key, so there the table is made anew.
"""

import sqlalchemy as sa
from alembic import op

from gateway.store.columns import TEXT, short_text

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

_COLUMNS = "server, boot, type, subfolder, filename, user_id, prompt_id"


def upgrade() -> None:
    """Change what becomes of a record when its user is removed."""
    if op.get_context().dialect.name == "sqlite":
        _make_anew()
    else:
        op.alter_column("recorded_files", "user_id", nullable=True)
        op.drop_constraint("recorded_files_user_id_fkey", "recorded_files", type_="foreignkey")
        op.create_foreign_key(None, "recorded_files", "users", ["user_id"], ["id"], ondelete="SET NULL")


def _make_anew() -> None:
    op.drop_index("recorded_files_by_user")
    op.rename_table("recorded_files", "recorded_files_before")
    op.create_table(
        "recorded_files",
        sa.Column("server", TEXT, primary_key=True),
        sa.Column("boot", TEXT, primary_key=True),
        sa.Column("type", short_text(8), primary_key=True),
        sa.Column("subfolder", TEXT, primary_key=True),
        sa.Column("filename", TEXT, primary_key=True),
        sa.Column("user_id", sa.Integer(), sa.ForeignKey("users.id", ondelete="SET NULL")),
        sa.Column("prompt_id", short_text(36), nullable=False),
    )
    op.execute(f"INSERT INTO recorded_files ({_COLUMNS}) SELECT {_COLUMNS} FROM recorded_files_before")
    op.drop_table("recorded_files_before")
    op.create_index("recorded_files_by_user", "recorded_files", ["user_id"])
