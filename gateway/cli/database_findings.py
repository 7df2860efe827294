"""What `check` says of what the gateway keeps: the keys, the database, and the users in it. It does not know what a
request needs of them."""

import secrets
import shutil
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from pydantic import SecretStr

from gateway.cli.findings import Finding, fail, ok, warn
from gateway.config import ConfigError, Settings
from gateway.config.checks import without_password
from gateway.errors import StoreUnavailable
from gateway.store import Store, User
from gateway.store.keys import FILE_NAME, ensure_keys
from gateway.store.sqlite import path_of
from gateway.store.transactions import url_of

MEBIBYTE: Final = 1024 * 1024
LITTLE_MB: Final = 1024
TOO_LITTLE_MB: Final = 64


def keys(settings: Settings) -> list[Finding]:
    """The keys that sign sessions."""
    path = settings.data_dir / FILE_NAME
    if settings.secret_key is not None:
        return [ok("keys", "made of the setting secret_key")]
    if not path.exists():
        return [warn("keys", f"{path} is not there yet", "The first “serve” makes it.")]
    if stat.S_IMODE(path.stat().st_mode) & 0o077:
        words = f"{path} can be read by other users of this machine"
        return [fail("keys", words, f"chmod 600 {path}; if somebody may have read it, move it away: all log in anew.")]
    try:
        ensure_keys(settings.data_dir, secret_key=None, random=secrets.token_bytes)
    except ConfigError as error:
        remedy = "Make it readable for the user that the gateway runs as."
        return [fail("keys", problem, remedy) for problem in error.problems]
    return [ok("keys", f"{path}, for its owner alone")]


async def database(settings: Settings) -> list[Finding]:
    """Whether it is there, up to date and takes writes, and whether somebody can administer."""
    url = url_of(settings)
    path = path_of(url) if url.startswith("sqlite") else None
    try:
        if path is not None and not path.exists():
            return [warn("database", f"{path} is not there yet", "The first “serve” makes it.")]
        async with await Store.open(url, create=False) as store:
            await store.prove_writable()
            users = await store.users.all()
    except StoreUnavailable as fault:
        remedy = fault.details or "See that the disk is not full, and that the gateway's user may write the file."
        return [fail("database", f"{fault.message} {fault.reason}".strip(), remedy)]
    place = path or without_password(SecretStr(url))
    room = [] if path is None else _room(path)
    return [ok("database", f"{place}, up to date, takes writes"), *room, *_people(settings, users)]


async def client_id(settings: Settings) -> str | None:
    """The id under which the gateway submits to its ComfyUI; None if it never did, or the database cannot be read."""
    try:
        async with await Store.open(url_of(settings), create=False) as store:
            return await store.servers.known(settings.comfyui[0])
    except StoreUnavailable:
        return None


def _room(path: Path) -> Iterator[Finding]:
    free = shutil.disk_usage(path.parent).free // MEBIBYTE
    if free < LITTLE_MB:
        level = fail if free < TOO_LITTLE_MB else warn
        yield level("disk", f"{free} MiB are free where the database is", "Make room: without it nobody can submit.")


def _people(settings: Settings, users: Sequence[User]) -> Iterator[Finding]:
    lost = sorted({user.role for user in users} - settings.roles.keys())
    if lost:
        names = ", ".join(lost)
        remedy = "Add them, or give their users another role."
        yield warn("users", f"roles that the settings do not have: {names}", remedy)
    able = [user for user in users if not user.disabled and _administers(settings, user)]
    if not able:
        remedy = "comfy-gateway user add NAME --role admin"
        yield warn("users", f"{len(users)}, and none that administers", remedy)
    else:
        yield ok("users", f"{len(users)}, of whom {len(able)} can administer")


def _administers(settings: Settings, user: User) -> bool:
    role = settings.roles.get(user.role)
    return role is not None and "admin" in role.permissions
