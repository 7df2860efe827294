"""Limits of single users on the command line: read, checked and shown. It does not know where they are kept."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import orjson

from gateway.config import Role, Settings
from gateway.errors import InvalidRequest
from gateway.policy.limits import overridden, parse_limit
from gateway.store import User


def read_limits(texts: Iterable[str]) -> dict[str, Any]:
    """What `--limit NAME=VALUE` says, each time it is given. Raises InvalidRequest."""
    try:
        return dict(parse_limit(text) for text in texts)
    except ValueError as error:
        raise InvalidRequest(f"{error}.") from None


def require_limits(settings: Settings, role: str, limits: Mapping[str, Any]) -> None:
    """Returns if a user of the role may have the limits; raises InvalidRequest, which says why not."""
    known = settings.roles.get(role)
    if known is None:
        raise InvalidRequest(f"The settings have no role “{role}”, which this user has.")
    _, problems = overridden(known, limits)
    if problems:
        raise InvalidRequest(f"{'; '.join(problems)}.")


def require_own(user: User, names: Sequence[str]) -> None:
    """Returns if the user has limits of these names; raises InvalidRequest if not: it may be a typing error."""
    own = orjson.loads(user.limits)
    for name in names:
        if name not in own:
            raise InvalidRequest(f"{user.name} has no limit “{name}” of their own.")


def role_of(settings: Settings, user: User) -> Role:
    """The user's role with the user's own limits; one without limits, where the settings have no such role."""
    role = settings.roles.get(user.role, Role(permissions=frozenset()))
    return overridden(role, orjson.loads(user.limits))[0]


def own_limits(user: User) -> str:
    """As they were given, or a dash."""
    own = orjson.loads(user.limits)
    return ", ".join(f"{name}={_written(value)}" for name, value in sorted(own.items())) or "-"


def _written(value: Any) -> str:
    if value is None:
        return "none"
    return value if isinstance(value, str) else orjson.dumps(value).decode()
