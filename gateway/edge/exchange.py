"""One request's answer on its way out: what is added to every answer, refusals, and what the log says.

It does not know why a request is refused.
"""

import time
from typing import Final

from starlette.types import Message, Scope, Send

from gateway.edge.access_log import Line
from gateway.edge.answer import Headers, answer_to
from gateway.edge.navigation import is_person, login_address
from gateway.errors import GatewayError, Unauthenticated

_STARTS: Final = frozenset({"http.response.start", "websocket.http.response.start", "websocket.accept"})


class Exchange:
    """The answer to one request. `added` are headers for it that may grow until it starts."""

    def __init__(self, scope: Scope, send: Send, *, added: Headers) -> None:
        self.request_id: Final[str] = scope["gateway"]["request_id"]
        self.added: Final[Headers] = [*added, (b"x-request-id", self.request_id.encode("ascii"))]
        self._scope: Final = scope
        self._send: Final = send
        self._began: Final = time.perf_counter()
        self._is_head: Final = scope.get("method") == "HEAD"
        self._status: int | None = None
        self._bytes = 0
        self._is_closed = False
        self._reason = ""

    @property
    def sent_bytes(self) -> int:
        """So many of what was asked for the server has taken; none of a refusal."""
        return self._bytes if self._status in (200, 206) else 0

    async def send(self, message: Message) -> None:
        """The application's `send`."""
        kind = message["type"]
        if kind in _STARTS:
            self._status = message.get("status", 101)
            headers = [field for field in message.get("headers", ()) if field[0] != b"x-request-id"]
            if self._status == 429:
                self._leave_to(headers)
            message = {**message, "headers": headers + self.added}
        elif kind == "http.response.body":
            if self._is_head:
                message = {**message, "body": b""}
            self._bytes += len(message.get("body", b""))
        elif kind == "websocket.close":
            self._is_closed = True
        await self._send(message)

    async def refuse(self, error: GatewayError) -> None:
        """Answer with the error; with the login page, if it is a person who has to log in.

        An answer that has begun cannot become another one: it is left unfinished, and the server aborts the connection.
        """
        self._reason = error.reason or error.type
        if self._status is not None:
            await self._abort(error)
            return
        answer = answer_to(error, self.request_id)
        if isinstance(error, Unauthenticated) and is_person(self._scope):
            await self.answer(303, [(b"location", self._login()), (b"cache-control", b"no-store")])
        else:
            await self.answer(answer.status, answer.headers, body=answer.body)

    async def answer(self, status: int, headers: Headers, *, body: bytes = b"") -> None:
        """A whole answer; to a websocket before its handshake, too."""
        prefix = "" if self._scope["type"] == "http" else "websocket."
        if prefix and "websocket.http.response" not in self._scope.get("extensions", {}):
            await self._send({"type": "websocket.close", "code": 1008})
            return
        length = [] if any(name == b"content-length" for name, _ in headers) else [(b"content-length", b"0")]
        fields = headers if status == 204 else headers + length
        await self.send({"type": f"{prefix}http.response.start", "status": status, "headers": fields})
        await self.send({"type": f"{prefix}http.response.body", "body": body})

    def line(self) -> Line:
        """What the log says about it at the end."""
        about = self._scope["gateway"]
        return Line(
            method=self._scope.get("method", "WS"),
            path=self._scope["raw_path"].decode("latin-1"),
            status=self._status,
            bytes=self._bytes,
            milliseconds=(time.perf_counter() - self._began) * 1000,
            user=None if about["principal"] is None else about["principal"].name,
            ip=about["client_ip"],
            request_id=self.request_id,
            reason=self._reason or about["reason"],
        )

    def _leave_to(self, headers: Headers) -> None:
        """A refusal says what is left of the limit that refused, not of another one that the request was within."""
        if any(name.lower() == b"ratelimit-limit" for name, _ in headers):
            self.added[:] = [field for field in self.added if not field[0].startswith(b"ratelimit-")]

    async def _abort(self, error: GatewayError) -> None:
        if self._scope["type"] == "websocket" and not self._is_closed:
            await self._send({"type": "websocket.close", "code": error.close_code})

    def _login(self) -> bytes:
        return login_address(raw_path=self._scope["raw_path"], query=self._scope["query_string"]).encode("ascii")
