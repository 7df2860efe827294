"""`comfy-gateway user`: adds, lists, changes, disables and removes users. It does not know how a password is proved."""

import asyncio
import secrets
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import typer

from gateway.cli.limits import own_limits, read_limits, require_limits, require_own
from gateway.cli.link import add_commands
from gateway.cli.moments import day
from gateway.cli.place import (
    ConfigFile,
    DataDir,
    files_counted,
    note,
    opened,
    settings_of,
    storage_of,
    table,
    user_named,
)
from gateway.config import Settings
from gateway.errors import InvalidRequest, UpstreamFault
from gateway.identity.passwords import Passwords
from gateway.store import User
from gateway.store.upload_room import megabytes

app = typer.Typer(help="Users.", no_args_is_help=True, rich_markup_mode=None)
add_commands(app)

Name = Annotated[str, typer.Argument(metavar="NAME")]
PasswordStdin = Annotated[
    bool, typer.Option("--password-stdin", help="Read the password, one line, from standard input.")
]


@app.command()
def add(
    name: Name,
    role: Annotated[str, typer.Option(help="One of the roles in the settings.")] = "member",
    password_stdin: PasswordStdin = False,
    config: ConfigFile = None,
    data_dir: DataDir = None,
) -> None:
    """Add a user; the password is asked for on a terminal."""
    settings = settings_of(config, data_dir)
    _require_role(settings, role)
    password_hash = _hash(_password(stdin=password_stdin)) if password_stdin or sys.stdin.isatty() else None
    asyncio.run(_add(settings, name, role=role, password_hash=password_hash))
    note(f"Added {name} ({role})." if password_hash else f"Added {name} ({role}) without a password: tokens only.")


@app.command("list")
def list_(config: ConfigFile = None, data_dir: DataDir = None) -> None:
    """List the users."""
    users = asyncio.run(_all(settings_of(config, data_dir)))
    heads = ("NAME", "ROLE", "STATE", "PASSWORD", "ADDED", "LIMITS OF THEIR OWN")
    table(heads, *(_row(user) for user in users))


@app.command("set")
def set_(
    name: Name,
    role: Annotated[str | None, typer.Option(help="One of the roles in the settings.")] = None,
    password: Annotated[bool, typer.Option("--password", help="Ask for a new password.")] = False,
    password_stdin: PasswordStdin = False,
    limit: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=VALUE", help="A limit instead of the role's; “none” is no limit. May be repeated."),
    ] = None,
    no_limit: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="Let the role decide again. May be repeated.")
    ] = None,
    config: ConfigFile = None,
    data_dir: DataDir = None,
) -> None:
    """Change a user's role, password or limits; a new password ends the user's sessions."""
    if role is None and not (password or password_stdin or limit or no_limit):
        raise typer.BadParameter("nothing to set: give --role, --password, --password-stdin, --limit or --no-limit")
    settings = settings_of(config, data_dir)
    if role is not None:
        _require_role(settings, role)
    given = read_limits(limit or ())
    password_hash = _hash(_password(stdin=password_stdin)) if password or password_stdin else None
    asyncio.run(_change(settings, name, role=role, password_hash=password_hash, limits=given, no_limits=no_limit or ()))
    note(f"Changed {name}.")


@app.command()
def disable(name: Name, config: ConfigFile = None, data_dir: DataDir = None) -> None:
    """Refuse a user at once, and cancel the user's jobs; files, history and tokens are kept."""
    asyncio.run(_change(settings_of(config, data_dir), name, disabled=True))
    note(f"Disabled {name}.")


@app.command()
def enable(name: Name, config: ConfigFile = None, data_dir: DataDir = None) -> None:
    """Let a disabled user in again."""
    asyncio.run(_change(settings_of(config, data_dir), name, disabled=False))
    note(f"Enabled {name}.")


@app.command()
def remove(
    name: Name,
    keep_files: Annotated[bool, typer.Option("--keep-files", help="Leave the files in ComfyUI's folders.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    config: ConfigFile = None,
    data_dir: DataDir = None,
) -> None:
    """Remove a user with all tokens, sessions, jobs, user data and, where ComfyUI's data directory is mounted, files.

    What runs for the user is ended. On a terminal it asks before it deletes files.
    """
    settings = settings_of(config, data_dir)
    with_files = settings.comfyui_files is not None and not keep_files
    if with_files and not yes and sys.stdin.isatty():
        typer.confirm(asyncio.run(_question(settings, name)), abort=True, err=True)
    note(asyncio.run(_remove(settings, name, with_files=with_files)))


async def _add(settings: Settings, name: str, *, role: str, password_hash: str | None) -> None:
    async with opened(settings, create=True) as store:
        await store.users.add(name, role=role, now=time.time(), random=secrets.token_bytes, password_hash=password_hash)


async def _all(settings: Settings) -> tuple[User, ...]:
    async with opened(settings) as store:
        return await store.users.all()


async def _change(
    settings: Settings,
    name: str,
    *,
    role: str | None = None,
    password_hash: str | None = None,
    disabled: bool | None = None,
    limits: Mapping[str, Any] | None = None,
    no_limits: Sequence[str] = (),
) -> None:
    async with opened(settings) as store:
        user = await user_named(store, name)
        if limits or no_limits:
            require_limits(settings, role or user.role, limits or {})
            require_own(user, no_limits)
        if role is not None or password_hash is not None or disabled is not None:
            await store.users.set(user.id, role=role, password_hash=password_hash, disabled=disabled)
        if limits or no_limits:
            await store.limits.change(user.id, given=limits or {}, taken=no_limits)


async def _question(settings: Settings, name: str) -> str:
    async with opened(settings) as store, storage_of(settings, store) as storage:
        user = await user_named(store, name)
        files = await storage.files(user.id, newest=0)
    return f"Remove {name} and {files_counted(len(files))} ({megabytes(sum(kept.size or 0 for kept in files))})?"


async def _remove(settings: Settings, name: str, *, with_files: bool) -> str:
    """Remove the user; what to say. First the user, so that nobody makes files any more; a gateway that runs deletes
    again what a job of theirs writes after this, and what a crash left."""
    async with opened(settings) as store, storage_of(settings, store) as storage:
        user = await user_named(store, name)
        root = await store.roots.of(user.id)
        await store.users.remove(user.id, with_files_at=time.time() if with_files else None)
        if not with_files:
            return f"Removed {name}. Files stay where they are: {root.path} in ComfyUI's input and output folders."
        try:
            return f"Removed {name} and {files_counted(await storage.delete_all(root))}."
        except UpstreamFault as fault:
            return f"Removed {name}. The files are deleted when the gateway can do so ({fault.reason})."


def _row(user: User) -> tuple[str, ...]:
    state = "disabled" if user.disabled else "enabled"
    return (user.name, user.role, state, "yes" if user.password_hash else "no", day(user.created_at), own_limits(user))


def _require_role(settings: Settings, role: str) -> None:
    if role not in settings.roles:
        raise InvalidRequest(f"There is no role “{role}”; there are {', '.join(sorted(settings.roles))}.")


def _password(*, stdin: bool) -> str:
    """The new password, from standard input or from whoever sits at the terminal."""
    if stdin:
        return sys.stdin.readline().rstrip("\r\n")
    if not sys.stdin.isatty():
        raise InvalidRequest("There is no terminal to ask for a password on: use --password-stdin.")
    answer: str = typer.prompt("Password", hide_input=True, confirmation_prompt=True, err=True)
    return answer


def _hash(password: str) -> str:
    try:
        return Passwords().hash(password)
    except ValueError as error:
        raise InvalidRequest(str(error)) from None
