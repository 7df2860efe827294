"""Query strings with one value per name, or a refusal.

It does not know which names a route has. ComfyUI's server takes the first of two equal names and other readers the
last, so a name that comes twice is refused wherever the gateway decides on a query.
"""

import re

from gateway.comfy.paths import decoded_text
from gateway.errors import InvalidRequest

_UNSENDABLE = re.compile(rb"[^\x21-\x7e]|#")
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f]")


def require_sendable(query: bytes) -> None:
    """Raise InvalidRequest for bytes that a query cannot hold unencoded."""
    if _UNSENDABLE.search(query):
        raise InvalidRequest("The query holds a character that must be percent-encoded.")


def query_values(query: bytes) -> dict[str, str]:
    """Give the decoded values by name, `+` as a space, a name without `=` as `""`.

    Raises InvalidRequest for a name that comes twice, broken escapes, broken UTF-8 and control characters.
    """
    require_sendable(query)
    values: dict[str, str] = {}
    for piece in filter(None, query.split(b"&")):
        name, _, value = piece.partition(b"=")
        key = _text(name)
        if key in values:
            raise InvalidRequest("A query parameter comes twice.", details=f"Send {key[:64]!r} once.")
        values[key] = _text(value)
    return values


def _text(piece: bytes) -> str:
    text = decoded_text(piece.replace(b"+", b" "))
    if _CONTROL.search(text):
        raise InvalidRequest("The query holds a control character.")
    return text
