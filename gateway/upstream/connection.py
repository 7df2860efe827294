"""One kept connection to ComfyUI, on which one exchange follows another.

It does not know the other connections, nor whose exchange it carries. ComfyUI is read no faster than its answer is
taken, and written to no faster than it reads.
"""

import asyncio
import select
from collections.abc import Callable
from typing import cast

from gateway.errors import UpstreamFault
from gateway.upstream.answer import AnswerReader, MalformedAnswerError
from gateway.upstream.faults import broken, lost, silent
from gateway.upstream.upload import Upload

HELD_BYTES = 256 * 1024
"""What is kept of a body that nobody takes, before ComfyUI is read no further."""


class Connection(asyncio.Protocol):
    """A connection. `lost` is called once, when it has ended."""

    def __init__(self, loop: asyncio.AbstractEventLoop, lost: Callable[["Connection"], None]) -> None:
        self.idle_since = 0.0
        self._loop = loop
        self._on_lost = lost
        self._transport: asyncio.Transport
        self._answer: AnswerReader | None = None
        self._fault: UpstreamFault | None = None
        self._sender: asyncio.Task[None] | None = None
        self._more: asyncio.Future[None] | None = None
        self._room: asyncio.Future[None] | None = None
        self._reading = True
        self._ended = False
        self._waiting_bytes = select.poll()

    @property
    def usable(self) -> bool:
        """Whether another exchange may begin. Bytes that nobody asked for have closed it before."""
        return not self._transport.is_closing()

    @property
    def quiet(self) -> bool:
        """Whether nothing has come that the event loop has not seen yet; only while it is usable and lent to nobody.

        It would be the end of the connection, or a second answer to whoever had it last.
        """
        return not self._waiting_bytes.poll(0)

    def begin(self, head: bytes, *, bodiless: bool = False, upload: Upload | None = None) -> AnswerReader:
        """Write the head of a request, and send its body while the answer is waited for."""
        answer = self._answer = AnswerReader(bodiless=bodiless)
        self._transport.write(head)
        if upload is not None:
            self._sender = self._loop.create_task(self._send(upload))
        return answer

    async def more(self, answer: AnswerReader, *, idle_timeout: float | None) -> None:
        """Wait until more of the answer has come, or its end.

        Raises UpstreamFault when there will not be more, UpstreamTimeout after `idle_timeout` seconds.
        """
        if self._fault is not None:
            raise self._fault
        if not self._reading:
            self._reading = True
            self._transport.resume_reading()
        self._more = self._loop.create_future()
        timer = self._loop.call_later(idle_timeout, self._silent) if idle_timeout is not None else None
        try:
            await self._more
        finally:
            self._more = None
            if timer is not None:
                timer.cancel()
        if self._fault is not None and not answer.pieces and not answer.complete:
            raise self._fault

    def end(self) -> bool:
        """The exchange is over. Whether the connection is fit for another one; it is closed if not."""
        answer, sender, self._answer, self._sender = self._answer, self._sender, None, None
        sent = sender is None or sender.done()
        if sender is not None:
            sender.cancel()
        if not sent or self._fault is not None or answer is None or not (answer.complete and answer.keeps):
            self._transport.abort()
        elif not self._reading:
            self._reading = True
            self._transport.resume_reading()
        return self.usable

    def abort(self) -> None:
        """Close it now. What is under way and not complete ends with an UpstreamFault."""
        self._fail(broken("the gateway closed the connection"))

    # What the event loop reports

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._waiting_bytes.register(transport.get_extra_info("socket").fileno(), select.POLLIN)

    def data_received(self, data: bytes) -> None:
        answer = self._answer
        if answer is None or self._fault is not None:
            self._transport.abort()
            return
        try:
            answer.feed(data)
        except MalformedAnswerError as error:
            self._fail(broken(f"malformed answer: {error}"))
        if answer.held > HELD_BYTES and self._reading:
            self._reading = False
            self._transport.pause_reading()
        self._wake()

    def eof_received(self) -> None:
        """ComfyUI says no more. Nobody waits until it has read the rest of a request that it has judged already."""
        self._ended = True
        self._transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        answer = self._answer
        # Only ComfyUI's own word ends an answer without a length: not our abort, nor TLS that stopped in mid-stream.
        orderly = self._ended and self._fault is None
        if answer is None or not (answer.complete or (orderly and answer.end())):
            self._fault = self._fault or lost(
                f"the connection was lost: {exc!r}", answered=bool(answer and answer.bytes_seen)
            )
        if self._room is not None and not self._room.done():
            self._room.set_result(None)
        self._wake()
        self._on_lost(self)

    def pause_writing(self) -> None:
        self._room = self._loop.create_future()

    def resume_writing(self) -> None:
        if self._room is not None and not self._room.done():
            self._room.set_result(None)
        self._room = None

    async def _send(self, upload: Upload) -> None:
        """The body, piece by piece. One that fails ends the connection, so that half of it is not taken for a whole."""
        chunked = upload.length is None
        try:
            async for piece in upload:
                if self._transport.is_closing():
                    return
                self._transport.write(b"%x\r\n%b\r\n" % (len(piece), piece) if chunked else piece)
                if self._room is not None:
                    await self._room
        except Exception:
            self._fail(broken("the request's own body failed"))
            self._wake()
            return
        if chunked:
            self._transport.write(b"0\r\n\r\n")

    def _silent(self) -> None:
        if self._fault is None:
            self._fault = silent("no bytes")
        self._wake()

    def _fail(self, fault: UpstreamFault) -> None:
        self._fault = self._fault or fault
        self._transport.abort()

    def _wake(self) -> None:
        if self._more is not None and not self._more.done():
            self._more.set_result(None)
