"""What happens when one of the two sides leaves, or does not keep to the protocol."""

import asyncio

import psutil
import pytest

from gateway.errors import GatewayError, UpstreamFault

MEGABYTE = 1024 * 1024


def answering(raw: bytes):
    """A script that writes this and closes."""

    async def script(connection) -> None:
        await connection.write(raw)

    return script


async def test_f01_nobody_listens_is_503(gateway, head_of) -> None:
    """ComfyUI's port closed: refused at once, with Retry-After for the client in the error."""
    running = await gateway(url="http://127.0.0.1:1")
    assert head_of(await running.get(b"/features"))[0] == 503
    assert running.edge.failures[0].headers["Retry-After"] == "5"


async def test_f03_silence_is_504(gateway, comfyui, head_of, eventually) -> None:
    """ComfyUI accepts and never answers: 504 at the time-out, and the connection is freed."""

    async def script(connection) -> None:
        await connection.until_closed()

    comfyui.script = script
    running = await gateway(silence=0.2)
    assert head_of(await running.get(b"/features"))[0] == 504
    assert running.upstream.pool_is_idle()
    await eventually(lambda: comfyui.open == 0)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"HTTP/1.1 200 OK\r\nContent-",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhal",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: a\x01b\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 999 What\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 101 Up\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
    ],
)
async def test_s23_f05_a_broken_answer_that_has_not_begun_is_502(gateway, comfyui, head_of, raw: bytes) -> None:
    """Cut short, ambiguous or impossible: 502 as long as the client has seen nothing of it."""
    comfyui.script = answering(raw)
    running = await gateway()
    assert head_of(await running.get(b"/features"))[0] == 502
    assert running.upstream.pool_is_idle()


@pytest.mark.parametrize(
    "head", [b"Content-Length: 1000000\r\n\r\n" + b"x" * 100_000, b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"]
)
@pytest.mark.parametrize("end", ["FIN", "RST"])
async def test_f05_a_body_that_breaks_off_is_visibly_cut(gateway, comfyui, head_of, head: bytes, end: str) -> None:
    """ComfyUI leaves in the middle of a body: the client's connection ends without the last chunk or byte."""

    async def script(connection) -> None:
        await connection.write(b"HTTP/1.1 200 OK\r\n" + head)
        await asyncio.sleep(0.1)
        if end == "RST":
            connection.writer.transport.abort()

    comfyui.script = script
    running = await gateway()
    status, headers, rest = head_of(await running.get(b"/view?filename=x"))
    assert status == 200
    if (b"content-length", b"1000000") in headers:
        assert 0 < len(rest) < 1_000_000
    else:
        assert rest == b"5\r\nhello\r\n"
    assert isinstance(running.edge.failures[0], UpstreamFault)
    assert running.upstream.pool_is_idle()


async def test_s23_a_bad_chunk_in_the_middle_is_visibly_cut(gateway, comfyui, head_of) -> None:
    """What cannot be understood ends the answer, and not cleanly."""

    async def script(connection) -> None:
        await connection.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
        await asyncio.sleep(0.05)
        await connection.write(b"ZZ\r\n")
        await connection.until_closed()

    comfyui.script = script
    assert head_of(await (await gateway()).get(b"/view?filename=x"))[2] == b"5\r\nhello\r\n"


async def test_e24_a_client_that_leaves_a_download_ends_it(gateway, comfyui, raw, eventually) -> None:
    """An endless answer is closed on ComfyUI's side as soon as nobody wants it."""

    async def script(connection) -> None:
        await connection.write(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            await connection.write(b"x" * 65536)
            await asyncio.sleep(0.001)

    comfyui.script = script
    running = await gateway()
    reader, writer = await running.connect()
    writer.write(raw(b"/view?filename=x"))
    await reader.readexactly(100_000)
    writer.transport.abort()
    await eventually(lambda: comfyui.open == 0)
    await eventually(running.upstream.pool_is_idle)
    assert running.edge.failures == []


async def test_a_client_that_leaves_while_comfyui_thinks_ends_the_request(gateway, comfyui, raw, eventually) -> None:
    """Nothing is held for a client that is gone, also before the first byte of the answer."""

    async def script(connection) -> None:
        await connection.until_closed()

    comfyui.script = script
    running = await gateway()
    _, writer = await running.connect()
    writer.write(raw(b"/features"))
    await eventually(lambda: comfyui.open == 1)
    writer.close()
    await eventually(lambda: comfyui.open == 0)
    await eventually(running.upstream.pool_is_idle)
    assert running.edge.failures == []


async def test_a_client_that_leaves_after_its_upload_ends_the_request(gateway, comfyui, raw, eventually) -> None:
    """The body has been read, the answer has not come: leaving is noticed all the same."""
    arrived = asyncio.Event()

    async def script(connection) -> None:
        await connection.reader.readexactly(5)
        arrived.set()
        await connection.until_closed()

    comfyui.script = script
    running = await gateway()
    _, writer = await running.connect()
    writer.write(raw(b"/upload/image", b"Content-Length: 5", method=b"POST") + b"hello")
    await arrived.wait()
    writer.close()
    await eventually(lambda: comfyui.open == 0)
    await eventually(running.upstream.pool_is_idle)


@pytest.mark.parametrize("framing", [b"Content-Length: 100", b"Transfer-Encoding: chunked"])
async def test_e11_a_client_that_leaves_its_upload_aborts_it(gateway, comfyui, raw, eventually, framing: bytes) -> None:
    """ComfyUI sees the connection end, not a body that ends."""
    bodies: list[bytes] = []

    async def script(connection) -> None:
        bodies.append(await connection.reader.read())

    comfyui.script = script
    running = await gateway()
    _, writer = await running.connect()
    writer.write(raw(b"/upload/image", framing, method=b"POST") + b"5\r\nhello\r\n")
    await eventually(lambda: comfyui.open == 1)
    writer.close()
    await eventually(lambda: len(bodies) == 1)
    assert not bodies[0].endswith(b"0\r\n\r\n")
    await eventually(running.upstream.pool_is_idle)
    assert running.edge.failures == []


async def test_s21_an_early_answer_reaches_the_client(gateway, comfyui, raw, head_of, eventually) -> None:
    """ComfyUI answers before it has read the body, and closes: the client gets the answer."""
    comfyui.script = answering(b"HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\n\r\nbig")
    running = await gateway()
    reader, writer = await running.connect()
    writer.write(raw(b"/upload/image", b"Content-Length: 900000", method=b"POST") + b"x" * 1000)
    answer = await reader.readuntil(b"big")
    writer.close()
    assert head_of(answer)[0] == 413
    await eventually(running.upstream.pool_is_idle)
    assert comfyui.open == 0


async def test_e12_clients_that_come_and_go_leave_a_whole_pool(gateway, comfyui, raw, head_of, eventually) -> None:
    """300 clients that leave at every moment, over ten connections: then the pool works and holds nothing."""

    async def script(connection) -> None:
        await asyncio.sleep(0.003)
        await connection.write(b"HTTP/1.1 200 OK\r\nContent-Length: 200000\r\n\r\n" + b"x" * 100_000)
        await asyncio.sleep(0.003)
        await connection.write(b"x" * 100_000)
        connection.keep = True

    async def leave(number: int) -> None:
        _, writer = await running.connect()
        writer.write(raw(b"/view?filename=x"))
        await asyncio.sleep(number % 30 / 1000)
        writer.transport.abort()

    comfyui.script = script
    running = await gateway()
    for batch in range(6):
        await asyncio.gather(*(leave(batch * 50 + number) for number in range(50)))
    await eventually(running.upstream.pool_is_idle)
    answers = await asyncio.gather(*(running.get(b"/view?filename=x") for _ in range(10)))
    assert [len(head_of(answer)[2]) for answer in answers] == [200_000] * 10
    assert [error for error in running.edge.failures if not isinstance(error, GatewayError)] == []


async def test_e09_a_download_to_a_slow_client_is_not_held_in_memory(gateway, comfyui, raw) -> None:
    """Constant memory: a client that does not read stops ComfyUI's sending."""
    sent = 0

    async def script(connection) -> None:
        nonlocal sent
        await connection.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (1024 * MEGABYTE))
        while True:
            await connection.write(b"x" * 65536)
            sent += 65536

    comfyui.script = script
    running = await gateway()
    _, writer = await asyncio.open_connection("127.0.0.1", running.port, limit=65536)
    writer.write(raw(b"/view?filename=x"))
    before, seen = psutil.Process().memory_info().rss, -1
    while seen != sent or sent == 0:
        seen = sent
        await asyncio.sleep(0.2)
    assert sent < 24 * MEGABYTE  # the kernel's buffers, mostly
    assert psutil.Process().memory_info().rss - before < 20 * MEGABYTE
    writer.transport.abort()


async def test_e10_bodies_of_any_size_take_constant_memory(gateway, comfyui, raw, head_of) -> None:
    """128 MiB up and 128 MiB down grow the process by less than 20 MB."""
    size, block = 128 * MEGABYTE, bytes(65536)

    async def script(connection) -> None:
        left = size
        while left:
            left -= len(await connection.reader.read(min(left, 65536)))
        await connection.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
        for _ in range(size // len(block)):
            await connection.write(block)

    comfyui.script = script
    running = await gateway(upload_limit=lambda principal: size)
    reader, writer = await running.connect()
    before = psutil.Process().memory_info().rss
    writer.write(raw(b"/upload/image", b"Content-Length: %d" % size, method=b"POST"))
    for _ in range(size // len(block)):
        writer.write(block)
        await writer.drain()
    await reader.readuntil(b"\r\n\r\n")
    seen = 0
    while piece := await reader.read(65536):
        seen += len(piece)
    writer.close()
    assert seen == size
    assert psutil.Process().memory_info().rss - before < 20 * MEGABYTE
