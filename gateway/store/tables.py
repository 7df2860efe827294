"""The tables, as SQLAlchemy knows them; `migrations/` makes the same, and a test compares the two. They do not know
who reads them.

Times of users, tokens and sessions are seconds since 1970; those of jobs are milliseconds, as in ComfyUI's own
answers.
"""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    false,
    func,
    text,
)

from gateway.store.columns import TEXT, WHOLE, short_text

metadata = MetaData()


def user_id_column(*, primary_key: bool = False) -> Column[int]:
    """Whose a row is; it goes with its user."""
    owner = ForeignKey("users.id", ondelete="CASCADE")
    return Column("user_id", Integer, owner, nullable=False, primary_key=primary_key)


users = Table(
    "users",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("key", short_text(32), nullable=False, unique=True),
    Column("name", short_text(64), nullable=False),
    Column("role", short_text(64), nullable=False),
    Column("password_hash", TEXT),
    Column("disabled", Boolean, nullable=False, server_default=false()),
    Column("epoch", Integer, nullable=False, server_default=text("0")),
    Column("created_at", Float, nullable=False),
    sqlite_autoincrement=True,
)
"""AUTOINCREMENT: the id of a removed user is never given to another one."""

Index("users_by_name", func.lower(users.c.name), unique=True)

tokens = Table(
    "tokens",
    metadata,
    Column("id", short_text(16), primary_key=True),
    user_id_column(),
    Column("name", short_text(64), nullable=False),
    Column("digest", LargeBinary(32), nullable=False),
    Column("scopes", TEXT),
    Column("created_at", Float, nullable=False),
    Column("expires_at", Float),
    Column("last_used_at", Float),
    Column("revoked_at", Float),
    Index("tokens_by_user", "user_id"),
)

sessions = Table(
    "sessions",
    metadata,
    Column("jti", short_text(64), primary_key=True),
    user_id_column(),
    Column("created_at", Float, nullable=False),
    Column("expires_at", Float, nullable=False),
    Column("revoked_at", Float),
    Index("sessions_by_user", "user_id"),
    Index("sessions_by_expiry", "expires_at"),
)

servers = Table(
    "servers",
    metadata,
    Column("url", TEXT, primary_key=True),
    Column("client_id", short_text(64), nullable=False),
    Column("share_inputs", Boolean),
)
"""`share_inputs` is NULL until it was decided whether what lies at the top of the server's input folder is shared."""

identity_version = Table(
    "identity_version",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("version", Integer, nullable=False),
)
"""One row with id 1. Every write to users, tokens or sessions adds one to it in the same transaction."""

jobs = Table(
    "jobs",
    metadata,
    Column("seq", WHOLE, primary_key=True),
    Column("prompt_id", short_text(36), nullable=False, unique=True),
    user_id_column(),
    Column("client_id", TEXT),
    Column("state", short_text(16), nullable=False),
    Column("position", Float, nullable=False),
    Column("number", Float, nullable=False),
    Column("server", TEXT),
    Column("created_at", WHOLE, nullable=False),
    Column("handed_at", WHOLE),
    Column("started_at", WHOLE),
    Column("ended_at", WHOLE),
    Column("attempts", Integer, nullable=False, server_default=text("0")),
    Column("charged_ms", WHOLE, nullable=False, server_default=text("0")),
    Column("gpu_ms", WHOLE, nullable=False, server_default=text("0")),
    Column("had_secrets", Boolean, nullable=False, server_default=false()),
    Column("cancel_requested", Boolean, nullable=False, server_default=false()),
    Column("hidden", Boolean, nullable=False, server_default=false()),
    Column("prompt", TEXT, nullable=False),
    Column("extra_data", TEXT, nullable=False),
    Column("targets", TEXT),
    Column("outputs_to_execute", TEXT, nullable=False),
    Column("outputs", TEXT, nullable=False, server_default=text("'{}'")),
    Column("status", TEXT),
    Column("meta", TEXT, nullable=False, server_default=text("'{}'")),
    Column("error", TEXT),
    Column("node_errors", TEXT, nullable=False, server_default=text("'{}'")),
    Index("jobs_by_user_and_state", "user_id", "state"),
    Index("jobs_by_state", "state"),
    Index("jobs_by_user", "user_id", "seq"),
    sqlite_autoincrement=True,
)
"""The ledger. `position` orders a user's own jobs, `number` is what clients see; the Text columns from `prompt` on
hold JSON.
"""

shares = Table(
    "shares",
    metadata,
    user_id_column(primary_key=True),
    Column("virtual_ms", Float, nullable=False, server_default=text("0")),
    Column("counter", Integer, nullable=False, server_default=text("0")),
)
"""Each user's place in the fair queue, and the counter behind the `number` of the user's prompts."""

turns = Table(
    "turns",
    metadata,
    Column("seq", WHOLE, ForeignKey("jobs.seq", ondelete="CASCADE"), primary_key=True),
    user_id_column(),
    Column("shape", short_text(32), nullable=False),
    Column("weight", Float, nullable=False, server_default=text("1")),
    Column("time_limit", Integer),
    Column("expected_ms", WHOLE, nullable=False, server_default=text("0")),
    Column("token_id", short_text(16), nullable=False, server_default=text("''")),
    Column("model", TEXT, nullable=False, server_default=text("''")),
    Index("turns_by_shape", "user_id", "shape", "seq"),
)
"""What the fair queue and the books keep of each job. Apart from `jobs`, so that a column more does not mean to write
that table anew.
"""

gpu_days = Table(
    "gpu_days",
    metadata,
    user_id_column(primary_key=True),
    Column("day", Integer, primary_key=True),
    Column("gpu_ms", BigInteger, nullable=False),
)
"""What each user's jobs took on each day, for budgets: `usage` in few rows, so that each submit can ask."""

usage = Table(
    "usage",
    metadata,
    user_id_column(primary_key=True),
    Column("day", Integer, primary_key=True),
    Column("token_id", short_text(16), primary_key=True),
    Column("model", TEXT, primary_key=True),
    Column("token", short_text(64), nullable=False),
    Column("jobs", Integer, nullable=False),
    Column("failed", Integer, nullable=False),
    Column("cancelled", Integer, nullable=False),
    Column("gpu_ms", BigInteger, nullable=False),
    Column("uploaded_bytes", BigInteger, nullable=False),
    Column("sent_bytes", BigInteger, nullable=False, server_default=text("0")),
    Index("usage_by_day", "day"),
)
"""What each user used, by day, token and model. `token` is the name that the token had: the row outlives it."""

user_limits = Table(
    "user_limits",
    metadata,
    user_id_column(primary_key=True),
    Column("limits", TEXT, nullable=False),
)
"""Limits that a user has instead of the role's: a JSON object, by name."""

user_data = Table(
    "user_data",
    metadata,
    user_id_column(primary_key=True),
    Column("path", TEXT, primary_key=True),
    Column("size", WHOLE, nullable=False),
    Column("created", Float, nullable=False),
    Column("modified", Float, nullable=False),
    # Last: SQLite reads a row from its beginning, and so finds the other columns without the pages of a large file.
    Column("content", LargeBinary, nullable=False),
    Index("user_data_sizes", "user_id", "size"),
)
"""The files that ComfyUI keeps in `user/`, by canonical path; times are seconds since 1970. The index holds all that
the quota asks for.
"""


def _reference() -> tuple[Column[str], ...]:
    """What a file is called at a server. Fresh columns, because one belongs to one table."""
    return (
        Column("type", short_text(8), primary_key=True),
        Column("subfolder", TEXT, primary_key=True),
        Column("filename", TEXT, primary_key=True),
    )


own_files = Table(
    "own_files",
    metadata,
    user_id_column(primary_key=True),
    *_reference(),
    Column("size", WHOLE),
    Column("created_at", WHOLE, nullable=False),
)
"""Inputs that were uploaded through the gateway, by the name that their owner sees; `created_at` is in milliseconds."""

recorded_files = Table(
    "recorded_files",
    metadata,
    Column("server", TEXT, primary_key=True),
    Column("boot", TEXT, primary_key=True),
    *_reference(),
    Column("user_id", Integer, ForeignKey("users.id", ondelete="SET NULL")),
    Column("prompt_id", short_text(36), nullable=False),
    Index("recorded_files_by_user", "user_id"),
)
"""Temporary files, and outputs outside their owner's folder. Their names come again after a restart of the server,
hence the boot. Those of a removed user are nobody's (NULL): the server's cache may still give them to others.
"""

server_boots = Table(
    "server_boots",
    metadata,
    Column("server", TEXT, primary_key=True),
    Column("boot", TEXT, nullable=False),
    Column("last_prompt_id", TEXT),
)
"""In which lifetime of its process each server is."""

upload_days = Table(
    "upload_days",
    metadata,
    user_id_column(primary_key=True),
    Column("day", Integer, nullable=False),
    Column("size", WHOLE, nullable=False),
)
"""Bytes that each user uploaded on the last day of uploads, in days since 1970."""

removed_users = Table(
    "removed_users",
    metadata,
    Column("key", short_text(32), primary_key=True),
    Column("removed_at", Float, nullable=False),
)
"""Keys of roots whose users were removed together with their files."""
