"""One client socket's life: a private ComfyUI's event stream, from the handshake to the close.

It does not know ComfyUI's socket: frames come out of a `Listener`'s outbox. It ends when the client goes, when the
client reads too slowly, or when the credential is no longer good.
"""

import asyncio
import uuid
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final

from starlette.types import Receive, Scope, Send

from gateway.comfy import events, prompt
from gateway.comfy.events import Execute, Hello
from gateway.comfy.prompt import Limits
from gateway.comfy.query import query_values
from gateway.comfy.table import Call, RateClass
from gateway.config import Role, Settings
from gateway.errors import GatewayError, InvalidRequest, TooMany
from gateway.identity.principal import Principal
from gateway.jobs.desk import cancelled
from gateway.jobs.hub import Listener
from gateway.jobs.post import Refused
from gateway.jobs.works import Works
from gateway.policy.balance import Balance

STUCK_SECONDS: Final = 10.0
SOCKET_SECONDS: Final = 5.0
"""When to try again with too many sockets open: nobody knows when one of them is closed."""
TOO_SLOW: Final = 1013
BAD_TOKEN: Final = 4401
MAX_CLIENT_ID: Final = 3000

TOO_OFTEN: Final = 4429

UntilInvalid = Callable[[Principal], Awaitable[None]]
Spend = Callable[[Principal, RateClass], Awaitable[None]]


class Relay:
    """Serves `/ws` for one gateway. `role_of` finds a user's role as it is now: a socket lives longer than a limit.
    `until_invalid` returns when the principal's credential is revoked or has expired, `spend` raises TooMany for
    messages that come too often, `require_room` StorageFull for who may make no more files.
    """

    def __init__(
        self,
        works: Works,
        settings: Settings,
        *,
        role_of: Callable[[int], Awaitable[Role]],
        until_invalid: UntilInvalid,
        spend: Spend,
        require_room: Callable[[Principal], Awaitable[None]],
    ) -> None:
        self._works, self._role_of, self._until_invalid = works, role_of, until_invalid
        self._spend, self._require_room = spend, require_room
        self._limits = Limits(max_bytes=settings.max_prompt_mb * 1024 * 1024)

    async def __call__(self, call: Call, principal: Principal, scope: Scope, receive: Receive, send: Send) -> None:
        """Accept the socket and serve it to its end. Raises before the handshake for what must be refused with an HTTP
        status."""
        role = await self._role_of(principal.user_id)
        if self._works.hub.open_sockets(principal.user_id) >= role.max_sockets:
            raise TooMany(
                f"You have {role.max_sockets} sockets open, which is as many as you may have.",
                details="Close one first, for instance a browser tab with the editor; then this one opens at once.",
                extra_info={
                    "limit": role.max_sockets,
                    "current": self._works.hub.open_sockets(principal.user_id),
                    "frees": "when one of your sockets closes",
                },
                headers=Balance(role.max_sockets, 0, SOCKET_SECONDS).refusal_headers(),
            )
        listener = Listener(user_id=principal.user_id, sid=_sid(call))
        await receive()
        await send({"type": "websocket.accept"})
        self._welcome(listener)
        self._works.hub.attach(listener)
        try:
            code = await self._serve(listener, principal, receive, send)
        finally:
            self._works.hub.detach(listener)
        if code is not None:
            with suppress(OSError):
                await send({"type": "websocket.close", "code": code})

    def _welcome(self, listener: Listener) -> None:
        """ComfyUI's first frames: the queue's length with the socket's id and, after a reconnect, where the client's
        running job is."""
        listener.outbox.put(events.status(self._works.views.count(listener.user_id), listener.sid))
        for live in self._works.desk.board.of(listener.user_id):
            if live.state == "running" and live.client_id == listener.sid and live.node is not None:
                listener.outbox.put(events.executing(live.node))

    async def _serve(self, listener: Listener, principal: Principal, receive: Receive, send: Send) -> int | None:
        """Read, write and watch at once; the first that ends decides the close code, None when the client is gone."""
        tasks = [
            asyncio.create_task(work)
            for work in (
                self._read(listener, principal, receive),
                self._write(listener, send),
                self._watch(principal),
            )
        ]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            return next(iter(done)).result()
        finally:
            await cancelled(*tasks)

    async def _watch(self, principal: Principal) -> int | None:
        await self._until_invalid(principal)
        return BAD_TOKEN

    async def _write(self, listener: Listener, send: Send) -> int | None:
        while (payload := await listener.outbox.get()) is not None:
            kind = "text" if isinstance(payload, str) else "bytes"
            try:
                async with asyncio.timeout(STUCK_SECONDS):
                    await send({"type": "websocket.send", kind: payload})
            except TimeoutError:
                return TOO_SLOW
            except OSError:
                return None
        return TOO_SLOW

    async def _read(self, listener: Listener, principal: Principal, receive: Receive) -> int | None:
        """Flags count only in the first message that is JSON; `execute` is ours, all else is passed over, as ComfyUI
        does. Each message counts like a request, so that a flood of them ends the socket."""
        heard_json = False
        while (message := await receive())["type"] == "websocket.receive":
            try:
                await self._spend(principal, "default")
            except TooMany:
                return TOO_OFTEN
            said = events.read_client_message(message.get("text") or "")
            if isinstance(said, Hello) and not heard_json:
                await self._greet(listener, said)
            elif isinstance(said, Execute):
                await self._execute(listener, principal, said)
            heard_json = heard_json or said is not None
        return None

    async def _greet(self, listener: Listener, hello: Hello) -> None:
        listener.preview_metadata = hello.flags.get("supports_preview_metadata") is True
        most = (await self._role_of(listener.user_id)).max_upload_mb * 1024 * 1024
        listener.outbox.put(events.feature_flags(self._works.follower.server_flags, max_upload_size=most))

    async def _execute(self, listener: Listener, principal: Principal, wish: Execute) -> None:
        """`{"type": "execute", "data": workflow}`: submit it; what goes wrong comes back as ComfyUI's own events, so
        that the script ends."""
        try:
            if "submit" not in principal.permissions:
                raise InvalidRequest("This token may not submit jobs.")
            await self._spend(principal, "submit")
            submission = prompt.from_execute(wish.data, client_id=listener.sid, limits=self._limits)
            await self._require_room(principal)
            cap = (await self._role_of(principal.user_id)).max_queued
            outcome = await self._works.submitter.submit(
                principal.user_id, submission, cap=cap, token_id=principal.token_id
            )
            if isinstance(outcome, Refused):
                error = outcome.body.get("error")
                raise InvalidRequest(str(error.get("message") if isinstance(error, dict) else error))
        except GatewayError as error:
            self._refuse(listener, error)

    def _refuse(self, listener: Listener, error: GatewayError) -> None:
        prompt_id = str(uuid.uuid4())
        told = events.error_data(
            prompt_id=prompt_id,
            exception_type=error.type,
            exception_message=f"{error.message} {error.details}".strip(),
            timestamp=self._works.desk.milliseconds(),
        )
        listener.outbox.put(events.execution_error(told))
        listener.outbox.put(events.executing(None, prompt_id=prompt_id))


def _sid(call: Call) -> str:
    """The client's own id, whatever it is; without one a new one, in ComfyUI's form."""
    chosen = query_values(call.query).get("clientId", "")
    if len(chosen) > MAX_CLIENT_ID:
        raise InvalidRequest(f"clientId is longer than {MAX_CLIENT_ID} characters.")
    return chosen or uuid.uuid4().hex
