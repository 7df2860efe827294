"""The migrations: which there are, which a database has, and running the missing ones. It does not know what a table
is for.
"""

from pathlib import Path
from typing import Final

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, inspect

_FOLDER: Final = Path(__file__).with_name("migrations")


def newest() -> str:
    """The revision that this version of the gateway works with."""
    head = ScriptDirectory(str(_FOLDER)).get_current_head()
    assert head is not None
    return head


def revision_of(connection: Connection) -> str | None:
    """The revision of a database; None before the first migration."""
    return MigrationContext.configure(connection).get_current_revision()


def is_empty(connection: Connection) -> bool:
    """Whether nothing was ever made in the database, so that making it new can lose nothing."""
    return not inspect(connection).get_table_names()


def is_known(revision: str) -> bool:
    """Whether a database of that revision is one of ours and not of a newer gateway."""
    return revision in {script.revision for script in ScriptDirectory(str(_FOLDER)).walk_revisions()}


def migrate(connection: Connection, *, to: str = "head") -> None:
    """Run what is missing up to that revision, in the transaction that `connection` is in: all of it or nothing."""
    config = Config()
    config.set_main_option("script_location", str(_FOLDER).replace("%", "%%"))
    config.attributes["connection"] = connection
    command.upgrade(config, to)
