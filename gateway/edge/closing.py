"""How a connection ends: so that the client can read the last answer, or because he has stopped reading. It does not
know what the answers say.

Closing a socket while unread bytes lie in it sends a reset, and on a reset many clients throw away what they
received: somebody whose upload was refused would see “connection reset” instead of why. So only our half is closed,
and what still comes is thrown away for a while.
"""

import asyncio


def close_late(transport: asyncio.Transport, *, after: float, loop: asyncio.AbstractEventLoop) -> None:
    """Say that nothing more will come; close `after` seconds later, or as soon as the client does."""
    if transport.is_closing():
        return
    if not transport.can_write_eof():
        transport.close()
        return
    transport.write_eof()
    loop.call_later(after, transport.close)


class Stall:
    """Aborts a connection whose client has not taken what was written to it for `timeout` seconds.

    uvicorn waits for ever for a client that stops reading in the middle of an answer.
    """

    def __init__(self, transport: asyncio.Transport, *, timeout: float, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._timeout = timeout
        self._loop = loop
        self._timer: asyncio.TimerHandle | None = None

    def begun(self) -> None:
        """The write buffer is full."""
        self._timer = self._loop.call_later(self._timeout, self._transport.abort)

    def over(self) -> None:
        """It has drained, or nobody waits for it any more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
