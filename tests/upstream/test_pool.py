"""Which connection a request gets."""

import asyncio
import os
import socket

import pytest

from gateway.errors import NoServer
from gateway.upstream.pool import Pool
from gateway.upstream.wire import origin_of


async def silent(connection) -> None:
    await connection.until_closed()


async def used(pool: Pool):
    """A connection that has carried one exchange."""
    connection, _ = await pool.borrow(within=5)
    answer = connection.begin(b"GET / HTTP/1.1\r\n\r\n")
    while not answer.complete:
        await connection.more(answer, idle_timeout=5)
    pool.give_back(connection)
    return connection


async def ok(connection) -> None:
    await connection.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    connection.keep = True


async def test_a_connection_is_used_again_until_it_is_too_old(fake) -> None:
    """ComfyUI closes an idle connection some time; it is given up before, so that nothing is written into its end."""
    comfyui = await fake(ok)
    pool = Pool(origin_of(comfyui.url), size=2, keep_alive=3600)
    first = await used(pool)
    assert await used(pool) is first
    first.idle_since -= 3601
    assert await used(pool) is not first
    await pool.close()
    assert comfyui.connections == 2


async def test_a_fresh_connection_leaves_no_kept_one_behind(fake, eventually) -> None:
    """What ended one kept connection has most likely ended the others."""
    comfyui = await fake(ok)
    pool = Pool(origin_of(comfyui.url), size=3)
    await used(pool)
    connection, kept = await pool.borrow(within=5, fresh=True)
    assert not kept
    await eventually(lambda: comfyui.open == 1)
    pool.give_back(connection)
    await pool.close()


async def test_whoever_waits_gets_the_next_free_place(fake) -> None:
    """A place that is given back goes to the first in line, and one that was cancelled holds none."""
    comfyui = await fake(silent)
    pool = Pool(origin_of(comfyui.url), size=1)
    held, _ = await pool.borrow(within=5)
    cancelled = asyncio.create_task(pool.borrow(within=60))
    first = asyncio.create_task(pool.borrow(within=60))
    await asyncio.sleep(0)
    cancelled.cancel()
    pool.give_back(held)
    connection, _ = await asyncio.wait_for(first, 5)
    assert pool.lent == 1
    pool.give_back(connection)
    assert pool.lent == 0
    await pool.close()


async def test_a_closed_pool_connects_to_nobody(fake) -> None:
    """After `close()` nothing can have been sent."""
    comfyui = await fake(silent)
    pool = Pool(origin_of(comfyui.url), size=1)
    await pool.close()
    with pytest.raises(NoServer) as caught:
        await pool.borrow(within=5)
    assert (caught.value.sent, comfyui.connections) == (False, 0)


async def test_a_server_with_a_certificate_that_nobody_knows_is_not_spoken_to(fake) -> None:
    """An https ComfyUI is verified; what cannot be is no server, and nothing is sent."""
    comfyui = await fake(silent)
    pool = Pool(origin_of(comfyui.url.replace("http:", "https:")), size=1)
    with pytest.raises(NoServer):
        await pool.borrow(within=0.3)
    assert pool.lent == 0
    await pool.close()


@pytest.mark.parametrize("unread", [b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil", b""], ids=["answer", "end"])
async def test_s23_a_connection_is_not_lent_again_while_something_on_it_is_unread(fake, unread: bytes) -> None:
    """A second answer to one user is not the answer to the next, though the event loop has not seen it yet."""
    kept = []

    async def script(connection) -> None:
        kept.append(connection)
        await ok(connection)

    comfyui = await fake(script)
    pool = Pool(origin_of(comfyui.url), size=2)
    first = await used(pool)
    with socket.socket(fileno=os.dup(kept[0].writer.get_extra_info("socket").fileno())) as at_once:
        at_once.sendall(unread)
        if not unread:
            at_once.shutdown(socket.SHUT_WR)
    second, was_kept = await pool.borrow(within=5)
    assert not was_kept
    assert not first.usable
    pool.give_back(second)
    await pool.close()
