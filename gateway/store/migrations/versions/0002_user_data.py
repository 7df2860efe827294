"""Tables for what users keep: their user data, their uploads, their temporary pictures. It does not know the steps
around it.
"""

import sqlalchemy as sa
from alembic import op

from gateway.store.columns import TEXT, WHOLE, short_text

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make them."""
    _user_data()
    op.create_table(
        "own_files",
        _user_id(primary_key=True),
        *_reference(),
        sa.Column("size", WHOLE),
        sa.Column("created_at", WHOLE, nullable=False),
    )
    op.create_table(
        "recorded_files",
        sa.Column("server", TEXT, primary_key=True),
        sa.Column("boot", TEXT, primary_key=True),
        *_reference(),
        _user_id(),
        sa.Column("prompt_id", short_text(36), nullable=False),
    )
    op.create_index("recorded_files_by_user", "recorded_files", ["user_id"])
    op.create_table(
        "server_boots",
        sa.Column("server", TEXT, primary_key=True),
        sa.Column("boot", TEXT, nullable=False),
        sa.Column("last_prompt_id", TEXT),
    )


def _user_data() -> None:
    op.create_table(
        "user_data",
        _user_id(primary_key=True),
        sa.Column("path", TEXT, primary_key=True),
        sa.Column("size", WHOLE, nullable=False),
        sa.Column("created", sa.Float(), nullable=False),
        sa.Column("modified", sa.Float(), nullable=False),
        sa.Column("content", sa.LargeBinary(), nullable=False),
    )
    op.create_index("user_data_sizes", "user_data", ["user_id", "size"])


def _user_id(*, primary_key: bool = False) -> "sa.Column[int]":
    owner = sa.ForeignKey("users.id", ondelete="CASCADE")
    return sa.Column("user_id", sa.Integer(), owner, nullable=False, primary_key=primary_key)


def _reference() -> "tuple[sa.Column[str], ...]":
    return (
        sa.Column("type", short_text(8), primary_key=True),
        sa.Column("subfolder", TEXT, primary_key=True),
        sa.Column("filename", TEXT, primary_key=True),
    )
