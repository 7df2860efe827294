"""What stands on the wire to ComfyUI, and what comes back."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from gateway.errors import InvalidRequest, UpstreamFault
from gateway.upstream.server import Incoming, Outgoing, Server

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


async def ok(connection) -> None:
    await connection.write(OK)
    connection.keep = True


async def pieces(*parts: bytes) -> AsyncIterator[bytes]:
    for part in parts:
        yield part


async def ask(server: Server, target: bytes = b"/x", method: str = "GET", **more) -> tuple[Incoming, bytes]:
    """One request, its answer read to the end and released."""
    answer = await server.exchange(Outgoing(method, target, idle_timeout=5, **more))
    try:
        return answer, await answer.whole()
    finally:
        await answer.release()


TARGETS = [
    b"/",
    b"/userdata/workflows%2Fa.json",
    b"/userdata/workflows%252Fa.json",
    b"/view?filename=a%20b+c.png&&x&=y&a=b=c",
    b'/x?q=%zz%ff"<>|^`{}[]\\',
    b"/a/../b/./c",
    b"//prompt",
    b"/%2e%2e/%5c/%00",
    b"/x?http://user:pass@host/p",
    b"/:@!$&'()*+,;=~",
    b"/x?a=1?b=2",
    b"/a?",
]


@pytest.mark.parametrize("target", TARGETS)
async def test_the_target_is_sent_byte_for_byte(fake, server, target: bytes) -> None:
    """Exactly the bytes that were judged are forwarded."""
    comfyui = await fake(ok)
    await ask(await server(comfyui.url), target)
    assert comfyui.heads[0].split(b"\r\n")[0] == b"GET " + target + b" HTTP/1.1"


@pytest.mark.parametrize(
    "target", [b"", b"x", b"@evil/x", b"http://evil/x", b"/a#b", b"/a\xc3\xa9", b"?a", b"*", b"/a b", b"/\n"]
)
async def test_a_target_that_would_not_arrive_as_it_is_goes_nowhere(fake, server, target: bytes) -> None:
    """What cannot be sent byte for byte is refused before ComfyUI is connected to."""
    comfyui = await fake(ok)
    with pytest.raises(InvalidRequest):
        await ask(await server(comfyui.url), target)
    assert comfyui.connections == 0


async def test_headers_keep_their_order_and_duplicates_and_nothing_but_host_is_added(fake, server) -> None:
    """The client's own headers or nothing is what ComfyUI gets."""
    comfyui = await fake(ok)
    await ask(
        await server(comfyui.url),
        headers=((b"x-b", b"1"), (b"accept", b"a/b"), (b"x-b", b"2"), (b"x-a", b"\xc3\xa9\xe9")),
    )
    host = comfyui.url.removeprefix("http://").encode()
    assert comfyui.heads[0] == (
        b"GET /x HTTP/1.1\r\nHost: " + host + b"\r\nx-b: 1\r\naccept: a/b\r\nx-b: 2\r\nx-a: \xc3\xa9\xe9\r\n\r\n"
    )


@pytest.mark.parametrize("value", [b"a\r\nx: y", b"a\x00", b"a\nb", b"a\x01"])
async def test_a_header_that_cannot_be_carried_is_refused_before_anything_is_sent(fake, server, value: bytes) -> None:
    """A value never splits a head, and none is changed."""
    comfyui = await fake(ok)
    with pytest.raises(InvalidRequest):
        await ask(await server(comfyui.url), headers=((b"x", value),))
    assert comfyui.heads == []


async def echo(connection) -> None:
    """Answer with the raw bytes of the body as they were framed."""
    if b"content-length: 4" in connection.head.lower():
        raw = await connection.reader.readexactly(4)
    elif b"chunked" in connection.head.lower():
        raw = await connection.reader.readuntil(b"0\r\n\r\n")
    else:
        raw = b""
    await connection.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(raw), raw))


@pytest.mark.parametrize(
    ("length", "framing", "raw"),
    [(4, b"content-length: 4", b"abcd"), (None, b"transfer-encoding: chunked", b"2\r\nab\r\n2\r\ncd\r\n0\r\n\r\n")],
)
async def test_h12_a_body_has_exactly_one_framing_header(fake, server, length, framing: bytes, raw: bytes) -> None:
    """A request body is forwarded with Content-Length if it had one, chunked otherwise."""
    comfyui = await fake(echo)
    _, answer = await ask(await server(comfyui.url), method="POST", body=pieces(b"ab", b"cd"), length=length)
    lines = comfyui.heads[0].lower().split(b"\r\n")
    assert [line for line in lines if line.startswith((b"content-length", b"transfer-encoding"))] == [framing]
    assert answer == raw


async def test_a_post_without_a_body_says_so(fake, server) -> None:
    """A POST without a body is sent with Content-Length: 0."""
    comfyui = await fake(echo)
    await ask(await server(comfyui.url), method="POST")
    assert b"Content-Length: 0\r\n" in comfyui.heads[0]


async def test_the_answer_keeps_its_bytes_order_and_duplicates(fake, server) -> None:
    """Answers are not decoded, joined or tidied: raw headers, and a compressed body as it is."""

    async def script(connection) -> None:
        await connection.write(b"HTTP/1.1 203 Odd\r\nX-B: 1\r\nContent-Encoding: gzip\r\nx-b: \xe92\r\n")
        await connection.write(b"Content-Length: 3\r\n\r\n\x1f\x8b\x00")

    comfyui = await fake(script)
    answer, body = await ask(await server(comfyui.url))
    assert (answer.status, body) == (203, b"\x1f\x8b\x00")
    assert answer.headers == (
        (b"X-B", b"1"),
        (b"Content-Encoding", b"gzip"),
        (b"x-b", b"\xe92"),
        (b"Content-Length", b"3"),
    )


async def test_h15_no_cookie_of_one_answer_is_sent_with_the_next_request(fake, server) -> None:
    """The cookie jar is off."""

    async def script(connection) -> None:
        await connection.write(b"HTTP/1.1 200 OK\r\nSet-Cookie: session=evil; Path=/\r\nContent-Length: 0\r\n\r\n")
        connection.keep = True

    comfyui = await fake(script)
    # By name: some jars never keep the cookies of a bare address.
    upstream = await server(comfyui.url.replace("127.0.0.1", "localhost"))
    await ask(upstream)
    await ask(upstream)
    assert len(comfyui.heads) == 2
    assert b"cookie" not in comfyui.heads[1].lower()


async def test_a_redirect_is_an_answer(fake, server) -> None:
    """Redirects are not followed."""

    async def script(connection) -> None:
        await connection.write(b"HTTP/1.1 302 Found\r\nLocation: /other\r\nContent-Length: 0\r\n\r\n")

    comfyui = await fake(script)
    answer, _ = await ask(await server(comfyui.url))
    assert (answer.status, len(comfyui.heads)) == (302, 1)


async def test_no_proxy_of_the_environment_is_used(fake, server, monkeypatch) -> None:
    """The environment cannot route requests elsewhere."""
    elsewhere = await fake(ok)
    comfyui = await fake(ok)
    monkeypatch.setenv("HTTP_PROXY", elsewhere.url)
    monkeypatch.setenv("http_proxy", elsewhere.url)
    upstream = await server(comfyui.url)
    await ask(upstream)
    await upstream.send_json("GET", "/x", None, timeout=5)
    assert (len(comfyui.heads), elsewhere.connections) == (2, 0)


ODD_BUT_GOOD = {
    "200 headers": (b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 200 + b"Content-Length: 2\r\n\r\nok", 200, b"ok"),
    "64 KiB line": (b"HTTP/1.1 200 OK\r\nX: " + b"y" * 65536 + b"\r\nContent-Length: 2\r\n\r\nok", 200, b"ok"),
    "1xx": (b"HTTP/1.1 100 Go\r\n\r\nHTTP/1.1 103 Hints\r\nLink: x\r\n\r\n" + OK, 200, b"ok"),
    "304 with a length": (b"HTTP/1.1 304 Same\r\nContent-Length: 5\r\n\r\n", 304, b""),
    "204": (b"HTTP/1.1 204 None\r\n\r\n", 204, b""),
    "until the end": (b"HTTP/1.0 200 OK\r\n\r\nok", 200, b"ok"),
}


@pytest.mark.parametrize("name", ODD_BUT_GOOD)
async def test_h23_odd_answers_that_are_well_formed_arrive(fake, server, name: str) -> None:
    """Many headers, long lines, interim answers and answers without a body are ordinary."""
    raw, status, body = ODD_BUT_GOOD[name]

    async def script(connection) -> None:
        await connection.write(raw)

    comfyui = await fake(script)
    answer, whole = await ask(await server(comfyui.url))
    assert (answer.status, whole) == (status, body)


async def test_h23_head_has_a_length_and_no_body(fake, server) -> None:
    """The answer to HEAD declares the length of the body that it does not have."""

    async def script(connection) -> None:
        await connection.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2000\r\n\r\n")
        connection.keep = True

    comfyui = await fake(script)
    upstream = await server(comfyui.url)
    for _ in range(2):
        answer, body = await ask(upstream, method="HEAD")
        assert (answer.length, body) == (2000, b"")
    assert comfyui.connections == 1


BROKEN = {
    "both framings": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    "two lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok!",
    "negative length": b"HTTP/1.1 200 OK\r\nContent-Length: -2\r\n\r\nok",
    "length too short": b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nok",
    "length too long": b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok",
    "no last chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n",
    "bad chunk at once": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nZZ\r\nok\r\n",
    "CR in a header": b"HTTP/1.1 200 OK\r\nX: a\rb\r\nContent-Length: 2\r\n\r\nok",
    "NUL in a header": b"HTTP/1.1 200 OK\r\nX: a\x00b\r\nContent-Length: 2\r\n\r\nok",
    "2,000 headers": b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 2000 + b"\r\n",
    "a body after 304": b"HTTP/1.1 304 Same\r\nContent-Length: 2\r\n\r\nok",
    "not HTTP": b"hello there\r\n\r\n",
    "half a head": b"HTTP/1.1 200 OK\r\nX: y",
    "nothing": b"",
}


@pytest.mark.parametrize("name", BROKEN)
async def test_s23_a_malformed_answer_is_a_fault_and_its_connection_is_not_used_again(fake, server, name: str) -> None:
    """Short or long Content-Length, both framings, a bad chunk: 502 or aborted, and the next request is clean."""

    async def script(connection) -> None:
        if b"/clean" in connection.head:
            await connection.write(OK)
        else:
            await connection.write(BROKEN[name])

    comfyui = await fake(script)
    upstream = await server(comfyui.url)
    with pytest.raises(UpstreamFault) as caught:
        await ask(upstream, method="POST")
    assert caught.value.sent is True
    assert upstream.pool_is_idle()
    assert (await ask(upstream, b"/clean", "POST"))[1] == b"ok"
    assert (comfyui.connections, len(comfyui.heads)) == (2, 2)


async def test_s23_a_bad_chunk_after_good_ones_ends_the_body_with_a_fault(fake, server) -> None:
    """A reader is told when the rest of a body cannot be understood, instead of waiting for ever."""

    async def script(connection) -> None:
        await connection.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n")
        await asyncio.sleep(0.05)
        await connection.write(b"ZZ\r\n")
        await connection.until_closed()

    comfyui = await fake(script)
    upstream = await server(comfyui.url)
    answer = await upstream.exchange(Outgoing("GET", b"/x"))
    body = answer.body()
    assert await anext(body) == b"ok"
    with pytest.raises(UpstreamFault):
        async with asyncio.timeout(5):
            await anext(body)
    await answer.release()


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_s23_a_second_answer_to_one_request_never_reaches_the_next(fake, server, eventually, method: str) -> None:
    """No mixing between users: bytes that nobody asked for end their connection."""
    seconds: list[int] = []

    async def script(connection) -> None:
        await ok(connection)
        await asyncio.sleep(0.02)
        await connection.write(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil")
        seconds.append(1)

    comfyui = await fake(script)
    upstream = await server(comfyui.url)
    for number in range(1, 4):
        assert (await ask(upstream, method=method))[1] == b"ok"
        await eventually(lambda number=number: len(seconds) == number)
        await asyncio.sleep(0.02)
    assert comfyui.connections == 3


async def test_a_slow_reader_gets_all_of_an_answer_whose_connection_is_closed_early(fake, server) -> None:
    """The end of the connection cuts off nothing that had arrived."""
    size = 5_000_000

    async def script(connection) -> None:
        await connection.write(
            b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % size + b"x" * size
        )

    comfyui = await fake(script)
    answer = await (await server(comfyui.url)).exchange(Outgoing("GET", b"/x"))
    seen = 0
    async for piece in answer.body():
        seen += len(piece)
        await asyncio.sleep(0.002)
    await answer.release()
    assert seen == size


async def test_comfyui_is_read_no_faster_than_the_pieces_are_taken(fake, server, eventually) -> None:
    """Back-pressure reaches ComfyUI: an endless answer that nobody reads stays small here."""
    sent = 0

    async def script(connection) -> None:
        nonlocal sent
        await connection.write(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            await connection.write(b"x" * 65536)
            sent += 65536

    comfyui = await fake(script)
    answer = await (await server(comfyui.url)).exchange(Outgoing("GET", b"/x"))
    before = -1
    async with asyncio.timeout(5):
        while before != sent:
            before = sent
            await asyncio.sleep(0.2)
    assert sent < 16 * 1024 * 1024
    await answer.release()
    await eventually(lambda: comfyui.open == 0)


async def test_an_answer_read_to_the_end_gives_its_connection_back(fake, server) -> None:
    """A fully read answer gives its connection back."""
    comfyui = await fake(ok)
    upstream = await server(comfyui.url)
    for _ in range(3):
        await ask(upstream)
    assert comfyui.connections == 1


async def test_an_unread_answer_closes_its_connection_when_it_is_released(fake, server, eventually) -> None:
    """An unread answer closes its connection, once, however often it is released."""

    async def script(connection) -> None:
        await connection.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nstart")
        await connection.until_closed()

    comfyui = await fake(script)
    upstream = await server(comfyui.url)
    answer = await upstream.exchange(Outgoing("GET", b"/x"))
    assert not upstream.pool_is_idle()
    await answer.release()
    await answer.release()
    assert upstream.pool_is_idle()
    await eventually(lambda: comfyui.open == 0)


async def half(connection) -> None:
    """An answer that ends with its connection, which does not end."""
    await connection.write(b"HTTP/1.0 200 OK\r\n\r\nhalf")
    await connection.until_closed()


async def test_an_answer_without_a_length_that_we_cut_off_is_not_whole(fake, server) -> None:
    """What is under way when the server is closed ends with a fault, however its end is marked."""
    comfyui = await fake(half)
    upstream = await server(comfyui.url)
    answer = await upstream.exchange(Outgoing("GET", b"/x"))
    await upstream.close()
    with pytest.raises(UpstreamFault):
        await answer.whole()
    await answer.release()


async def test_an_answer_without_a_length_is_not_whole_when_the_request_fails_behind_it(fake, server) -> None:
    """A body that fails cuts off the answer that has begun; nobody takes half of it for all."""
    begun = asyncio.Event()

    async def body() -> AsyncIterator[bytes]:
        yield b"ab"
        await begun.wait()
        raise RuntimeError

    comfyui = await fake(half)
    upstream = await server(comfyui.url)
    answer = await upstream.exchange(Outgoing("POST", b"/x", body=body(), length=100))
    begun.set()
    with pytest.raises(UpstreamFault):
        await answer.whole()
    await answer.release()


async def test_a_read_that_waits_on_a_kept_connection_when_the_server_is_closed_was_sent(
    fake, server, eventually
) -> None:
    """An error with `sent` False promises that ComfyUI saw nothing; this one saw the request."""

    async def script(connection) -> None:
        if len(comfyui.heads) == 1:
            await ok(connection)
        else:
            await connection.until_closed()

    comfyui = await fake(script)
    upstream = await server(comfyui.url)
    await ask(upstream)
    asked = asyncio.create_task(ask(upstream))
    await eventually(lambda: len(comfyui.heads) == 2)
    await upstream.close()
    with pytest.raises(UpstreamFault) as caught:
        await asked
    assert caught.value.sent is True


async def test_an_answer_that_ends_is_not_kept_waiting_by_a_request_that_nobody_reads(fake, server) -> None:
    """ComfyUI refuses an upload, says no more and reads no more: the refusal arrives at once."""

    async def script(connection) -> None:
        await connection.write(b"HTTP/1.0 413 Too Large\r\n\r\nno")
        connection.writer.write_eof()
        await asyncio.sleep(3600)

    async def body() -> AsyncIterator[bytes]:
        while True:
            yield b"x" * 65536

    comfyui = await fake(script)
    answer, whole = await ask(await server(comfyui.url), method="POST", body=body())
    assert (answer.status, whole) == (413, b"no")
