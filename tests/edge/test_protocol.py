"""The server protocol, byte by byte on real sockets."""

import asyncio
import hashlib
import threading
import time
from collections.abc import Iterator

import psutil
import pytest
from starlette.types import Receive, Scope, Send

from gateway.edge.head import MAX_HEADER_BYTES, MAX_TARGET_BYTES
from gateway.edge.protocol import GuardedProtocol
from tests.edge.live import PATIENCE, Brisk, Live, live

HOST = b"Host: gw.example\r\n"
CHUNKED = b"POST /echo HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n"
UPGRADE = (
    HOST
    + b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    + b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
)


@pytest.fixture(scope="module")
def server() -> Iterator[Live]:
    with live() as running:
        yield running


@pytest.fixture
def fresh(server: Live) -> Live:
    """The server, with nothing seen yet."""
    server.seen.requests.clear()
    server.seen.websockets.clear()
    return server


def get(path: bytes = b"/echo", *headers: bytes) -> bytes:
    return b"GET %b HTTP/1.1\r\n%b%b\r\n" % (path, HOST, b"".join(header + b"\r\n" for header in headers))


def post(body: bytes, *headers: bytes, path: bytes = b"/echo") -> bytes:
    fields = b"".join(header + b"\r\n" for header in (b"Content-Length: %d" % len(body), *headers))
    return b"POST %b HTTP/1.1\r\n%b%b\r\n%b" % (path, HOST, fields, body)


# Ordinary requests


def test_plain_requests_on_one_connection(fresh: Live) -> None:
    """Requests with and without bodies follow each other on one connection."""
    wire = fresh.wire()
    wire.send(get(b"/echo?a=1"))
    assert wire.answer().json["query"] == "a=1"
    wire.send(post(b"hello"))
    assert wire.answer().json["body"] == "hello"
    wire.send(CHUNKED + b"3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\n")
    assert wire.answer().json["body"] == "abcde"
    wire.send(b"HEAD /echo HTTP/1.1\r\n" + HOST + b"\r\n")
    assert wire.answer(head=True).status == 200
    wire.send(get(b"/echo", b"X-Empty:"))
    assert ["x-empty", ""] in wire.answer().json["headers"]


def test_a_big_body_arrives_whole(fresh: Live) -> None:
    """A body of several megabytes, which flow control stops on its way, arrives as it was sent."""
    body = bytes(range(256)) * 4 * 8192
    answer = fresh.ask(post(body))
    assert hashlib.sha256(answer.json["body"].encode("latin-1")).digest() == hashlib.sha256(body).digest()


def test_websocket_works(fresh: Live) -> None:
    """An ordinary upgrade becomes a websocket, and frames go both ways."""
    wire = fresh.wire()
    wire.send(b"GET /ws HTTP/1.1\r\n" + UPGRADE + b"\r\n")
    assert wire.answer().status == 101
    wire.send(b"\x81\x82\x00\x00\x00\x00hi")
    assert wire.exactly(4) == b"\x81\x02hi"


def test_refusals_are_json_with_a_request_id(fresh: Live) -> None:
    """A refusal below the application has the contract's shape, too."""
    answer = fresh.ask(get(b"/echo#x"))
    error = answer.json
    assert answer.status == 400
    assert error["error"]["type"] == "invalid_request" and error["error"]["message"]
    assert error["request_id"] == answer.headers["x-request-id"]
    assert error["node_errors"] == {}


# P: request line


@pytest.mark.parametrize(
    "line",
    [b"CONNECT gw.example:80", b"CONNECT /echo", b"TRACE /echo", b"FOO /echo", b"get /echo", b"PROPFIND /echo"],
)
def test_P21_methods(fresh: Live, line: bytes) -> None:
    """Other methods are refused, and the application is not asked."""
    assert fresh.ask(line + b" HTTP/1.1\r\n" + HOST + b"\r\n").status in (400, 405, 501)
    assert fresh.seen.requests == []


def test_P21_http_2_preface(fresh: Live) -> None:
    """The preface of HTTP/2 is refused."""
    assert fresh.ask(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").status in (400, 405, 501)


@pytest.mark.parametrize("data", [b"GET /echo\r\n\r\n", b"GET /echo HTTP/0.9\r\n" + HOST + b"\r\n"])
@pytest.mark.parametrize("version", [b"", b"1.2", b"2.0"])
def test_P23_versions(fresh: Live, data: bytes, version: bytes) -> None:
    """HTTP/0.9, 1.2 and 2.0 are refused."""
    asked = b"GET /echo HTTP/" + version + b"\r\n" + HOST + b"\r\n" if version else data
    assert fresh.ask(asked).status == 400
    assert fresh.seen.requests == []


def test_P23_http_1_0(fresh: Live) -> None:
    """HTTP/1.0 is served once, with a Host, and then closed."""
    wire = fresh.wire()
    wire.send(b"GET /echo HTTP/1.0\r\n" + HOST + b"\r\n")
    assert wire.answer().status == 200
    assert wire.is_closed()
    assert fresh.ask(b"GET /echo HTTP/1.0\r\n\r\n").status == 400


@pytest.mark.parametrize("target", [b"/echo#x", b"http://evil/echo", b"*", b"echo", b"/ec\xc3\xb6", b"/a\tb"])
def test_P15_P19_P24_targets(fresh: Live, target: bytes) -> None:
    """A target that is no plain path is 400, before the application."""
    assert fresh.ask(get(target)).status == 400
    assert fresh.seen.requests == []


def test_P26_address_length(fresh: Live) -> None:
    """8 KiB of address are served, one byte more is 414."""
    longest = b"/echo?" + b"a" * (MAX_TARGET_BYTES - 6)
    assert fresh.ask(get(longest)).status == 200
    assert fresh.ask(get(longest + b"a")).status == 414


@pytest.mark.parametrize("hosts", [[], [b"gw", b"gw"], [b"h/prompt?"], [b"a@b"], [b"h" * 300], [b""]])
def test_P30_hosts(fresh: Live, hosts: list[bytes]) -> None:
    """Exactly one well-formed Host."""
    fields = b"".join(b"Host: %b\r\n" % host for host in hosts)
    assert fresh.ask(b"GET /echo HTTP/1.1\r\n" + fields + b"\r\n").status == 400
    assert fresh.seen.requests == []


# H: headers


def test_H20_content_encoding(fresh: Live) -> None:
    """A compressed body is 415, and the application does not see it."""
    assert fresh.ask(post(b"\x1f\x8b\x08\x00", b"Content-Encoding: gzip")).status == 415
    assert fresh.seen.requests == []


def test_H21_no_100_before_authentication(fresh: Live) -> None:
    """A refused request gets its refusal, without a 100 that would make the client send its body."""
    wire = fresh.wire()
    wire.send(post(b"x" * 1000, b"Expect: 100-continue", path=b"/early").removesuffix(b"x" * 1000))
    answer = wire.answer()
    assert (answer.status, answer.headers.get("interim")) == (401, None)
    assert answer.headers["connection"] == "close"
    assert wire.is_closed()


def test_H21_100_once_the_body_is_wanted(fresh: Live) -> None:
    """An accepted request gets its 100, and then its body is read."""
    wire = fresh.wire()
    wire.send(post(b"hello", b"Expect: 100-continue").removesuffix(b"hello"))
    assert wire.line() == b"HTTP/1.1 100 Continue\r\n" and wire.line() == b"\r\n"
    wire.send(b"hello")
    assert wire.answer().json["body"] == "hello"


def test_H24_number_of_headers(fresh: Live) -> None:
    """100 headers are served, 101 are 431."""
    names = [b"X-%d: a" % number for number in range(100)]
    assert fresh.ask(get(b"/echo", *names[:99])).status == 200
    assert fresh.ask(get(b"/echo", *names)).status == 431


@pytest.mark.parametrize("piece", [1 << 20, 7000])
def test_H24_size_of_headers(fresh: Live, piece: int) -> None:
    """64 KiB of headers are served, one byte more is 431, however they are cut into pieces."""
    room = MAX_HEADER_BYTES - len(HOST) - len(b"X: \r\n")
    for extra, status in ((0, 200), (1, 431)):
        data = get(b"/echo", b"X: " + b"a" * (room + extra))
        wire = fresh.wire()
        for start in range(0, len(data), piece):
            wire.send(data[start : start + piece])
        assert wire.answer().status == status


@pytest.mark.parametrize(
    "many", [b"".join(b"X-%d: a\r\n" % n for n in range(120)), b"Cookie: " + b"a" * 8100 + b"\r\n"]
)
def test_H24_upgrades_do_not_hang(fresh: Live, many: bytes) -> None:
    """An upgrade with too many headers, or too long a line, is answered at once."""
    wire = fresh.wire()
    wire.send(b"GET /ws HTTP/1.1\r\n" + UPGRADE + many + b"\r\n")
    assert wire.answer().status == 431
    assert wire.is_closed()
    assert fresh.seen.websockets == []


# S: framing


def refused_framing() -> list[bytes]:
    body = b"\r\n\r\n0\r\n\r\n"
    heads = [
        b"Content-Length: 5\r\nTransfer-Encoding: chunked",  # S01
        b"Transfer-Encoding: chunked\r\nContent-Length: 5",
        b"Content-Length: 5\r\nContent-Length: 5",  # S02
        b"Content-Length: 5\r\nContent-Length: 6",
        b"Content-Length: 5, 5",
        *(b"Content-Length: " + value for value in (b"+5", b"-1", b"0x5", b"5_0", b"", b"18446744073709551621")),  # S03
        b"Content-Length : 5",  # S04
        b"Transfer-Encoding : chunked",
        *(b"Transfer-Encoding: " + value for value in (b"xchunked", b"chunked, identity", b"identity, chunked")),  # S05
        *(b"Transfer-Encoding: " + value for value in (b"gzip, chunked", b"\x0bchunked", b"identity", b"gzip")),
        b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
        b"Transfer-Encoding:\r\n chunked",  # S06
        b"X: a\r\n b",
    ]
    return [b"POST /echo HTTP/1.1\r\n" + HOST + head + body for head in heads]


@pytest.mark.parametrize("data", refused_framing())
def test_S01_S02_S03_S04_S05_S06_framing(fresh: Live, data: bytes) -> None:
    """A head that leaves any doubt about its body is 400 or 501, and closes: nothing behind it is read."""
    wire = fresh.wire()
    wire.send(data + get(b"/echo?smuggled"))
    answer = wire.answer()
    assert answer.status in (400, 501) and answer.headers["connection"] == "close"
    assert wire.is_closed()
    assert fresh.seen.requests == []


def test_S07_chunked_on_http_1_0(fresh: Live) -> None:
    """Transfer-Encoding on HTTP/1.0 is refused."""
    data = b"POST /echo HTTP/1.0\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
    assert fresh.ask(data).status == 400


@pytest.mark.parametrize(
    "body",
    [
        b"0x3\r\nabc",
        b" 3\r\nabc",
        b"3 \r\nabc",
        b"3\nabc",
        b"fffffffffffffffff\r\nabc",
        b"-3\r\nabc",
        b"3\r\nabcXX",
        b"3\r\nabcd\r\n",
        b"3;a\nb\r\nabc",
        b"3\r\nabc0",
        b"\r\n3\r\nabc",
    ],
)
def test_S08_S09_S10_chunks(fresh: Live, body: bytes) -> None:
    """A malformed chunk ends the connection, and what is behind it is not read as a request."""
    wire = fresh.wire()
    wire.send(CHUNKED + body + b"\r\n0\r\n\r\n" + get(b"/echo?smuggled"))
    assert wire.answer().status == 400
    assert wire.is_closed()
    assert fresh.seen.requests == []


def test_S10_big_chunk_extension(fresh: Live) -> None:
    """A chunk extension of 1 MB is thrown away or refused."""
    wire = fresh.wire()
    wire.send(CHUNKED + b"3;x=" + b"a" * 1_000_000 + b"\r\nabc\r\n0\r\n\r\n")
    answer = wire.answer()
    assert answer.status == 400 or answer.json["body"] == "abc"


def test_trailers_are_not_headers(fresh: Live) -> None:
    """Fields behind a chunked body are not added to the headers that were judged, and count towards their limit."""
    wire = fresh.wire()
    wire.send(CHUNKED + b"3\r\nabc\r\n0\r\nX-API-Key: secret\r\nHost: evil\r\n\r\n")
    assert [name for name, _ in wire.answer().json["headers"]] == ["host", "transfer-encoding"]
    wire.send(CHUNKED + b"0\r\n" + b"".join(b"X-%d: a\r\n" % number for number in range(101)) + b"\r\n")
    assert wire.answer().status == 431


@pytest.mark.parametrize(
    "data",
    [
        b"GET /echo HTTP/1.1\n" + HOST.replace(b"\r", b"") + b"\n",
        b"GET /echo HTTP/1.1\r\nHost: gw\rX: y\r\n\r\n",
        get(b"/echo", b"X: a\x00b"),
        get(b"/echo", b"X: a\x01b"),
        get(b"/echo", b": a"),
        get(b"/echo", b"X Y: a"),
        get(b"/echo", b"X"),
        b"GET /echo HTTP/1.1\r\n " + HOST + b"\r\n",
    ],
)
def test_S12_malformed_heads(fresh: Live, data: bytes) -> None:
    """Malformed heads are 400 and close the connection."""
    wire = fresh.wire()
    wire.send(data)
    assert wire.answer().status == 400
    assert wire.is_closed()
    assert fresh.seen.requests == []


@pytest.mark.parametrize(
    "framing", [b"Content-Length: 4\r\n\r\nabcd", b"Transfer-Encoding: chunked\r\n\r\n4\r\nabcd\r\n0\r\n\r\n"]
)
def test_S13_get_with_a_body(fresh: Live, framing: bytes) -> None:
    """The body of a GET goes nowhere, nor do the headers that announce it; the next request is read right."""
    wire = fresh.wire()
    wire.send(b"GET /echo HTTP/1.1\r\n" + HOST + framing + get(b"/echo?second"))
    first = wire.answer().json
    assert (first["body"], first["headers"]) == ("", [["host", "gw.example"]])
    assert wire.answer().json["query"] == "second"


def test_S14_early_answer_closes(fresh: Live) -> None:
    """A refusal before the body has come says that the connection closes, and the body is never read as a request."""
    wire = fresh.wire()
    wire.send(b"POST /early HTTP/1.1\r\n" + HOST + b"Content-Length: 1000000000\r\n\r\n")
    answer = wire.answer()
    assert (answer.status, answer.headers["connection"]) == (401, "close")
    wire.send_what_it_takes(get(b"/echo?smuggled"))
    assert wire.is_closed()
    assert fresh.seen.requests == []


def test_S14_the_answer_survives_a_big_body(fresh: Live) -> None:
    """Whoever is still sending when he is refused can read why, instead of a reset."""
    wire = fresh.wire()
    wire.send(b"POST /early HTTP/1.1\r\n" + HOST + b"Content-Length: 1000000000\r\n\r\n")
    wire.send_what_it_takes(b"x" * 300_000)
    assert wire.answer().status == 401
    for _ in range(3):
        assert wire.send_what_it_takes(b"x" * 1000)
        time.sleep(0.05)
    assert wire.is_closed()


def test_S14_an_early_answer_to_a_small_body_keeps_the_connection(fresh: Live) -> None:
    """A refused request whose body came with it does not cost the connection."""
    wire = fresh.wire()
    wire.send(post(b"small", path=b"/early"))
    answer = wire.answer()
    assert (answer.status, answer.headers.get("connection")) == (401, None)
    wire.send(get(b"/echo"))
    assert wire.answer().status == 200


def test_S15_pipelined_requests_are_answered_in_order(fresh: Live) -> None:
    """Requests that are sent together are answered one by one."""
    wire = fresh.wire()
    wire.send(get(b"/wait?1") + get(b"/echo?2") + post(b"3") + get(b"/early"))
    assert [wire.answer().json["query"] for _ in range(2)] == ["1", "2"]
    assert wire.answer().json["body"] == "3"
    assert wire.answer().status == 401


def test_a_malformed_request_behind_a_good_one(fresh: Live) -> None:
    """The good one is answered, the connection closes, and no answer is mixed into another."""
    wire = fresh.wire()
    wire.send(get(b"/wait?1") + b"FOO / HTTP/1.1\r\n\r\n")
    assert wire.answer().json["query"] == "1"
    assert wire.is_closed()


def test_S18_refused_upgrade_is_no_tunnel(fresh: Live) -> None:
    """After a refused upgrade nothing more is read on the connection."""
    wire = fresh.wire()
    wire.send(b"GET /refused HTTP/1.1\r\n" + UPGRADE + b"\r\n")
    assert wire.answer().status == 401
    wire.send_what_it_takes(get(b"/echo?smuggled"))
    assert wire.is_closed()
    assert fresh.seen.requests == []


@pytest.mark.parametrize(
    "start",
    [
        b"POST /ws HTTP/1.1\r\n",
        b"GET /ws HTTP/1.0\r\n",
        b"GET /ws HTTP/1.1\r\nContent-Length: 0\r\n",
        b"GET /ws HTTP/1.1\r\nContent-Length: 5\r\n",
        b"GET /ws HTTP/1.1\r\nTransfer-Encoding: chunked\r\n",
    ],
)
def test_S19_odd_upgrades(fresh: Live, start: bytes) -> None:
    """An upgrade that is no plain GET is answered at once, and no websocket is opened."""
    assert fresh.ask(start + UPGRADE + b"\r\n").status in (400, 405)
    assert fresh.seen.websockets == []


def test_S20_h2c_is_ignored(fresh: Live) -> None:
    """An offer of HTTP/2 is not taken and not passed on; the body behind it is that request's body."""
    wire = fresh.wire()
    offer = (b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"HTTP2-Settings: AAMAAABk")
    wire.send(post(b"GET /echo?smuggled HTTP/1.1\r\nHost: gw\r\n\r\n", *offer))
    first = wire.answer().json
    assert first["method"] == "POST" and first["body"].startswith("GET /echo?smuggled")
    assert {name for name, _ in first["headers"]} == {"host", "content-length", "connection"}
    wire.send(get(b"/echo?second", *offer) + get(b"/echo?third"))
    assert [wire.answer().json["query"] for _ in range(2)] == ["second", "third"]
    assert len(fresh.seen.requests) == 3


def test_a_websocket_cannot_jump_the_queue(fresh: Live) -> None:
    """An upgrade behind a request that is not answered yet would mix two protocols on one connection."""
    wire = fresh.wire()
    wire.send(get(b"/wait") + b"GET /ws HTTP/1.1\r\n" + UPGRADE + b"\r\n")
    assert wire.answer().status == 200
    assert wire.is_closed()
    assert fresh.seen.websockets == []


# E: exhaustion


@pytest.mark.parametrize("start", [b"", b"G", b"GET /echo HTTP/1.1\r\nHost: gw", b"\r\n\r\n", b"\r\n"])
def test_E01_silent_connections_are_closed(fresh: Live, start: bytes) -> None:
    """A connection that does not complete a head is closed, with 408 if there was the beginning of one."""
    wire = fresh.wire()
    wire.send(start)
    if start.strip():
        assert wire.answer().status == 408
    assert wire.is_closed()


def test_E01_dripping_does_not_help(fresh: Live) -> None:
    """The time to the end of the head does not begin again with every byte."""
    wire = fresh.wire()
    deadline = time.monotonic() + PATIENCE
    for byte in b"GET /echo HTTP/1.1\r\n" + HOST * 1000:
        if not wire.send_what_it_takes(bytes([byte])):
            break
        assert time.monotonic() < deadline, "still open"
        time.sleep(0.1)
    assert wire.answer().status == 408
    assert wire.is_closed()
    assert fresh.seen.requests == []


def test_E01_the_second_request_has_a_deadline_too(fresh: Live) -> None:
    """On a connection that was good once, half a head is closed as well."""
    wire = fresh.wire()
    wire.send(get())
    assert wire.answer().status == 200
    wire.send(b"GET /ec")
    assert wire.answer().status == 408


def test_E01_many_silent_ones_do_not_stop_a_good_one(fresh: Live) -> None:
    """While hundreds of connections say nothing, others are served."""
    silent = [fresh.wire() for _ in range(300)]
    assert fresh.ask(get()).status == 200
    assert all(wire.is_closed() for wire in silent)


def test_E01_an_idle_connection_stays_open_between_requests(fresh: Live) -> None:
    """The deadline is for heads that have begun: between two requests it is uvicorn's keep-alive time that counts."""
    wire = fresh.wire()
    wire.send(get())
    assert wire.answer().status == 200
    assert wire.quiet_for(3 * Brisk.head_timeout)
    wire.send(get())
    assert wire.answer().status == 200


def test_E02_a_body_that_stops(fresh: Live) -> None:
    """A body that stops is 408, and the application is told that nothing more comes."""
    wire = fresh.wire()
    wire.send(b"POST /echo HTTP/1.1\r\n" + HOST + b"Content-Length: 100\r\n\r\nabc")
    answer = wire.answer()
    assert (answer.status, answer.headers["connection"]) == (408, "close")
    assert wire.is_closed()
    assert fresh.seen.requests == []


def test_E02_a_body_that_drips(fresh: Live) -> None:
    """A byte before each deadline does not hold a connection for ever."""
    wire = fresh.wire()
    wire.send(b"POST /echo HTTP/1.1\r\n" + HOST + b"Content-Length: 100000\r\n\r\n")
    deadline = time.monotonic() + PATIENCE
    while wire.send_what_it_takes(b"a"):
        assert time.monotonic() < deadline, "still open"
        time.sleep(Brisk.body_gap / 3)
    assert wire.answer().status == 408


def test_E02_a_slow_but_steady_body_arrives(fresh: Live) -> None:
    """A body that takes many times the gap, but keeps coming, is taken."""
    wire = fresh.wire()
    wire.send(b"POST /echo HTTP/1.1\r\n" + HOST + b"Content-Length: 20000\r\n\r\n")
    for _ in range(10):
        wire.send(b"a" * 2000)
        time.sleep(Brisk.body_gap / 3)
    assert len(wire.answer().json["body"]) == 20000


def test_E02_a_client_that_waits_for_us_is_not_blamed(fresh: Live) -> None:
    """While nobody reads the body, because the application is busy, the client has no deadline."""
    wire = fresh.wire()
    wire.send(post(b"", b"Expect: 100-continue", path=b"/nap").replace(b"Content-Length: 0", b"Content-Length: 5"))
    time.sleep(2 * Brisk.body_gap)
    assert wire.line() == b"HTTP/1.1 100 Continue\r\n" and wire.line() == b"\r\n"
    wire.send(b"hello")
    assert wire.answer().json["body"] == "hello"


@pytest.mark.parametrize("filler", [b"X: " + b"a" * 65536, b"X: a\r\n" * 10000, b"GET /" + b"a" * 65536])
def test_E03_endless_heads(fresh: Live, filler: bytes) -> None:
    """200 MB of one header, a million headers, an endless address: 431 or 414, and next to no memory."""
    process = psutil.Process()
    before = process.memory_info().rss
    wire = fresh.wire()
    wire.send(b"" if filler.startswith(b"GET") else b"GET /echo HTTP/1.1\r\n" + HOST)
    sent = 0
    while sent < 200_000_000 and wire.send_what_it_takes(filler):
        sent += len(filler)
    assert wire.answer().status in (414, 431)
    assert process.memory_info().rss - before < 20_000_000
    assert fresh.seen.requests == []


@pytest.mark.parametrize(
    ("start", "filler"),
    [(b"3\r\nabc\r\n0\r\nX: ", b"a" * 65536), (b"3;x=", b"a" * 65536), (b"", b"1;x\r\na\r\n" * 1000)],
)
def test_E03_endless_trailers_and_extensions(fresh: Live, start: bytes, filler: bytes) -> None:
    """What the parser keeps to itself behind or between the chunks is bounded as well; small chunks are just slow."""
    process = psutil.Process()
    before = process.memory_info().rss
    wire = fresh.wire()
    wire.send(CHUNKED + start)
    sent = 0
    while sent < 20_000_000 and wire.send_what_it_takes(filler):
        sent += len(filler)
    if start:
        assert wire.answer().status == 400
    else:
        wire.send(b"0\r\n\r\n")
        assert len(wire.answer().json["body"]) == sent // len(filler) * 1000
    assert process.memory_info().rss - before < 60_000_000


def test_E09_a_client_that_stops_reading(fresh: Live) -> None:
    """An answer that nobody takes is given up after a while; one that is taken arrives, however slowly."""
    wire = fresh.wire()
    wire.send(get(b"/flood"))
    assert wire.line() == b"HTTP/1.1 200 OK\r\n"
    time.sleep(3 * Brisk.write_timeout)
    assert wire.rest() < 67_108_864
    assert fresh.seen.flooded == 1
    slow = fresh.wire()
    slow.send(get(b"/flood"))
    assert len(slow.answer().body) == 67_108_864


def test_E21_pipelining_is_bounded(fresh: Live) -> None:
    """Of a flood of pipelined requests a few are answered, in order, and then the connection closes."""
    wire = fresh.wire()
    wire.send(get(b"/wait"))
    wire.send_what_it_takes(get(b"/echo") * 3000)
    answers = wire.answers_until_closed()
    assert 1 <= len(answers) <= 40
    assert {answer.status for answer in answers} == {200}


def test_a_client_that_resets(fresh: Live) -> None:
    """A client that resets the connection in the middle of its body leaves nothing behind."""
    wire = fresh.wire()
    wire.send(b"POST /echo HTTP/1.1\r\n" + HOST + b"Content-Length: 100\r\n\r\nabc")
    wire.reset()
    assert fresh.ask(get()).status == 200


def test_times_of_the_real_protocol() -> None:
    """Ten seconds for a head, twenty between two pieces of a body."""
    assert (GuardedProtocol.head_timeout, GuardedProtocol.body_gap) == (10.0, 20.0)


def test_shutdown_lets_a_running_request_end() -> None:
    """A request that runs when the server stops is answered, and says that the connection closes."""
    with live() as running:
        wire = running.wire()
        wire.send(get(b"/wait"))
        time.sleep(0.1)
        running.stop()
        answer = wire.answer()
        assert (answer.status, answer.headers["connection"]) == (200, "close")


# What is written behind a head that waits for its body


class Blocking:
    """Holds the whole event loop between `begun` and `go_on`, so that what is sent meanwhile is heard right behind."""

    def __init__(self) -> None:
        self.begun, self.go_on = threading.Event(), threading.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.begun.set()
        self.go_on.wait(PATIENCE)
        if scope["method"] == "POST":
            await receive()
            await asyncio.sleep(PATIENCE)
        else:
            await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"5")]})
            await send({"type": "http.response.body"})


def blocked(first: bytes, second: bytes) -> list[int]:
    """The statuses of what is answered when the second bytes come in the turn in which the first are answered."""
    app = Blocking()
    with live(app=app) as server:
        wire = server.wire()
        wire.send(first)
        assert app.begun.wait(PATIENCE)
        wire.send(second)
        app.go_on.set()
        statuses = []
        while line := wire.line():
            if line.startswith(b"HTTP/1.1 "):
                statuses.append(int(line.split()[1]))
        return statuses


def test_a_refusal_does_not_overtake_the_answer_before_it() -> None:
    """Answers come in the order of the requests, also one that is a head alone."""
    assert blocked(b"HEAD /x HTTP/1.1\r\n" + HOST + b"\r\n", b"\x00nonsense\r\n\r\n") == [200, 400]


def test_a_refusal_does_not_overtake_the_interim_answer_before_it() -> None:
    """`100 Continue` is never behind the final answer."""
    head = CHUNKED.removesuffix(b"\r\n") + b"Expect: 100-continue\r\n\r\n"
    assert blocked(head, b"ZZ\r\n") == [100, 400]


def test_an_answer_that_is_a_head_alone_reaches_a_client_that_says_no_more() -> None:
    """Who closes his half behind the request still gets the answer."""
    app = Blocking()
    with live(app=app) as server:
        wire = server.wire()
        wire.send(b"HEAD /x HTTP/1.1\r\n" + HOST + b"\r\n")
        assert app.begun.wait(PATIENCE)
        wire.finish()
        app.go_on.set()
        assert wire.answer(head=True).status == 200
