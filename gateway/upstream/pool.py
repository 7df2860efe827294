"""The kept connections to one ComfyUI server: who gets which, how many there may be, and which are too old to use.

It does not know what is sent over them.
"""

import asyncio
import ssl
from typing import Final

from gateway.errors import NoServer
from gateway.upstream.connection import Connection
from gateway.upstream.faults import is_refusal, no_server
from gateway.upstream.wire import Origin

# aiohttp's server closes an idle connection after 75 s; giving it up first means never to write into a closing one.
KEEP_ALIVE_SECONDS: Final = 30.0


class Pool:
    """At most `size` connections. Made and used inside one event loop; nothing is connected before it is needed."""

    def __init__(self, origin: Origin, *, size: int, keep_alive: float = KEEP_ALIVE_SECONDS) -> None:
        self.lent = 0
        self._origin: Final = origin
        self._keep_alive: Final = keep_alive
        self._loop: Final = asyncio.get_running_loop()
        self._tls: Final = ssl.create_default_context() if origin.tls else None
        self._places: Final = asyncio.Semaphore(size)
        self._idle: Final[list[Connection]] = []
        self._all: Final[set[Connection]] = set()
        self._closed = False
        self._none_left: Final = asyncio.Event()

    async def borrow(self, *, within: float, fresh: bool = False) -> tuple[Connection, bool]:
        """A connection, and whether it was used before; never one that was if it must be `fresh`.

        `give_back` it. Raises NoServer when there is none `within` so many seconds: nothing was sent.
        """
        if self._places.locked():
            await self._wait_for_place(within)
        else:
            await self._places.acquire()  # suspends nobody
        self.lent += 1
        try:
            if fresh:
                self._close_idle()  # what ended one kept connection has most likely ended the others
            return self._kept() or (await self._connect(within), False)
        except BaseException:
            self._free_place()
            raise

    def give_back(self, connection: Connection) -> None:
        """The exchange on it is over, whether or not it was carried to its end."""
        if connection.end() and not self._closed:
            connection.idle_since = self._loop.time()
            self._idle.append(connection)
        self._free_place()

    async def close(self) -> None:
        """Close every connection. What is under way ends with an UpstreamFault."""
        self._closed = True
        for connection in tuple(self._all):
            connection.abort()
        while self._all:
            self._none_left.clear()
            await self._none_left.wait()

    def _kept(self) -> tuple[Connection, bool] | None:
        oldest = self._loop.time() - self._keep_alive
        while self._idle:
            connection = self._idle.pop()
            if connection.usable and connection.quiet and connection.idle_since >= oldest:
                return connection, True
            connection.abort()
        return None

    async def _wait_for_place(self, within: float) -> None:
        try:
            async with asyncio.timeout(within):
                await self._places.acquire()
        except TimeoutError:
            raise no_server("no free connection in time") from None

    async def _connect(self, within: float) -> Connection:
        if self._closed:
            raise no_server("the pool is closed")
        try:
            async with asyncio.timeout(within):
                _, connection = await self._loop.create_connection(
                    self._made, self._origin.host, self._origin.port, ssl=self._tls
                )
        except TimeoutError as error:
            raise no_server("the connection was not accepted in time") from error
        except OSError as error:
            raise _unreachable(error) from error
        if self._closed:
            connection.abort()
            raise no_server("the pool is closed")
        if connection.usable:
            self._all.add(connection)
        return connection

    def _made(self) -> Connection:
        return Connection(self._loop, self._lost)

    def _lost(self, connection: Connection) -> None:
        self._all.discard(connection)
        if connection in self._idle:
            self._idle.remove(connection)
        if not self._all:
            self._none_left.set()

    def _close_idle(self) -> None:
        while self._idle:
            self._idle.pop().abort()

    def _free_place(self) -> None:
        self.lent -= 1
        self._places.release()


def _unreachable(error: OSError) -> NoServer:
    """No connection came about, so nothing can have been sent."""
    return no_server(f"{type(error).__name__}: {error}", refused=is_refusal(error))
