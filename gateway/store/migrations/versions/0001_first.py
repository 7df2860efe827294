"""The first tables: users, tokens, sessions, servers, jobs, shares. It does not know the steps after it."""

import sqlalchemy as sa
from alembic import op

from gateway.store.columns import TEXT, WHOLE, short_text

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make them."""
    _users()
    _tokens()
    _sessions()
    _jobs()
    op.create_table(
        "servers",
        sa.Column("url", TEXT, primary_key=True),
        sa.Column("client_id", short_text(64), nullable=False),
    )
    op.create_table(
        "shares",
        _user_id(primary_key=True),
        sa.Column("virtual_ms", sa.Float(), nullable=False, server_default=sa.text("0")),
        sa.Column("counter", sa.Integer(), nullable=False, server_default=sa.text("0")),
    )
    version = op.create_table(
        "identity_version",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column("version", sa.Integer(), nullable=False),
    )
    op.bulk_insert(version, [{"id": 1, "version": 1}])


def _user_id(*, primary_key: bool = False) -> "sa.Column[int]":
    owner = sa.ForeignKey("users.id", ondelete="CASCADE")
    return sa.Column("user_id", sa.Integer(), owner, nullable=False, primary_key=primary_key)


def _users() -> None:
    op.create_table(
        "users",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column("key", short_text(32), nullable=False, unique=True),
        sa.Column("name", short_text(64), nullable=False),
        sa.Column("role", short_text(64), nullable=False),
        sa.Column("password_hash", TEXT),
        sa.Column("disabled", sa.Boolean(), nullable=False, server_default=sa.false()),
        sa.Column("epoch", sa.Integer(), nullable=False, server_default=sa.text("0")),
        sa.Column("created_at", sa.Float(), nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_index("users_by_name", "users", [sa.func.lower(sa.column("name"))], unique=True)


def _tokens() -> None:
    op.create_table(
        "tokens",
        sa.Column("id", short_text(16), primary_key=True),
        _user_id(),
        sa.Column("name", short_text(64), nullable=False),
        sa.Column("digest", sa.LargeBinary(32), nullable=False),
        sa.Column("scopes", TEXT),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.Column("expires_at", sa.Float()),
        sa.Column("last_used_at", sa.Float()),
        sa.Column("revoked_at", sa.Float()),
    )
    op.create_index("tokens_by_user", "tokens", ["user_id"])


def _sessions() -> None:
    op.create_table(
        "sessions",
        sa.Column("jti", short_text(64), primary_key=True),
        _user_id(),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.Column("expires_at", sa.Float(), nullable=False),
        sa.Column("revoked_at", sa.Float()),
    )
    op.create_index("sessions_by_user", "sessions", ["user_id"])
    op.create_index("sessions_by_expiry", "sessions", ["expires_at"])


def _jobs() -> None:
    op.create_table(
        "jobs",
        sa.Column("seq", WHOLE, primary_key=True),
        sa.Column("prompt_id", short_text(36), nullable=False, unique=True),
        _user_id(),
        sa.Column("client_id", TEXT),
        sa.Column("state", short_text(16), nullable=False),
        sa.Column("position", sa.Float(), nullable=False),
        sa.Column("number", sa.Float(), nullable=False),
        sa.Column("server", TEXT),
        sa.Column("created_at", WHOLE, nullable=False),
        sa.Column("handed_at", WHOLE),
        sa.Column("started_at", WHOLE),
        sa.Column("ended_at", WHOLE),
        sa.Column("attempts", sa.Integer(), nullable=False, server_default=sa.text("0")),
        *(_milliseconds(name) for name in ("charged_ms", "gpu_ms")),
        *(_flag(name) for name in ("had_secrets", "cancel_requested", "hidden")),
        sa.Column("prompt", TEXT, nullable=False),
        sa.Column("extra_data", TEXT, nullable=False),
        sa.Column("targets", TEXT),
        sa.Column("outputs_to_execute", TEXT, nullable=False),
        _table("outputs"),
        sa.Column("status", TEXT),
        _table("meta"),
        sa.Column("error", TEXT),
        _table("node_errors"),
        sqlite_autoincrement=True,
    )
    op.create_index("jobs_by_user_and_state", "jobs", ["user_id", "state"])
    op.create_index("jobs_by_state", "jobs", ["state"])
    op.create_index("jobs_by_user", "jobs", ["user_id", "seq"])


def _milliseconds(name: str) -> "sa.Column[int]":
    return sa.Column(name, WHOLE, nullable=False, server_default=sa.text("0"))


def _flag(name: str) -> "sa.Column[bool]":
    return sa.Column(name, sa.Boolean(), nullable=False, server_default=sa.false())


def _table(name: str) -> "sa.Column[str]":
    return sa.Column(name, TEXT, nullable=False, server_default=sa.text("'{}'"))
