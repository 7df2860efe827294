"""Where a server is, and the head of a request to it: exactly the bytes that it was made from, and nothing added but
`Host` and the framing.

It does not know where the bytes come from; whatever would not arrive as it is, is refused. Pure functions.
"""

import re
from dataclasses import dataclass
from typing import Final

from yarl import URL

from gateway.errors import InvalidRequest
from gateway.upstream.exchange import Outgoing

# Origin form: visible ASCII after a slash, and no `#`, which ComfyUI would cut the rest off at.
TARGET: Final = re.compile(rb"/[\x21\x22\x24-\x7e]*")
CONTROL: Final = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
WITHOUT_LENGTH: Final = frozenset({"GET", "HEAD", "OPTIONS"})
"""Methods that say by themselves that nothing follows the head."""


@dataclass(frozen=True, slots=True)
class Origin:
    """A server's address; `authority` is what stands in `Host`."""

    host: str
    port: int
    tls: bool
    authority: bytes


def origin_of(url: str) -> Origin:
    """Scheme, host and port of a server. Raises ValueError for anything more: a path would silently be lost."""
    parsed = URL(url)
    host, port = parsed.raw_host, parsed.port
    if parsed.scheme not in ("http", "https") or not host or port is None or parsed.raw_path_qs != "/" or parsed.user:
        raise ValueError(f"not the address of a ComfyUI server (http://host:port): {url!r}")
    return Origin(host, port, parsed.scheme == "https", parsed.raw_authority.encode("ascii"))


def request_head(outgoing: Outgoing, *, authority: bytes) -> bytes:
    """The head with its blank line. Raises InvalidRequest."""
    if TARGET.fullmatch(outgoing.target) is None:
        raise InvalidRequest("The address of the request cannot be forwarded.", reason=repr(outgoing.target[:256]))
    fields = [b"%b: %b" % header for header in outgoing.headers]
    if CONTROL.search(b"".join(fields)) is not None:
        raise InvalidRequest("A header of the request holds a control character.")
    line = b"%b %b HTTP/1.1" % (outgoing.method.encode("ascii"), outgoing.target)
    return b"\r\n".join([line, b"Host: " + authority, *fields, *_framing(outgoing), b"", b""])


def _framing(outgoing: Outgoing) -> tuple[bytes, ...]:
    if outgoing.body is None:
        return () if outgoing.method in WITHOUT_LENGTH else (b"Content-Length: 0",)
    if outgoing.length is None:
        return (b"Transfer-Encoding: chunked",)
    return (b"Content-Length: %d" % outgoing.length,)
