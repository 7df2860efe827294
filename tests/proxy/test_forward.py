"""One request through the gateway, on real sockets from end to end."""

import asyncio
import re

import pytest

from gateway.errors import Forbidden
from gateway.proxy.answer import Answered, json_answer

OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"


async def ok(connection) -> None:
    await connection.write(OK)
    connection.keep = True


def answering(raw: bytes):
    """A script that writes this answer and closes."""

    async def script(connection) -> None:
        await connection.write(raw)

    return script


def length_of(head: bytes) -> int:
    found = re.search(rb"content-length: (\d+)", head, re.IGNORECASE)
    return int(found[1]) if found else 0


KNOWN = [b"/features", b"/api/features", b"/view?filename=x", b"/queue", b"/userdata/workflows%2Fa.json", b"/"]


@pytest.mark.parametrize("target", KNOWN)
@pytest.mark.parametrize("method", [b"GET", b"HEAD"])
async def test_p01_nobody_gets_anything_from_a_known_route(gateway, comfyui, raw, head_of, target, method) -> None:
    """No token: 401, and ComfyUI sees nothing."""
    running = await gateway()
    status, _, _ = head_of(await running.ask(raw(target, method=method, token=None)))
    assert (status, comfyui.heads) == (401, [])


@pytest.mark.parametrize("target", [b"/lab/hello", b"/no.such.file", b"/models/custom_nodes", b"/internal/logs"])
async def test_p01_a_stranger_does_not_learn_which_routes_exist(gateway, comfyui, raw, target) -> None:
    """An unknown route answers a stranger exactly as a known one does."""
    running = await gateway()
    unknown = await running.ask(raw(target, token=None))
    known = await running.ask(raw(b"/features", token=None))
    assert unknown.partition(b"\r\n\r\n")[2] == known.partition(b"\r\n\r\n")[2]
    assert comfyui.heads == []


@pytest.mark.parametrize("target", [b"//prompt", b"/x/../prompt", b"/%2e/queue", b"/prompt%00", b"/%zz", b"/a\\b"])
async def test_an_ambiguous_address_goes_nowhere(gateway, comfyui, head_of, target) -> None:
    """400, and ComfyUI sees no byte."""
    running = await gateway()
    status, _, _ = head_of(await running.get(target))
    assert status in (400, 404)
    assert comfyui.heads == []


async def test_p34_a_custom_route_is_refused_until_the_role_has_it(gateway, comfyui, head_of) -> None:
    """Unknown as a user: refused; on the role's list: passed."""
    comfyui.script = ok
    refused = await gateway()
    assert head_of(await refused.get(b"/lab/hello"))[0] in (403, 404)
    assert comfyui.heads == []
    allowed = await gateway(extra_routes=lambda role: {"member": ("GET /lab/hello",)}[role])
    assert head_of(await allowed.get(b"/lab/hello"))[0] == 200


async def test_a_route_that_the_table_denies_is_not_passed_even_without_a_guard(gateway, comfyui, head_of) -> None:
    """What is absent from the cases is refused."""
    running = await gateway()
    assert head_of(await running.get(b"/models/custom_nodes"))[0] == 403
    assert comfyui.heads == []


async def test_the_guard_is_asked_before_comfyui(gateway, comfyui, head_of) -> None:
    """What the guard refuses, ComfyUI does not see."""

    def guard(principal, call, scope) -> None:
        raise Forbidden(f"{principal.name} may not {call.path}")

    running = await gateway(guard=guard)
    assert head_of(await running.get(b"/features"))[0] == 403
    assert comfyui.heads == []


async def test_bytes_go_through_in_both_directions(gateway, comfyui, head_of) -> None:
    """The raw path and query arrive byte for byte, headers in order and with their duplicates, and the answer too."""
    body = bytes(range(256))
    comfyui.script = answering(
        b"HTTP/1.1 203 Odd\r\nX-B: 1\r\nContent-Encoding: gzip\r\nx-a: \xe9\r\nX-B: 2\r\nContent-Length: 256\r\n\r\n"
        + body
    )
    running = await gateway()
    target = b"/api/experiment/models/preview/loras/0/a%2Fb.png?x=%41+b&&x=2"
    answer = await running.get(target, b"X-One: 1", b"Accept: a/b", b"X-One: 2")
    line, *lines = comfyui.heads[0].split(b"\r\n")
    assert line == b"GET " + target + b" HTTP/1.1"
    assert lines[1:4] == [b"x-one: 1", b"accept: a/b", b"x-one: 2"]
    status, headers, rest = head_of(answer)
    assert (status, rest) == (203, body)
    assert [header for header in headers if header[0].startswith(b"x-") and header[0] != b"x-content-type-options"] == [
        (b"x-b", b"1"),
        (b"x-a", b"\xe9"),
        (b"x-b", b"2"),
    ]


async def test_h10_no_credential_reaches_comfyui(gateway, comfyui) -> None:
    """Authorization, cookie, key and the token parameter stop here; the rest of the query is not touched."""
    comfyui.script = ok
    running = await gateway()
    await running.get(
        b"/view?a=%20b&token=secret&&t%6Fken=secret&c", b"Authorization: Bearer secret", b"Cookie: a=secret"
    )
    head = comfyui.heads[0]
    assert head.startswith(b"GET /view?a=%20b&&c HTTP/1.1\r\n")
    assert b"secret" not in head
    assert b"alice" not in head


async def test_a_query_of_nothing_but_a_token_leaves_no_query(gateway, comfyui) -> None:
    """The token parameter is removed."""
    comfyui.script = ok
    await (await gateway()).get(b"/view?token=secret")
    assert comfyui.heads[0].startswith(b"GET /view HTTP/1.1\r\n")


async def test_h15_a_cookie_of_comfyuis_goes_to_nobody(gateway, comfyui) -> None:
    """Neither to this client, nor back to ComfyUI with the next user's request."""
    comfyui.script = answering(b"HTTP/1.1 200 OK\r\nSet-Cookie: session=evil\r\nContent-Length: 0\r\n\r\n")
    running = await gateway()
    assert b"evil" not in await running.get(b"/features")
    await running.get(b"/features")
    assert b"cookie" not in comfyui.heads[1].lower()


async def test_range_and_206_pass(gateway, comfyui, head_of) -> None:
    """Parts of files are ComfyUI's to cut."""
    comfyui.script = answering(
        b"HTTP/1.1 206 Partial\r\nContent-Range: bytes 1-3/9\r\nContent-Type: image/png\r\nContent-Length: 3\r\n\r\nabc"
    )
    status, headers, rest = head_of(await (await gateway()).get(b"/view?filename=x", b"Range: bytes=1-3"))
    assert b"range: bytes=1-3\r\n" in comfyui.heads[0]
    assert (status, rest) == (206, b"abc")
    assert (b"content-range", b"bytes 1-3/9") in headers


async def test_304_passes(gateway, comfyui, head_of) -> None:
    """A conditional request gets its short answer, also when it declares the length of what it does not send."""
    comfyui.script = answering(b'HTTP/1.1 304 Same\r\nETag: "e"\r\nContent-Length: 9\r\n\r\n')
    status, headers, rest = head_of(await (await gateway()).get(b"/view?filename=x", b'If-None-Match: "e"'))
    assert (status, rest) == (304, b"")
    assert (b"etag", b'"e"') in headers


async def test_head_gets_the_headers_and_no_body(gateway, comfyui, head_of) -> None:
    """HEAD is HEAD for ComfyUI too, and Content-Length is that of the body that is not sent."""
    comfyui.script = answering(b"HTTP/1.1 200 OK\r\nContent-Length: 123456\r\nContent-Type: image/png\r\n\r\n")
    status, headers, rest = head_of(await (await gateway()).get(b"/view?filename=x", method=b"HEAD"))
    assert comfyui.heads[0].startswith(b"HEAD ")
    assert (status, rest) == (200, b"")
    assert (b"content-length", b"123456") in headers


@pytest.mark.parametrize(
    "framing", [b"Content-Length: 200000\r\n\r\n%s", b"Transfer-Encoding: chunked\r\n\r\n30d40\r\n%s\r\n0\r\n\r\n"]
)
async def test_a_large_answer_is_streamed_whole(gateway, comfyui, head_of, framing) -> None:
    """An answer of any framing arrives complete, with exactly one framing header."""
    body = b"0123456789abcdef" * 12_500
    comfyui.script = answering(b"HTTP/1.1 200 OK\r\n" + framing % body)
    _, headers, rest = head_of(await (await gateway()).get(b"/view?filename=x"))
    frames = [name for name, _ in headers if name in (b"content-length", b"transfer-encoding")]
    assert len(frames) == 1
    assert (rest if frames == [b"content-length"] else dechunked(rest)) == body


def dechunked(raw: bytes) -> bytes:
    """A chunked body, which must end with its last chunk."""
    body = b""
    while True:
        size, _, raw = raw.partition(b"\r\n")
        if int(size, 16) == 0:
            assert raw == b"\r\n"
            return body
        body, raw = body + raw[: int(size, 16)], raw[int(size, 16) + 2 :]


async def keep_upload(connection) -> None:
    """Read the body as framed and answer with it."""
    if b"transfer-encoding" in connection.head.lower():
        raw = await connection.reader.readuntil(b"0\r\n\r\n")
    else:
        raw = await connection.reader.readexactly(length_of(connection.head))
    await connection.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(raw), raw))


async def test_an_upload_keeps_its_length(gateway, comfyui, head_of, raw) -> None:
    """A body with Content-Length is forwarded with it, and its Content-Type."""
    comfyui.script = keep_upload
    running = await gateway()
    head = raw(b"/upload/image", b"Content-Length: 5", b"Content-Type: multipart/form-data; boundary=x", method=b"POST")
    assert head_of(await running.ask(head + b"hello"))[2] == b"hello"
    sent = comfyui.heads[0].lower()
    assert b"content-length: 5\r\n" in sent
    assert b"content-type: multipart/form-data; boundary=x\r\n" in sent
    assert b"transfer-encoding" not in sent


async def test_a_slow_upload_arrives_whole(gateway, comfyui, head_of, raw) -> None:
    """Watching for a client that leaves takes nothing from the body of one that stays."""
    comfyui.script = keep_upload
    running = await gateway()
    reader, writer = await running.connect()
    writer.write(raw(b"/upload/image", b"Content-Length: 10", method=b"POST"))
    for digit in b"0123456789":
        writer.write(bytes((digit,)))
        await asyncio.sleep(0.02)
    assert head_of(await reader.read())[2] == b"0123456789"
    writer.close()


async def test_a_post_without_a_body_has_none_at_comfyui_either(gateway, comfyui, head_of, raw) -> None:
    """No body is Content-Length: 0, not an empty chunked body."""
    comfyui.script = ok
    running = await gateway()
    assert head_of(await running.ask(raw(b"/upload/image", method=b"POST")))[0] == 200
    assert b"content-length: 0\r\n" in comfyui.heads[0].lower()
    assert b"transfer-encoding" not in comfyui.heads[0].lower()


async def test_a_chunked_upload_stays_chunked(gateway, comfyui, head_of, raw) -> None:
    """A body without a length is forwarded chunked, without the client's chunk extensions."""
    comfyui.script = keep_upload
    running = await gateway()
    head = raw(b"/upload/image", b"Transfer-Encoding: chunked", method=b"POST")
    answer = head_of(await running.ask(head + b"5;evil=1\r\nhello\r\n0\r\n\r\n"))[2]
    assert dechunked(answer) == b"hello"
    assert b"content-length" not in comfyui.heads[0].lower()


async def test_s13_the_body_of_a_get_is_not_forwarded(gateway, comfyui) -> None:
    """GET with a body: ComfyUI sees a GET without one, and the next request on the connection is parsed right."""
    comfyui.script = ok
    running = await gateway()
    reader, writer = await running.connect()
    writer.write(b"GET /features HTTP/1.1\r\nHost: a\r\nX-API-Key: alice\r\nContent-Length: 4\r\n\r\nevil")
    writer.write(b"GET /extensions HTTP/1.1\r\nHost: a\r\nX-API-Key: alice\r\nConnection: close\r\n\r\n")
    answers = await reader.read()
    writer.close()
    assert answers.count(b"HTTP/1.1 200 OK") == 2
    assert [head.split(b" ")[1] for head in comfyui.heads] == [b"/features", b"/extensions"]
    assert b"content-length" not in comfyui.heads[0].lower()


async def test_expect_100_is_answered_by_the_gateway_and_not_forwarded(gateway, comfyui, raw) -> None:
    """The client is told to go on when its body is wanted; ComfyUI never sees the question."""
    comfyui.script = keep_upload
    running = await gateway()
    reader, writer = await running.connect()
    writer.write(raw(b"/upload/image", b"Content-Length: 5", b"Expect: 100-continue", method=b"POST"))
    assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
    writer.write(b"hello")
    assert (await reader.read()).endswith(b"hello")
    writer.close()
    assert b"expect" not in comfyui.heads[0].lower()


async def test_h21_expect_100_without_a_credential_is_refused_without_100(gateway, raw) -> None:
    """Who asks is settled before a byte of the body is asked for."""
    running = await gateway()
    head = raw(b"/upload/image", b"Content-Length: 5", b"Expect: 100-continue", method=b"POST", token=None)
    assert (await running.ask(head)).startswith(b"HTTP/1.1 401 ")


async def test_e10_an_upload_over_the_limit_is_refused_by_its_length(gateway, comfyui, head_of, raw) -> None:
    """413 before anything reaches ComfyUI; at the limit it passes."""
    comfyui.script = keep_upload
    running = await gateway(upload_limit=lambda principal: {"member": 5}[principal.role])
    over = raw(b"/upload/image", b"Content-Length: 6", b"Expect: 100-continue", method=b"POST")
    assert head_of(await running.ask(over))[0] == 413
    assert comfyui.heads == []
    assert head_of(await running.ask(raw(b"/upload/image", b"Content-Length: 5", method=b"POST") + b"hello"))[0] == 200


async def test_e10_a_chunked_upload_over_the_limit_is_refused_by_counting(
    gateway, comfyui, head_of, raw, eventually
) -> None:
    """413, and ComfyUI does not get a clean end of half an upload."""
    bodies: list[bytes] = []

    async def script(connection) -> None:
        bodies.append(await connection.reader.read())

    comfyui.script = script
    running = await gateway(upload_limit=lambda principal: 5)
    head = raw(b"/upload/image", b"Transfer-Encoding: chunked", method=b"POST")
    assert head_of(await running.ask(head + b"3\r\nabc\r\n3\r\ndef\r\n0\r\n\r\n"))[0] == 413
    await eventually(lambda: comfyui.open == 0)
    assert not any(body.endswith(b"0\r\n\r\n") for body in bodies)


async def test_our_own_answers_come_from_their_handlers(gateway, comfyui, head_of, raw) -> None:
    """A row that the gateway answers is asked of its handler, with the body, the query and the caller."""

    async def submit(asked) -> Answered:
        return json_answer({"who": asked.principal.name, "body": (await asked.body(100)).decode()}, 201)

    async def get_queue(asked) -> Answered:
        return json_answer(asked.query(), headers=((b"cache-control", b"private, max-age=1"),))

    running = await gateway(answers={"submit": submit, "get_queue": get_queue})
    answer = await running.ask(raw(b"/prompt", b"Content-Length: 2", method=b"POST") + b"hi")
    status, headers, rest = head_of(answer)
    assert (status, rest) == (201, b'{"who":"alice","body":"hi"}')
    assert (b"content-type", b"application/json; charset=utf-8") in headers
    assert (b"cache-control", b"private, no-cache") in headers
    status, headers, rest = head_of(await running.get(b"/queue?a=%41"))
    assert (status, rest) == (200, b'{"a":"A"}')
    assert [value for name, value in headers if name == b"cache-control"] == [b"private, max-age=1"]
    status, headers, rest = head_of(await running.get(b"/queue?a=%41", method=b"HEAD"))
    assert (status, rest) == (200, b"")
    assert (b"content-length", b"9") in headers
    assert comfyui.heads == []


async def test_a_body_over_a_handlers_limit_is_413(gateway, head_of, raw) -> None:
    """Handlers bound what they read."""

    async def submit(asked) -> Answered:
        return Answered(200, await asked.body(3))

    running = await gateway(answers={"submit": submit})
    assert head_of(await running.ask(raw(b"/prompt", b"Content-Length: 4", method=b"POST") + b"four"))[0] == 413


async def test_a_websocket_goes_to_the_relay_and_nowhere_else(gateway, comfyui, head_of) -> None:
    """/ws is the relay's; another address is no websocket, and /ws is nothing else."""
    opened: list[str] = []

    async def relay(call, principal, scope, receive, send) -> None:
        opened.append(f"{principal.name} {call.query.decode()}")
        await receive()
        await send({"type": "websocket.accept"})
        await send({"type": "websocket.close", "code": 1000})

    upgrade = (
        b"Upgrade: websocket",
        b"Connection: Upgrade",
        b"Sec-WebSocket-Version: 13",
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    )
    running = await gateway(socket=relay)

    async def opening(target: bytes, token: bytes) -> int:
        reader, writer = await running.connect()
        lines = [b"GET " + target + b" HTTP/1.1", b"Host: a", *upgrade, b"X-API-Key: " + token, b"", b""]
        writer.write(b"\r\n".join(lines))
        answer = await reader.readuntil(b"\r\n\r\n")
        writer.transport.abort()
        return head_of(answer)[0]

    assert await opening(b"/ws?clientId=x&token=y", b"alice") == 101
    assert opened == ["alice clientId=x"]
    assert await opening(b"/features", b"alice") == 404
    assert await opening(b"/ws", b"") == 401
    assert head_of(await running.get(b"/ws"))[0] == 400
    assert (len(opened), comfyui.heads) == (1, [])


async def test_answers_for_files_are_never_active(gateway, comfyui, head_of) -> None:
    """X01: an SVG from /view is a sandboxed download, of a private kind; X01 in a session, no other site's either."""
    comfyui.script = answering(
        b'HTTP/1.1 200 OK\r\nContent-Type: image/svg+xml\r\nContent-Disposition: filename="x.svg"\r\n'
        b"Content-Length: 6\r\n\r\n<svg/>"
    )
    running = await gateway()
    headers = dict(head_of(await running.get(b"/view?filename=x.svg"))[1])
    assert headers[b"content-disposition"] == b'attachment; filename="x.svg"'
    assert headers[b"x-content-type-options"] == b"nosniff"
    assert headers[b"content-security-policy"].startswith(b"sandbox")
    assert headers[b"cache-control"] == b"private"
    assert b"cross-origin-resource-policy" not in headers


async def test_h13_h14_on_the_wire(gateway, comfyui) -> None:
    """X-Accel-Redirect, CORS and the rest of ComfyUI's powers over a browser do not pass."""
    comfyui.script = answering(
        b"HTTP/1.1 200 OK\r\nX-Accel-Redirect: /internal/secret\r\nAccess-Control-Allow-Origin: *\r\n"
        b"Clear-Site-Data: *\r\nRefresh: 0\r\nLink: <x>\r\nServer: Python\r\nContent-Length: 0\r\n\r\n"
    )
    answer = (await (await gateway()).get(b"/features")).lower()
    for name in (b"x-accel", b"access-control", b"clear-site", b"refresh", b"link:", b"python"):
        assert name not in answer
    assert answer.count(b"\r\ndate:") == 1


async def test_one_connection_serves_one_request_after_the_other(gateway, comfyui) -> None:
    """Keep-alive on both sides: the client's connection and ComfyUI's are used again."""
    comfyui.script = ok
    running = await gateway()
    reader, writer = await running.connect()
    for _ in range(5):
        writer.write(b"GET /features HTTP/1.1\r\nHost: a\r\nX-API-Key: alice\r\n\r\n")
        assert (await reader.readuntil(b"{}")).startswith(b"HTTP/1.1 200 OK")
    writer.close()
    assert (len(comfyui.heads), comfyui.open) == (5, 1)
    assert running.upstream.pool_is_idle()


async def test_s16_each_request_of_a_connection_is_judged_alone(gateway, comfyui) -> None:
    """With a token, then without: 200, then 401."""
    comfyui.script = ok
    running = await gateway()
    reader, writer = await running.connect()
    writer.write(b"GET /features HTTP/1.1\r\nHost: a\r\nX-API-Key: alice\r\n\r\n")
    assert (await reader.readuntil(b"{}")).startswith(b"HTTP/1.1 200 OK")
    writer.write(b"GET /features HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    assert (await reader.read()).startswith(b"HTTP/1.1 401 ")
    writer.close()


async def test_many_at_once_get_their_own_answers(gateway, comfyui, head_of) -> None:
    """No mixing: fifty concurrent requests over ten connections to ComfyUI."""

    async def script(connection) -> None:
        name = connection.head.split(b" ")[1]
        await asyncio.sleep(0.001)
        await connection.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(name), name))
        connection.keep = True

    comfyui.script = script
    running = await gateway()
    targets = [b"/view?filename=%d" % number for number in range(50)]
    answers = await asyncio.gather(*(running.get(target) for target in targets))
    assert [head_of(answer)[2] for answer in answers] == targets
