"""The calls that the gateway makes for itself."""

import asyncio

import pytest

from gateway.errors import UpstreamFault, UpstreamTimeout
from gateway.upstream import reply
from gateway.upstream.server import Reply


def answering(body: bytes, status: bytes = b"200 OK"):
    """A script that gives this answer and keeps the connection."""

    async def script(connection) -> None:
        length = next(
            (int(line[15:]) for line in connection.head.split(b"\r\n") if line.lower().startswith(b"content-length")), 0
        )
        await connection.reader.readexactly(length)
        head = b"HTTP/1.1 %s\r\nSet-Cookie: a=b\r\nContent-Length: %d\r\n\r\n" % (status, len(body))
        await connection.write(head + body)
        connection.keep = True

    return script


async def test_get_json_gives_the_value(fake, server) -> None:
    """The JSON of a 200 answer; neither cookies nor compression are asked for."""
    comfyui = await fake(answering(b'{"a": [1, 2.5, "\xc3\xa9"]}'))
    upstream = await server(comfyui.url)
    assert await upstream.get_json("/queue", timeout=5) == {"a": [1, 2.5, "é"]}
    assert await upstream.get_json("/queue", timeout=5) == {"a": [1, 2.5, "é"]}
    heads = b"".join(comfyui.heads).lower()
    assert b"cookie" not in heads
    assert heads.count(b"accept-encoding: identity\r\n") == 2
    assert comfyui.connections == 1
    assert upstream.pool_is_idle()


async def test_f27_nan_and_infinity_become_null(fake, server) -> None:
    """ComfyUI writes NaN where a node returned one; the gateway never passes the bare token on."""
    comfyui = await fake(answering(b'{"a": [NaN, -Infinity, 1]}'))
    assert await (await server(comfyui.url)).get_json("/history", timeout=5) == {"a": [None, None, 1]}


async def test_f27_half_a_surrogate_does_not_hide_the_rest(fake, server) -> None:
    """Core nodes can put half a surrogate into a history; it becomes a question mark, next to whatever else is odd."""
    comfyui = await fake(answering(b'{"a": ["x\\ud800y", NaN, 1%s]}' % (b"0" * 30)))
    answer = await (await server(comfyui.url)).get_json("/history", timeout=5)
    assert answer == {"a": ["x?y", None, 1e30]}


@pytest.mark.parametrize("body", [b"", b"<html>", b'{"a"', b"[" * 200_000, b"\xff"])
async def test_f27_what_is_not_json_is_a_fault(fake, server, body: bytes) -> None:
    """Malformed, endlessly nested or unwritable JSON is a fault of ComfyUI's, and no crash of ours."""
    comfyui = await fake(answering(body))
    with pytest.raises(UpstreamFault):
        await (await server(comfyui.url)).get_json("/history", timeout=5)


async def test_get_json_takes_no_other_status_for_an_answer(fake, server) -> None:
    """A question that ComfyUI refused has no value."""
    comfyui = await fake(answering(b"{}", b"500 Oops"))
    with pytest.raises(UpstreamFault, match="refused") as caught:
        await (await server(comfyui.url)).get_json("/queue", timeout=5)
    assert "500" in caught.value.reason


async def test_send_json_sends_json_and_gives_status_and_body(fake, server) -> None:
    """Whatever ComfyUI answers is the caller's to read."""
    comfyui = await fake(answering(b'{"error": 1}', b"400 Bad Request"))
    answer = await (await server(comfyui.url)).send_json("POST", "/prompt", b'{"prompt": {}}', timeout=5)
    assert answer == Reply(400, b'{"error": 1}')
    head = comfyui.heads[0]
    assert head.startswith(b"POST /prompt HTTP/1.1\r\n")
    assert b"content-type: application/json\r\n" in head.lower()
    assert b"content-length: 14\r\n" in head.lower()


async def test_an_answer_too_large_is_a_fault(fake, server, monkeypatch) -> None:
    """Memory is bounded whatever ComfyUI says."""
    monkeypatch.setattr(reply, "JSON_BYTES", 1000)
    comfyui = await fake(answering(b"x" * 2000))
    upstream = await server(comfyui.url)
    with pytest.raises(UpstreamFault, match="too large"):
        await upstream.send_json("GET", "/x", None, timeout=5)
    assert upstream.pool_is_idle()


async def test_the_time_out_bounds_the_whole_call(fake, server, eventually) -> None:
    """An answer that trickles in for ever is given up in time."""

    async def script(connection) -> None:
        await connection.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
        while True:
            await connection.write(b"x")
            await asyncio.sleep(0.01)

    comfyui = await fake(script)
    upstream = await server(comfyui.url)
    with pytest.raises(UpstreamTimeout):
        async with asyncio.timeout(5):
            await upstream.send_json("GET", "/x", None, timeout=0.3)
    await eventually(lambda: comfyui.open == 0)


async def test_a_post_is_sent_once(fake, server) -> None:
    """A submit whose connection was lost is never repeated here: it may have been accepted."""

    async def script(connection) -> None:
        if len(comfyui.heads) == 1:
            await connection.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
            connection.keep = True

    comfyui = await fake(script)
    upstream = await server(comfyui.url)
    await upstream.get_json("/queue", timeout=5)
    with pytest.raises(UpstreamFault) as caught:
        await upstream.send_json("POST", "/prompt", b"{}", timeout=5)
    assert caught.value.sent is True
    assert len(comfyui.heads) == 2
