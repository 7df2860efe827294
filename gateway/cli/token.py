"""`comfy-gateway token`: hands out, lists and revokes API tokens. It does not know how a request proves one."""

import asyncio
import re
import secrets
import time
from typing import Annotated, get_args

import typer

from gateway.cli.moments import day, seconds
from gateway.cli.place import ConfigFile, DataDir, note, opened, settings_of, table, user_named
from gateway.config import Permission, Settings
from gateway.errors import InvalidRequest, NotFound
from gateway.identity import tokens
from gateway.store import Store, TokenRow, User

app = typer.Typer(help="API tokens.", no_args_is_help=True, rich_markup_mode=None)


@app.command()
def create(
    user: Annotated[str, typer.Argument(metavar="USER")],
    name: Annotated[str, typer.Option(help="What the token is for.")] = "",
    expires: Annotated[
        str | None, typer.Option(metavar="30d", help="How long it is good; for ever if not given.")
    ] = None,
    scope: Annotated[
        list[str] | None, typer.Option(help="read, submit or admin; all of the role if not given.")
    ] = None,
    config: ConfigFile = None,
    data_dir: DataDir = None,
) -> None:
    """Print a new token, once, alone on standard output."""
    settings = settings_of(config, data_dir)
    lifetime = None if expires is None else seconds(expires)
    _require_name(name)
    text = asyncio.run(_create(settings, user, name=name, lifetime=lifetime, scopes=_scopes(scope)))
    typer.echo(text)
    note("This is the only time the token is shown.")


@app.command("list")
def list_(
    user: Annotated[str | None, typer.Argument(metavar="[USER]")] = None,
    config: ConfigFile = None,
    data_dir: DataDir = None,
) -> None:
    """List the tokens of a user, or of all."""
    rows = asyncio.run(_list(settings_of(config, data_dir), user))
    table(("ID", "USER", "NAME", "SCOPES", "STATE", "CREATED", "EXPIRES", "LAST USED"), *rows)


@app.command()
def revoke(
    token_id: Annotated[str, typer.Argument(metavar="ID")], config: ConfigFile = None, data_dir: DataDir = None
) -> None:
    """End a token at once, open sockets included."""
    whole = tokens.parse(token_id)
    token_id = token_id if whole is None else whole.id
    asyncio.run(_revoke(settings_of(config, data_dir), token_id))
    note(f"Revoked {token_id}.")


async def _create(
    settings: Settings, name_of_user: str, *, name: str, lifetime: int | None, scopes: frozenset[str] | None
) -> str:
    now = time.time()
    minted = tokens.mint(secrets.token_bytes)
    async with opened(settings) as store:
        user = await user_named(store, name_of_user)
        _require_permissions(settings, user, scopes)
        await store.tokens.add(
            TokenRow(
                id=minted.id,
                user_id=user.id,
                name=name,
                digest=minted.digest,
                scopes=scopes,
                created_at=now,
                expires_at=None if lifetime is None else now + lifetime,
            )
        )
    return minted.secret_text


async def _list(settings: Settings, name: str | None) -> list[tuple[str, ...]]:
    async with opened(settings) as store:
        names = {user.id: user.name for user in await store.users.all()}
        found = await _tokens_of(store, name)
    return [(token.id, names.get(token.user_id, "-"), *_cells(token, time.time())) for token in found]


async def _tokens_of(store: Store, name: str | None) -> tuple[TokenRow, ...]:
    if name is None:
        return await store.tokens.all()
    return await store.tokens.of_user((await user_named(store, name)).id)


async def _revoke(settings: Settings, token_id: str) -> None:
    async with opened(settings) as store:
        if await store.tokens.get(token_id) is None:
            raise NotFound(f"There is no token “{token_id}”; “comfy-gateway token list” shows their ids.")
        await store.tokens.revoke(token_id, now=time.time())


def _cells(token: TokenRow, now: float) -> tuple[str, ...]:
    scopes = "all of the role" if token.scopes is None else ",".join(sorted(token.scopes))
    times = (day(token.created_at), day(token.expires_at), day(token.last_used_at))
    return (token.name or "-", scopes, _state(token, now), *times)


def _state(token: TokenRow, now: float) -> str:
    if token.revoked_at is not None:
        return "revoked"
    return "expired" if token.expires_at is not None and now >= token.expires_at else "good"


def _scopes(given: list[str] | None) -> frozenset[str] | None:
    unknown = sorted(set(given or ()) - set(get_args(Permission)))
    if unknown:
        raise InvalidRequest(f"There is no scope “{unknown[0]}”; there are {', '.join(get_args(Permission))}.")
    return frozenset(given) if given else None


def _require_name(name: str) -> None:
    if re.fullmatch(r"[^\x00-\x1f\x7f-\x9f\u2028\u2029]{0,64}", name) is None:
        raise InvalidRequest("A token's name has at most 64 characters, on one line.")


def _require_permissions(settings: Settings, user: User, scopes: frozenset[str] | None) -> None:
    """A scope above the role would be worth nothing today, and something on the day when the role is raised."""
    role = settings.roles.get(user.role)
    if role is None:
        raise InvalidRequest(f"{user.name} has the role “{user.role}”, which is not in the settings.")
    beyond = sorted((scopes or frozenset()) - role.permissions)
    if beyond:
        raise InvalidRequest(f"{user.name} has the role “{user.role}”, which does not have “{beyond[0]}”.")
