"""`comfy-gateway config`: the effective settings, secrets masked, and where each came from. It does not know what
they mean, but where one leaves a decision to the gateway it tells what that was.
"""

import asyncio
from collections.abc import Iterator, Mapping

import typer
from pydantic import BaseModel, SecretStr

from gateway.cli.place import ConfigFile, DataDir, file_of, opened, settings_of
from gateway.config import Settings, origin_of
from gateway.config.checks import without_password
from gateway.errors import StoreUnavailable


def show(config: ConfigFile = None, data_dir: DataDir = None) -> None:
    """Show the effective settings, secrets masked, and where each came from."""
    settings = settings_of(config, data_dir)
    file = file_of(config)
    typer.echo(f"# file: {file or 'none'}")
    lines = [(key, written(_shown(key, value)), _origin(settings, key)) for key, value in flat(settings)]
    width = max(len(f"{key} = {value}") for key, value, _ in lines)
    for key, value, origin in lines:
        typer.echo(f"{f'{key} = {value}'.ljust(min(width, 72))}  # {origin}")


def _shown(key: str, value: object) -> object:
    """Of the database's address the password alone is a secret."""
    return without_password(value) if key == "database_url" and isinstance(value, SecretStr) else value


def _origin(settings: Settings, key: str) -> str:
    if key == "share_inputs" and settings.share_inputs is None:
        return f"{origin_of(settings, key)}: {asyncio.run(_decided(settings))}"
    return origin_of(settings, key)


async def _decided(settings: Settings) -> str:
    """What the gateway decided where it was not told; a command that shows settings must not need a database."""
    try:
        async with opened(settings) as store:
            shared = await store.servers.shares_inputs(settings.comfyui[0])
    except StoreUnavailable:
        shared = None
    if shared is None:
        return f"decided at the first contact with {settings.comfyui[0]}; until then false"
    return f"decided at the first contact with {settings.comfyui[0]}: {written(shared)}"


def flat(values: BaseModel, above: str = "") -> Iterator[tuple[str, object]]:
    """Every single setting with its dotted key, as an operator would write it in the file."""
    for name, field in type(values).model_fields.items():
        yield from _below(f"{above}{field.alias or name}", getattr(values, name))


def _below(key: str, value: object) -> Iterator[tuple[str, object]]:
    if isinstance(value, BaseModel):
        yield from flat(value, f"{key}.")
    elif isinstance(value, Mapping):
        for name, entry in value.items():
            yield from _below(f"{key}.{name}", entry)
    elif isinstance(value, tuple) and value and isinstance(value[0], BaseModel):
        for number, entry in enumerate(value):
            yield from _below(f"{key}.{number}", entry)
    else:
        yield key, value


def written(value: object) -> str:
    """One value as TOML writes it; TOML has no null, so that is a dash."""
    if value is None:
        return "-"
    if isinstance(value, SecretStr):
        return '"***"'
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return str(value)
    if isinstance(value, tuple | frozenset):
        return f"[{', '.join(written(item) for item in (sorted(value) if isinstance(value, frozenset) else value))}]"
    escaped = str(value).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
