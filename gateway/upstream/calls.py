"""httpx's face of the engine: its requests go out over the same connections as the streams.

It does not know what is called, nor by whom.
"""

from collections.abc import AsyncIterator, Awaitable, Callable

import httpx

from gateway.upstream.exchange import Incoming, Outgoing

FRAMING = frozenset((b"host", b"content-length", b"transfer-encoding"))
Exchange = Callable[[Outgoing, float], Awaitable[Incoming]]


class EngineTransport(httpx.AsyncBaseTransport):
    """Sends over `exchange`, which takes a request and the seconds within which it has to be connected.

    What it raises leaves httpx as it is.
    """

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """See httpx. The body has to have a length: the gateway's own always do."""
        limits, stream = request.extensions["timeout"], request.stream
        if not isinstance(stream, httpx.AsyncByteStream):
            raise TypeError("a body that cannot be sent from an event loop")
        length = int(request.headers.get("content-length", 0))
        outgoing = Outgoing(
            method=request.method,
            target=request.url.raw_path,
            headers=tuple(header for header in request.headers.raw if header[0].lower() not in FRAMING),
            body=aiter(stream) if length else None,
            length=length if length else None,
            idle_timeout=limits["read"],
        )
        answer = await self._exchange(outgoing, limits["connect"])
        return httpx.Response(answer.status, headers=list(answer.headers), stream=_Body(answer))


class _Body(httpx.AsyncByteStream):
    def __init__(self, answer: Incoming) -> None:
        self._answer = answer

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for piece in self._answer.body():
            yield piece

    async def aclose(self) -> None:
        await self._answer.release()
