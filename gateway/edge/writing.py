"""What an answer is written to: its head waits for its body until the end of the turn, so that both are one write.

It does not know what is answered. uvicorn writes the head and the body of each answer separately, and its event loop
(uvloop) hands every write to the kernel at once: a small answer was two packets and woke its reader twice.
"""

import asyncio
from collections.abc import Callable

MOST_JOINED = 64 * 1024
"""Bytes of a piece that are worth copying to save a write."""


class AnswerTransport(asyncio.Transport):
    """As much of a transport as one answer needs; its `close()` writes what is held back and then calls `close`."""

    def __init__(
        self, transport: asyncio.Transport, *, loop: asyncio.AbstractEventLoop, close: Callable[[], None]
    ) -> None:
        super().__init__()
        self._transport = transport
        self._loop = loop
        self._close = close
        self._head: bytes | None = None
        self._started = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """The first piece is held back until the next one, or until the event loop has nothing else to do first."""
        if not self._started:
            self._started, self._head = True, bytes(data)
            self._loop.call_soon(self.flush)
        elif self._head is not None and len(data) <= MOST_JOINED:
            head, self._head = self._head, None
            self._transport.write(b"".join((head, data)))
        else:
            self.flush()
            self._transport.write(data)

    def flush(self) -> None:
        """Write what is held back; nothing, if the connection has been closed meanwhile."""
        head, self._head = self._head, None
        if head is not None and not self._transport.is_closing():
            self._transport.write(head)

    def is_closing(self) -> bool:
        return self._transport.is_closing()

    def close(self) -> None:
        self.flush()
        self._close()
