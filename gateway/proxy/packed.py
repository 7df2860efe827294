"""A large JSON answer, packed once and sent to many: compressed, and not at all to who has it already.

It does not know what is in it.
"""

import asyncio
import gzip
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, Final

import orjson

from gateway.proxy.answer import JSON_TYPE, OURS, Answered, Asked, Header

LEVEL: Final = 4
"""27 ms for 2 MB, to an eighth; the next levels take two and three times as long for a tenth less."""
ENCODED: Final[Header] = (b"content-encoding", b"gzip")


@dataclass(frozen=True, slots=True)
class Packed:
    """The answer as gzip. The tag is weak: it stands for the value, whichever way it is encoded."""

    etag: bytes
    compressed: bytes


def pack(value: Any) -> Packed:
    """Takes tens of milliseconds for 2 MB: call it in a thread."""
    body = orjson.dumps(value)
    tag = blake2b(body, digest_size=16).hexdigest()
    return Packed(f'W/"{tag}"'.encode(), gzip.compress(body, LEVEL, mtime=0))


async def packed_answer(packed: Packed, asked: Asked) -> Answered:
    """200 in the encoding that the client takes, or 304."""
    headers = (*_varying(), (b"etag", packed.etag))
    if has_it(packed.etag, _values(asked, b"if-none-match")):
        return Answered(304, b"", headers)
    if takes_gzip(_values(asked, b"accept-encoding")):
        return Answered(200, packed.compressed, (JSON_TYPE, ENCODED, *headers))
    return Answered(200, await asyncio.to_thread(gzip.decompress, packed.compressed), (JSON_TYPE, *headers))


def takes_gzip(accept_encoding: bytes) -> bool:
    """Whether a client asks for gzip: by name, or by `*` when it does not name it; with a weight above zero."""
    weights = {}
    for part in accept_encoding.lower().split(b","):
        coding, *parameters = (piece.strip() for piece in part.split(b";"))
        weights[coding] = not any(_is_nothing(parameter) for parameter in parameters)
    return weights.get(b"gzip", weights.get(b"*", False))


def has_it(etag: bytes, if_none_match: bytes) -> bool:
    """Whether a client has this tag already; weak and strong compare alike (RFC 9110 §13.1.2)."""
    tags = [tag.strip().removeprefix(b"W/") for tag in if_none_match.split(b",")]
    return etag.removeprefix(b"W/") in tags or tags == [b"*"]


def _is_nothing(parameter: bytes) -> bool:
    name, _, weight = parameter.partition(b"=")
    return name.strip() == b"q" and not weight.strip().strip(b"0.")


def _values(asked: Asked, name: bytes) -> bytes:
    return b",".join(value for key, value in asked.headers if key == name)


def _varying() -> Iterable[Header]:
    """Our own headers, where `Vary` also names the encoding."""
    for name, value in OURS:
        yield name, value + b", Accept-Encoding" if name == b"vary" else value
