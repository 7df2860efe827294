"""Which headers cross the gateway in each direction, as tables and pure functions: clean first, then add.

It does not know who calls, nor what a header's value means to whoever gets it.

Names are judged in a normal form, lower case with `_` and `.` read as `-`: a name that another program might take for
one of ours is treated as ours.
"""

import re
from collections.abc import Iterable
from enum import Enum, auto
from functools import lru_cache

from gateway.comfy.table import Row
from gateway.errors import UpstreamFault
from gateway.identity.credentials import CREDENTIAL_HEADERS

Header = tuple[bytes, bytes]
Headers = tuple[Header, ...]

NORMAL = bytes(byte + 32 if 65 <= byte <= 90 else 45 if byte in b"_." else byte for byte in range(256))
CONTROL = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")

HOP_BY_HOP = frozenset(
    (
        b"connection",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
        b"http2-settings",
    )
)
# Written anew from the body that is really sent; `Expect` is answered by our own server when we ask for the body.
FRAMING = frozenset((b"host", b"content-length", b"expect"))
CREDENTIALS = CREDENTIAL_HEADERS | {b"cookie", b"x-auth-token", b"ticket"}
# ComfyUI's own user header, and what it would judge a browser's request by: both are decided here.
JUDGED_HERE = frozenset((b"comfy-user", b"origin", b"referer"))
ADDRESSES = frozenset((b"forwarded", b"via", b"x-real-ip", b"x-client-ip", b"x-cluster-client-ip", b"true-client-ip"))
OVERRIDES = frozenset(
    (b"x-http-method", b"x-http-method-override", b"x-method-override", b"x-request-id", b"remote-user")
)
REQUEST_DROPPED = HOP_BY_HOP | FRAMING | CREDENTIALS | JUDGED_HERE | ADDRESSES | OVERRIDES
REQUEST_DROPPED_PREFIXES = (
    b"x-forwarded",
    b"x-original-",
    b"x-rewrite-",
    b"x-auth-",
    b"x-gateway-",
    b"x-accel-",
    b"cf-",
    b"sec-",
    b"remote-",
)

ANSWER_DROPPED = HOP_BY_HOP | frozenset(
    (
        b"set-cookie",
        b"set-cookie2",
        b"clear-site-data",
        b"refresh",
        b"link",
        b"service-worker-allowed",
        b"www-authenticate",  # a browser would open its own password dialog
        b"strict-transport-security",
        b"alt-svc",
        b"nel",
        b"report-to",
        b"reporting-endpoints",
        b"x-sendfile",
        b"x-request-id",
        b"server",
        b"date",  # both are written by our own server
    )
)
ANSWER_DROPPED_PREFIXES = (b"x-accel-", b"access-control-")


class Treatment(Enum):
    """What an answer is, as far as browsers must be told."""

    STATIC = auto()
    """The editor's and the node packs' files: the same for everybody, passed as they are."""
    PRIVATE = auto()
    """An answer to this caller alone."""
    FILE = auto()
    """A file that users made: private, and never active on our origin."""


FILE_PATTERNS = frozenset(("/view", "/userdata/{file}", "/experiment/models/preview/{folder}/{path_index}/{filename}"))
# Types that a browser shows without running anything; every other one is offered as a download.
INLINE_TYPES = frozenset(
    (
        b"image/png",
        b"image/jpeg",
        b"image/webp",
        b"image/gif",
        b"video/mp4",
        b"video/webm",
        b"audio/wav",
        b"audio/x-wav",
        b"audio/mpeg",
        b"audio/flac",
        b"audio/x-flac",
        b"audio/ogg",
    )
)
OCTETS = (b"content-type", b"application/octet-stream")
PRIVATE_ADDED: Headers = (
    (b"x-content-type-options", b"nosniff"),
    (b"vary", b"Authorization, X-API-Key, Cookie"),
)
FILE_ADDED: Headers = (
    *PRIVATE_ADDED,
    (
        b"content-security-policy",
        b"sandbox; default-src 'none'; img-src 'self'; media-src 'self'; style-src 'unsafe-inline'",
    ),
)
CACHED_PRIVATELY: Header = (b"cache-control", b"private")
SAME_ORIGIN: Header = (b"cross-origin-resource-policy", b"same-origin")


def request_headers(incoming: Iterable[Header], *, own: Headers = ()) -> Headers:
    """The client's headers that ComfyUI may see, in their order and with their duplicates, and after them `own`.

    What `Connection` names is removed before ours are added, so a client cannot name one of ours away.
    """
    kept: list[Header] = []
    nominations: list[bytes] = []
    for name, value in incoming:
        normal = name.translate(NORMAL)
        if normal in REQUEST_DROPPED:
            if normal == b"connection":
                nominations.append(value)
        elif not normal.startswith(REQUEST_DROPPED_PREFIXES):
            kept.append((name, value))
    unwanted = _names(nominations).union(name.translate(NORMAL) for name, _ in own)
    if unwanted:
        kept = [header for header in kept if header[0].translate(NORMAL) not in unwanted]
    return (*kept, *own)


def treatment_of(row: Row) -> Treatment:
    """How answers of this route go to a browser; a route that says nothing is private."""
    if row.static:
        return Treatment.STATIC
    return Treatment.FILE if row.method == "GET" and row.pattern in FILE_PATTERNS else Treatment.PRIVATE


def answer_headers(upstream: Headers, *, status: int, treatment: Treatment, ambient: bool = False) -> list[Header]:
    """ComfyUI's headers that a client may see, in their order and with their duplicates, and after them ours.

    Raises UpstreamFault for an answer that could not be passed on without changing where it ends.
    """
    kept = _clean(upstream, status)
    if treatment is Treatment.STATIC:
        return kept
    if treatment is Treatment.FILE:
        kept = [*_inactive(kept, status), *FILE_ADDED]
    else:
        kept = [header for header in kept if header[0] != b"x-content-type-options"]
        kept += PRIVATE_ADDED
    if ambient:
        kept.append(SAME_ORIGIN)
    return _cached_privately(kept)


def _names(values: Iterable[bytes]) -> frozenset[bytes]:
    """The header names in the values of `Connection`, in normal form."""
    return frozenset(token.strip().translate(NORMAL) for value in values for token in value.split(b",")) - {b""}


def _clean(upstream: Headers, status: int) -> list[Header]:
    _judge(upstream, status)
    kept: list[Header] = []
    unwanted: frozenset[bytes] = frozenset()
    for name, value in upstream:
        passed = _passed(name)
        if passed is not None:
            kept.append((passed, value))
            continue
        normal = name.translate(NORMAL)
        if normal == b"connection" and value != b"keep-alive":
            unwanted |= _names((value,)) - {b"content-length"}
        elif normal == b"transfer-encoding" and value.lower() != b"chunked":
            raise _malformed(f"Transfer-Encoding {value!r:.80}")
    if status in (204, 304):
        # Such an answer has no body whatever it says, and our own server would wait for the bytes.
        unwanted |= {b"content-length"}
    return [header for header in kept if header[0].translate(NORMAL) not in unwanted] if unwanted else kept


@lru_cache(maxsize=1024)
def _passed(name: bytes) -> bytes | None:
    """The name as it is passed on, None for one that is not."""
    normal = name.translate(NORMAL)
    dropped = normal in ANSWER_DROPPED or normal.startswith(ANSWER_DROPPED_PREFIXES)
    return None if dropped else name.lower()


def _judge(upstream: Headers, status: int) -> None:
    """Our own server would break off in the middle of a head that it cannot write."""
    if not 200 <= status <= 599:
        raise _malformed(f"status {status}")
    if CONTROL.search(b"".join([value for _, value in upstream])):
        raise _malformed("a control character in a header")


def _malformed(reason: str) -> UpstreamFault:
    return UpstreamFault("ComfyUI's answer is malformed.", reason=reason)


def _cached_privately(headers: list[Header]) -> list[Header]:
    """Nothing of one user's may be kept by a shared cache, whatever ComfyUI says, which knows only one user."""
    kept = [header for header in headers if header[0] != b"cache-control" or b"public" not in header[1].lower()]
    if not any(name == b"cache-control" for name, _ in kept):
        kept.append(CACHED_PRIVATELY)
    return kept


def _inactive(headers: list[Header], status: int) -> list[Header]:
    """A file whose type could run on our origin is offered as a download, and a script loses its type."""
    types = [value for name, value in headers if name == b"content-type"]
    if not types and status == 304:
        return headers  # the browser would write a disposition from here into the answer that it has kept
    kind = types[0].partition(b";")[0].strip().lower() if len(types) == 1 else b""
    dropped = {b"x-content-type-options", b"content-security-policy"}
    added: list[Header] = []
    if kind not in INLINE_TYPES:
        dropped.add(b"content-disposition")
        added.append((b"content-disposition", _attachment(headers)))
        if not kind or b"javascript" in kind or b"ecmascript" in kind:
            dropped.add(b"content-type")
            added.append(OCTETS)
    return [header for header in headers if header[0] not in dropped] + added


def _attachment(headers: list[Header]) -> bytes:
    """The disposition with ComfyUI's file name; it sends `filename="…"` alone, without a type in front."""
    values = [value for name, value in headers if name == b"content-disposition"]
    if len(values) != 1:
        return b"attachment"
    first, _, rest = values[0].partition(b";")
    kind = first.strip().lower()
    if kind == b"attachment":
        return values[0]
    parameters = (rest if kind == b"inline" else values[0]).strip()
    return b"attachment; " + parameters if parameters else b"attachment"
