"""Puts the settings together from flags, environment, file and defaults, and remembers where each came from. It does
not know what they mean.

Every problem is reported at once, with its key and its place, because somebody who edits a file wants to edit it
once.
"""

import json
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError
from pydantic_settings import EnvSettingsSource

from gateway.config.settings import Origin, Settings

FILE_NAME: Final = "gateway.toml"
_PREFIX: Final = "GATEWAY_"
_TABLES: Final = ("address_rates", "roles", "issuers", "sso", "identity_header", "networks")
_CLIENT_SECRET: Final = re.compile(r"GATEWAY_SSO_([A-Z0-9_]+)_CLIENT_SECRET")

_LATER: Final = {"redis_url", "accel"}
"""Settings that are planned: refused with a word of their own, because to ignore a limit or a store in silence is
worse.
"""
KeyPath = tuple[str, ...]
"""Where a value stands: ("roles", "member", "max_queued")."""


class ConfigError(Exception):
    """The settings cannot be used. `problems` has one line for each thing to mend."""

    def __init__(self, problems: tuple[str, ...]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


@dataclass(frozen=True, slots=True)
class _Layer:
    origin: Origin
    values: Mapping[str, Any]
    place: str = ""

    def name(self, path: KeyPath) -> str:
        """The place as the operator wrote it: "environment GATEWAY_PORT", "flag --port", "file gateway.toml"."""
        if self.origin == "environment":
            return f"environment {_PREFIX}{path[0].upper()}"
        if self.origin == "flag":
            return f"flag --{path[0].replace('_', '-')}"
        return f"file {self.place}" if self.origin == "file" else "default"


def load(*, config: Path | None, flags: Mapping[str, object], environ: Mapping[str, str]) -> Settings:
    """The effective settings. A flag that is None was not given.

    Raises:
        ConfigError: for everything that is wrong, not only the first.
    """
    problems: list[str] = []
    layers = (
        _Layer("flag", {key: value for key, value in flags.items() if value is not None}),
        _Layer("environment", _from_environment(environ, problems)),
        _Layer("file", _from_file(config, problems), str(config)),
        _Layer("default", {"data_dir": _data_dir(environ)}),
    )
    problems += dict.fromkeys(_planned(layers))
    merged = _merged(layers)
    secrets = _put_client_secrets(merged, environ, problems)
    try:
        settings = Settings(**merged)
    except ValidationError as error:
        raise ConfigError((*problems, *_complaints(error, layers))) from None
    if problems:
        raise ConfigError(tuple(problems))
    settings._origins = {**_origins(layers), **dict.fromkeys(secrets, "environment")}
    return settings


def origin_of(settings: Settings, key: str) -> Origin:
    """Where the value of `key` came from; dots lead into tables: `roles.member.max_queued`."""
    return next((origin for path, origin in settings._origins.items() if ".".join(path) == key), "default")


def _from_environment(environ: Mapping[str, str], problems: list[str]) -> dict[str, Any]:
    ours = {name: value for name, value in environ.items() if name.upper().startswith(_PREFIX)}
    source = EnvSettingsSource(Settings, env_prefix=_PREFIX)
    source.env_vars = {name.lower(): value for name, value in ours.items()}
    known = {f"{_PREFIX}{key.upper()}" for key in {*Settings.model_fields, *_LATER}}
    unknown = [name for name in sorted(ours) if name.upper() not in known and not _CLIENT_SECRET.fullmatch(name)]
    problems += [f"{name} (environment): is no setting" for name in unknown]
    later = {key: ours[name] for key in _LATER for name in ours if name.upper() == f"{_PREFIX}{key.upper()}"}
    values = {**source(), **later}
    tables: dict[str, Any] = {key: _table(key, values[key], problems) for key in _TABLES if key in values}
    return {**values, **tables}


def _table(key: str, text: str, problems: list[str]) -> Any:
    """A table in an environment variable is written as JSON."""
    try:
        return json.loads(text)
    except ValueError:
        problems.append(f"{key} (environment {_PREFIX}{key.upper()}): is not JSON")
        return {}


def _from_file(config: Path | None, problems: list[str]) -> dict[str, Any]:
    if config is None:
        return {}
    try:
        return tomllib.loads(config.read_text("utf-8"))
    except OSError as error:
        problems.append(f"{config}: cannot be read: {error.strerror}")
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        problems.append(f"{config}: is not TOML: {error}")
    return {}


def _data_dir(environ: Mapping[str, str]) -> Path:
    home = Path(environ.get("HOME") or "~").expanduser()
    return Path(environ.get("XDG_DATA_HOME") or home / ".local" / "share") / "comfy-gateway"


def _planned(layers: tuple[_Layer, ...]) -> Iterator[str]:
    for layer in layers:
        for path in _leaves(layer.values):
            if _is_planned(path):
                yield f"{'.'.join(path[:3])} ({layer.name(path)}): is not available yet"


def _is_planned(path: KeyPath) -> bool:
    return path[:1] != () and path[0] in _LATER


def _merged(layers: tuple[_Layer, ...]) -> dict[str, Any]:
    """One dictionary; a key of an earlier layer hides that of a later one, whole, tables too."""
    merged: dict[str, Any] = {}
    for layer in reversed(layers):
        merged.update(layer.values)
    return merged


def _put_client_secrets(merged: dict[str, Any], environ: Mapping[str, str], problems: list[str]) -> tuple[KeyPath, ...]:
    """`GATEWAY_SSO_<NAME>_CLIENT_SECRET` goes into the table of that provider, wherever that comes from; the places
    where one went."""
    found = {name: value for name, value in environ.items() if _CLIENT_SECRET.fullmatch(name)}
    tables = merged.get("sso")
    names = tuple(tables) if isinstance(tables, Mapping) else ()
    given = [name for name in names if _secret_name(name) in found and isinstance(merged["sso"][name], Mapping)]
    for name in given:
        table = {**merged["sso"][name], "client_secret": found[_secret_name(name)]}
        merged["sso"] = {**merged["sso"], name: table}
    left = sorted(found.keys() - {_secret_name(name) for name in given})
    problems += [f"{name} (environment): there is no such table in [sso]" for name in left]
    return tuple(("sso", name, "client_secret") for name in given)


def _secret_name(provider: str) -> str:
    return f"GATEWAY_SSO_{provider.upper().replace('-', '_')}_CLIENT_SECRET"


def _complaints(error: ValidationError, layers: tuple[_Layer, ...]) -> Iterator[str]:
    for fault in error.errors(include_url=False, include_context=False, include_input=False):
        path = tuple(str(part) for part in fault["loc"] if isinstance(part, str))
        if _is_planned(path):
            continue
        place = next((layer.name(path) for layer in layers if path[:1] and path[0] in layer.values), "default")
        words = "is no setting" if fault["type"] == "extra_forbidden" else fault["msg"].removeprefix("Value error, ")
        yield f"{'.'.join(path)} ({place}): {words}"


def _origins(layers: tuple[_Layer, ...]) -> dict[KeyPath, Origin]:
    """Of each value that counts, and of each table around one, the layer that gave it."""
    origins: dict[KeyPath, Origin] = {}
    for layer in layers:
        seen = {path[0] for path in origins}
        for path in _leaves({key: value for key, value in layer.values.items() if key not in seen}):
            origins.update({path[:length]: layer.origin for length in range(1, len(path) + 1)})
    return origins


def _leaves(values: Mapping[str, Any], above: KeyPath = ()) -> Iterator[KeyPath]:
    for key, value in values.items():
        if isinstance(value, list) and value and isinstance(value[0], Mapping):
            value = {str(number): entry for number, entry in enumerate(value)}
        if isinstance(value, Mapping) and value:
            yield from _leaves(value, (*above, str(key)))
        else:
            yield (*above, str(key))
