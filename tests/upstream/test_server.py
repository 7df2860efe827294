"""How a server fails, and what is left of it afterwards."""

import asyncio
import random
import socket
from collections.abc import Iterator
from contextlib import closing

import pytest

from gateway.errors import NobodyThere, NoServer, UpstreamFault, UpstreamTimeout
from gateway.upstream.server import Outgoing, Server

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


@pytest.fixture
def closed_port() -> str:
    """The address of a port on which nobody listens."""
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        return f"http://127.0.0.1:{listener.getsockname()[1]}"


@pytest.fixture
def black_hole() -> Iterator[str]:
    """The address of a listener whose queue is full, so that the kernel drops every further attempt to connect."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        fillers = [socket.socket() for _ in range(4)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        for filler in fillers:
            filler.close()


def ask(server: Server, face: str):
    """The same question through either face."""
    if face == "json":
        return server.send_json("POST", "/prompt", b"{}", timeout=0.6)
    return server.exchange(Outgoing("POST", b"/prompt", idle_timeout=0.6))


FACES = pytest.mark.parametrize("face", ["json", "stream"])


@FACES
async def test_f01_a_refused_connection_is_nobody_there_and_unsent(server, closed_port: str, face: str) -> None:
    """ComfyUI's port closed: nothing was sent."""
    upstream = await server(closed_port)
    with pytest.raises(NobodyThere) as caught:
        await ask(upstream, face)
    assert caught.value.sent is False
    assert upstream.pool_is_idle()


@FACES
async def test_f02_a_black_hole_is_no_server_at_the_connect_time_out_and_unsent(
    server, black_hole: str, face: str
) -> None:
    """A host that does not answer at all is given up after the connect time-out, with nothing sent."""
    upstream = await server(black_hole, connect_timeout=0.2)
    with pytest.raises(NoServer) as caught:
        await ask(upstream, face)
    assert (caught.value.sent, isinstance(caught.value, NobodyThere)) == (False, False)
    assert upstream.pool_is_idle()


@FACES
async def test_f03_silence_is_a_time_out_that_frees_the_connection(fake, server, eventually, face: str) -> None:
    """ComfyUI accepts and never answers: a time-out, sent, and the pool is free again."""

    async def script(connection) -> None:
        await connection.until_closed()

    comfyui = await fake(script)
    upstream = await server(comfyui.url)
    with pytest.raises(UpstreamTimeout) as caught:
        await ask(upstream, face)
    assert caught.value.sent is True
    assert upstream.pool_is_idle()
    await eventually(lambda: comfyui.open == 0)


async def test_f04_a_trickle_is_streamed(fake, server) -> None:
    """ComfyUI answers a byte at a time: only silence counts."""

    async def script(connection) -> None:
        await connection.write(b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\n")
        for _ in range(8):
            await asyncio.sleep(0.1)
            await connection.write(b"x")

    comfyui = await fake(script)
    answer = await (await server(comfyui.url)).exchange(Outgoing("GET", b"/x", idle_timeout=0.5))
    assert await answer.whole() == b"x" * 8
    await answer.release()


async def test_f04_silence_in_the_middle_of_a_body_is_a_time_out(fake, server) -> None:
    """A stream that stands still is not waited for without end."""

    async def script(connection) -> None:
        await connection.write(b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nx")
        await connection.until_closed()

    comfyui = await fake(script)
    answer = await (await server(comfyui.url)).exchange(Outgoing("GET", b"/x", idle_timeout=0.2))
    with pytest.raises(UpstreamTimeout):
        await answer.whole()
    await answer.release()


@FACES
@pytest.mark.parametrize(
    "before", [b"", b"HTTP/1.1 200 OK\r\nContent-Le", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nx"]
)
@pytest.mark.parametrize("end", ["RST", "FIN"])
async def test_f05_f06_an_end_before_the_end_is_a_fault(fake, server, face: str, before: bytes, end: str) -> None:
    """RST or FIN before the head, in the head or in the body: a fault, sent, never a whole answer."""

    async def script(connection) -> None:
        await connection.write(before)
        await asyncio.sleep(0.02)
        if end == "RST":
            connection.reset()

    comfyui = await fake(script)
    upstream = await server(comfyui.url)
    with pytest.raises(UpstreamFault) as caught:
        answer = await ask(upstream, face)
        try:
            await answer.whole()
        finally:
            await answer.release()
    assert (caught.value.sent, isinstance(caught.value, NoServer)) == (True, False)
    assert upstream.pool_is_idle()
    assert len(comfyui.heads) == 1


async def test_a_full_pool_is_no_server_and_unsent(fake, server, eventually) -> None:
    """A request that finds no free connection in time was never sent."""

    async def script(connection) -> None:
        await connection.until_closed()

    comfyui = await fake(script)
    upstream = await server(comfyui.url, connections=1, connect_timeout=0.2)
    held = asyncio.create_task(upstream.exchange(Outgoing("GET", b"/held")))
    await eventually(lambda: len(comfyui.heads) == 1)
    for face in ("json", "stream"):
        with pytest.raises(NoServer) as caught:
            await ask(upstream, face)
        assert caught.value.sent is False
    held.cancel()
    await asyncio.wait([held])
    assert len(comfyui.heads) == 1


@FACES
async def test_a_closed_server_sends_nothing(fake, server, face: str) -> None:
    """After `close()` every question is answered with NoServer."""
    comfyui = await fake(lambda connection: connection.write(OK))
    upstream = await server(comfyui.url)
    await upstream.close()
    with pytest.raises(NoServer) as caught:
        await ask(upstream, face)
    assert (caught.value.sent, comfyui.connections) == (False, 0)


@FACES
async def test_what_is_under_way_when_the_server_is_closed_ends_with_a_fault(
    fake, server, eventually, face: str
) -> None:
    """Closing leaves nobody waiting."""

    async def script(connection) -> None:
        await connection.until_closed()

    comfyui = await fake(script)
    upstream = await server(comfyui.url)
    questions = [asyncio.ensure_future(ask(upstream, face))]
    if face == "stream":
        questions.append(asyncio.ensure_future(upstream.exchange(Outgoing("GET", b"/x"))))
    await eventually(lambda: len(comfyui.heads) == len(questions))
    await upstream.close()
    for outcome in await asyncio.gather(*questions, return_exceptions=True):
        assert isinstance(outcome, UpstreamFault)
    assert upstream.pool_is_idle()


@pytest.mark.parametrize(
    "url", ["", "127.0.0.1:8188", "ftp://a", "http://", "http://a/path", "http://a?x", "http://user:p@a", "ws://a"]
)
def test_an_address_that_is_not_a_server_is_refused(url: str) -> None:
    """Nothing of a configured address is silently ignored."""
    with pytest.raises(ValueError, match="not the address"):
        Server(url)


async def test_e12_cancelled_requests_leave_a_whole_pool(fake, server, eventually) -> None:
    """After churn of cancelled requests the pool works, and holds no active connection."""
    together = asyncio.Barrier(10)

    async def script(connection) -> None:
        if b"/together" in connection.head:
            await together.wait()
        else:
            await asyncio.sleep(chance.random() * 0.01)
        await connection.write(b"HTTP/1.1 200 OK\r\nContent-Length: 20000\r\n\r\n")
        await asyncio.sleep(chance.random() * 0.01)
        await connection.write(b"x" * 20000)
        connection.keep = True

    async def one(target: bytes) -> bytes:
        answer = await upstream.exchange(Outgoing("GET", target, idle_timeout=5))
        try:
            return await answer.whole()
        finally:
            await answer.release()

    async def cut_off(number: int) -> None:
        call = one(b"/x") if number % 2 else upstream.send_json("GET", "/x", None, timeout=5)
        task = asyncio.ensure_future(call)
        await asyncio.sleep(chance.random() * 0.03)
        task.cancel()
        await asyncio.wait([task])

    chance = random.Random(7)
    comfyui = await fake(script)
    upstream = await server(comfyui.url, connections=10)
    for batch in range(10):
        await asyncio.gather(*(cut_off(batch * 30 + number) for number in range(30)))
    assert upstream.pool_is_idle()
    # A single lost place in the pool of ten would keep the ten from being at the server at the same time.
    async with asyncio.timeout(5):
        bodies = await asyncio.gather(*(one(b"/together") for _ in range(10)))
    assert {len(body) for body in bodies} == {20000}
    await upstream.close()
    await eventually(lambda: comfyui.open == 0)
