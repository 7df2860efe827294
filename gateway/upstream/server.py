"""One ComfyUI server: one pool of connections with two faces, httpx for JSON calls and bare aiohttp for streams.

It does not know what the requests mean. It sends what it is given, byte for byte, and answers with values or with the
errors of `gateway.errors`: `NoServer` means that no byte can have reached ComfyUI.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import lru_cache
from http.cookiejar import CookieJar, DefaultCookiePolicy
from types import MappingProxyType
from typing import Any

import aiohttp
import httpx
from httpx_aiohttp import AiohttpTransport

from gateway.errors import UpstreamFault
from gateway.upstream.clean import AUTOMATIC_HEADERS, CleanRequest, PollutedConnection
from gateway.upstream.exchange import Incoming, Outgoing
from gateway.upstream.faults import FAULTS, Verdict, no_server, translated, verdict
from gateway.upstream.reply import Reply, parsed, whole_reply
from gateway.upstream.upload import Upload
from gateway.upstream.wire import address, header_lines, origin_of

__all__ = ["Incoming", "Outgoing", "Reply", "Server"]

CONNECT_SECONDS = 5.0
# aiohttp's server closes an idle connection after 75 s; giving it up first means never to write into a closing one.
KEEP_ALIVE_SECONDS = 30.0
CONNECTIONS = 256
HEAD_BYTES = 128 * 1024
HEAD_LINES = 512
READ_BYTES = 128 * 1024
SAFE_METHODS = frozenset({"GET", "HEAD"})
JSON_HEADERS = MappingProxyType({"Accept": "application/json", "Accept-Encoding": "identity"})

Handler = Callable[[aiohttp.ClientRequest], Awaitable[aiohttp.ClientResponse]]


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
        self._session: aiohttp.ClientSession | None = None
        self._client: httpx.AsyncClient | None = None
        self._leases = 0

    async def start(self) -> None:
        """Make the pool. Nothing is connected yet: ComfyUI may be down."""
        connector = aiohttp.TCPConnector(limit=self._connections, keepalive_timeout=KEEP_ALIVE_SECONDS)
        self._session = aiohttp.ClientSession(
            connector=connector,
            request_class=CleanRequest,
            cookie_jar=aiohttp.DummyCookieJar(),
            skip_auto_headers=AUTOMATIC_HEADERS,
            auto_decompress=False,
            trust_env=False,
            read_bufsize=READ_BYTES,
            max_line_size=HEAD_BYTES,
            max_field_size=HEAD_BYTES,
            max_headers=HEAD_LINES,
            middlewares=(_never_twice,),
        )
        self._client = httpx.AsyncClient(
            transport=AiohttpTransport(client=self._session, trust_env=False),
            cookies=CookieJar(policy=DefaultCookiePolicy(allowed_domains=[])),
            headers=JSON_HEADERS,
            trust_env=False,
        )

    async def close(self) -> None:
        """Close every connection. What is still under way ends with an UpstreamFault."""
        client, session, self._client, self._session = self._client, self._session, None, None
        if client is not None:
            await client.aclose()
        if session is not None:
            await session.close()

    def pool_is_idle(self) -> bool:
        """Whether no connection is lent out."""
        return self._leases == 0

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
        if self._session is None:
            raise no_server("the pool is closed")
        self._leases += 1
        try:
            return Incoming(await self._answered(self._session, outgoing), self._returned)
        except BaseException:
            self._leases -= 1
            raise

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
        self._leases += 1
        try:
            async with asyncio.timeout(limits.read):
                return await whole_reply(self._client, request)
        except FAULTS as error:
            raise translated(error) from error
        finally:
            self._leases -= 1

    def _returned(self) -> None:
        self._leases -= 1

    async def _answered(self, session: aiohttp.ClientSession, outgoing: Outgoing) -> aiohttp.ClientResponse:
        upload = _upload(outgoing)
        try:
            if upload is None:
                return await self._request(session, outgoing, None)
            async with upload.deadline():
                response = await self._request(session, outgoing, upload)
                upload.answered()
                return response
        except FAULTS as error:
            if upload is not None and upload.failure is not None:
                raise upload.failure from error
            raise translated(error) from error

    async def _request(
        self, session: aiohttp.ClientSession, outgoing: Outgoing, upload: Upload | None
    ) -> aiohttp.ClientResponse:
        return await session.request(
            outgoing.method,
            address(self._origin, outgoing.target),
            headers=header_lines(outgoing),
            data=upload,
            allow_redirects=False,
            timeout=_timeouts(self._connect_timeout, outgoing.idle_timeout),
            middlewares=() if outgoing.method in SAFE_METHODS else None,
        )


def _upload(outgoing: Outgoing) -> Upload | None:
    if outgoing.body is None:
        return None
    return Upload(outgoing.body, length=outgoing.length, idle_timeout=outgoing.idle_timeout)


@lru_cache(maxsize=64)
def _timeouts(connect: float, idle: float | None) -> aiohttp.ClientTimeout:
    """`connect` also bounds the wait for a free connection."""
    return aiohttp.ClientTimeout(total=None, connect=connect, sock_connect=connect, sock_read=idle)


async def _never_twice(request: aiohttp.ClientRequest, handler: Handler) -> aiohttp.ClientResponse:
    """Keep aiohttp from repeating a DELETE or PUT on a lost connection: the first may have been carried out."""
    try:
        with suppress(PollutedConnection):
            return await handler(request)
        return await handler(request)
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
        if request.method in SAFE_METHODS or verdict(error) is Verdict.NEVER_SENT:
            raise
        raise translated(error) from error
