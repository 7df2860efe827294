"""The parts of a JWT as bytes and JSON, each in its only spelling. They do not know who signed it."""

import base64
import json
from typing import Any


class InvalidJwt(Exception):
    """Not a JWT that holds here and now. The reason is for the log; it quotes nothing from the token."""


class ExpiredJwt(InvalidJwt):
    """It was good once."""


def json_object(segment: str) -> dict[str, Any]:
    """The JSON object in a segment; duplicate keys and numbers that JSON does not have are errors.

    Raises InvalidJwt, ValueError, RecursionError.
    """
    value = json.loads(
        canonical_bytes(segment).decode("utf-8"), object_pairs_hook=_distinct, parse_constant=_no_constant
    )
    if not isinstance(value, dict):
        raise InvalidJwt("not a JSON object")
    return value


def canonical_bytes(segment: str) -> bytes:
    """Decoded, if it is the only spelling of its bytes: the unused bits at the end are zero. Raises InvalidJwt."""
    data = base64.urlsafe_b64decode(segment + "=" * (-len(segment) % 4))
    if base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii") != segment:
        raise InvalidJwt("not the canonical spelling")
    return data


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    names = dict(pairs)
    if len(names) != len(pairs):
        raise InvalidJwt("a duplicate key")
    return names


def _no_constant(_name: str) -> None:
    raise InvalidJwt("NaN or Infinity")
