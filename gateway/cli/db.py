"""`comfy-gateway db`: the migrations. It does not know what is in the database."""

import asyncio

import typer

from gateway.cli.place import ConfigFile, DataDir, note, settings_of
from gateway.store.database import upgrade as run_migrations
from gateway.store.transactions import url_of

app = typer.Typer(help="The database.", no_args_is_help=True, rich_markup_mode=None)


@app.callback()
def group() -> None:
    """The database."""


@app.command()
def upgrade(config: ConfigFile = None, data_dir: DataDir = None) -> None:
    """Run the migrations that are missing; make the database if there is none."""
    changed = asyncio.run(run_migrations(url_of(settings_of(config, data_dir))))
    note("The database is up to date now." if changed else "The database was up to date.")
