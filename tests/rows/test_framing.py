"""S: where a request ends, byte by byte, from the client to ComfyUI."""

import asyncio
import random
import threading
from collections import Counter
from contextlib import suppress

import pytest

from tests.edge import test_protocol as framing
from tests.rows.front import HOST, UPGRADE, Front, Reply, until
from tests.rows.table import table_of

GET_BODY = (b"Content-Length: 4\r\n\r\nabcd", b"Transfer-Encoding: chunked\r\n\r\n4\r\nabcd\r\n0\r\n\r\n")


def as_alice(front: Front, raw: bytes, *, row: str, path: bytes = b"/docs/a.md") -> bytes:
    """The bytes of a test of the protocol alone, sent by Alice to an address that goes to ComfyUI."""
    ours = b"X-API-Key: %b\r\nX-Row: %b\r\n" % (front.house.tokens["alice"].encode(), front.mark(row).encode())
    host, newline = b"Host: gw", b"\r\n"
    if b"\r\n" not in raw:
        ours, newline = ours.replace(b"\r\n", b"\n"), b"\n"
    at = raw.find(newline) + len(newline)
    assert host in raw
    return raw[:at].replace(b"/echo", path) + ours + raw[at:]


def smuggled(front: Front, row: str) -> bytes:
    return front.request("/docs/smuggled.md", row=row)


def require_refused(front: Front, raw: bytes, row: str, *statuses: int) -> None:
    """It is refused, the connection ends, and ComfyUI sees neither it nor what is behind it."""
    with front.wire() as wire:
        wire.send(raw + smuggled(front, row))
        reply = wire.reply()
        assert reply.status in statuses, (raw, reply)
        assert wire.is_closed(), raw
    assert front.seen(row) == [], raw


@pytest.mark.parametrize("number", range(len(framing.refused_framing())))
def test_S01_S02_S03_S04_S05_S06_doubtful_lengths(front: Front, number: int) -> None:
    """Content-Length with Transfer-Encoding, twice or odd; odd codings; folded lines: 400 or 501, and the end."""
    row = f"S01-{number}"
    raw = as_alice(front, framing.refused_framing()[number], row=row, path=b"/upload/image")
    require_refused(front, raw, row, 400, 501)


def test_S07_chunks_on_http_1_0(front: Front) -> None:
    """Transfer-Encoding on HTTP/1.0 is refused, or the connection ends behind its one answer."""
    raw = b"POST /echo HTTP/1.0\r\n" + HOST + b"\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
    with front.wire() as wire:
        wire.send(as_alice(front, raw, row="S07", path=b"/upload/image") + smuggled(front, "S07-behind"))
        assert len(wire.replies()) <= 1
    assert front.seen("S07-behind") == []


@pytest.mark.parametrize("number", range(len(table_of(framing.test_S08_S09_S10_chunks))))
def test_S08_S09_S10_odd_chunks(front: Front, number: int) -> None:
    """A malformed chunk is 400 and nothing is kept; nginx writes some of them anew, and then the body is the right one.

    Nothing of such a body is ever read as a request.
    """
    name = f"/userdata/{front.mark(f'S08-{number}')}"
    body = table_of(framing.test_S08_S09_S10_chunks)[number] + b"\r\n0\r\n\r\n"
    with front.wire() as wire:
        wire.send(front.request(name, b"Transfer-Encoding: chunked", method=b"POST") + body)
        status = wire.reply().status
    kept = front.get(name)
    assert (status, kept.status) == (400, 404) or (not front.is_direct and (status, kept.body) == (200, b"abc"))


def test_S10_a_long_chunk_extension(front: Front) -> None:
    """A chunk extension of 1 MB is thrown away or refused."""
    name = f"/userdata/{front.mark('S10')}"
    body = b"3;x=" + b"a" * 1_000_000 + b"\r\nabc\r\n0\r\n\r\n"
    reply = front.ask(front.request(name, b"Transfer-Encoding: chunked", method=b"POST") + body)
    assert reply.status == 400 or front.get(name).body == b"abc"


@pytest.mark.parametrize("number", range(len(table_of(framing.test_S12_malformed_heads))))
def test_S12_malformed_heads(front: Front, number: int) -> None:
    """Bare LF and CR, NUL, odd names and lines are 400; what nginx repairs arrives as one well-formed request."""
    row = f"S12-{number}"
    raw = as_alice(front, table_of(framing.test_S12_malformed_heads)[number], row=row)
    reply = front.ask(raw)
    if front.is_direct or reply.status == 400:
        assert (reply.status, front.seen(row)) == (400, [])
        return
    [(method, target, headers)] = front.seen(row)
    assert (reply.status, method, target) == (404, "GET", "/docs/a.md")
    assert {name for name, _ in headers} <= {"host", "x-row", "x", "accept", "accept-encoding", "user-agent"}


@pytest.mark.parametrize("body", GET_BODY, ids=["length", "chunked"])
def test_S13_a_get_with_a_body(front: Front, body: bytes) -> None:
    """The body of a GET does not go to ComfyUI, nor what announced it; the next request is read right."""
    row = f"S13-{len(body)}"
    first = front.request("/features", row=row).removesuffix(b"\r\n") + body
    with front.wire() as wire:
        wire.send(first + front.request("/docs/second.md", row=row))
        assert (wire.reply().status, wire.reply().status) == (200, 404)
    one, two = front.seen(row)
    assert (one[1], two[1]) == ("/features", "/docs/second.md")
    assert not {name for name, _ in one[2]} & {"content-length", "transfer-encoding"}


def test_S14_a_body_behind_an_early_refusal(front: Front) -> None:
    """Behind a 401 the rest of the body is never read as a request; the gateway says that it closes, and does."""
    head = front.request("/upload/image", b"Content-Length: 50000000", method=b"POST", by=None, row="S14")
    with front.wire() as wire:
        wire.send(head)
        reply = wire.reply()
        assert reply.status == 401
        wire.send(smuggled(front, "S14") * 100)
        if front.is_direct:
            assert reply.headers["connection"] == "close"
            assert wire.is_closed()
        else:
            assert wire.is_quiet(0.5) or wire.is_closed()
    assert front.seen("S14") == []


def test_S15_two_requests_at_once(front: Front) -> None:
    """Of two pipelined requests the first has a token and is answered, the second has none and is 401."""
    with front.wire() as wire:
        wire.send(front.request("/features", row="S15") + front.request("/docs/a.md", by=None, row="S15"))
        assert (wire.reply().status, wire.reply().status) == (200, 401)
    assert len(front.seen("S15")) == 1


def test_S15_a_client_that_leaves_two_requests(front: Front) -> None:
    """Whoever leaves while one request is being answered and another waits is noticed: the first is given up, without
    an error, and the other is not begun.
    """
    odd, name = front.house.odd, front.mark("S15")
    odd.answers[name], odd.gates[name] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}", threading.Event()
    target, lines = f"/extensions?odd={name}", len(front.house.lines())
    with front.wire() as wire:
        behind = front.request("/docs/behind.md", row="S15-behind")
        wire.send(front.request("/queue") + front.request(target) + behind)
        assert wire.reply().status == 200
        until(lambda: [head for head in odd.heads if name.encode() in head])
    # Straight to the gateway the request ends while ComfyUI still says nothing.
    if not front.is_direct:
        odd.gates[name].set()
    until(lambda: "/extensions" in [line["path"] for line in front.house.lines()[lines:]])
    odd.gates[name].set()
    assert "request_failed" not in front.house.log.read_text()
    assert front.seen("S15-behind") == []


def test_S16_each_request_is_judged_alone(front: Front) -> None:
    """On one connection Alice, Bob and a stranger are each who they are."""
    target = "/gateway/api/v1/me"
    order = ["alice", "bob", None, "alice", None]
    replies = front.converse(front.request(target, by=by) for by in order)
    assert [reply.json()["name"] if reply.status == 200 else None for reply in replies] == order


def test_S18_a_refused_upgrade_is_no_tunnel(front: Front) -> None:
    """What follows a refused upgrade goes nowhere: the connection ends, or it is judged as any other request."""
    with front.wire() as wire:
        wire.send(front.request("/ws", *UPGRADE, by=None) + front.request("/docs/a.md", by=None, row="S18"))
        assert wire.reply().status == 401
        if front.is_direct:
            assert wire.is_closed()
        else:
            assert wire.reply().status == 401
    assert front.seen("S18") == []


@pytest.mark.parametrize(
    ("start", "more"),
    [
        (b"POST /ws HTTP/1.1", b""),
        (b"GET /ws HTTP/1.0", b""),
        (b"GET /ws HTTP/1.1", b"Content-Length: 5\r\n"),
        (b"GET /ws HTTP/1.1", b"Transfer-Encoding: chunked\r\n"),
    ],
)
def test_S19_odd_upgrades(front: Front, start: bytes, more: bytes) -> None:
    """An upgrade that is a POST, HTTP/1.0, or has a body, is 400 or 405 and opens nothing."""
    raw = front.request("/ws", *UPGRADE).replace(b"GET /ws HTTP/1.1", start).removesuffix(b"\r\n") + more + b"\r\n"
    assert front.ask(raw).status in (400, 405)


def test_S20_http_2_is_not_offered_further(front: Front) -> None:
    """An offer of h2c is ignored and not passed on; what is behind it is the next request."""
    offer = (b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"HTTP2-Settings: AAMAAABk")
    first, second = front.converse(
        [front.request("/features", *offer, row="S20"), front.request("/docs/a.md", by=None, row="S20")]
    )
    assert (first.status, second.status) == (200, 401)
    [(_, _, headers)] = front.seen("S20")
    assert not {name for name, _ in headers} & {"upgrade", "http2-settings", "connection"}


def test_S21_an_answer_before_the_body_was_read(front: Front) -> None:
    """ComfyUI answers an upload early and closes: that answer or 502, and the next request has a fresh connection."""
    front.house.odd.answers["S21"] = b'HTTP/1.1 200 OK\r\nContent-Length: 17\r\n\r\n{"name": "early"}'
    kind = b"Content-Type: multipart/form-data; boundary=b"
    part = b'--b\r\nContent-Disposition: form-data; name="image"; filename="late"\r\n\r\n'
    form = part + b"x" * 3_000_000 + b"\r\n--b--\r\n"
    asked = len(front.house.odd.heads)
    for _ in range(3):
        reply = front.post("/upload/image", form, kind, b"X-Odd: S21")
        assert reply.status == 502 or reply.json() == {"name": "early", "subfolder": "", "type": "input"}
        require_unmixed(front)
    assert len(front.house.odd.heads) == asked + 3


LARGE = 200_000
ODD_ANSWERS = {
    "short": b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nshort",
    "short-large": b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (2 * LARGE) + b"x" * LARGE,
    "long": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison",
    "both": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\npoison",
    "bad-chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\nxyz\r\npoison\r\n0\r\n\r\n",
    "cut-chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n50\r\ncut",
    "two-lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}}",
    "odd-coding": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
}


@pytest.mark.parametrize("kept", [False, True], ids=["closed", "kept"])
@pytest.mark.parametrize("name", ODD_ANSWERS)
def test_S23_answers_that_end_wrongly(front: Front, name: str, *, kept: bool) -> None:
    """An answer that is cut short, too long or framed in two ways is 502 or broken off; nobody gets bytes of it."""
    odd, known = front.house.odd, f"S23-{name}-{kept}"
    odd.answers[known] = ODD_ANSWERS[name]
    if kept and name in ("long", "both", "two-lengths", "odd-coding"):
        odd.kept.add(known)
    reply = front.get(f"/extensions?odd={known}")
    assert reply.status == 502 or not reply.whole or reply.body == b"{}", reply
    require_unmixed(front)


def require_unmixed(front: Front) -> None:
    """Other users' answers are their own, on every connection that may have been kept."""
    replies: list[Reply] = [front.get("/features", by="bob") for _ in range(4)]
    assert all("supports_preview_metadata" in reply.json() for reply in replies)


# S25

MUTATIONS = 1000
AT_ONCE = 200
FRAGMENTS = (
    b"\r\n",
    b"\n",
    b"\r",
    b"\r\n\r\n",
    b" ",
    b"\t",
    b"\x00",
    b"\x0b",
    b"\xff",
    b":",
    b"0",
    b"0\r\n\r\n",
    b"Content-Length: 0\r\n",
    b"Content-Length: 9\r\n",
    b"Content-Length: +4\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Transfer-Encoding: identity\r\n",
    b"Transfer-Encoding:\x0bchunked\r\n",
    b"Transfer_Encoding: chunked\r\n",
    b"Connection: Transfer-Encoding\r\n",
    b"Connection: Upgrade\r\nUpgrade: websocket\r\n",
    b"Expect: 100-continue\r\n",
    b"GET /docs/inner/a.md HTTP/1.1\r\n",
    b" HTTP/1.0\r\n",
    b"%2e%2e/",
    b"#",
    b"//",
    b";",
)


def conversation(front: Front, number: int) -> bytes:
    """Three requests in a row: with no body, a length, or chunks first; the last one closes the connection."""
    path = f"/docs/s25-{front.kind}-{number}"
    form = b"--b--\r\n"
    chunks = b"7\r\n" + form + b"\r\n0\r\n\r\n"
    first = [
        front.request(f"{path}/first.md"),
        front.request("/upload/image", b"Content-Length: %d" % len(form), method=b"POST") + form,
        front.request("/upload/mask", b"Transfer-Encoding: chunked", method=b"POST") + chunks,
    ][number % 3]
    return first + front.request(f"{path}/second.md") + front.request(f"{path}/last.md", b"Connection: close")


def mutated(raw: bytes, chosen: random.Random) -> bytes:
    """Up to three changes: something put in, taken out, written over, doubled, or another order of lines."""
    for _ in range(chosen.randint(1, 3)):
        at, size = chosen.randrange(len(raw)), chosen.choice((1, 1, 2, 8, 40))
        match chosen.randrange(5):
            case 0:
                raw = raw[:at] + chosen.choice(FRAGMENTS) + raw[at:]
            case 1:
                raw = raw[:at] + raw[at + size :]
            case 2:
                raw = raw[:at] + chosen.choice(FRAGMENTS) + raw[at + size :]
            case 3:
                raw = raw[:at] + raw[at : at + size] + raw[at:]
            case _:
                lines = raw.split(b"\r\n")
                one, other = chosen.randrange(len(lines)), chosen.randrange(len(lines))
                lines[one], lines[other] = lines[other], lines[one]
                raw = b"\r\n".join(lines)
    return raw


async def converse(port: int, raw: bytes, gate: asyncio.Semaphore) -> None:
    """Say it, and listen until the end or until nothing more is to be expected."""
    async with gate:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        with suppress(ConnectionError, TimeoutError):
            writer.write(raw)
            async with asyncio.timeout(1.5):
                await writer.drain()
                while await reader.read(65536):
                    pass
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()


async def say_all(port: int, conversations: list[bytes]) -> None:
    gate = asyncio.Semaphore(AT_ONCE)
    await asyncio.gather(*(converse(port, raw, gate) for raw in conversations))


def test_S25_mutated_requests(front: Front) -> None:
    """However requests are mutated, ComfyUI gets those that the gateway judged and let through, and no other one."""
    chosen = random.Random(25)
    lines_before, asked_before = len(front.house.lines()), len(front.requests())
    asyncio.run(say_all(front.port, [mutated(conversation(front, n), chosen) for n in range(MUTATIONS)]))

    def counts() -> tuple[Counter[tuple[str, str]], Counter[tuple[str, str]], Counter[tuple[str, str]]]:
        let_through = [line for line in front.house.lines()[lines_before:] if line["user"] and "reason" not in line]
        relevant = [line for line in let_through if line["path"].startswith(("/docs/", "/upload/"))]
        answered = [line for line in relevant if line["status"] is not None]
        asked = [(method, target.partition("?")[0]) for method, target, _ in front.requests()[asked_before:]]
        return (
            Counter((line["method"], line["path"]) for line in answered),
            Counter(asked),
            Counter((line["method"], line["path"]) for line in relevant),
        )

    def agree() -> bool:
        """Whoever left before the answer may have been passed on or not."""
        answered, asked, judged = counts()
        return answered <= asked <= judged

    until(agree)
    assert counts()[1].total() > MUTATIONS // 2
