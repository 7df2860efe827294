"""API tokens, `cgw_<id>_<secret><checksum>`: minted, taken apart, compared. It does not know whose they are or
whether they still hold.

    cgw_ k3m5n7qa _ 0Yk…33 characters…x7 2fGh1Z
         id         secret, 192 bits      checksum

The id is public (it names the token in lists). The checksum is the CRC-32 of everything before it, in base 62, six
digits, as in GitHub's tokens: a typing error is refused without a look at the database, and scanners can tell a
leaked token from a look-alike. CRC-32 finds every error within 32 neighbouring bits, so every change of one
character. It is no secret and proves nothing; the digest does.
"""

import base64
import hashlib
import hmac
import re
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field

Random = Callable[[int], bytes]
"""A source of that many unpredictable bytes: `secrets.token_bytes`, or a fixed one in tests."""

PREFIX = "cgw_"

_DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_ID_BYTES = 5
_SECRET_BYTES = 24
_SECRET_DIGITS = 33
"""62 ** 33 > 2 ** 192: every secret has a spelling, and none is more likely than another."""
_CHECKSUM_DIGITS = 6
_SHAPE = re.compile(r"cgw_([a-z2-7]{8})_[0-9A-Za-z]{33}[0-9A-Za-z]{6}", re.ASCII)


@dataclass(frozen=True, slots=True)
class MintedToken:
    """A new token. `secret_text` is shown to its user once and kept nowhere; `digest` is what is stored."""

    id: str
    secret_text: str = field(repr=False)
    digest: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class ParsedToken:
    """A well-formed token that somebody sent; whether it is a real one is for `matches` to say."""

    id: str
    digest: bytes = field(repr=False)


def mint(random: Random) -> MintedToken:
    """A new token with 192 secret bits."""
    name = base64.b32encode(random(_ID_BYTES)).decode("ascii").lower()
    secret = _base62(int.from_bytes(random(_SECRET_BYTES), "big"), _SECRET_DIGITS)
    start = f"{PREFIX}{name}_{secret}"
    text = start + _checksum(start)
    return MintedToken(name, text, _digest(text))


def parse(text: str) -> ParsedToken | None:
    """The token in `text`, or None for whatever was never minted by `mint`."""
    shape = _SHAPE.fullmatch(text)
    if shape is None or _checksum(text[:-_CHECKSUM_DIGITS]) != text[-_CHECKSUM_DIGITS:]:
        return None
    return ParsedToken(shape.group(1), _digest(text))


def matches(token: ParsedToken, stored_digest: bytes) -> bool:
    """Whether the token is the stored one, in a time that does not depend on where they differ."""
    return hmac.compare_digest(token.digest, stored_digest)


def _digest(text: str) -> bytes:
    """A plain SHA-256 is enough: 192 random bits cannot be guessed, so there is nothing to slow down."""
    return hashlib.sha256(text.encode("ascii")).digest()


def _checksum(text: str) -> str:
    return _base62(zlib.crc32(text.encode("ascii")), _CHECKSUM_DIGITS)


def _base62(number: int, width: int) -> str:
    digits = []
    for _ in range(width):
        number, digit = divmod(number, 62)
        digits.append(_DIGITS[digit])
    return "".join(reversed(digits))
