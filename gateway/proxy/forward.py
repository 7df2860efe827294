"""The hot path: one request of a known caller, from what is asked to what is sent back. Read this first.

It does not know how a credential is proved, what a job is, or how a connection to ComfyUI is found.
"""

from collections.abc import Awaitable, Callable, Collection
from contextlib import suppress
from typing import Final

from starlette.types import Receive, Scope, Send

from gateway.comfy.table import Becomes, Call, RateClass, read
from gateway.errors import (
    AddressTooLong,
    CsrfRefused,
    InvalidRequest,
    LockedOut,
    MethodNotAllowed,
    NotFound,
    RouteNotAllowed,
    StoreUnavailable,
    Unauthenticated,
)
from gateway.identity.credentials import without_token
from gateway.identity.principal import Principal
from gateway.proxy.answer import Answers, Asked, send_answer
from gateway.proxy.body import ClientLeftError, RequestBody
from gateway.proxy.departure import Departure
from gateway.proxy.headers import answer_headers, request_headers, treatment_of
from gateway.proxy.rewrite import Rewrites, Rewritten, as_it_came
from gateway.upstream.server import Incoming, Outgoing, Server

# A model load holds ComfyUI's interpreter for 40 s and more; a request that waits for it is answered late, not lost.
SILENCE_SECONDS = 300.0
# An answer up to this size is passed on in one piece, and one that is cut short becomes a clean 502.
SMALL_BYTES = 64 * 1024
BODILESS: Final = frozenset({"GET", "HEAD"})

Authenticate = Callable[[Scope], Awaitable[Principal]]
Guard = Callable[[Principal, Call, Scope], None]
Spend = Callable[[Principal, RateClass, Scope], Awaitable[None]]
Socket = Callable[[Call, Principal, Scope, Receive, Send], Awaitable[None]]


class Proxy:
    """ComfyUI's whole address space, as an ASGI application; refusals leave as GatewayErrors.

    `spend` raises when the principal asks too often, `guard` when it may not. `answers` are the handlers of the rows
    that we answer, `rewrites` those of the rows that are asked in other words, `socket` takes over websockets.
    `extra_routes` are looked up by role, `upload_limit` (in bytes) by principal, `silence` is how many seconds ComfyUI
    may say nothing. An error after the first byte of an answer leaves too, and the connection must then be aborted, so
    that nobody takes half a file for a whole one.
    """

    def __init__(
        self,
        *,
        authenticate: Authenticate,
        spend: Spend,
        guard: Guard,
        server: Server,
        answers: Answers,
        rewrites: Rewrites,
        socket: Socket,
        extra_routes: Callable[[str], Collection[str]],
        upload_limit: Callable[[Principal], int],
        silence: float = SILENCE_SECONDS,
    ) -> None:
        self._authenticate = authenticate
        self._spend = spend
        self._guard = guard
        self._server = server
        self._answers = answers
        self._rewrites = rewrites
        self._socket = socket
        self._extra_routes = extra_routes
        self._upload_limit = upload_limit
        self._silence = silence

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Carry one request to whoever answers it. Raises GatewayError; a client that left is no error."""
        try:
            known = look_up(scope)  # 1. what is asked
        except (InvalidRequest, AddressTooLong):
            await self._count_unreadable(scope)
            raise
        principal = await self._authenticate(scope)  # 2. who asks, before a byte of the body is read
        await self._spend(principal, known.row.limit if known else "default", scope)  # 3. not too often
        call = known or look_up_for(scope, self._extra_routes(principal.role))  # a stranger never learns which exist
        self._guard(principal, call, scope)  # 4. may they
        try:
            if scope["type"] == "websocket" or call.row.answer == "socket":
                await self._open_socket(call, principal, scope, receive, send)  # 5. answered by us:
            elif call.row.becomes in (Becomes.BUILD, Becomes.OFF):
                await self._answer(call, principal, scope, receive, send)
            elif call.row.becomes in (Becomes.PASS, Becomes.ADMIN, Becomes.OWN):
                await self._forward(call, principal, scope, receive, send)  # or by ComfyUI
            else:
                raise RouteNotAllowed("The gateway does not pass this route on.", reason=f"row {call.row.pattern}")
        except ClientLeftError:
            return

    async def _count_unreadable(self, scope: Scope) -> None:
        """What means nothing, or two things, counts for whoever asks it, if that is anybody."""
        with suppress(Unauthenticated, LockedOut, CsrfRefused, StoreUnavailable):
            await self._spend(await self._authenticate(scope), "default", scope)

    async def _forward(self, call: Call, principal: Principal, scope: Scope, receive: Receive, send: Send) -> None:
        body = self._body(call, principal, scope, receive)
        asked = Asked(call, principal, scope["headers"], receive)
        wanted = await self._rewritten(asked, body)  # 6. in the caller's own terms,
        try:
            await self._exchange(asked, wanted, body, send)
        finally:
            wanted.ended()

    async def _exchange(self, asked: Asked, wanted: Rewritten, body: RequestBody | None, send: Send) -> None:
        call = asked.call
        outgoing = Outgoing(  # and built anew
            method=call.method,
            target=wanted.target,
            headers=request_headers(asked.headers, own=wanted.headers),
            body=wanted.pieces,
            length=wanted.length,
            idle_timeout=self._silence,
        )
        async with Departure(asked.receive, body):
            answer = await self._server.exchange(outgoing)  # 7. asked
            try:
                ours = await wanted.replaced(answer)
                if ours is None:
                    last = await stream_back(answer, call, asked.principal, send)  # 8. streamed back
            finally:
                await answer.release()
        if ours is not None:
            await send_answer(ours, send, with_body=call.method != "HEAD")
        else:
            await send({"type": "http.response.body", "body": last})

    async def _rewritten(self, asked: Asked, body: RequestBody | None) -> Rewritten:
        if asked.call.row.becomes is Becomes.OWN:
            return await self._rewrites[asked.call.row.answer](asked, body)
        return as_it_came(asked.call, body)

    async def _answer(self, call: Call, principal: Principal, scope: Scope, receive: Receive, send: Send) -> None:
        asked = Asked(call, principal, scope["headers"], receive)
        answered = await self._answers[call.row.answer](asked)
        await send_answer(answered, send, with_body=call.method != "HEAD")

    async def _open_socket(self, call: Call, principal: Principal, scope: Scope, receive: Receive, send: Send) -> None:
        if call.row.answer != "socket":
            raise NotFound("There is no websocket at this address.")
        if scope["type"] != "websocket":
            raise InvalidRequest("This address is a websocket.", details="Connect to it with ws:// or wss://.")
        await self._socket(call, principal, scope, receive, send)

    def _body(self, call: Call, principal: Principal, scope: Scope, receive: Receive) -> RequestBody | None:
        """What follows the head, if this method has a body; what follows a GET or HEAD is never passed on."""
        if call.method in BODILESS:
            return None
        body = RequestBody(scope["headers"], receive, limit=self._upload_limit(principal))
        return None if body.empty else body


def look_up(scope: Scope) -> Call | None:
    """The call, or None for what nobody, or only some roles, can ask. Raises InvalidRequest for what is ambiguous."""
    try:
        return look_up_for(scope, ())
    except (NotFound, RouteNotAllowed, MethodNotAllowed):
        return None


def look_up_for(scope: Scope, extra_routes: Collection[str]) -> Call:
    """The call, on the raw path and without the token parameter.

    Raises InvalidRequest, NotFound, RouteNotAllowed, MethodNotAllowed.
    """
    query = scope["query_string"]
    return read(
        scope.get("method", "GET"),
        scope["raw_path"],
        without_token(query) if query else query,
        extra_routes=extra_routes,
    )


async def stream_back(answer: Incoming, call: Call, principal: Principal, send: Send) -> bytes:
    """Send the head and the body but for its last piece, which is returned: a small answer, nothing after a stream.

    ComfyUI is read no faster than the client takes the pieces. Raises UpstreamFault when the answer is cut short.
    """
    headers = answer_headers(
        answer.headers,
        status=answer.status,
        treatment=treatment_of(call.row),
        ambient=principal.is_ambient,
    )
    small = answer.complete or (answer.length is not None and answer.length <= SMALL_BYTES)
    whole = await answer.whole() if small else b""
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    if not small:
        async for piece in answer.body():
            await send({"type": "http.response.body", "body": piece, "more_body": True})
    return whole
