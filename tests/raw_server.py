"""A server on a real socket that answers with whatever bytes a test writes."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest


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
    """Answers by `script`. It saw these heads; so many connections were made, and so many are open."""

    script: Script | None = None
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
        try:
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
                await self.converse(Connection(reader, writer, keep=True))
        finally:
            self.open -= 1
            writer.close()
            with contextlib.suppress(ConnectionError, asyncio.CancelledError):
                await writer.wait_closed()

    async def converse(self, connection: Connection) -> None:
        while connection.keep:
            connection.keep = False
            connection.head = await connection.reader.readuntil(b"\r\n\r\n")
            self.heads.append(connection.head)
            assert self.script is not None
            await self.script(connection)


@asynccontextmanager
async def serving(script: Script | None = None) -> AsyncIterator[Fake]:
    """A fake that runs `script`, or whatever the test puts in its place, for every request."""
    made = Fake(script)
    listener = await asyncio.start_server(made.serve, "127.0.0.1", 0)
    made.url = f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}"
    try:
        yield made
    finally:
        listener.close()
        for task in made.tasks:
            task.cancel()
        await asyncio.gather(*made.tasks, return_exceptions=True)


async def eventually(condition: Callable[[], bool]) -> None:
    """Wait until a condition holds, for at most five seconds."""
    for _ in range(1000):
        if condition():
            return
        await asyncio.sleep(0.005)
    pytest.fail("it never happened")
