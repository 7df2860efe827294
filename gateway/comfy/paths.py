"""Request paths in one spelling, or a refusal: what is authorised here is what ComfyUI's router will see.

It does not know which paths exist, nor which of them hold free text; `table` decides that.

ComfyUI's router (aiohttp) matches the path with every escape decoded once, except that an encoded slash stays part of
its segment. `canonical` gives that same reading, with the encoded slash written `%2F`. Whatever a second reader could
take differently is refused: dot segments, empty segments, backslashes, path parameters, escapes inside escapes, control
characters, broken escapes and broken UTF-8.
"""

import re
from urllib.parse import unquote_to_bytes

from gateway.errors import AddressTooLong, InvalidRequest

MAX_TARGET = 8192
"""Bytes of path and query together; nginx and the websocket handshake have the same limit per line."""

SLASH = "%2F"
"""How a slash inside a segment is written in a canonical path."""

_TOKEN_PREFIX = b"/gateway/t/"

# The common case needs no decoding: unreserved and sub-delimiter characters, and no segment that begins with a dot.
_PLAIN = re.compile(rb"(?:/[A-Za-z0-9_~!$&'()*+,:@=-][A-Za-z0-9_~!$&'()*+,:@=.-]*)+/?|/")
_UNSENDABLE = re.compile(rb"[^\x21-\x7e]|[#?;\\]")
_BROKEN_ESCAPE = re.compile(rb"%(?![0-9A-Fa-f]{2})")
_ENCODED_SLASH = re.compile(rb"%2[Ff]")
_SECOND_ESCAPE = re.compile(r"%[0-9A-Fa-f]{2}")
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\\\\]")


def canonical(raw_path: bytes) -> str:
    """Give the path as ComfyUI's router reads it, `/api` kept, an encoded slash as `%2F`.

    Raises AddressTooLong (414) over 8 KiB, InvalidRequest (400) for whatever could be read in two ways.
    """
    if len(raw_path) > MAX_TARGET:
        raise AddressTooLong("The address is longer than 8 KiB.", extra_info={"limit": MAX_TARGET})
    if _PLAIN.fullmatch(raw_path):
        return raw_path.decode("ascii")
    _require_sendable(raw_path)
    path = SLASH.join(_decoded(piece) for piece in _ENCODED_SLASH.split(raw_path))
    _require_segments(path)
    return path


def split_token(raw_path: bytes) -> tuple[str | None, bytes]:
    """Take `/gateway/t/<token>/rest` apart into the token and `/rest`; any other path has no token and stays as it is.

    Only the literal spelling counts, so that a log filter that knows the prefix sees every token. `/gateway/t/<token>`
    without a slash after it has the rest `b""`, which `canonical` refuses: links of a page there would lose the token.
    """
    if not raw_path.startswith(_TOKEN_PREFIX):
        return None, raw_path
    token, slash, rest = raw_path[len(_TOKEN_PREFIX) :].partition(b"/")
    return token.decode("latin-1"), slash + rest


def decoded_text(piece: bytes) -> str:
    """Decode one layer of escapes. Raises InvalidRequest for broken escapes, broken UTF-8 and control characters."""
    if _BROKEN_ESCAPE.search(piece):
        raise InvalidRequest("The address has a broken percent escape.")
    try:
        text = unquote_to_bytes(piece).decode("utf-8")
    except UnicodeDecodeError as error:
        raise InvalidRequest("The address is not UTF-8.") from error
    return text


def _decoded(piece: bytes) -> str:
    text = decoded_text(piece)
    if _UNPRINTABLE.search(text):
        raise InvalidRequest("The path holds a control character or a backslash.")
    # ComfyUI decodes user data names twice, so an escape inside an escape names another file there than here.
    if _SECOND_ESCAPE.search(text):
        raise InvalidRequest("The path is percent-encoded twice.")
    return text


def _require_sendable(raw_path: bytes) -> None:
    if not raw_path.startswith(b"/"):
        raise InvalidRequest("The path must begin with a slash.")
    if _UNSENDABLE.search(raw_path):
        raise InvalidRequest(
            "The path holds a character that must be percent-encoded.",
            details="Encode spaces, '#', '?', ';', backslashes and letters outside ASCII.",
        )


def _require_segments(path: str) -> None:
    """Refuse dot segments and empty ones, in either kind of slash; one plain slash may end the path."""
    whole = path[1:-1] if path.endswith("/") and len(path) > 1 else path[1:]
    for segment in whole.replace(SLASH, "/").split("/"):
        # Names of nothing but dots and blanks are "." or ".." to some file systems.
        if not segment.strip(" ."):
            raise InvalidRequest("The path has an empty segment or a dot segment.")
