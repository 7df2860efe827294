"""`comfy-gateway config`: the effective settings, secrets masked, and where each came from. It does not know what
they mean.
"""

from collections.abc import Iterator, Mapping

import typer
from pydantic import BaseModel, SecretStr

from gateway.cli.place import ConfigFile, DataDir, file_of, settings_of
from gateway.config import origin_of


def show(config: ConfigFile = None, data_dir: DataDir = None) -> None:
    """Show the effective settings, secrets masked, and where each came from."""
    settings = settings_of(config, data_dir)
    file = file_of(config)
    typer.echo(f"# file: {file or 'none'}")
    lines = [(key, written(value), origin_of(settings, key)) for key, value in flat(settings)]
    width = max(len(f"{key} = {value}") for key, value, _ in lines)
    for key, value, origin in lines:
        typer.echo(f"{f'{key} = {value}'.ljust(min(width, 72))}  # {origin}")


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
