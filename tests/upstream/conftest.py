"""Our side towards a server that answers with whatever bytes a test writes, under both event loops."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack

import pytest
import uvloop

from gateway.upstream.server import Server
from tests.raw_server import Fake, Script, eventually, serving


def pytest_asyncio_loop_factories(config, item) -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Every test twice: the gateway runs on uvloop, which differs where a connection is closing."""
    return {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


@pytest.fixture
async def fake() -> AsyncIterator[Callable[[Script], Awaitable[Fake]]]:
    """Start a fake that runs `script` for every request."""
    async with AsyncExitStack() as started:
        yield lambda script: started.enter_async_context(serving(script))


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


@pytest.fixture(name="eventually")
def eventually_() -> Callable[[Callable[[], bool]], Awaitable[None]]:
    """Wait until a condition holds, for at most five seconds."""
    return eventually
