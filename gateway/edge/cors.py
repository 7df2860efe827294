"""Which answers the script of another site may read: those to listed origins, with tokens, never with cookies.

It does not know what is answered. `Access-Control-Allow-Credentials` is never sent, so a browser keeps the session
cookie out of such requests; and a cookie that comes with a foreign Origin all the same is refused by `policy.origin`.
"""

import re
from collections.abc import Iterable, Sequence
from typing import Final

Headers = list[tuple[bytes, bytes]]

ALLOW: Final = b"DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT"
_EXPOSED: Final = (
    b"Content-Disposition, ETag, RateLimit-Limit, RateLimit-Remaining, RateLimit-Reset, Retry-After, "
    b"X-Gateway-Budget, X-Gateway-Budget-Warning, X-Request-ID"
)
_HEADER_NAMES: Final = re.compile(rb"[A-Za-z0-9-]{1,64}(?:[ \t]*,[ \t]*[A-Za-z0-9-]{1,64}){0,31}")


class Cors:
    """The listed origins; an empty list means that no other site may read anything."""

    def __init__(self, origins: Sequence[str]) -> None:
        self._origins: Final = frozenset(origin.lower().encode("ascii") for origin in origins)

    def headers(self, request_headers: Iterable[tuple[bytes, bytes]]) -> Headers:
        """What is added to the answer of any request with these headers."""
        if not self._origins:
            return []
        origin = _single(request_headers, b"origin")
        if origin is None or origin not in self._origins:
            return [(b"vary", b"Origin")]
        return [
            (b"vary", b"Origin"),
            (b"access-control-allow-origin", origin),
            (b"access-control-expose-headers", _EXPOSED),
        ]

    def preflight(self, request_headers: Iterable[tuple[bytes, bytes]]) -> Headers | None:
        """The answer to a browser that asks for a listed origin what it may send; None if nobody listed asks."""
        fields = list(request_headers)
        origin, method = _single(fields, b"origin"), _single(fields, b"access-control-request-method")
        if origin is None or origin not in self._origins or method is None:
            return None
        answer = [(b"access-control-allow-methods", ALLOW), (b"access-control-max-age", b"600")]
        names = _single(fields, b"access-control-request-headers")
        if names is not None and _HEADER_NAMES.fullmatch(names):
            answer.append((b"access-control-allow-headers", names))
        return answer


def _single(headers: Iterable[tuple[bytes, bytes]], name: bytes) -> bytes | None:
    values = [value for key, value in headers if key == name]
    return values[0] if len(values) == 1 else None
