"""JSON bodies that can be read in one way only, or a refusal.

It does not know what a body means. ComfyUI's own reader takes NaN, equal keys and other encodings than UTF-8; each of
them has made two readers disagree about one body, or a page of ComfyUI unreadable for everybody.
"""

import re
from dataclasses import dataclass
from typing import Any

import orjson

from gateway.errors import InvalidRequest, TooLarge


@dataclass(frozen=True, slots=True)
class Limits:
    """What a body may cost. `max_chain` is the longest way along links from one node of a prompt to another."""

    max_bytes: int = 8 * 1024 * 1024
    max_depth: int = 64
    max_values: int = 250_000
    max_nodes: int = 2_000
    # ComfyUI walks along links by recursion in its only worker thread: on both versions a chain of 1,990 nodes that
    # leads to no output passed validation, ended that thread, and nothing ran again until a restart (980 still ran).
    max_chain: int = 500


# Integers outside 64 bits would silently become floats; a longer number than this is nobody's seed.
_MAX_DIGITS = 64
_SMALLEST, _LARGEST = -(2**63), 2**64 - 1
_LONG_NUMBER = re.compile(rb"[-+.0-9eE]{20,}")
_OPENING_AS_ROUND = bytes.maketrans(b"[{]}", b"(())")
_NOT_BRACKETS = bytes(byte for byte in range(256) if byte not in b"[{]}")


def read(body: bytes, *, limits: Limits, refusal: type[InvalidRequest] = InvalidRequest) -> Any:
    """Give the value of a JSON body.

    Raises TooLarge (413) over `max_bytes`; `refusal` (400) for whatever is not strict UTF-8 JSON (NaN, Infinity, lone
    surrogates, a byte order mark), for a key that comes twice in one object, for integers outside 64 bits, and for more
    depth or more values than the limits. A hostile body costs no more than an honest one of its size.
    """
    if len(body) > limits.max_bytes:
        raise TooLarge("The body is too large.", extra_info={"limit": limits.max_bytes})
    # Counted in texts too, so that the check comes before the work; no text has so many.
    if sum(body.count(mark) for mark in (b",", b"[", b"{")) > limits.max_values:
        raise refusal("The body holds too many values.", extra_info={"limit": limits.max_values})
    try:
        # orjson stops at 1,024 levels, so this does not recurse without bound.
        value = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise refusal("The body is not valid JSON.", details=str(error)) from None
    skeleton = _skeleton(body)
    _require_depth(skeleton, limits.max_depth, refusal)
    _require_numbers(skeleton, refusal)
    _require_unique_keys(skeleton, value, refusal)
    return value


def _skeleton(document: bytes) -> bytes:
    """A valid JSON document without its strings.

    Backslashes occur only inside strings and pair up from the left, so without escaped backslashes and then without
    escaped quotes every quote that is left begins or ends a string.
    """
    if b"\\" in document:
        document = document.replace(b"\\\\", b"").replace(b'\\"', b"")
    return b"".join(document.split(b'"')[::2])


def _require_depth(skeleton: bytes, limit: int, refusal: type[InvalidRequest]) -> None:
    """Peel the innermost brackets off, level by level: work in proportion to the brackets, without recursion."""
    brackets = skeleton.translate(_OPENING_AS_ROUND, _NOT_BRACKETS)
    for _ in range(limit):
        if not brackets:
            return
        brackets = brackets.replace(b"()", b"")
    if brackets:
        raise refusal("The body is nested too deeply.", extra_info={"limit": limit})


def _require_numbers(skeleton: bytes, refusal: type[InvalidRequest]) -> None:
    for match in _LONG_NUMBER.finditer(skeleton):
        number = match.group()
        whole = not re.search(rb"[.eE]", number)
        if len(number) > _MAX_DIGITS or (whole and not _SMALLEST <= int(number) <= _LARGEST):
            raise refusal("The body holds a number that is too long.", details=number[:_MAX_DIGITS].decode("ascii"))


def _require_unique_keys(skeleton: bytes, value: Any, refusal: type[InvalidRequest]) -> None:
    """A key that came twice is one key in the value: written again, the document has fewer colons."""
    if skeleton.count(b":") != _skeleton(orjson.dumps(value)).count(b":"):
        raise refusal("The body holds an object with the same key twice.")
