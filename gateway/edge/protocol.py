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
from enum import Enum, auto
from typing import Final, cast

import httptools
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from gateway.edge.answer import answer_to, mint_request_id
from gateway.edge.closing import ClosesLate, close_late
from gateway.edge.deadlines import Deadlines
from gateway.edge.head import (
    BODILESS,
    MAX_HEADER_BYTES,
    MAX_TARGET_BYTES,
    Head,
    TimedOut,
    judge,
    too_large,
)
from gateway.errors import AddressTooLong, GatewayError, InvalidRequest, MethodNotAllowed
from gateway.log import get_logger

_MAX_RAW_HEAD: Final = MAX_HEADER_BYTES + MAX_TARGET_BYTES + 1024
_MAX_PIPELINED: Final = 32

log = get_logger(__name__)


class Phase(Enum):
    """Where in a request the bytes from the client are."""

    BETWEEN = auto()
    HEAD = auto()
    BODY = auto()


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

    _phase = Phase.BETWEEN
    _websocket = False
    _ignored_upgrade = False
    _deaf = False
    _stopping = False
    _keep_alive = False
    _raw_head_bytes = 0
    _header_count = 0
    _header_bytes = 0
    _deadlines: Deadlines

    # 1. The connection

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(cast(asyncio.Transport, transport))
        self._deadlines = Deadlines(self.loop, late=self._late, is_waiting_for_us=self._is_waiting_for_us)
        self._deadlines.head(self.head_timeout)

    def connection_lost(self, exc: Exception | None) -> None:
        self._deadlines.stop()
        super().connection_lost(exc)

    def shutdown(self) -> None:
        self._stopping = True
        super().shutdown()

    def data_received(self, data: bytes) -> None:
        if self._deaf:
            return
        self._unset_keepalive_if_required()
        # Counted from the second piece on: the first may begin with the end of another request. Loose by one read.
        self._raw_head_bytes = self._raw_head_bytes + len(data) if self._phase is Phase.HEAD else 0
        self._feed(data)
        if not self._deaf:
            self._set_deadline()

    def _feed(self, data: bytes) -> None:
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._after_upgrade(data[upgrade.args[0] :])
        except httptools.HttpParserInvalidMethodError:
            self._refuse(MethodNotAllowed("This method is not used here."))
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
        version = self.parser.get_http_version().encode()
        self.parser = httptools.HttpRequestParser(self)
        fields = [b"%b: %b\r\n" % field for field in self.headers if field[0] not in (b"upgrade", b"http2-settings")]
        line = b"%b %b HTTP/%b\r\n" % (self.scope["method"].encode(), self.url, version)
        self._feed(b"".join([line, *fields, b"\r\n", rest]))

    # 2. What the parser reports

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._phase = Phase.HEAD
        self._header_count = self._header_bytes = 0
        if len(self.pipeline) >= _MAX_PIPELINED:
            raise InvalidRequest("Too many requests at once on one connection.")

    def on_url(self, url: bytes) -> None:
        super().on_url(url)
        if len(self.url) > MAX_TARGET_BYTES:
            raise AddressTooLong(f"At most {MAX_TARGET_BYTES} bytes of address are taken.")

    def on_header(self, name: bytes, value: bytes) -> None:
        self._header_count += 1
        self._header_bytes += len(name) + len(value) + len(b": \r\n")
        refusal = too_large(count=self._header_count, size=self._header_bytes)
        if refusal is not None:
            raise refusal
        if self._phase is Phase.HEAD:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        method, upgrade = self.parser.get_method(), self.parser.should_upgrade()
        verdict = judge(Head(method, self.parser.get_http_version(), self.url, self.headers, upgrade))
        self.scope["method"] = method.decode("ascii")
        self._websocket = verdict.websocket
        self._ignored_upgrade = upgrade and not verdict.websocket
        if self._ignored_upgrade:
            return
        if verdict.websocket and self._is_busy():
            raise InvalidRequest("A websocket cannot be opened behind a request that is not answered yet.")
        if verdict.has_body and method in BODILESS:
            self._drop_framing()
        super().on_headers_complete()
        self._phase = Phase.BODY
        if verdict.has_body:
            self._expect_body()

    def on_body(self, body: bytes) -> None:
        self._deadlines.piece(len(body))
        if self.scope["method"].encode() not in BODILESS:
            super().on_body(body)

    def on_message_complete(self) -> None:
        if self._ignored_upgrade:
            return
        if self._phase is Phase.BODY and not self._websocket:
            self._end_body()
        self._phase = Phase.BETWEEN
        super().on_message_complete()

    def _should_upgrade(self) -> bool:
        return self._websocket and self._should_upgrade_to_ws()

    # 3. Bodies

    def _drop_framing(self) -> None:
        """A GET with a body is served as one without: ComfyUI must neither get the body nor wait for it."""
        framing = (b"content-length", b"transfer-encoding")
        self.headers[:] = [field for field in self.headers if field[0] not in framing]

    def _expect_body(self) -> None:
        """An answer that starts before the body has ended says that it closes the connection, and then does."""
        self._keep_alive, self.cycle.keep_alive = self.cycle.keep_alive, False
        self.cycle.transport = ClosesLate(self.transport, close=self._close_behind_answer)

    def _end_body(self) -> None:
        if self._keep_alive and not self.cycle.response_started and not self._stopping:
            self.cycle.keep_alive = True
        self._keep_alive = False

    def _close_behind_answer(self) -> None:
        if self.cycle.more_body:
            self._close_late()
        else:
            self.transport.close()

    # 4. Deadlines and refusals

    def _set_deadline(self) -> None:
        """What the client has to send next, and by when; nothing, while it is our turn."""
        if self._phase is Phase.BODY:
            self._deadlines.body(gap=self.body_gap, minimum=self.body_minimum)
        elif self._phase is Phase.HEAD:
            self._deadlines.head(self.head_timeout)
            if self._raw_head_bytes > _MAX_RAW_HEAD:
                self._refuse(too_large(count=0, size=self._raw_head_bytes) or InvalidRequest("The head is too large."))
        elif self._is_busy() or self.timeout_keep_alive_task is not None:
            self._deadlines.stop()
        else:
            # Only line ends came: they stop uvicorn's keep-alive timer, and nothing else would ever close the
            # connection.
            self._deadlines.head(self.head_timeout)

    def _late(self, reason: str) -> None:
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
            self._write_refusal(error)
            self._close_late()

    def _write_refusal(self, error: GatewayError) -> None:
        request_id = mint_request_id()
        answer = answer_to(error, request_id)
        headers = [*answer.headers, (b"x-request-id", request_id.encode()), (b"connection", b"close")]
        fields = b"".join(b"%b: %b\r\n" % field for field in headers)
        self.transport.write(b"%b%b\r\n%b" % (STATUS_LINE[answer.status], fields, answer.body))

    def _close_late(self) -> None:
        self._deaf = True
        self._deadlines.stop()
        self.flow.resume_reading()
        close_late(self.transport, after=self.linger, loop=self.loop)
