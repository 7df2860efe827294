"""The proxy in a real uvicorn, between raw sockets on one side and a ComfyUI made of raw sockets on the other."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import uvicorn
from starlette.types import Receive, Scope, Send
from uvicorn.server import ServerState

from gateway.errors import GatewayError, Unauthenticated
from gateway.identity.principal import Principal
from gateway.proxy.answer import Asked
from gateway.proxy.body import RequestBody
from gateway.proxy.forward import Proxy
from gateway.proxy.rewrite import Rewritten, as_it_came
from gateway.upstream.server import Server
from tests.house import House, house
from tests.proxy.own_files import VERSIONS
from tests.raw_server import Fake, eventually, serving

EVERYTHING = frozenset({"read", "submit", "admin"})


@pytest.fixture
async def comfyui() -> AsyncIterator[Fake]:
    """A fake ComfyUI, whose `script` each test sets."""
    async with serving() as made:
        yield made


class Edge:
    """The least that stands around the proxy: refusals become answers, a refusal after the first byte an abort."""

    def __init__(self, app: Proxy) -> None:
        self.app = app
        self.failures: list[BaseException] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        began = False

        async def noted(message) -> None:
            nonlocal began
            began = True
            await send(message)

        try:
            await self.app(scope, receive, noted)
        except Exception as error:
            self.failures.append(error)
            if not began and isinstance(error, GatewayError):
                await refuse(error, scope["type"], send)


async def refuse(error: GatewayError, kind: str, send: Send) -> None:
    prefix = "" if kind == "http" else "websocket."
    body = json.dumps(error.body("id")).encode()
    headers = [(b"content-length", str(len(body)).encode())]
    await send({"type": f"{prefix}http.response.start", "status": error.status, "headers": headers})
    await send({"type": f"{prefix}http.response.body", "body": body})


@dataclass
class Gateway:
    """The running gateway: where it listens, what failed in it, and its side towards ComfyUI."""

    port: int
    edge: Edge
    upstream: Server

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", self.port)

    async def ask(self, raw: bytes) -> bytes:
        """Send raw bytes and read until the gateway closes; the request should say `Connection: close`."""
        reader, writer = await self.connect()
        writer.write(raw)
        try:
            async with asyncio.timeout(10):
                return await reader.read()
        finally:
            writer.close()

    async def get(self, target: bytes, *headers: bytes, method: bytes = b"GET") -> bytes:
        return await self.ask(request(target, *headers, method=method))


def request(target: bytes, *headers: bytes, method: bytes = b"GET", token: bytes | None = b"alice") -> bytes:
    """The head of a request that closes its connection, as the user whose name is the token."""
    lines = [method + b" " + target + b" HTTP/1.1", b"Host: gw.example", b"Connection: close", *headers]
    if token is not None:
        lines.append(b"X-API-Key: " + token)
    return b"\r\n".join([*lines, b"", b""])


async def authenticate(scope: Scope) -> Principal:
    """Everybody who says a name is who they say; `cookie` comes with a session."""
    name = dict(scope["headers"]).get(b"x-api-key", b"").decode()
    if not name:
        raise Unauthenticated("No valid credential came with the request.")
    via = "session" if name == "cookie" else "token"
    return Principal(1, name, "member", EVERYTHING, via, None, None)


async def free(principal: Principal, rate_class: str, scope: Scope) -> None:
    """Everybody may ask as often as they like."""


async def unchanged(asked: Asked, body: RequestBody | None) -> Rewritten:
    """The rows that are asked in other words are asked in the client's own here."""
    return as_it_came(asked.call, body)


@pytest.fixture
async def gateway(comfyui: Fake) -> AsyncIterator[Callable[..., Awaitable[Gateway]]]:
    """Start a gateway in front of the fake; keyword arguments replace the proxy's parts.

    It is uvicorn's own protocol on a real socket, without uvicorn's main loop, whose ticks cost a third of a second.
    """
    running: list[tuple[asyncio.Server, ServerState, Server]] = []

    async def start(**parts) -> Gateway:
        upstream = Server(parts.pop("url", comfyui.url), connections=10, connect_timeout=1)
        await upstream.start()
        defaults = {
            "authenticate": authenticate,
            "spend": free,
            "guard": lambda principal, call, scope: None,
            "server": upstream,
            "answers": {},
            "rewrites": dict.fromkeys(("view", "upload_image", "upload_mask", "model_preview"), unchanged),
            "socket": None,
            "extra_routes": lambda role: (),
            "upload_limit": lambda principal: 1_000_000,
            "silence": 5.0,
        }
        edge = Edge(Proxy(**{**defaults, **parts}))
        config = uvicorn.Config(
            edge, http="httptools", ws="websockets-sansio", lifespan="off", log_config=None, access_log=False
        )
        config.load()
        state = ServerState()
        state.default_headers = [(b"date", b"Thu, 01 Jan 1970 00:00:00 GMT")]

        def protocol() -> asyncio.Protocol:
            return config.http_protocol_class(config=config, server_state=state, app_state={})

        listener = await asyncio.get_running_loop().create_server(protocol, "127.0.0.1", 0)
        running.append((listener, state, upstream))
        return Gateway(listener.sockets[0].getsockname()[1], edge, upstream)

    yield start
    for listener, state, upstream in running:
        listener.close()
        for connection in list(state.connections):
            connection.transport.abort()
        async with asyncio.timeout(5):
            await asyncio.gather(*state.tasks, return_exceptions=True)
        await upstream.close()


@pytest.fixture
def head_of() -> Callable[[bytes], tuple[int, list[tuple[bytes, bytes]], bytes]]:
    """Take an answer apart into status, headers (lower case) and the rest."""

    def take(answer: bytes) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
        head, _, rest = answer.partition(b"\r\n\r\n")
        first, *lines = head.split(b"\r\n")
        headers = [(name.lower(), value.strip()) for name, _, value in (line.partition(b":") for line in lines)]
        return int(first.split()[1]), headers, rest

    return take


@pytest.fixture
def raw() -> Callable[..., bytes]:
    """The head of a request, as bytes."""
    return request


@pytest.fixture(name="eventually")
def eventually_() -> Callable[[Callable[[], bool]], Awaitable[None]]:
    """Wait until a condition holds, for at most five seconds."""
    return eventually


@pytest.fixture(params=VERSIONS)
def version(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
async def both(version: str, tmp_path: Path) -> AsyncIterator[House]:
    """A gateway in front of each version."""
    async with house(tmp_path, version=version) as built:
        yield built
