"""Which request heads are refused before anything else looks at them: a pure judgement of the request line and the
headers.

It does not know the connection that the head came from, nor who sent it.

The parser below us (llhttp) refuses most malformed heads itself; what follows is what it lets through, measured case
by case. Each rule is there because two programs could read the same bytes in two ways, or because one request could
cost far more than it should.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from gateway.edge.handshake import judge_handshake
from gateway.errors import (
    AddressTooLong,
    GatewayError,
    HeadTooLarge,
    InvalidRequest,
    MethodNotAllowed,
    UnsupportedMedia,
)

Headers = Sequence[tuple[bytes, bytes]]

MAX_HEADERS: Final = 100
MAX_HEADER_BYTES: Final = 64 * 1024
MAX_TARGET_BYTES: Final = 8 * 1024
MAX_UPGRADE_LINE: Final = 8000
"""The websocket library behind uvicorn never answers an upgrade with a longer line (8,192 bytes) or more than 128
headers: it hangs.
"""

METHODS: Final = frozenset({b"GET", b"HEAD", b"POST", b"PUT", b"PATCH", b"DELETE", b"OPTIONS"})
BODILESS: Final = frozenset({b"GET", b"HEAD"})

_FRAMING = (b"host", b"content-length", b"transfer-encoding", b"content-encoding", b"upgrade")
_TARGET = re.compile(rb"/[\x21\x22\x24-\x7e]*")
"""Origin form: starts with a slash, visible ASCII, no `#` (parsers disagree on whether it ends the target)."""
_HOST = re.compile(rb"(?:[A-Za-z0-9](?:[A-Za-z0-9._-]{0,253})|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{1,5})?")
_LENGTH = re.compile(rb"[0-9]{1,18}")
_CONTROL = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")


@dataclass(frozen=True, slots=True)
class Head:
    """A complete request head. `upgrade` is whether the parser saw a `Connection: upgrade` with an `Upgrade` header."""

    method: bytes
    version: str
    target: bytes
    headers: Headers
    upgrade: bool


@dataclass(frozen=True, slots=True)
class Verdict:
    """What becomes of a head that is not refused: `websocket`, it is an upgrade; `has_body`, a body follows."""

    websocket: bool
    has_body: bool


def judge(head: Head) -> Verdict:
    """How to go on with the request; raises a GatewayError, which also closes the connection, if not at all."""
    _judge_request_line(head)
    named = _framing(head.headers)
    _judge_host(named[b"host"])
    has_body = _judge_framing(head, lengths=named[b"content-length"], codings=named[b"transfer-encoding"])
    if named[b"content-encoding"]:
        raise UnsupportedMedia("Compressed request bodies are not taken.", details="Send it without Content-Encoding.")
    websocket = head.upgrade and [value.lower() for value in named[b"upgrade"]] == [b"websocket"]
    if websocket:
        _judge_upgrade(head, has_body=has_body or bool(named[b"content-length"]))
    return Verdict(websocket, has_body)


def too_large(*, count: int = 0, size: int = 0) -> GatewayError | None:
    """The refusal of that many headers with that many bytes of names, values and line ends; None if they are within
    bounds.
    """
    if count <= MAX_HEADERS and size <= MAX_HEADER_BYTES:
        return None
    return HeadTooLarge(
        f"At most {MAX_HEADERS} headers with {MAX_HEADER_BYTES} bytes in all are taken.",
        details="Remove cookies or headers of this site and try again.",
        reason=f"{count} headers, {size} bytes",
    )


def without_upgrade(head: Head) -> bytes:
    """The same head on the wire, as if the client had not offered another protocol."""
    offers = (b"upgrade", b"http2-settings")
    fields = [b"%b: %b" % field for field in head.headers if field[0] not in offers]
    line = b"%b %b HTTP/%b" % (head.method, head.target, head.version.encode("ascii"))
    return b"\r\n".join([line, *fields, b"", b""])


def without_framing(headers: Headers) -> list[tuple[bytes, bytes]]:
    """A GET with a body is served as one without: ComfyUI must neither get the body nor wait for it."""
    return [field for field in headers if field[0] not in (b"content-length", b"transfer-encoding")]


def _judge_request_line(head: Head) -> None:
    if head.method not in METHODS:
        raise MethodNotAllowed(
            "This method is not used here.", headers={"Allow": ", ".join(sorted(method.decode() for method in METHODS))}
        )
    if head.version not in ("1.0", "1.1"):
        raise InvalidRequest("Only HTTP/1.1 and HTTP/1.0 are spoken here.", reason=f"HTTP/{head.version}")
    if len(head.target) > MAX_TARGET_BYTES:
        raise AddressTooLong(f"At most {MAX_TARGET_BYTES} bytes of address are taken.")
    if _TARGET.fullmatch(head.target) is None:
        raise InvalidRequest(
            "The address of the request must be a path.",
            details="It starts with “/” and has no “#”, no spaces and no bytes outside ASCII.",
            reason=f"target {head.target[:200]!r}",
        )


def _framing(headers: Headers) -> dict[bytes, list[bytes]]:
    """The values of the headers that decide how the request is read, in order; refuses what no header may contain."""
    named: dict[bytes, list[bytes]] = {name: [] for name in _FRAMING}
    for name, value in headers:
        if name in named:
            named[name].append(value)
    if _CONTROL.search(b"".join([value for _, value in headers])) is not None:
        raise InvalidRequest("A header contains a control character.")
    return named


def _judge_host(hosts: Sequence[bytes]) -> None:
    """Exactly one, and nothing but a name or address and a port: what follows the name in `h/prompt?` would end up in
    a URL.
    """
    if len(hosts) != 1 or _HOST.fullmatch(hosts[0]) is None:
        raise InvalidRequest("Exactly one well-formed Host header is needed.", reason=f"Host {hosts!r:.256}")


def _judge_framing(head: Head, *, lengths: Sequence[bytes], codings: Sequence[bytes]) -> bool:
    """Whether a body follows. Any doubt about where it ends is a refusal: the next request would begin there."""
    chunked = [coding.lower() for coding in codings] == [b"chunked"]
    if codings and (not chunked or lengths or head.version != "1.1"):
        raise InvalidRequest(
            "Transfer-Encoding must be exactly “chunked”, on HTTP/1.1, and without Content-Length.",
            reason=f"HTTP/{head.version}, Transfer-Encoding {codings!r:.128}, Content-Length {lengths!r:.128}",
        )
    if len(lengths) > 1 or any(_LENGTH.fullmatch(length) is None for length in lengths):
        raise InvalidRequest("Content-Length must be one whole number.", reason=f"Content-Length {lengths!r:.256}")
    return chunked or any(int(length) > 0 for length in lengths)


def _judge_upgrade(head: Head, *, has_body: bool) -> None:
    if head.method != b"GET" or head.version != "1.1" or has_body:
        raise InvalidRequest(
            "A websocket is opened by a GET of HTTP/1.1 without a body.",
            reason=f"{head.method.decode('latin-1')} HTTP/{head.version}, body: {has_body}",
        )
    longest = max(len(name) + len(value) for name, value in head.headers)
    if max(longest, len(head.target)) + len(b": \r\n") + len(b"GET  HTTP/1.1") > MAX_UPGRADE_LINE:
        raise HeadTooLarge(f"A websocket is opened with lines of at most {MAX_UPGRADE_LINE} bytes.")
    judge_handshake(head.headers)
