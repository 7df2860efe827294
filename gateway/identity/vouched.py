"""Whom somebody else vouches for: what is taken from an issuer's claims, or a proxy's headers, and nothing more.

It does not know whether this is believed, nor who it is here. The subject is who somebody is; names are for people to
read, and can be chosen by whoever has them.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from gateway.identity.issuer_jwt import Signed, is_subject
from gateway.identity.segments import InvalidJwt

MOST_GROUPS: Final = 1000
_LONGEST: Final = 256


@dataclass(frozen=True, slots=True)
class Vouched:
    """Somebody. `email` is one that the issuer has verified, else None; `said_at` is in seconds since 1970."""

    issuer: str
    subject: str
    names: tuple[str, ...]
    email: str | None
    groups: tuple[str, ...]
    said_at: float


def from_claims(
    signed: Signed, *, subject_claim: str, name_claims: Sequence[str], groups_claim: str, said_at: float | None = None
) -> Vouched:
    """What a token says of its subject. Raises InvalidJwt if it does not say who that is."""
    subject = _claim(signed.claims, subject_claim)
    if not is_subject(subject):
        raise InvalidJwt(f"a {subject_claim} that is none")
    names = (_claim(signed.claims, name) for name in name_claims)
    return Vouched(
        issuer=signed.issuer,
        subject=str(subject),
        names=tuple(name for name in names if isinstance(name, str) and 0 < len(name) <= _LONGEST),
        email=_verified_email(signed.claims),
        groups=tuple(_groups(_claim(signed.claims, groups_claim))),
        said_at=signed.issued_at if said_at is None else said_at,
    )


def from_headers(user: str, groups: str | None, *, header: str, now: float) -> Vouched | None:
    """What a proxy says; None if it is nobody. The header's name stands for the issuer."""
    if not is_subject(user):
        return None
    listed = _groups([name.strip() for name in (groups or "").split(",")])
    return Vouched(
        issuer=f"header:{header.lower()}",
        subject=user,
        names=(user,),
        email=None,
        groups=tuple(listed),
        said_at=now,
    )


def with_user_info(claims: Mapping[str, Any], more: Mapping[str, Any]) -> dict[str, Any]:
    """The claims of an ID token, and what its user info adds: it overrules nothing that was signed, and does not vouch
    for an e-mail address that it does not name itself.

    Raises InvalidJwt if it is about somebody else (OpenID Connect Core, 5.3.2).
    """
    if more.get("sub") != claims["sub"]:
        raise InvalidJwt("user info of somebody else")
    dropped = {"email", "email_verified"} if "email" in claims else set()
    return {**{name: value for name, value in more.items() if name not in dropped}, **claims}


def _claim(claims: Mapping[str, Any], name: str) -> Any:
    """A claim by its whole name, or by the way into objects that the dots are."""
    if name in claims:
        return claims[name]
    value: Any = claims
    for part in name.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value


def _verified_email(claims: Mapping[str, Any]) -> str | None:
    email, verified = claims.get("email"), claims.get("email_verified")
    is_verified = verified is True or verified == "true"
    return email if is_verified and isinstance(email, str) and len(email) <= _LONGEST else None


def _groups(value: object) -> Iterator[str]:
    """Names, each once; what is none is passed over, because it can give nobody anything."""
    listed: Iterable[object] = [value] if isinstance(value, str) else value if isinstance(value, list) else ()
    names = dict.fromkeys(name for name in listed if isinstance(name, str) and 0 < len(name) <= _LONGEST)
    yield from list(names)[:MOST_GROUPS]
