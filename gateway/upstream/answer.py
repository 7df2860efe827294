"""One answer, read from the bytes of a connection in whatever pieces they come.

It does not know the connection, nor who asked. No I/O: bytes go in, a head, pieces of a body and an end come out.

Stricter than the parser below it (llhttp), because many users' answers come over one connection: an answer whose end
could be read in two ways, or behind which anything follows, is malformed, and what is malformed ends its connection.
"""

from collections import deque
from typing import Final

import httptools

HEAD_BYTES: Final = 256 * 1024
HEAD_LINES: Final = 512
BYTES_PER_BODY_BYTE: Final = 9
"""The smallest chunk, of one byte, takes six. What is over that counts like a head: a trailer, a chunk's extension."""


class MalformedAnswerError(Exception):
    """The bytes are no answer, or not only one. Nothing that follows on the connection can be trusted."""


class AnswerReader:
    """`bodiless` is whether the answer has no body whatever its head says, because HEAD was asked.

    `headers` are as they came, with duplicates and in order, once `has_head`. `pieces` is what of the body has come and
    was not taken yet. With `complete`, `keeps` says whether the connection may be used again.
    """

    __slots__ = (
        "_bodiless",
        "_body_bytes",
        "_ends_with_connection",
        "_interim",
        "_parser",
        "bytes_seen",
        "complete",
        "has_head",
        "headers",
        "held",
        "keeps",
        "length",
        "pieces",
        "status",
    )

    def __init__(self, *, bodiless: bool) -> None:
        self.status = 0
        self.headers: list[tuple[bytes, bytes]] = []
        self.length: int | None = None
        self.pieces: deque[bytes] = deque()
        self.held = 0
        self.bytes_seen = 0
        self.has_head = self.complete = self.keeps = False
        self._bodiless = bodiless
        self._body_bytes = 0
        self._interim = self._ends_with_connection = False
        self._parser = httptools.HttpResponseParser(self)

    def feed(self, data: bytes) -> None:
        """The next bytes of the connection.

        Raises MalformedAnswerError. An answer that was complete before stays good; one that is followed by anything in
        the same bytes was not.
        """
        if self.complete:
            raise MalformedAnswerError("bytes behind the answer")
        self.bytes_seen += len(data)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            self.complete = False
            raise MalformedAnswerError(str(error.__context__ or error)) from error
        allowed = HEAD_BYTES + BYTES_PER_BODY_BYTE * self._body_bytes
        if not self.complete and self.bytes_seen > allowed:
            raise MalformedAnswerError("more framing than content" if self.has_head else "the head is too large")

    def end(self) -> bool:
        """The connection has ended in an orderly way. Whether that makes the answer complete."""
        if self.has_head and self._ends_with_connection:
            self.complete = True
        return self.complete

    def take(self) -> bytes:
        """The next piece, off the front; only while there are `pieces`."""
        piece = self.pieces.popleft()
        self.held -= len(piece)
        return piece

    # What the parser reports

    def on_message_begin(self) -> None:
        if self.complete:
            raise MalformedAnswerError("a second answer")
        self.headers = []

    def on_header(self, name: bytes, value: bytes) -> None:
        if self.has_head:
            return  # a trailer
        if len(self.headers) >= HEAD_LINES:
            raise MalformedAnswerError("too many headers")
        self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        self.status = self._parser.get_status_code()
        if self.status < 200:
            self._interim = True
            return
        chunked = self._judge_framing()
        self.has_head = True
        if self._bodiless or self.status in (204, 304):
            self.complete = True
            # Of the head of a chunk that must not follow, the parser says nothing.
            self.keeps = self.keeps and not chunked
        else:
            self._ends_with_connection = self.length is None and not chunked

    def on_body(self, body: bytes) -> None:
        if self.complete or not self.has_head:
            # The second: of an interim answer. The parser knows by their numbers only some that have none.
            raise MalformedAnswerError("a body where none can be")
        self.pieces.append(body)
        self.held += len(body)
        self._body_bytes += len(body)

    def on_message_complete(self) -> None:
        if self._interim:
            self._interim = False
        else:
            self.complete = True

    def _judge_framing(self) -> bool:
        """Set `length` and `keeps`; whether the body is chunked."""
        lengths, codings, closes = [], [], self._parser.get_http_version() != "1.1"
        for name, value in self.headers:
            match name.lower():
                case b"content-length":
                    lengths.append(value)
                case b"transfer-encoding":
                    codings.append(value.lower())
                case b"connection":
                    closes = closes or b"close" in value.lower()
        if len(lengths) + len(codings) > 1 or codings not in ([], [b"chunked"]) or not all(map(bytes.isdigit, lengths)):
            raise MalformedAnswerError(f"Content-Length {lengths!r:.80}, Transfer-Encoding {codings!r:.80}")
        self.length = int(lengths[0]) if lengths else None
        self.keeps = not closes
        return bool(codings)
