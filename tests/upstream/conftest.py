"""A server on a real socket that answers with whatever bytes a test writes."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field

import pytest

from gateway.upstream.server import Server


@dataclass
class Connection:
    """One connection to the fake, with the head of the request that is to be answered. `keep` it for another one?"""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    head: bytes = b""
    keep: bool = False

    async def write(self, raw: bytes) -> None:
        self.writer.write(raw)
        await self.writer.drain()

    async def until_closed(self) -> None:
        """Wait for the other side to close, discarding what it sends."""
        while await self.reader.read(65536):
            pass

    def reset(self) -> None:
        """Close with RST instead of FIN."""
        self.writer.transport.abort()


Script = Callable[[Connection], Awaitable[None]]


@dataclass
class Fake:
    """What the fake saw: the heads of all requests, how many connections were made and how many are open."""

    script: Script
    url: str = ""
    heads: list[bytes] = field(default_factory=list)
    connections: int = 0
    open: int = 0
    tasks: set[asyncio.Task[None]] = field(default_factory=set)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self.tasks.add(task)
        self.connections += 1
        self.open += 1
        connection = Connection(reader, writer)
        try:
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
                await self.converse(connection)
        finally:
            self.open -= 1
            writer.close()
            with contextlib.suppress(ConnectionError, asyncio.CancelledError):
                await writer.wait_closed()

    async def converse(self, connection: Connection) -> None:
        connection.keep = True
        while connection.keep:
            connection.keep = False
            connection.head = await connection.reader.readuntil(b"\r\n\r\n")
            self.heads.append(connection.head)
            await self.script(connection)


@pytest.fixture
async def fake() -> AsyncIterator[Callable[[Script], Awaitable[Fake]]]:
    """Start a fake that runs `script` for every request."""
    started: list[tuple[asyncio.Server, Fake]] = []

    async def start(script: Script) -> Fake:
        made = Fake(script)
        listener = await asyncio.start_server(made.serve, "127.0.0.1", 0)
        made.url = f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}"
        started.append((listener, made))
        return made

    yield start
    for listener, made in started:
        listener.close()
        for task in made.tasks:
            task.cancel()
        await asyncio.gather(*made.tasks, return_exceptions=True)


@pytest.fixture
async def server() -> AsyncIterator[Callable[..., Awaitable[Server]]]:
    """Start a Server for a URL."""
    started: list[Server] = []

    async def start(url: str, *, connect_timeout: float = 5.0, connections: int = 10) -> Server:
        made = Server(url, connect_timeout=connect_timeout, connections=connections)
        await made.start()
        started.append(made)
        return made

    yield start
    for made in started:
        await made.close()


@pytest.fixture
async def eventually() -> Callable[[Callable[[], bool]], Awaitable[None]]:
    """Wait until a condition holds, for at most five seconds."""

    async def wait(condition: Callable[[], bool]) -> None:
        for _ in range(1000):
            if condition():
                return
            await asyncio.sleep(0.005)
        pytest.fail("it never happened")

    return wait
