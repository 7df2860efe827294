"""Where the gateway of a command lives: its settings, its store and its users. It does not know what the command
wants there.
"""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated

import typer

from gateway.config import FILE_NAME, Settings, load
from gateway.errors import NotFound
from gateway.store import Store, User
from gateway.store.data_directory import DataDirectory
from gateway.store.storage import Storage
from gateway.store.transactions import url_of

ConfigFile = Annotated[
    Path | None,
    typer.Option("--config", metavar="FILE", help=f"Settings; {FILE_NAME} of this directory if there is one."),
]
DataDir = Annotated[Path | None, typer.Option("--data-dir", metavar="DIR", help="Where the database and the keys are.")]


def file_of(config: Path | None) -> Path | None:
    """The file of settings that is read: the one that was named, or `gateway.toml` here."""
    here = Path(FILE_NAME)
    return config or (here if here.exists() else None)


def settings_of(config: Path | None, data_dir: Path | None, **flags: object) -> Settings:
    """The settings of one command; a flag that is None was not given.

    Raises:
        ConfigError: something is wrong with them.
    """
    return load(config=file_of(config), flags={"data_dir": data_dir, **flags}, environ=os.environ)


@asynccontextmanager
async def opened(settings: Settings, *, create: bool = False) -> AsyncIterator[Store]:
    """The store, also while a running gateway has it open.

    Raises:
        StoreUnavailable: it is not there, or cannot be opened.
    """
    async with await Store.open(url_of(settings), create=create) as store:
        yield store


def storage_of(settings: Settings, store: Store) -> Storage:
    """The users' files, to be used in an `async with` block."""
    return Storage(store, DataDirectory.of(settings.comfyui_files))


async def user_named(store: Store, name: str) -> User:
    """The user of that name.

    Raises:
        NotFound: nobody has it.
    """
    user = await store.users.by_name(name)
    if user is None:
        raise NotFound(f"There is no user “{name}”.")
    return user


def note(text: str) -> None:
    """Tell people; what a script reads goes to standard output instead."""
    typer.echo(text, err=True)


def files_counted(number: int) -> str:
    """A number of files in words."""
    return f"{number} file" if number == 1 else f"{number} files"


def table(*rows: tuple[str, ...]) -> None:
    """Columns on standard output, the first row being their names."""
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    for row in rows:
        typer.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
