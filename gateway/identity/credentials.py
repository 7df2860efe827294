"""Finds the credentials that a request carries, in the order in which they are tried. It does not know which of them
are good.

    1. path token       /gateway/t/<token>/…
    2. X-API-Key        <token>
    3. Authorization    Bearer <token or JWT>; one space and no further one: other spellings are no credential
    4. Authorization    Basic, with any name and a token as the password, or with a name and a password
    5. query            ?token=<token>
    6. cookie           <session JWT>
    7. proxy's header   of a listed proxy, where that is switched on
    8. network          a listed one that is mapped to a user

The last two are not for this module to find: who the peer is decides on them (`gateway.edge.ambience`).
Everything that could be one is a candidate, because the first *good* one wins and a bad one never hides a good one;
of one kind at most `MOST_OF_A_KIND`, so that one request cannot ask for a thousand password checks.
"""

import base64
import binascii
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Final, Literal
from urllib.parse import unquote_to_bytes

from gateway.identity.tokens import PREFIX

Headers = Sequence[tuple[bytes, bytes]]
"""As ASGI has them: one pair for each line, in order."""

CREDENTIAL_HEADERS: Final = frozenset({b"authorization", b"x-api-key"})
"""Headers that are ours alone: they never go to ComfyUI."""

MOST_OF_A_KIND: Final = 4

_BEARER: Final = re.compile(rb"bearer ([^\s\x00-\x20\x7f]+)", re.IGNORECASE)
_BASIC: Final = re.compile(rb"basic ([A-Za-z0-9+/]+={0,2})", re.IGNORECASE)
_BAD_ESCAPE: Final = re.compile(rb"%(?![0-9A-Fa-f]{2})")


@dataclass(frozen=True, slots=True)
class Token:
    """Something in the place of an API token."""

    text: str = field(repr=False)
    source: Literal["path", "x-api-key", "bearer", "basic", "query"]


@dataclass(frozen=True, slots=True)
class UserPassword:
    """A name and a password. The password is not empty."""

    name: str
    password: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Jwt:
    """Something in the shape, or in the place, of a JWT."""

    text: str = field(repr=False)
    source: Literal["bearer", "cookie"]


@dataclass(frozen=True, slots=True)
class Forwarded:
    """What a listed proxy says in its header of whoever asks, and of their groups."""

    user: str
    groups: str | None


@dataclass(frozen=True, slots=True)
class Network:
    """The user that a listed network stands for, by name."""

    user: str


Credential = Token | UserPassword | Jwt | Forwarded | Network


def find(*, path_token: str | None, headers: Headers, query: bytes, cookie_name: str) -> tuple[Credential, ...]:
    """All candidates, best first. No bytes make it fail: what cannot be read is no credential."""
    found: list[Credential] = [Token(path_token, "path")] if path_token else []
    names = {name for name, _ in headers}
    if b"x-api-key" in names:
        found += islice(_api_keys(headers), MOST_OF_A_KIND)
    if b"authorization" in names:
        found += islice(_bearers(headers), MOST_OF_A_KIND)
        found += islice(_basics(headers), MOST_OF_A_KIND)
    if query:
        found += islice(_query_tokens(query), MOST_OF_A_KIND)
    if b"cookie" in names:
        found += islice(_cookies(headers, cookie_name), MOST_OF_A_KIND)
    return tuple(found)


def without_token(query: bytes) -> bytes:
    """The query string without `token`, however its name is escaped; every other byte stays as and where it was."""
    return b"&".join(pair for pair in query.split(b"&") if _name_of(pair) != b"token")


def _values(headers: Headers, name: bytes) -> Iterator[bytes]:
    return (value.strip(b" \t") for key, value in headers if key.lower() == name)


def _api_keys(headers: Headers) -> Iterator[Credential]:
    return (Token(value.decode("latin-1"), "x-api-key") for value in _values(headers, b"x-api-key") if value)


def _bearers(headers: Headers) -> Iterator[Credential]:
    for value in _values(headers, b"authorization"):
        if found := _BEARER.fullmatch(value):
            text = found[1].decode("latin-1")
            yield Jwt(text, "bearer") if text.count(".") == 2 else Token(text, "bearer")


def _basics(headers: Headers) -> Iterator[Credential]:
    for value in _values(headers, b"authorization"):
        found = _BASIC.fullmatch(value)
        pair = _decoded(found[1]) if found else None
        if pair is None:
            continue
        name, _, password = pair.partition(":")
        if password.startswith(PREFIX):
            yield Token(password, "basic")
        elif password:
            yield UserPassword(name, password)


def _decoded(encoded: bytes) -> str | None:
    """RFC 7617 with UTF-8, as browsers and curl send it."""
    try:
        return base64.b64decode(encoded, validate=True).decode("utf-8")
    except (binascii.Error, UnicodeDecodeError):
        return None


def _query_tokens(query: bytes) -> Iterator[Credential]:
    for pair in query.split(b"&"):
        _, _, value = pair.partition(b"=")
        if value and _name_of(pair) == b"token" and not _BAD_ESCAPE.search(value):
            yield Token(unquote_to_bytes(value).decode("latin-1"), "query")


def _name_of(pair: bytes) -> bytes:
    return unquote_to_bytes(pair.partition(b"=")[0])


def _cookies(headers: Headers, name: str) -> Iterator[Credential]:
    ours = name.encode("ascii")
    for value in _values(headers, b"cookie"):
        for pair in value.split(b";"):
            key, text = _cookie_pair(pair)
            if key == ours and text:
                yield Jwt(text.decode("latin-1"), "cookie")


def _cookie_pair(pair: bytes) -> tuple[bytes, bytes]:
    key, _, value = pair.partition(b"=")
    return key.strip(), value.strip()
