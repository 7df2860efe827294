"""Request bodies on their way to ComfyUI, and how they end."""

import asyncio
import itertools
from collections.abc import AsyncIterator

import pytest

from gateway.errors import InvalidRequest, UpstreamTimeout
from gateway.upstream.server import Outgoing


class BrokeError(Exception):
    """What the body's own source raises."""


async def endless(*, taken: list[int]) -> AsyncIterator[bytes]:
    while True:
        taken.append(1)
        yield b"x" * 65536


async def test_a_body_that_fails_raises_its_own_error_and_aborts_the_request(fake, server, eventually) -> None:
    """A client that leaves in the middle of an upload is not taken for a broken ComfyUI."""
    ended: list[bytes] = []

    async def script(connection) -> None:
        ended.append(await connection.reader.read())

    async def body() -> AsyncIterator[bytes]:
        yield b"ab"
        raise BrokeError

    comfyui = await fake(script)
    upstream = await server(comfyui.url)
    with pytest.raises(BrokeError):
        await upstream.exchange(Outgoing("POST", b"/x", body=body(), length=100))
    await eventually(lambda: comfyui.open == 0)
    assert ended == [b"ab"]
    assert upstream.pool_is_idle()


async def test_a_chunked_body_that_fails_is_not_ended_cleanly(fake, server, eventually) -> None:
    """Half an upload must not look like a whole one."""
    ended: list[bytes] = []

    async def script(connection) -> None:
        ended.append(await connection.reader.read())

    async def body() -> AsyncIterator[bytes]:
        yield b"ab"
        raise BrokeError

    comfyui = await fake(script)
    with pytest.raises(BrokeError):
        await (await server(comfyui.url)).exchange(Outgoing("POST", b"/x", body=body()))
    await eventually(lambda: comfyui.open == 0)
    assert ended == [b"2\r\nab\r\n"]


async def test_a_body_shorter_than_declared_is_refused(fake, server) -> None:
    """ComfyUI is never left waiting for bytes that will not come."""

    async def script(connection) -> None:
        await connection.until_closed()

    async def body() -> AsyncIterator[bytes]:
        yield b"ab"

    comfyui = await fake(script)
    with pytest.raises(InvalidRequest):
        await (await server(comfyui.url)).exchange(Outgoing("POST", b"/x", body=body(), length=3))


async def test_comfyui_that_stops_reading_stops_the_body_and_then_times_out(fake, server, eventually) -> None:
    """The client is read no faster than ComfyUI takes the body, and a standstill has a deadline."""
    taken: list[int] = []
    stopped = asyncio.Event()

    async def script(connection) -> None:
        await stopped.wait()

    comfyui = await fake(script)
    upstream = await server(comfyui.url)
    with pytest.raises(UpstreamTimeout) as caught:
        await upstream.exchange(Outgoing("POST", b"/x", body=endless(taken=taken), idle_timeout=0.3))
    assert caught.value.sent is True
    assert len(taken) * 65536 < 16 * 1024 * 1024
    assert upstream.pool_is_idle()
    stopped.set()
    await eventually(lambda: comfyui.open == 0)


async def test_a_slow_but_moving_body_is_not_timed_out(fake, server) -> None:
    """Only a standstill counts, not the length of an upload."""

    async def script(connection) -> None:
        await connection.reader.readexactly(8)
        await connection.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    async def body() -> AsyncIterator[bytes]:
        for _ in range(8):
            await asyncio.sleep(0.1)
            yield b"x"

    comfyui = await fake(script)
    upstream = await server(comfyui.url)
    answer = await upstream.exchange(Outgoing("POST", b"/x", body=body(), length=8, idle_timeout=0.5))
    await answer.release()
    assert answer.status == 200


async def test_s21_a_connection_whose_answer_came_before_the_body_was_sent_is_not_used_again(
    fake, server, eventually
) -> None:
    """An early answer arrives; the rest of the body never becomes the next request."""
    taken: list[int] = []

    async def script(connection) -> None:
        await connection.write(b"HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\n\r\nbig")
        await connection.until_closed()

    comfyui = await fake(script)
    upstream = await server(comfyui.url)
    for _ in range(2):
        answer = await upstream.exchange(Outgoing("POST", b"/x", body=endless(taken=taken), idle_timeout=5))
        assert (answer.status, await answer.whole()) == (413, b"big")
        await answer.release()
    assert (comfyui.connections, len(comfyui.heads)) == (2, 2)
    await eventually(lambda: comfyui.open == 0)


@pytest.mark.parametrize(
    ("method", "with_body"),
    [("GET", True), *itertools.product(["POST", "PUT", "DELETE", "PATCH"], [False, True])],
)
async def test_nothing_but_a_read_is_ever_sent_twice(fake, server, method: str, with_body: bool) -> None:
    """GET may be retried once on a stale keep-alive connection; a POST never, nor anything else that acts."""

    async def script(connection) -> None:
        if len(comfyui.heads) > 1:
            return  # closes without an answer, as a server does that had just decided to close
        await connection.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        connection.keep = True

    async def body() -> AsyncIterator[bytes]:
        yield b"ab"

    comfyui = await fake(script)
    upstream = await server(comfyui.url)
    await (await upstream.exchange(Outgoing("GET", b"/first"))).release()
    with pytest.raises(Exception, match="broke off"):
        await upstream.exchange(
            Outgoing(method, b"/x", body=body() if with_body else None, length=2 if with_body else None)
        )
    assert len(comfyui.heads) == 2


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_a_read_is_sent_once_more_on_a_stale_connection(fake, server, method: str) -> None:
    """A kept connection that ComfyUI has just closed costs a reader nothing."""

    async def script(connection) -> None:
        if len(comfyui.heads) == 2:
            return
        await connection.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        connection.keep = True

    comfyui = await fake(script)
    upstream = await server(comfyui.url)
    for _ in range(2):
        answer = await upstream.exchange(Outgoing(method, b"/x"))
        await answer.release()
        assert answer.status == 200
    assert (comfyui.connections, len(comfyui.heads)) == (2, 3)


async def test_s21_what_is_over_the_declared_length_is_never_sent(fake, server, eventually) -> None:
    """ComfyUI would read it as the next request on the connection."""
    raw: list[bytes] = []

    async def script(connection) -> None:
        while piece := await connection.reader.read(65536):
            raw.append(piece)

    async def body() -> AsyncIterator[bytes]:
        yield b"abcd"
        yield b"GET /evil HTTP/1.1\r\n\r\n"

    comfyui = await fake(script)
    upstream = await server(comfyui.url)
    with pytest.raises(InvalidRequest):
        await upstream.exchange(Outgoing("POST", b"/x", body=body(), length=4, idle_timeout=5))
    await eventually(lambda: comfyui.open == 0)
    assert b"".join(raw) in (b"", b"abcd")


async def test_s21_an_empty_piece_does_not_end_a_chunked_body(fake, server) -> None:
    """What comes behind the end of a body is the next request on the connection."""
    raw: list[bytes] = []

    async def script(connection) -> None:
        raw.append(await connection.reader.readuntil(b"0\r\n\r\n"))
        await connection.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    async def body() -> AsyncIterator[bytes]:
        for piece in (b"ab", b"", b"cd"):
            yield piece

    comfyui = await fake(script)
    answer = await (await server(comfyui.url)).exchange(Outgoing("POST", b"/x", body=body(), idle_timeout=5))
    await answer.release()
    assert raw == [b"2\r\nab\r\n2\r\ncd\r\n0\r\n\r\n"]


async def test_a_client_that_is_slow_is_not_a_silent_comfyui(fake, server) -> None:
    """The time-out counts the silence of ComfyUI, not the pauses of whoever sends the body."""

    async def script(connection) -> None:
        await connection.reader.readexactly(4)
        await connection.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    async def body() -> AsyncIterator[bytes]:
        for piece in (b"ab", b"cd"):
            await asyncio.sleep(1)
            yield piece

    comfyui = await fake(script)
    upstream = await server(comfyui.url)
    answer = await upstream.exchange(Outgoing("POST", b"/x", body=body(), length=4, idle_timeout=0.5))
    await answer.release()
    assert answer.status == 200
