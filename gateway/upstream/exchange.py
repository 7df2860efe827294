"""One request to ComfyUI and its answer, as values: bytes in, bytes out, nothing decoded.

It does not know whose request it is, nor how a connection was found.
"""

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

from gateway.upstream.answer import AnswerReader
from gateway.upstream.connection import Connection


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

    __slots__ = ("_answer", "_connection", "_give_back", "_idle_timeout", "_released", "headers", "length", "status")

    def __init__(
        self,
        answer: AnswerReader,
        connection: Connection,
        *,
        idle_timeout: float | None,
        give_back: Callable[[Connection], None],
    ) -> None:
        self.status = answer.status
        self.headers = tuple(answer.headers)
        self.length = answer.length
        """The declared length of the body in bytes; for HEAD and 304, of the body that is not sent."""
        self._answer = answer
        self._connection = connection
        self._idle_timeout = idle_timeout
        self._give_back = give_back
        self._released = False

    @property
    def complete(self) -> bool:
        """Whether the whole body has already arrived, so that reading it waits for nothing."""
        return self._answer.complete

    async def whole(self) -> bytes:
        """The body in one piece, for answers known to be small.

        Raises UpstreamFault when it is cut short, UpstreamTimeout after the idle time-out.
        """
        answer = self._answer
        if answer.complete and len(answer.pieces) == 1:
            return answer.take()
        return b"".join([piece async for piece in self.body()])

    async def body(self) -> AsyncIterator[bytes]:
        """The body as it arrives. ComfyUI is read no faster than the pieces are taken.

        Raises UpstreamFault when it is cut short, UpstreamTimeout after the idle time-out.
        """
        answer = self._answer
        while True:
            while answer.pieces:
                yield answer.take()
            if answer.complete:
                return
            await self._connection.more(answer, idle_timeout=self._idle_timeout)

    async def release(self) -> None:
        """Give the connection back or close it. Awaits nothing, so it cannot be cancelled half-way; twice is once."""
        if not self._released:
            self._released = True
            self._give_back(self._connection)
