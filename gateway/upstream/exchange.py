"""One request to ComfyUI and its answer, as values: bytes in, bytes out, nothing decoded.

It does not know whose request it is, nor how a connection was found.
"""

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

from aiohttp import ClientPayloadError, ClientResponse

from gateway.upstream.faults import FAULTS, translated


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A request as it will stand on the wire; `Host` and the framing header are added by the server's face.

    `target` is the raw path and, if there is a query, `?` and the query. `length` is the body's in bytes, None for a
    body that goes out chunked. `idle_timeout` is in seconds of silence, None for no limit.
    """

    method: str
    target: bytes
    headers: tuple[tuple[bytes, bytes], ...] = ()
    body: AsyncIterator[bytes] | None = None
    length: int | None = None
    idle_timeout: float | None = None


class Incoming:
    """An answer whose head is here and whose body is still on the connection that it borrowed.

    Whoever holds it must call `release()`, also on cancellation. Then a connection whose answer was received to the end
    has gone back to the pool, and any other is closed: its rest could be taken for the next answer.
    """

    __slots__ = ("_on_release", "_released", "_response", "headers", "status")

    def __init__(self, response: ClientResponse, on_release: Callable[[], None]) -> None:
        self.status: int = response.status
        self.headers: tuple[tuple[bytes, bytes], ...] = response.raw_headers
        self._response = response
        self._on_release = on_release
        self._released = False

    @property
    def complete(self) -> bool:
        """Whether the whole body has already arrived, so that reading it waits for nothing."""
        return self._response.content.is_eof()

    @property
    def length(self) -> int | None:
        """The declared length of the body in bytes; for HEAD and 304, of the body that is not sent."""
        return self._response.content_length

    async def whole(self) -> bytes:
        """The body in one piece, for answers known to be small.

        Raises UpstreamFault when it is cut short.
        """
        self._watch_connection()
        try:
            return await self._response.content.read()
        except FAULTS as error:
            raise translated(error) from error

    async def body(self) -> AsyncIterator[bytes]:
        """The body as it arrives. ComfyUI is read no faster than the pieces are taken.

        Raises UpstreamFault when it is cut short, UpstreamTimeout after the idle time-out.
        """
        self._watch_connection()
        read = self._response.content.readany
        try:
            while piece := await read():
                yield piece
        except FAULTS as error:
            raise translated(error) from error

    async def release(self) -> None:
        """Give the connection back or close it. Awaits nothing, so it cannot be cancelled half-way; twice is once."""
        if self._released:
            return
        self._released = True
        if not self._response.closed:
            self._response.close()
        self._on_release()

    def _watch_connection(self) -> None:
        """End the reading when the connection ends, which aiohttp 3.14 forgets after a malformed chunk.

        It then closes the connection and stops its own read time-out, but tells the reader nothing: without this, a
        client would wait for ever. When the callback runs, every regular end has already reached the reader.
        """
        content, connection = self._response.content, self._response.connection
        closed = connection.protocol.closed if connection is not None and connection.protocol is not None else None
        if closed is None or content.is_eof():
            return

        def ended(_: object) -> None:
            if not content.is_eof() and content.exception() is None:
                content.set_exception(ClientPayloadError("the connection ended in the middle of the body"))

        closed.add_done_callback(ended)
