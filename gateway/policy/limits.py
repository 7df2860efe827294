"""A role with the limits that one user has instead of the role's own.

It does not know users. Limits are the settings of a role that are numbers, or tables of them: what a role may do, and
with which nodes and models, is the role's alone.
"""

import json
from collections.abc import Mapping
from typing import Any, Final

from pydantic import ValidationError

from gateway.config import Role

NOT_LIMITS: Final = frozenset({"permissions", "routes", "events", "nodes", "models"})
LIMITS: Final = tuple(name for name in Role.model_fields if name not in NOT_LIMITS)

Overrides = Mapping[str, Any]
"""By the name of the setting, or `table.key` for one value of a table."""


def parse_limit(text: str) -> tuple[str, Any]:
    """Read `NAME=VALUE` as an administrator writes it; `none` is no limit at all. Raises ValueError in words."""
    name, equals, value = (part.strip() for part in text.partition("="))
    if not name or not equals or not value:
        raise ValueError(f"“{text}” is not NAME=VALUE, such as max_queued=5")
    if value == "none":
        return name, None
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value


def overridden(role: Role, overrides: Overrides) -> tuple[Role, tuple[str, ...]]:
    """The role with the overrides, and what is wrong with those that it cannot have, which are left out.

    Each is checked by itself: one that a newer version does not have any more must not lift the others.
    """
    problems: list[str] = []
    for name, value in overrides.items():
        try:
            role = _with(role, name, value)
        except ValueError as error:
            problems.append(str(error))
    return role, tuple(problems)


def _with(role: Role, name: str, value: Any) -> Role:
    outer, _, key = name.partition(".")
    if outer not in LIMITS:
        raise ValueError(f"“{name}” is no limit; there are {', '.join(LIMITS)}")
    kept = {field: getattr(role, field) for field in Role.model_fields}
    try:
        return Role.model_validate({**kept, outer: _in_table(kept[outer], key, value) if key else value}, strict=True)
    except ValidationError as error:
        words = error.errors(include_url=False)[0]["msg"].removeprefix("Value error, ")
        raise ValueError(f"{name}: {words}") from None


def _in_table(table: Any, key: str, value: Any) -> dict[str, Any]:
    """A table with one value changed; None takes it out."""
    plain = table.model_dump(by_alias=True) if hasattr(table, "model_dump") else table
    values = {**plain, key: value} if isinstance(plain, Mapping) else {key: value}
    return {name: entry for name, entry in values.items() if entry is not None}
