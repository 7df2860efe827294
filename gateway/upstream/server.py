"""One ComfyUI server: one pool of connections with two faces, httpx for JSON calls and the bare engine for streams.

It does not know what the requests mean. It sends what it is given, byte for byte, and answers with values or with the
errors of `gateway.errors`: `NoServer` means that no byte can have reached ComfyUI.
"""

import asyncio
from collections.abc import Awaitable
from http.cookiejar import CookieJar, DefaultCookiePolicy
from types import MappingProxyType
from typing import Any

import httpx

from gateway.errors import UpstreamFault
from gateway.upstream.calls import EngineTransport
from gateway.upstream.engine import Engine
from gateway.upstream.exchange import Incoming, Outgoing
from gateway.upstream.faults import FAULTS, no_server, translated
from gateway.upstream.reply import Reply, parsed, whole_reply
from gateway.upstream.wire import origin_of

__all__ = ["Incoming", "Outgoing", "Reply", "Server"]

CONNECT_SECONDS = 5.0
CONNECTIONS = 256
JSON_HEADERS = MappingProxyType({"Accept": "application/json", "Accept-Encoding": "identity"})


class Server:
    """ComfyUI at `url` (`http://host:port`). `start()` before use and `close()` after, both inside the event loop.

    `connections` bounds the pool; a request that finds no free connection within `connect_timeout` seconds was never
    sent, exactly like one that finds nobody listening.
    """

    def __init__(self, url: str, *, connect_timeout: float = CONNECT_SECONDS, connections: int = CONNECTIONS) -> None:
        self.url = url.rstrip("/")
        self._origin = origin_of(self.url)
        self._connect_timeout = connect_timeout
        self._connections = connections
        self._engine: Engine | None = None
        self._client: httpx.AsyncClient | None = None

    async def start(self) -> None:
        """Make the pool. Nothing is connected yet: ComfyUI may be down."""
        self._engine = Engine(self._origin, connections=self._connections)
        self._client = httpx.AsyncClient(
            transport=EngineTransport(self._engine.exchange),
            cookies=CookieJar(policy=DefaultCookiePolicy(allowed_domains=[])),
            headers=JSON_HEADERS,
            trust_env=False,
        )

    async def close(self) -> None:
        """Close every connection. What is still under way ends with an UpstreamFault."""
        client, engine, self._client, self._engine = self._client, self._engine, None, None
        if client is not None:
            await client.aclose()
        if engine is not None:
            await engine.close()

    def pool_is_idle(self) -> bool:
        """Whether no connection is lent out."""
        return self._engine is None or self._engine.is_idle

    def get_json(self, path: str, *, timeout: float) -> Awaitable[Any]:
        """The JSON of a 200 answer.

        `timeout` in seconds bounds the whole call. Raises NoServer, UpstreamTimeout, or UpstreamFault, the last also
        for any other status and for what is not JSON.
        """
        return self._json(path, timeout)

    def send_json(self, method: str, path: str, body: bytes | None, *, timeout: float) -> Awaitable[Reply]:
        """One call of the gateway itself; `path` must be of our own making, because httpx tidies it up.

        `timeout` in seconds bounds the whole call. An error with `sent` False promises that ComfyUI saw nothing. Raises
        NoServer, UpstreamTimeout, UpstreamFault.
        """
        # Half of a short time-out, so that a host that does not answer is told apart from a ComfyUI that does not.
        connect = min(self._connect_timeout, timeout / 2)
        return self._call(method, path, body, httpx.Timeout(timeout, connect=connect, pool=connect))

    async def exchange(self, outgoing: Outgoing) -> Incoming:
        """Send one request and return when the head of its answer is here; the caller must release the answer.

        A GET or HEAD is sent once more when a kept connection turns out to be dead; nothing else ever is. Raises
        InvalidRequest for what cannot stand on the wire, NoServer, UpstreamTimeout, UpstreamFault, and whatever the
        body's own iterator raised.
        """
        if self._engine is None:
            raise no_server("the pool is closed")
        return await self._engine.exchange(outgoing, self._connect_timeout)

    async def _json(self, path: str, seconds: float) -> Any:
        reply = await self.send_json("GET", path, None, timeout=seconds)
        if reply.status != 200:
            raise UpstreamFault("ComfyUI refused a question.", reason=f"GET {path}: status {reply.status}")
        return parsed(reply.body, asked=f"GET {path}")

    async def _call(self, method: str, path: str, body: bytes | None, limits: httpx.Timeout) -> Reply:
        if self._client is None:
            raise no_server("the pool is closed")
        headers = {"Content-Type": "application/json"} if body is not None else None
        request = self._client.build_request(method, self.url + path, content=body, headers=headers, timeout=limits)
        try:
            async with asyncio.timeout(limits.read):
                return await whole_reply(self._client, request)
        except FAULTS as error:
            raise translated(error) from error
