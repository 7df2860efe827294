"""The body of a client's request: read once, never more than the limit, and honest about a client that left.

It does not know where the bytes go.
"""

import asyncio
from collections.abc import AsyncGenerator, Iterable

from starlette.types import Receive

from gateway.errors import InvalidRequest, TooLarge

Header = tuple[bytes, bytes]


class ClientLeftError(Exception):
    """The client closed its connection: whatever is under way for it can stop, and there is nobody to answer."""


class RequestBody:
    """A body of at most `limit` bytes; `length` is the declared one, None for a chunked body; `empty`: none follows.

    Nothing is asked of the client before the first piece is: that is what makes our server say `100 Continue`.
    Raises TooLarge at once if the declared length is over the limit.
    """

    def __init__(self, headers: Iterable[Header], receive: Receive, *, limit: int) -> None:
        self.length, chunked = _framing(headers)
        self.empty = not chunked and not self.length
        self.left = False
        self.ended = asyncio.Event()
        self._receive = receive
        self._limit = limit
        if self.length is not None and self.length > limit:
            raise _too_large(limit)

    async def pieces(self) -> AsyncGenerator[bytes, None]:
        """The body as it arrives; the client is read no faster than the pieces are taken.

        Raises ClientLeftError, and TooLarge for a chunked body that turns out to be over the limit.
        """
        seen = 0
        more = True
        try:
            while more:
                message = await self._receive()
                if message["type"] == "http.disconnect":
                    self.left = True
                    raise ClientLeftError
                piece: bytes = message.get("body", b"")
                more = message.get("more_body", False)
                seen += len(piece)
                if seen > self._limit:
                    raise _too_large(self._limit)
                if piece:
                    yield piece
        finally:
            self.ended.set()

    async def whole(self) -> bytes:
        """The body in one piece. Raises as `pieces` does."""
        return b"".join([piece async for piece in self.pieces()])


def _framing(headers: Iterable[Header]) -> tuple[int | None, bool]:
    """The declared length, and whether the body is chunked instead. Our server has refused what is ambiguous."""
    length, chunked = None, False
    for name, value in headers:
        if name == b"content-length":
            if not value.isdigit():
                raise InvalidRequest("The Content-Length is not a number.", reason=repr(value[:80]))
            length = int(value)
        elif name == b"transfer-encoding":
            chunked = True
    return (None, True) if chunked else (length, False)


def _too_large(limit: int) -> TooLarge:
    return TooLarge(
        f"The request body is larger than {limit} bytes.",
        details="Send a smaller one, or ask an administrator for a higher limit.",
        extra_info={"limit": limit},
    )
