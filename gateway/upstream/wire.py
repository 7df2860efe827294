"""The head of a request as aiohttp takes it, made so that it writes exactly the bytes that it was made from.

It does not know where the bytes come from; whatever would not arrive as it is, is refused. Pure functions.
"""

import re

from yarl import URL

from gateway.errors import InvalidRequest
from gateway.upstream.exchange import Outgoing

# Origin form: visible ASCII after a slash, and no `#`, which ComfyUI would cut the rest off at.
TARGET = re.compile(rb"/[\x21\x22\x24-\x7e]*")
CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")


def origin_of(url: str) -> URL:
    """Scheme, host and port of a server. Raises ValueError for anything more: a path would silently be lost."""
    origin = URL(url)
    if origin.scheme not in ("http", "https") or not origin.raw_host or origin.raw_path_qs != "/" or origin.user:
        raise ValueError(f"not the address of a ComfyUI server (http://host:port): {url!r}")
    return origin


def address(origin: URL, target: bytes) -> URL:
    """The URL at `origin` whose path and query are `target`. Raises InvalidRequest."""
    if TARGET.fullmatch(target) is None:
        raise _no_target(target)
    text = target.decode("ascii")
    path, _, query = text.partition("?")
    url = URL.build(scheme=origin.scheme, authority=origin.raw_authority, path=path, query_string=query, encoded=True)
    if url.raw_path_qs != text:  # a `?` without a query would be lost
        raise _no_target(target)
    return url


def header_lines(outgoing: Outgoing) -> list[tuple[str, str]]:
    """The headers, with the length of the body if it has one: aiohttp frames a body without it as chunked.

    Raises InvalidRequest. aiohttp writes UTF-8, so only UTF-8 can be carried unchanged.
    """
    try:
        lines = [(name.decode("ascii"), value.decode()) for name, value in outgoing.headers]
    except UnicodeDecodeError as error:
        raise InvalidRequest("A header of the request is not UTF-8.", reason=str(error)) from error
    if CONTROL.search("".join([text for line in lines for text in line])):
        raise InvalidRequest("A header of the request holds a control character.")
    if outgoing.body is not None and outgoing.length is not None:
        lines.append(("Content-Length", str(outgoing.length)))
    return lines


def _no_target(target: bytes) -> InvalidRequest:
    return InvalidRequest("The address of the request cannot be forwarded.", reason=repr(target[:256]))
