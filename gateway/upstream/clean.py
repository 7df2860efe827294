"""A request that carries nothing of the engine's own, on a connection on which nothing is left over from before.

It does not know what is asked; it is the last look before the first byte.
"""

from collections.abc import Iterable

import aiohttp
from aiohttp.connector import Connection
from multidict import CIMultiDict

# What aiohttp would add by itself: ComfyUI gets the client's own or nothing.
AUTOMATIC_HEADERS = ("Accept", "Accept-Encoding", "Content-Type", "User-Agent")
_SKIPPED: CIMultiDict[None] = CIMultiDict((name, None) for name in AUTOMATIC_HEADERS)


class PollutedConnection(aiohttp.ServerDisconnectedError):
    """Bytes that nobody asked for had arrived on a kept connection. Nothing was sent; aiohttp tries a GET again."""


class CleanRequest(aiohttp.ClientRequest):
    """What aiohttp's pool does not check: it would take a second answer to an old request for the answer to this one.

    Two users share the pool, so the second answer to one would be read by the other.
    """

    def update_auto_headers(self, skip_auto_headers: Iterable[str] | None) -> None:
        """Skip them all, without copying and sorting them for each request: a tenth of what an exchange costs."""
        self._skip_auto_headers = _SKIPPED

    async def send(self, conn: Connection) -> aiohttp.ClientResponse:
        """Write the request.

        Raises PollutedConnection before the first byte; the connection is closed then.
        """
        if conn.protocol is None or conn.protocol.should_close:
            raise PollutedConnection("unexpected bytes on an idle connection")
        return await super().send(conn)
