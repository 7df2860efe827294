"""Proof that a request with an ambient credential comes from our own pages. It does not know what the request wants,
nor whose it is.

A browser adds the session cookie to whatever page asks, a proxy in front its header, and the network is where it is: so
these prove who but not why. `Origin` and `Sec-Fetch-Site` are written by the browser and cannot be set by a page; a
request from our own pages carries at least one of them whenever it could change something.
"""

import ipaddress
import re
from collections.abc import Iterable
from typing import Final
from urllib.parse import urlsplit

from gateway.errors import CsrfRefused, UnsupportedMedia
from gateway.identity.principal import Principal

Headers = Iterable[tuple[bytes, bytes]]

_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
_BROWSERS_HEADERS: Final = frozenset((b"origin", b"referer", b"cookie", b"accept-language"))
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


def may_be_forged(principal: Principal, headers: Headers) -> bool:
    """Whether another site's page may have made a browser ask, so that a proof is needed.

    Scripts use a proxy's header and a network, too, and cannot prove to be one of our pages. A browser names itself,
    and no page can stop it from that; what does not look like one at all is none.
    """
    return principal.is_cookie or (principal.is_ambient and _could_be_a_browsers(headers))


def _could_be_a_browsers(headers: Headers) -> bool:
    return any(
        name in _BROWSERS_HEADERS
        or name.startswith((b"sec-fetch-", b"sec-ch-"))
        or (name == b"user-agent" and value.lstrip().lower().startswith(b"mozilla/"))
        for name, value in headers
    )


def require_lax(*, method: str, headers: Headers, websocket: bool) -> None:
    """Raise CsrfRefused for a part of another site's page: with that no browser would send a `SameSite=Lax` cookie."""
    sites = _values(headers, b"sec-fetch-site")
    navigates = method == "GET" and not websocket and _values(headers, b"sec-fetch-mode") == [b"navigate"]
    if not navigates and any(site not in (b"same-origin", b"none") for site in sites):
        raise _refused(f"Sec-Fetch-Site {sites!r:.256} without a cookie")


def require_own_host(*, public_url: str | None, host: str | None) -> None:
    """Raise CsrfRefused if somebody else's name may have led a browser here: to it we would be that somebody's pages.

    A cookie is bound to a name, but a network is not. Nobody else can have our own name, an address, or a name without
    a dot.
    """
    name = (host or "").lower().rpartition(":")[0] if re.search(r":\d+$", host or "") else (host or "").lower()
    own = urlsplit(public_url).hostname if public_url is not None else None
    if name in (own, "localhost") or (name and "." not in name and ":" not in name):
        return
    try:
        ipaddress.ip_address(name.strip("[]"))
    except ValueError:
        raise _refused(f"Host {host!r:.256} is not known to be ours, and the network is the only credential") from None


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
