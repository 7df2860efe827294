"""Notices that a client leaves while the gateway waits for somebody else, and ends the wait.

It does not know what is waited for.
"""

import asyncio
from types import TracebackType
from typing import Self

from starlette.types import Receive

from gateway.proxy.body import ClientLeftError, RequestBody

# Most answers are there sooner, and then no task is ever made for the listening.
QUIET_SECONDS = 0.05


class Departure:
    """`async with Departure(…)`: if the client leaves, the work inside is cancelled and ClientLeftError comes out.

    A request body that is still being read notices by itself, and must be left alone to do so: two readers would share
    its pieces. So the listening begins when the body has ended.
    """

    def __init__(self, receive: Receive, body: RequestBody | None) -> None:
        self._receive = receive
        self._body = body
        self._left = False
        self._listener: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        self._loop = loop
        self._task = asyncio.current_task()
        self._cancelling = self._task.cancelling() if self._task is not None else 0
        self._timer = loop.call_later(QUIET_SECONDS, self._begin)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._timer.cancel()
        if self._listener is not None:
            self._listener.cancel()
        if not self._left or self._task is None:
            return
        # As asyncio.timeout does: a cancellation from outside must stay one.
        if self._task.uncancel() <= self._cancelling and kind in (None, asyncio.CancelledError):
            raise ClientLeftError from error

    def _begin(self) -> None:
        self._listener = self._loop.create_task(self._listen())

    async def _listen(self) -> None:
        if self._body is not None:
            await self._body.ended.wait()
        while self._body is None or not self._body.left:
            if (await self._receive())["type"] == "http.disconnect":
                break
        self._left = True
        if self._task is not None:
            self._task.cancel()
