"""Proof that a request with a session cookie comes from our own pages. It does not know what the request wants, nor
whose it is.

A browser adds the cookie to whatever page asks, so the cookie alone proves who but not why. `Origin` and
`Sec-Fetch-Site` are written by the browser and cannot be set by a page; a request from our own pages carries at least
one of them whenever it could change something.
"""

import re
from collections.abc import Iterable
from typing import Final
from urllib.parse import urlsplit

from gateway.errors import CsrfRefused, UnsupportedMedia

Headers = Iterable[tuple[bytes, bytes]]

_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
_DEFAULT_PORTS = {"http": ":80", "https": ":443"}
_JSON = re.compile(rb"application/json[ \t]*(;[ \t]*charset=\"?utf-8\"?[ \t]*)?", re.ASCII | re.IGNORECASE)
_ADVICE = (
    "Open the gateway at its own address. Behind a proxy, set GATEWAY_PUBLIC_URL to that address, "
    "or let the proxy pass the Host header on."
)

SECURE_COOKIE: Final = "__Host-cgw_session"
PLAIN_COOKIE: Final = "cgw_session"


def cookie_name(*, secure: bool) -> str:
    """The session cookie. Over https only the `__Host-` one counts: no other host and no plain page can set that."""
    return SECURE_COOKIE if secure else PLAIN_COOKIE


def own_origins(*, public_url: str | None, host: str | None) -> frozenset[str]:
    """The origins of our own pages: that of the public URL, or else whatever the request's Host says, with http and
    https.

    Both schemes, because TLS may end in front of us without a word; an attacker on the plain-text side of the same
    host and port could change the pages themselves.
    """
    if public_url is not None:
        parts = urlsplit(public_url)
        return frozenset({_origin(parts.scheme.lower(), parts.netloc.lower())})
    return frozenset() if not host else frozenset(_origin(scheme, host.lower()) for scheme in _DEFAULT_PORTS)


def _origin(scheme: str, netloc: str) -> str:
    """As browsers write it: without the scheme's own port."""
    return f"{scheme}://{netloc.removesuffix(_DEFAULT_PORTS.get(scheme, ':'))}"


def require_same_origin(
    *, method: str, headers: Headers, own_origins: frozenset[str], websocket: bool, mutates: bool = False
) -> None:
    """Returns if a cookie may authenticate the request; raises CsrfRefused if it may not.

    `mutates` is for a route that changes something on GET. Reading needs no proof, but must not carry the Origin of
    another site: that is a script of theirs which asks for our answer. Anything else, and a websocket, needs an
    Origin that is ours or, without one, `Sec-Fetch-Site: same-origin`. Two that contradict prove nothing.
    """
    origins, sites = _values(headers, b"origin"), _values(headers, b"sec-fetch-site")
    if any(origin.decode("latin-1") not in own_origins for origin in origins) or len(origins) > 1:
        raise _refused(f"Origin {origins!r:.256} is not one of {sorted(own_origins)}")
    if method in _SAFE_METHODS and not websocket and not mutates:
        return
    if any(site != b"same-origin" for site in sites) or not (origins or sites):
        raise _refused(f"Origin {origins!r:.256} with Sec-Fetch-Site {sites!r:.256}")


def require_json(headers: Headers) -> None:
    """Returns if the body is declared as JSON; raises UnsupportedMedia if not.

    A foreign page's form can send `text/plain` or form fields without asking first, but never `application/json`; so
    for cookie sessions a JSON route takes nothing else.
    """
    types = _values(headers, b"content-type")
    if len(types) != 1 or _JSON.fullmatch(types[0].strip()) is None:
        raise UnsupportedMedia(
            "In a browser session this address takes only JSON.",
            details="Send the body with Content-Type: application/json, or use a token instead of the session cookie.",
            reason=f"Content-Type {types!r:.256} with a session cookie",
        )


def _values(headers: Headers, name: bytes) -> list[bytes]:
    return [value for key, value in headers if key == name]


def _refused(reason: str) -> CsrfRefused:
    return CsrfRefused("This request does not come from the gateway's own pages.", details=_ADVICE, reason=reason)
