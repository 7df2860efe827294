"""Whether the headers of a websocket's opening handshake are ones that can be answered (RFC 6455, 4.2.1).

It does not know who asks, nor what for. The library below us judges the same headers later, and refuses in a form of
its own; what passes here it does not refuse.
"""

import re
from collections.abc import Sequence
from typing import Final

from gateway.errors import InvalidRequest

Headers = Sequence[tuple[bytes, bytes]]

VERSION: Final = b"13"

_KEY: Final = re.compile(rb"[A-Za-z0-9+/]{22}==")
"""16 bytes in base 64."""
_TOKEN: Final = re.compile(rb"[-!#$%&'*+.^_`|~0-9A-Za-z]+")


def judge_handshake(headers: Headers) -> None:
    """Raise InvalidRequest for a handshake that cannot be completed. The names are in lower case."""
    if _values(headers, b"sec-websocket-version") != [VERSION]:
        raise InvalidRequest(
            f"Websockets of version {VERSION.decode()} are spoken here.",
            details=f"Send Sec-WebSocket-Version: {VERSION.decode()}, once.",
            headers={"Sec-WebSocket-Version": VERSION.decode()},
        )
    keys = _values(headers, b"sec-websocket-key")
    if len(keys) != 1 or _KEY.fullmatch(keys[0]) is None:
        raise InvalidRequest("Sec-WebSocket-Key must be 16 bytes in base 64, once.")
    if b"upgrade" not in [option.lower() for option in _listed(headers, b"connection")]:
        raise InvalidRequest("A websocket is opened with “Connection: Upgrade”.")
    _listed(headers, b"sec-websocket-protocol")
    if len(_values(headers, b"origin")) > 1:
        raise InvalidRequest("Origin may come once.")


def _values(headers: Headers, name: bytes) -> list[bytes]:
    return [value.strip(b" \t") for key, value in headers if key == name]


def _listed(headers: Headers, name: bytes) -> list[bytes]:
    """The elements of a header that is a list of tokens; of none, if it is not there."""
    values = _values(headers, name)
    items = [item.strip(b" \t") for value in values for item in value.split(b",")]
    tokens = [item for item in items if item]
    if any(_TOKEN.fullmatch(token) is None for token in tokens) or (values and not tokens):
        raise InvalidRequest(f"{name.decode().title()} must be a list of words.", reason=f"{values!r:.256}")
    return tokens
