"""Our own JWTs: signed and, strictly, verified. It does not know whether a session was revoked; the `jti` is for
asking that.

python-jose checks the signature. By itself it accepts tokens without `exp`, `aud` or `sub`, any `typ`, duplicate
keys, unlimited spellings of one token, and answers some with other exceptions than its own (measured on 3.5.0). So
what may be said is fixed here first: length, alphabet, three segments in canonical form, header keys, one algorithm,
our key ids; and afterwards every claim. Whatever happens on the way is `InvalidJwt`.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from jose import jws
from jose.backends.base import Key as JoseKey
from jose.constants import ALGORITHMS
from jose.jwk import construct

from gateway.identity.segments import ExpiredJwt as ExpiredJwt
from gateway.identity.segments import InvalidJwt as InvalidJwt
from gateway.identity.segments import canonical_bytes, json_object

Typ = Literal["session", "access"]

LEEWAY: Final = 30
"""Seconds that our clocks may differ."""
MAX_LIFETIME: Final = 366 * 24 * 3600
"""Seconds. No token of ours lives longer, so one that claims to was not made by this version."""
SHORTEST_SECRET: Final = 32

_SHAPE: Final = re.compile(r"([A-Za-z0-9_-]{1,1024})\.([A-Za-z0-9_-]{1,2800})\.([A-Za-z0-9_-]{43})", re.ASCII)
"""At most 3,869 characters; of a longer text no more than that is looked at."""
_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,64}", re.ASCII)
_CLAIMS: Final = frozenset({"iss", "aud", "sub", "jti", "iat", "exp", "epoch"})


@dataclass(frozen=True, slots=True)
class Key:
    """A secret of at least 32 bytes with its public name. After `until` (seconds since 1970) it verifies nothing
    more.
    """

    kid: str
    secret: bytes = field(repr=False)
    until: float | None = None

    def __post_init__(self) -> None:
        if len(self.secret) < SHORTEST_SECRET or _ID.fullmatch(self.kid) is None:
            raise ValueError("a key needs a plain name and a secret of at least 32 bytes")


class Keys:
    """All keys that verify; the first one signs. To change keys, put a new one in front and give the old one an end."""

    def __init__(self, keys: Sequence[Key]) -> None:
        if not keys or len({key.kid for key in keys}) != len(keys):
            raise ValueError("at least one key is needed, and each needs its own name")
        self.current: Final = keys[0]
        self._until: Final = {key.kid: key.until for key in keys}
        self._prepared: Final = {key.kid: construct(key.secret, ALGORITHMS.HS256) for key in keys}

    def signing(self) -> JoseKey:
        """python-jose's form of the key that signs."""
        return self._prepared[self.current.kid]

    def verifying(self, kid: object, now: float) -> JoseKey:
        """The key of that name, from our own few: nothing is looked up anywhere else."""
        if not isinstance(kid, str) or kid not in self._prepared:
            raise InvalidJwt("signed with no key of ours")
        until = self._until[kid]
        if until is not None and now >= until:
            raise InvalidJwt("signed with a key whose time is over")
        return self._prepared[kid]


@dataclass(frozen=True, slots=True)
class Claims:
    """What one of our JWTs says. `sub` is a user's `key`, `epoch` the user's at signing; times are whole seconds
    since 1970.
    """

    iss: str
    aud: str
    sub: str
    jti: str
    iat: int
    exp: int
    epoch: int


def sign(claims: Claims, keys: Keys, *, typ: Typ) -> str:
    """The compact form."""
    payload = {name: getattr(claims, name) for name in sorted(_CLAIMS)}
    headers = {"typ": typ, "kid": keys.current.kid}
    return str(jws.sign(payload, keys.signing(), headers=headers, algorithm=ALGORITHMS.HS256))


def verify(text: str, keys: Keys, *, typ: Typ, audience: str, issuer: str, now: float) -> Claims:
    """The claims of `text`, if it is one of ours, of this type, for this audience, and in its time.

    Raises:
        ExpiredJwt: everything is right except that it is over.
        InvalidJwt: anything else; never another exception, whatever `text` is.
    """
    try:
        claims = _claims(_payload(text, keys, typ=typ, now=now), audience=audience)
    except InvalidJwt:
        raise
    except Exception as error:
        # RecursionError from deep JSON, TypeError and others from python-jose: none of them may become a 500.
        raise InvalidJwt(f"unreadable: {type(error).__name__}") from None
    if claims.iss != issuer:
        raise InvalidJwt("of another issuer")
    _check_time(claims, now)
    return claims


def _payload(text: str, keys: Keys, *, typ: Typ, now: float) -> dict[str, Any]:
    shape = _SHAPE.fullmatch(text)
    if shape is None:
        raise InvalidJwt("not in the form of our tokens")
    header, payload = json_object(shape[1]), shape[2]
    canonical_bytes(shape[3])
    if header.keys() != {"alg", "typ", "kid"} or header["alg"] != ALGORITHMS.HS256 or header["typ"] != typ:
        raise InvalidJwt("another kind of token")
    # A list with exactly one algorithm: with more of them, or none, a public key passes as the secret.
    jws.verify(text, keys.verifying(header["kid"], now), algorithms=[ALGORITHMS.HS256])
    return json_object(payload)


def _claims(payload: dict[str, Any], *, audience: str) -> Claims:
    """The claims in their exact types. `aud` may be a list with ours in it (RFC 7519, 4.1.3); we sign a string."""
    if payload.keys() != _CLAIMS or not all(type(payload[name]) is int for name in ("iat", "exp", "epoch")):
        raise InvalidJwt("claims are missing, unknown, or of another type")
    if not all(isinstance(payload[name], str) and _ID.fullmatch(payload[name]) for name in ("sub", "jti")):
        raise InvalidJwt("an id that is none of ours")
    audiences = payload["aud"] if isinstance(payload["aud"], list) else [payload["aud"]]
    if audience not in audiences or not isinstance(payload["iss"], str):
        raise InvalidJwt("for another audience")
    return Claims(**{**payload, "aud": audience})


def _check_time(claims: Claims, now: float) -> None:
    """Expiry is exact: the moment `exp` is too late already. Leeway is for the clock of whoever signed a little ahead
    of ours.
    """
    if not 0 < claims.exp - claims.iat <= MAX_LIFETIME:
        raise InvalidJwt("a lifetime that we do not give")
    if claims.iat > now + LEEWAY:
        raise InvalidJwt("from the future")
    if now >= claims.exp:
        raise ExpiredJwt("expired")
