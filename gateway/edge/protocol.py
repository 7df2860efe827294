"""The HTTP/1.1 server protocol with the guards that uvicorn's lacks: limits, deadlines, one reading of every request.

It does not know what a request asks for, nor who sends it; what a complete head must look like is for `head` to say.

uvicorn has no limit on headers and no deadline for heads or bodies: 200 MB in one header took 335 MB and 47 s before
any credential was looked at. Four more facts of uvicorn 0.54 and httptools 0.9 are answered here:

 - fields behind a chunked body (trailers) are appended to the headers of the request that is already being served;
 - after `Upgrade: h2c` the body of that request is read as the next request;
 - each answer to a pipelined request starts reading again, so the queue of pipelined requests has no bound;
 - an early answer leaves the rest of the body to be read, for however long it is.
"""

import asyncio
from collections.abc import Callable
from typing import Final, cast

import httptools
from uvicorn._types import ASGI3Application
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from gateway.edge import head as heads
from gateway.edge.answer import mint_request_id, raw_answer_to
from gateway.edge.closing import Stall, close_late
from gateway.edge.deadlines import Deadlines, Phase
from gateway.edge.head import BODILESS, Head
from gateway.edge.writing import AnswerTransport
from gateway.errors import AddressTooLong, GatewayError, HeadTooLarge, InvalidRequest, TimedOut
from gateway.log import get_logger

_MAX_RAW: Final = heads.MAX_HEADER_BYTES + heads.MAX_TARGET_BYTES + 1024
_MAX_RAW_PER_BYTE: Final = 9
"""The parser keeps a header, a trailer or a chunk extension that does not end, and reports nothing of it. So what was
fed to it is counted: at most a whole head, and for each byte of a body that it reported what the smallest chunk
takes.
"""
_MAX_PIPELINED: Final = 32

log = get_logger(__name__)


class GuardedProtocol(HttpToolsProtocol):
    """One connection. The times are seconds."""

    head_timeout: float = 10.0
    """From the connection, or the first byte of a further request, to the end of its head."""
    body_gap: float = 20.0
    """Between two pieces of a body, while we are reading."""
    body_minimum: int = 1024
    """Bytes in every `body_gap` while we are reading: one byte every 19 s would else hold a connection for ever."""
    linger: float = 2.0
    """How long the rest of a refused request is read and thrown away, so that the client can read the answer."""
    write_timeout: float = 60.0
    """How long a client that has stopped reading holds an answer."""

    _phase = Phase.BETWEEN
    _websocket = False
    _ignored_upgrade = False
    _deaf = False
    _keep_alive = False
    _raw_bytes = 0
    _body_bytes = 0
    _header_count = 0
    _header_bytes = 0
    _running: RequestResponseCycle | None = None
    _deadlines: Deadlines
    _stall: Stall

    # 1. The connection

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(cast(asyncio.Transport, transport))
        self._deadlines = Deadlines(self.loop, late=self._late, is_waiting_for_us=self._is_waiting_for_us)
        self._deadlines.head(self.head_timeout)
        self._stall = Stall(self.transport, timeout=self.write_timeout, loop=self.loop)

    def connection_lost(self, exc: Exception | None) -> None:
        self._deadlines.stop()
        self._stall.over()
        super().connection_lost(exc)
        # uvicorn tells only the newest request that the client has left, which may be one that waits behind this one.
        if self._running is not None and not self._running.response_complete:
            self._running.disconnected = True
            self._running.message_event.set()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        self._write_held_back()
        self._running = cycle
        super()._start_asgi_task(cycle, app)

    def shutdown(self) -> None:
        self._keep_alive = False
        self._write_held_back()
        super().shutdown()

    def eof_received(self) -> None:
        self._write_held_back()
        super().eof_received()

    def pause_writing(self) -> None:
        self._stall.begun()
        super().pause_writing()

    def resume_writing(self) -> None:
        self._stall.over()
        super().resume_writing()

    def data_received(self, data: bytes) -> None:
        if self._deaf:
            return
        self._write_held_back()
        self._unset_keepalive_if_required()
        self._raw_bytes += len(data)
        self._feed(data)
        if not self._deaf:
            self._set_deadline()

    def _feed(self, data: bytes) -> None:
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._after_upgrade(data[upgrade.args[0] :])
        except httptools.HttpParserError as error:
            cause = error.__context__
            malformed = InvalidRequest("The request is not well-formed HTTP.", reason=str(error))
            self._refuse(cause if isinstance(cause, GatewayError) else malformed)

    def _after_upgrade(self, rest: bytes) -> None:
        """The parser stops behind the head of any upgrade. One that is not ours is read again as if there was none."""
        if self._websocket:
            self._deaf = True
            self._deadlines.stop()
            self.handle_websocket_upgrade()
            return
        head = heads.without_upgrade(self._head())
        self.parser = httptools.HttpRequestParser(self)
        self._feed(head + rest)

    # 2. What the parser reports

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._phase = Phase.HEAD
        # Counted from the next piece on: this one may begin with the end of another request. Loose by one read.
        self._header_count = self._header_bytes = self._raw_bytes = self._body_bytes = 0
        if len(self.pipeline) >= _MAX_PIPELINED:
            raise InvalidRequest("Too many requests at once on one connection.")

    def on_url(self, url: bytes) -> None:
        super().on_url(url)
        if len(self.url) > heads.MAX_TARGET_BYTES:
            raise AddressTooLong(f"At most {heads.MAX_TARGET_BYTES} bytes of address are taken.")

    def on_header(self, name: bytes, value: bytes) -> None:
        self._header_count += 1
        self._header_bytes += len(name) + len(value) + len(b": \r\n")
        refusal = heads.too_large(count=self._header_count, size=self._header_bytes)
        if refusal is not None:
            raise refusal
        if self._phase is Phase.HEAD:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        head = self._head()
        verdict = heads.judge(head)
        self._websocket = verdict.websocket
        self._ignored_upgrade = head.upgrade and not verdict.websocket
        if self._ignored_upgrade:
            return
        if verdict.websocket and self._is_busy():
            raise InvalidRequest("A websocket cannot be opened behind a request that is not answered yet.")
        if verdict.has_body and head.method in BODILESS:
            self.headers[:] = heads.without_framing(self.headers)
        self._keep_alive = False
        super().on_headers_complete()
        self._phase, self._raw_bytes = Phase.BODY, 0
        if verdict.has_body:
            self._expect_body()
        elif not verdict.websocket:
            self.cycle.transport = self._answer_transport(self.transport.close)

    def on_body(self, body: bytes) -> None:
        self._body_bytes += len(body)
        self._deadlines.piece(len(body))
        if self.scope["method"].encode() not in BODILESS:
            super().on_body(body)

    def on_message_complete(self) -> None:
        if self._ignored_upgrade:
            return
        self._phase = Phase.BETWEEN
        # An answer that has begun has said that it closes the connection.
        if self._keep_alive and not self._websocket and not self.cycle.response_started:
            self.cycle.keep_alive = True
        super().on_message_complete()

    def _head(self) -> Head:
        parser = self.parser
        return Head(parser.get_method(), parser.get_http_version(), self.url, self.headers, parser.should_upgrade())

    def _should_upgrade(self) -> bool:
        return self._websocket and self._should_upgrade_to_ws()

    # 3. Bodies

    def _expect_body(self) -> None:
        """An answer that starts before the body has ended says that it closes the connection, and then does."""
        self._keep_alive, self.cycle.keep_alive = self.cycle.keep_alive, False
        self.cycle.transport = self._answer_transport(self._close_behind_answer)

    def _answer_transport(self, close: Callable[[], None]) -> AnswerTransport:
        return AnswerTransport(self.transport, loop=self.loop, close=close)

    def _write_held_back(self) -> None:
        """Before anything else is written or closed: uvloop hears the client and its clock before it ends a turn."""
        if self._running is not None and isinstance(self._running.transport, AnswerTransport):
            self._running.transport.flush()

    def _close_behind_answer(self) -> None:
        if self.cycle.more_body:
            self._close_late()
        else:
            self.transport.close()

    # 4. Deadlines and refusals

    def _set_deadline(self) -> None:
        """What the client has to send next, and by when; nothing, while it is our turn."""
        too_much = self._raw_bytes > _MAX_RAW + _MAX_RAW_PER_BYTE * self._body_bytes
        if self._phase is Phase.BODY and too_much:
            self._refuse(InvalidRequest("The body has more framing than content."))
        elif self._phase is Phase.HEAD and too_much:
            self._refuse(HeadTooLarge("The head of the request is too large."))
        elif self._phase is Phase.BODY:
            self._deadlines.body(gap=self.body_gap, minimum=self.body_minimum)
        elif self._phase is Phase.HEAD:
            self._deadlines.head(self.head_timeout)
        elif self._is_busy() or self.timeout_keep_alive_task is not None:
            self._deadlines.stop()
        else:
            # Only line ends came: they stop uvicorn's keep-alive timer, and nothing else would ever close.
            self._deadlines.head(self.head_timeout)

    def _late(self, reason: str) -> None:
        self._write_held_back()
        if self._phase is Phase.BETWEEN:
            self.transport.close()
        else:
            self._refuse(TimedOut("The request did not arrive in time.", reason=reason))

    def _is_busy(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _is_waiting_for_us(self) -> bool:
        return self.flow.read_paused or self.cycle.waiting_for_100_continue

    def _refuse(self, error: GatewayError) -> None:
        """Answer, and hear no more: behind a request that could not be read nobody knows where the next one begins."""
        self._deaf = True
        self._deadlines.stop()
        log.info("request_refused", status=error.status, type=error.type, reason=error.reason, client=self.client)
        in_body = self._phase is Phase.BODY
        if self._is_busy() and not in_body:
            self.cycle.keep_alive = False
        elif in_body and (self.pipeline or self.cycle.response_started):
            self.transport.close()
        else:
            if in_body:
                self.cycle.disconnected = True
                self.cycle.message_event.set()
            self.transport.write(raw_answer_to(error, mint_request_id()))
            self._close_late()

    def _close_late(self) -> None:
        self._deaf = True
        self._deadlines.stop()
        self.flow.resume_reading()
        close_late(self.transport, after=self.linger, loop=self.loop)
