"""One event socket to a ComfyUI server: frames as they come, for as long as it lives.

It does not know what a frame says, nor when to connect again: that is its owner's decision.
"""

import socket as sockets
from collections.abc import AsyncIterator
from typing import Self
from urllib.parse import quote

from websockets.asyncio.client import ClientConnection
from websockets.asyncio.client import connect as open_socket
from websockets.exceptions import ConnectionClosed, WebSocketException
from yarl import URL

from gateway.errors import UpstreamFault
from gateway.upstream.faults import is_refusal, no_server

# SaveImageWebsocket sends a whole picture as one frame; at websockets' own limit of 1 MiB, 3 MB end the socket.
FRAME_BYTES = 64 * 1024 * 1024
# Seconds of silence before the first probe, between probes, and the probes that may go unanswered. The kernel answers
# them, so a ComfyUI whose interpreter lock is held for a minute by a model load is not taken for dead, as pings would.
KEEP_ALIVE = ((sockets.TCP_KEEPIDLE, 30), (sockets.TCP_KEEPINTVL, 10), (sockets.TCP_KEEPCNT, 3))


class EventSocket:
    """An open socket. Iterate it without pause: ComfyUI waits for its slowest reader while everybody else waits too."""

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection
        self._closing = False

    @classmethod
    async def connect(cls, url: str, client_id: str, *, open_timeout: float = 5) -> Self:
        """Open ComfyUI's `/ws` at `url` (`http://host:port`) under `client_id`, within `open_timeout` seconds.

        Raises NoServer, as NobodyThere when the connection is refused.
        """
        address = URL(url)
        scheme = "wss" if address.scheme == "https" else "ws"
        try:
            connection = await open_socket(
                f"{scheme}://{address.raw_authority}/ws?clientId={quote(client_id, safe='')}",
                # Naming them makes websockets refuse a redirect to another host.
                host=address.host,
                port=address.port,
                open_timeout=open_timeout,
                max_size=FRAME_BYTES,
                compression=None,
                proxy=None,
                ping_interval=None,
                close_timeout=2,
                user_agent_header=None,
            )
        except (OSError, ValueError, WebSocketException) as error:
            raise no_server(f"{type(error).__name__}: {error}", refused=is_refusal(error)) from error
        _keep_alive(connection)
        return cls(connection)

    async def __aiter__(self) -> AsyncIterator[str | bytes]:
        """Frames in the order of their arrival. Ends after `close()`; raises UpstreamFault when ComfyUI ends it."""
        try:
            while True:
                yield await self._connection.recv()
        except ConnectionClosed as error:
            if not self._closing:
                raise UpstreamFault("ComfyUI closed its event socket.", reason=str(error)) from error

    async def send(self, text: str) -> None:
        """Send one text frame. Raises UpstreamFault when the socket is gone."""
        try:
            await self._connection.send(text)
        except ConnectionClosed as error:
            raise UpstreamFault("ComfyUI closed its event socket.", reason=str(error)) from error

    async def close(self) -> None:
        """Close it, waiting for ComfyUI's goodbye for at most two seconds."""
        self._closing = True
        await self._connection.close()


def _keep_alive(connection: ClientConnection) -> None:
    raw = connection.transport.get_extra_info("socket")
    raw.setsockopt(sockets.SOL_SOCKET, sockets.SO_KEEPALIVE, 1)
    for option, value in KEEP_ALIVE:
        raw.setsockopt(sockets.IPPROTO_TCP, option, value)
