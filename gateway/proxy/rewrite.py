"""What a handler of an OWN row gives back: the request that ComfyUI gets instead of the client's, and what to make of
the answer.

It does not know which handlers there are, nor how a request is sent.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass

from gateway.comfy.table import Call
from gateway.proxy.answer import Answered, Asked, Header
from gateway.proxy.body import RequestBody
from gateway.upstream.server import Incoming

Replace = Callable[[Incoming], Awaitable[Answered | None]]


def nothing() -> None:
    """Nothing is left to do."""


async def unchanged(_: Incoming) -> None:
    """ComfyUI's answer goes back as it is."""


@dataclass(frozen=True, slots=True)
class Rewritten:
    """A request in ComfyUI's terms. `headers` take the place of the client's of the same name.

    `replaced` looks at the head of the answer, and may read its body: it gives the answer that the client gets instead,
    None to stream ComfyUI's own back, or raises a GatewayError. `ended` is called in any case, when all is over or has
    failed.
    """

    target: bytes
    headers: tuple[Header, ...] = ()
    pieces: AsyncIterator[bytes] | None = None
    length: int | None = None
    replaced: Replace = unchanged
    ended: Callable[[], None] = nothing


Rewrite = Callable[[Asked, RequestBody | None], Awaitable[Rewritten]]
Rewrites = Mapping[str, Rewrite]


def as_it_came(call: Call, body: RequestBody | None) -> Rewritten:
    """The client's own request."""
    target = call.raw_path + b"?" + call.query if call.query else call.raw_path
    if body is None:
        return Rewritten(target)
    return Rewritten(target, pieces=body.pieces(), length=body.length)
