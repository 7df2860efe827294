"""JWTs of configured issuers, strictly verified: like `jwt`, but signed by others with keys that anybody may know.

It does not know where the keys come from, nor who the subject is here. Of the header only what is listed may be said;
nothing in a token leads to a key that is not in the issuer's own set. Whatever happens on the way is `InvalidJwt`.
"""

import math
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from jose import jws

from gateway.identity.issuer_keys import IssuerKeys
from gateway.identity.jwt import MAX_LIFETIME
from gateway.identity.segments import ExpiredJwt, InvalidJwt, canonical_bytes, json_object

MAX_LENGTH: Final = 8192
"""Characters. Twice ours: they list groups, and RSA signatures are long."""

_SHAPE: Final = re.compile(r"([A-Za-z0-9_-]{1,1024})\.([A-Za-z0-9_-]{1,6800})\.([A-Za-z0-9_-]{80,1366})", re.ASCII)
"""Ours has a signature of 43 characters, so no text can be taken for both."""
_HEADER: Final = frozenset(("alg", "kid", "typ", "x5t", "x5t#S256"))
"""The last two are fingerprints of a certificate, which some issuers add. No `jku`, `jwk`, `x5u`, `crit` or `b64`."""
_TYPES: Final = frozenset(("jwt", "at+jwt", "application/at+jwt"))
_CLAIMED_TYPES: Final = frozenset(("bearer", "id", "access", "jwt"))
"""What one issuer calls its tokens inside them; its refresh tokens are signed with the same keys."""
_SUBJECT: Final = re.compile(r"(?!.*\.\.)[A-Za-z0-9][A-Za-z0-9._:|@+=~-]{0,254}", re.ASCII)


class UnknownKeyError(InvalidJwt):
    """Signed with a key that is not in the set: perhaps in a newer one."""


@dataclass(frozen=True, slots=True)
class Signed:
    """What an issuer signed. Times are seconds since 1970."""

    issuer: str
    algorithm: str
    issued_at: float
    expires_at: float
    claims: Mapping[str, Any] = field(repr=False)


def issuer_named(text: str) -> str | None:
    """Whom a token names as its issuer, not verified; None for what is in no such form. It never fails."""
    shape = _SHAPE.fullmatch(text) if len(text) <= MAX_LENGTH else None
    if shape is None:
        return None
    try:
        named = json_object(shape[2]).get("iss")
    except (InvalidJwt, ValueError, RecursionError):
        return None
    return named if isinstance(named, str) else None


def verify(
    text: str, keys: IssuerKeys, *, issuer: str, audiences: Collection[str], leeway: float, now: float
) -> Signed:
    """What the issuer says in `text`, if it says it to one of `audiences` and now.

    Raises:
        UnknownKeyError: the set of keys may be too old for it.
        ExpiredJwt: everything is right except that it is over.
        InvalidJwt: anything else; never another exception, whatever `text` is.
    """
    try:
        algorithm, claims = _payload(text, keys)
        _require_plain(claims)
        _require_for(claims, issuer=issuer, audiences=audiences)
        issued_at, expires_at = _times(claims, leeway=leeway, now=now)
    except InvalidJwt:
        raise
    except Exception as error:
        # RecursionError from deep JSON, and whatever the library raises: none of them may become a 500.
        raise InvalidJwt(f"unreadable: {type(error).__name__}") from None
    return Signed(issuer, algorithm, issued_at, expires_at, claims)


def is_subject(value: object) -> bool:
    """Whether it can be somebody's name for ever: plain characters, in no way a path."""
    return isinstance(value, str) and _SUBJECT.fullmatch(value) is not None


def _payload(text: str, keys: IssuerKeys) -> tuple[str, dict[str, Any]]:
    shape = _SHAPE.fullmatch(text) if len(text) <= MAX_LENGTH else None
    if shape is None:
        raise InvalidJwt("not in the form of a signed token")
    header = json_object(shape[1])
    canonical_bytes(shape[3])
    algorithm, kid = header.get("alg"), header.get("kid")
    if not header.keys() <= _HEADER or str(header.get("typ", "JWT")).lower() not in _TYPES:
        raise InvalidJwt("another kind of token")
    if not isinstance(algorithm, str) or not (kid is None or isinstance(kid, str)):
        raise InvalidJwt("names no key")
    key = keys.find(kid, algorithm)
    if key is None:
        raise UnknownKeyError("signed with no known key of the issuer")
    # A list with exactly one algorithm, which is the key's own: with more, a public key passes as a secret.
    jws.verify(text, key, algorithms=[algorithm])
    return algorithm, json_object(shape[2])


def _require_plain(claims: Mapping[str, Any]) -> None:
    """A token that says who somebody is; `events` are in those that end a login."""
    if not is_subject(claims.get("sub")):
        raise InvalidJwt("a subject that is none")
    if "events" in claims or str(claims.get("typ", "Bearer")).lower() not in _CLAIMED_TYPES:
        raise InvalidJwt("another kind of token")


def _require_for(claims: Mapping[str, Any], *, issuer: str, audiences: Collection[str]) -> None:
    if claims.get("iss") != issuer:
        raise InvalidJwt("of another issuer")
    said = claims.get("aud")
    listed = said if isinstance(said, list) else [said]
    if not any(isinstance(audience, str) and audience in audiences for audience in listed):
        raise InvalidJwt("for another audience")


def _times(claims: Mapping[str, Any], *, leeway: float, now: float) -> tuple[float, float]:
    """When it was signed, and when it ends. Expiry is exact; leeway is for the clock of an issuer ahead of ours."""
    issued_at, expires_at = _moment(claims, "iat"), _moment(claims, "exp")
    begins = _moment(claims, "nbf") if "nbf" in claims else issued_at
    if not 0 < expires_at - issued_at <= MAX_LIFETIME:
        raise InvalidJwt("a lifetime that is none")
    if max(issued_at, begins) > now + leeway:
        raise InvalidJwt("from the future")
    if now >= expires_at:
        raise ExpiredJwt("expired")
    return issued_at, expires_at


def _moment(claims: Mapping[str, Any], name: str) -> float:
    """Seconds since 1970, also with a fraction (RFC 7519, 2)."""
    value = claims.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise InvalidJwt("a time that is none")
    return float(value)
