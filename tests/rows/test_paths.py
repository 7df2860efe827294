"""P: paths and request lines, through the whole gateway."""

import random
from collections import Counter
from collections.abc import Iterable, Iterator

import pytest

from gateway.comfy.table import METHODS, TABLE
from tests.comfy import test_paths as readings
from tests.rows.front import HOST, UPGRADE, Front
from tests.rows.table import table_of

FRACTION_SLASH = "%E2%81%84"
"""U+2044, which looks like a slash."""
FRAGMENTS = ("/", "//", ".", "..", "%2e", "%2f", "%2F", "%25", "%252e", "%5c", "%00", "%20", ";", "a", "%70", "~", "+")


def addresses() -> Iterator[tuple[str, str]]:
    """An address of each row of the table, with each prefix, and the row's method."""
    for row in TABLE:
        path = row.pattern.replace("{path:file}", "favicon.ico").replace(":rest", "")
        for prefix in row.prefixes:
            yield row.method, prefix + path.replace("{", "").replace("}", "")


def require(front: Front, row: str, targets: Iterable[str | bytes], *statuses: int, upstream: int = 0) -> None:
    """Alice gets one of these statuses for each target, and ComfyUI sees none of the requests."""
    for target in targets:
        reply = front.get(target, row=row)
        assert reply.status in statuses, (target, reply)
    assert len(front.seen(row)) == upstream


def test_P01_a_stranger_gets_401_everywhere(front: Front) -> None:
    """Without a token every route of the table and every unknown one is 401, with every method, and ComfyUI is asked
    nothing.

    Unknown routes too: a stranger never learns which exist.
    """
    known = sorted({path for _, path in addresses()})
    with front.wire() as wire:
        for path in (*known, "/lab/hello"):
            for method in (*METHODS, "OPTIONS"):
                wire.send(front.request(path, method=method.encode(), by=None, row="P01"))
                reply = wire.reply(head=method == "HEAD")
                assert reply.status == 401, (method, path, reply)
    assert front.seen("P01") == []


def test_P02_two_slashes_are_never_prompt(front: Front) -> None:
    """`//prompt` is 400."""
    require(front, "P02", ["//prompt", "//queue", "///prompt"], 400)


def test_P03_an_empty_segment_behind_the_prefix(front: Front) -> None:
    """`/api//prompt` and `//api/prompt` are 400."""
    require(front, "P03", ["/api//prompt", "//api/prompt"], 400)


def test_P04_every_spelling_is_the_same_call(front: Front) -> None:
    """What ComfyUI takes for /prompt is answered as /prompt; for what asks ComfyUI the same decision is made."""
    for target in ("/prompt", "/%61pi/prompt", "/%70rompt", "/pr%6Fmpt", "/api/prompt"):
        assert "exec_info" in front.get(target, row="P04").json(), target
    for target in ("/free", "/%66ree", "/api/%66ree"):
        assert front.post(target, b"{}", row="P04").status == 403, target
    assert front.seen("P04") == []


def test_P05_path_parameters(front: Front) -> None:
    """A `;` in the path is 400."""
    require(front, "P05", ["/api/..;/prompt", "/prompt;x=1", "/prompt;/"], 400)


def test_P06_single_dots(front: Front) -> None:
    """`/./queue` is 400."""
    require(front, "P06", ["/./queue", "/api/./queue", "/queue/."], 400)


def test_P07_climbing(front: Front) -> None:
    """`..` is 400, whatever it would lead to."""
    require(front, "P07", ["/docs/../prompt", "/assets/../../internal/logs", "/docs/.."], 400)


def test_P08_encoded_climbing(front: Front) -> None:
    """`%2e%2e` is 400, in either case."""
    targets = ["/docs/%2e%2e/prompt", "/%2e/queue", "/docs/%2E%2e/prompt", "/docs/.%2E/prompt", "/docs/%2E%2E"]
    require(front, "P08", targets, 400)


def test_P09_climbing_encoded_twice(front: Front) -> None:
    """An escape inside an escape is 400."""
    require(front, "P09", ["/docs/%252e%252e/prompt", "/docs/%25252e/prompt"], 400)


def test_P11_an_encoded_slash_in_a_name(front: Front) -> None:
    """`/userdata/workflows%2Fa.json` works, as one name; where ComfyUI is asked it gets the very bytes.

    User data is kept by the gateway, so the bytes are looked at on a route that goes to ComfyUI.
    """
    name = f"/userdata/workflows%2F{front.mark('P11')}.json"
    assert front.post(name, b'{"a": 1}').status == 200
    assert front.get(name).body == b'{"a": 1}'
    target = "/experiment/models/preview/checkpoints/0/Lab%2Fslow%20%E4%BD%A0.png"
    front.get(target, row="P11")
    assert [asked for _, asked, _ in front.seen("P11")] == [target]


def test_P12_climbing_inside_a_name(front: Front) -> None:
    """A name that climbs, is absolute, or holds a backslash or NUL is 400."""
    names = ["..%2f..%2fx", "%2e%2e%2f", "..%5cx", "a%00", "%2fetc%2fpasswd", "a%2f..%2f..%2fb"]
    require(front, "P12", [f"/userdata/{name}" for name in names], 400)


def test_P13_control_characters(front: Front) -> None:
    """An encoded NUL, line end or blank is 400."""
    require(front, "P13", ["/prompt%00", "/prompt%0a", "/prompt%0d%0aX:1", "/prompt%20"], 400)


def test_P14_encoded_delimiters(front: Front) -> None:
    """An encoded `?` or `#` ends no path."""
    require(front, "P14", ["/prompt%3fx", "/prompt%23x"], 400, 404)


def test_P15_a_fragment(front: Front) -> None:
    """A raw `#` is 400."""
    require(front, "P15", ["/prompt#x", "/queue?a=1#x"], 400)


def test_P16_backslashes(front: Front) -> None:
    """A backslash, raw or encoded, is 400."""
    require(front, "P16", ["\\prompt", "/api\\prompt", "/api%5cprompt", "/docs/%5C..%5Cprompt"], 400)


def test_P17_letter_case(front: Front) -> None:
    """`/Prompt` is another address, which nobody knows.

    The design's word for it is 403 route_not_allowed, with the rule that an administrator would have to add.
    """
    for target in ("/Prompt", "/API/prompt"):
        assert front.get(target, row="P17").type == "route_not_allowed"
    assert front.seen("P17") == []


def test_P18_a_slash_at_the_end(front: Front) -> None:
    """`/prompt/` is not /prompt, and there is no redirect on which a client would drop its credential.

    It is 403 route_not_allowed, as every unknown address.
    """
    for target in ("/prompt/", "/api/queue/"):
        reply = front.get(target, row="P18")
        assert (reply.type, reply.headers.get("location")) == ("route_not_allowed", None)
    assert front.seen("P18") == []


def test_P19_absolute_form(front: Front) -> None:
    """`GET http://evil/prompt` is 400, or /prompt of our own; nothing goes to evil."""
    reply = front.get("http://evil.invalid/prompt", row="P19")
    assert reply.status == 400 or "exec_info" in reply.json()
    reply = front.get("http://evil.invalid/docs/a.md", row="P19")
    asked = front.seen("P19")
    assert reply.status == 400 if asked == [] else asked[0][1] == "/docs/a.md"
    assert "evil" not in str(asked)


def test_P21_other_methods(front: Front) -> None:
    """CONNECT, TRACE, unknown and lower-case methods and the preface of HTTP/2 are 400, 405 or 501."""
    for method in (b"CONNECT", b"TRACE", b"FOO", b"get"):
        assert front.ask(front.request("/queue", method=method, row="P21")).status in (400, 405, 501), method
    with front.wire() as wire:
        wire.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        assert wire.rest()[:12].split()[-1:] != [b"200"]
    assert front.seen("P21") == []


def test_P22_methods_in_headers(front: Front) -> None:
    """X-HTTP-Method-Override and the like change nothing, and ComfyUI does not see them."""
    names = (b"X-HTTP-Method-Override", b"X-Method-Override", b"X-HTTP-Method")
    as_post = [name + b": POST" for name in names]
    assert "exec_info" in front.get("/prompt?_method=POST", *as_post).json()
    as_get = [name + b": GET" for name in names]
    assert front.post("/free?_method=GET", b"{}", *as_get, row="P22").status == 403
    assert front.get("/features", *as_post, row="P22").status == 200
    [(method, _, headers)] = front.seen("P22")
    assert method == "GET"
    assert not [name for name, _ in headers if "method" in name]


def test_P23_other_versions(front: Front) -> None:
    """HTTP/1.0 is served with a Host and a credential only; HTTP/0.9 and 1.2 give nothing away without one."""
    alice = b"X-API-Key: " + front.house.tokens["alice"].encode() + b"\r\n"
    old = b"GET /prompt HTTP/1.0\r\n"
    assert front.ask(old + HOST + b"\r\n\r\n").status == 401
    assert front.ask(old + alice + b"\r\n").status == 400
    assert front.ask(old + HOST + b"\r\n" + alice + b"\r\n").status == 200
    for line in (b"GET /prompt HTTP/1.2\r\n", b"GET /prompt HTTP/2.0\r\n"):
        assert front.ask(line + HOST + b"\r\n\r\n").status in (400, 401, 505), line
    with front.wire() as wire:
        wire.send(b"GET /prompt\r\n\r\n")
        assert b"exec_info" not in wire.rest()


def test_P24_bytes_beyond_ascii(front: Front) -> None:
    """Raw bytes beyond ASCII, bytes that are no UTF-8, and look-alikes of a slash are 400 or 404."""
    raw = ["/é".encode(), b"/\xff\xfeprompt"]
    require(front, "P24", [*raw, "/%ff%fe", "/%c0%af", f"/api{FRACTION_SLASH}prompt", f"/{FRACTION_SLASH}"], 400, 404)


def test_P25_broken_escapes(front: Front) -> None:
    """A `%` that begins no escape is 400."""
    require(front, "P25", ["/%", "/%f", "/%zz", "/prompt%"], 400)


def test_P26_a_long_address(front: Front) -> None:
    """8 KiB and one byte of address are 414."""
    require(front, "P26", ["/prompt?" + "a" * (8193 - 8), "/" + "a" * 8192], 414)


def test_P27_internal_addresses(front: Front) -> None:
    """ComfyUI's logs are closed to users in any spelling; its folders are answered as if there were none.

    /internal/files/{directory} is part of the editor and is passed on until files have owners.
    """
    require(front, "P27", ["/internal/logs", "/%69nternal/logs", "/internal/logs/raw", "/internal/%6Cogs"], 403)
    assert front.get("/internal/folder_paths", row="P27").json() == {}
    assert front.seen("P27") == []


def test_P29_a_socket_without_a_credential(front: Front) -> None:
    """/ws in any spelling without a credential is 401 before the handshake, and ComfyUI is not dialled."""
    for target in ("/ws", "/api/ws", "/%77s", "/ws?clientId=P29"):
        reply = front.ask(front.request(target, *UPGRADE, by=None, row="P29"))
        assert reply.status == 401, (target, reply)
    assert front.seen("P29") == []


def test_P30_odd_hosts(front: Front) -> None:
    """A Host that is no plain name, two, or none, is 400."""
    for host in ([b"h/prompt?"], [b"a@b"], [b"gw", b"gw"], [b"gw", b"evil"], [], [b"h" * 300], [b"g w"]):
        lines = b"".join(b"Host: %b\r\n" % name for name in host)
        raw = front.request("/docs/a.md", row="P30").replace(HOST + b"\r\n", lines)
        assert front.ask(raw).status == 400, host
    assert front.seen("P30") == []


def test_P31_head_and_options(front: Front) -> None:
    """HEAD is judged as GET, with every route; OPTIONS is answered here, to whoever is known."""
    gets = sorted({path for method, path in addresses() if method == "GET"})
    with front.wire() as wire:
        for path in gets:
            wire.send(front.request(path, row="P31-get"))
            by_get = wire.reply()
            wire.send(front.request(path, method=b"HEAD", row="P31-head"))
            assert wire.reply(head=True).status == by_get.status, path
            wire.send(front.request(path, method=b"OPTIONS", row="P31-options"))
            assert wire.reply().status == 204, path
    asked = [Counter(target for _, target, _ in front.seen(f"P31-{name}")) for name in ("get", "head")]
    assert asked[0] == asked[1] and sum(asked[0].values()) > 20
    assert front.seen("P31-options") == []


def test_P32_what_is_judged_is_what_is_sent(front: Front) -> None:
    """For any target: it is refused, or ComfyUI gets exactly those bytes, once."""
    chosen = random.Random(32)
    middles = ["".join(chosen.choices(FRAGMENTS, k=chosen.randint(0, 6))) for _ in range(800)]
    targets = [f"/docs/{number}{middle}.md" for number, middle in enumerate(middles)]
    passed = []
    replies = front.converse(front.request(target, row="P32") for target in targets)
    for target, reply in zip(targets, replies, strict=True):
        assert reply.status < 500, (target, reply)
        if reply.status == 404 and reply.type == "":
            passed.append(target)
    assert Counter(target for _, target, _ in front.seen("P32")) == Counter(passed)
    assert 50 < len(passed) < 700, "both happened"


def test_P33_what_other_proxies_clean_up(front: Front) -> None:
    """An escape of an unreserved character goes to ComfyUI as it came; what would need cleaning is 400."""
    unreserved = [f"/docs/x%{ord(character):02x}y/a.md" for character in readings.UNRESERVED]
    reserved = [f"/docs/x%{ord(character):02X}y/a.md" for character in readings.RESERVED_BUT_PLAIN]
    replies = front.converse(front.request(target, row="P33") for target in (*unreserved, *reserved))
    assert {reply.status for reply in replies} == {404}
    assert [target for _, target, _ in front.seen("P33")] == [*unreserved, *reserved]
    for raw, clean in table_of(readings.test_nothing_is_sanitised):
        status = front.get(raw, row="P33-clean").status
        assert status == 403 if clean is not None else status == 400, raw
    assert front.seen("P33-clean") == []


@pytest.mark.parametrize("method", [b"GET", b"POST"])
def test_P34_a_node_packs_own_route(front: Front, method: bytes) -> None:
    """An unknown route is closed; the refusal (403, as the contract says) names the rule that would open it."""
    for by in ("alice", "root"):
        reply = front.ask(front.request("/lab/hello", method=method, by=by, row="P34"))
        assert (reply.status, reply.type) == (403, "route_not_allowed")
        assert reply.json()["error"]["extra_info"]["rule"] == f"{method.decode()} /lab/hello"
    assert front.seen("P34") == []
