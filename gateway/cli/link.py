"""`comfy-gateway user link`: who of those that somebody else knows is which user here. It does not know how they prove
it.

Whoever comes in by single sign-on is a new user, whatever their name: only an administrator can say that they are
somebody who is here already.
"""

import asyncio
import time
from typing import Annotated

import typer

from gateway.cli.moments import day
from gateway.cli.place import ConfigFile, DataDir, note, opened, settings_of, table, user_named
from gateway.config import Settings
from gateway.errors import InvalidRequest
from gateway.identity.issuer_jwt import is_subject

Issuer = Annotated[str, typer.Argument(metavar="ISSUER", help="As the settings have it, or header:NAME-OF-THE-HEADER.")]
Subject = Annotated[str, typer.Argument(metavar="SUBJECT", help="Who they are there: the log says it at a refusal.")]


def add_commands(app: typer.Typer) -> None:
    """Put them among the others about users."""
    app.command()(link)
    app.command()(links)
    app.command()(unlink)


def link(
    name: Annotated[str, typer.Argument(metavar="NAME")],
    issuer: Issuer,
    subject: Subject,
    config: ConfigFile = None,
    data_dir: DataDir = None,
) -> None:
    """Let somebody whom an issuer knows come in as this user."""
    asyncio.run(_link(settings_of(config, data_dir), name, issuer=issuer, subject=subject))
    note(f"{subject} of {issuer} is {name} here.")


def links(config: ConfigFile = None, data_dir: DataDir = None) -> None:
    """List who comes in by which issuer."""
    rows = asyncio.run(_links(settings_of(config, data_dir)))
    table(("NAME", "ISSUER", "SUBJECT", "SINCE", "LAST USED"), *rows)


def unlink(issuer: Issuer, subject: Subject, config: ConfigFile = None, data_dir: DataDir = None) -> None:
    """Forget who somebody is; the user stays."""
    asyncio.run(_unlink(settings_of(config, data_dir), issuer, subject))
    note(f"{subject} of {issuer} is nobody here now.")


async def _link(settings: Settings, name: str, *, issuer: str, subject: str) -> None:
    if not is_subject(subject):
        raise InvalidRequest("Nobody can be that subject.")
    async with opened(settings) as store:
        user = await user_named(store, name)
        await store.identities.link(user.id, issuer, subject, now=time.time())


async def _links(settings: Settings) -> list[tuple[str, ...]]:
    async with opened(settings) as store:
        names = await store.users.names()
        known = await store.identities.all()
    return [
        (names.get(one.user_id, ""), one.issuer, one.subject, day(one.created_at), day(one.last_used_at))
        for one in known
    ]


async def _unlink(settings: Settings, issuer: str, subject: str) -> None:
    async with opened(settings) as store:
        await store.identities.unlink(issuer, subject)
