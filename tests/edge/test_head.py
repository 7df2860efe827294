"""Which request heads are refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.edge.head import (
    MAX_HEADER_BYTES,
    MAX_HEADERS,
    MAX_TARGET_BYTES,
    MAX_UPGRADE_LINE,
    Head,
    Verdict,
    judge,
    too_large,
)
from gateway.errors import GatewayError

UPGRADE = (
    (b"upgrade", b"websocket"),
    (b"connection", b"keep-alive, Upgrade"),
    (b"sec-websocket-version", b"13"),
    (b"sec-websocket-key", b"dGhlIHNhbXBsZSBub25jZQ=="),
)


def head(
    *headers: tuple[bytes, bytes],
    method: bytes = b"GET",
    version: str = "1.1",
    target: bytes = b"/queue",
    upgrade: bool = False,
    host: bytes = b"gw.example",
) -> Head:
    return Head(method, version, target, [(b"host", host), *headers], upgrade)


def refusal(asked: Head) -> tuple[int, str]:
    with pytest.raises(GatewayError) as caught:
        judge(asked)
    return caught.value.status, caught.value.type


@pytest.mark.parametrize(
    ("asked", "verdict"),
    [
        (head(), Verdict(websocket=False, has_body=False)),
        (head(version="1.0"), Verdict(websocket=False, has_body=False)),
        (head(target=b"/view?filename=a%20b&type=output"), Verdict(websocket=False, has_body=False)),
        (head((b"content-length", b"0"), method=b"POST"), Verdict(websocket=False, has_body=False)),
        (head((b"content-length", b"17"), method=b"POST"), Verdict(websocket=False, has_body=True)),
        (head((b"transfer-encoding", b"Chunked"), method=b"POST"), Verdict(websocket=False, has_body=True)),
        (head((b"upgrade", b"WebSocket"), *UPGRADE[1:], upgrade=True), Verdict(websocket=True, has_body=False)),
        (head((b"upgrade", b"h2c"), upgrade=True), Verdict(websocket=False, has_body=False)),
        (head((b"upgrade", b"websocket, h2c"), upgrade=True), Verdict(websocket=False, has_body=False)),
        (head((b"upgrade", b"websocket"), upgrade=False), Verdict(websocket=False, has_body=False)),
    ],
)
def test_ordinary_heads_pass(asked: Head, verdict: Verdict) -> None:
    """An ordinary request passes, and it is known whether a body follows and whether it opens a websocket."""
    assert judge(asked) == verdict


@pytest.mark.parametrize("method", [b"CONNECT", b"TRACE", b"PROPFIND", b"PRI", b"get", b"M-SEARCH"])
def test_P21_other_methods(method: bytes) -> None:
    """Only the seven methods that are used here are taken."""
    assert refusal(head(method=method)) == (405, "method_not_allowed")


@pytest.mark.parametrize("version", ["0.9", "1.2", "2.0"])
def test_P23_other_versions(version: str) -> None:
    """Only HTTP/1.0 and HTTP/1.1 are spoken."""
    assert refusal(head(version=version))[0] == 400


@pytest.mark.parametrize(
    "target",
    [
        b"queue",
        b"http://evil/queue",
        b"//evil:80@x y",
        b"*",
        b"evil:80",
        b"/q#x",
        b"/q#",
        b"/q\tx",
        b"/q\xc3\xb6",
        b"",
        b"/ q",
    ],
)
def test_P15_P19_target_is_a_path(target: bytes) -> None:
    """The target is a path in visible ASCII without “#”, and never another server's address."""
    assert refusal(head(target=target))[0] == 400


def test_P26_long_address() -> None:
    """8 KiB of address pass, one byte more is 414."""
    longest = b"/" + b"a" * (MAX_TARGET_BYTES - 1)
    assert judge(head(target=longest)) == Verdict(websocket=False, has_body=False)
    assert refusal(head(target=longest + b"a")) == (414, "address_too_long")


@pytest.mark.parametrize("host", [b"gw", b"gw.example:8190", b"127.0.0.1:8190", b"[::1]:8190", b"a_b.example", b"1"])
def test_P30_good_hosts(host: bytes) -> None:
    """A name or an address, with or without a port, is a Host."""
    assert judge(head(host=host)).has_body is False


@pytest.mark.parametrize(
    "host",
    [
        b"h/prompt?",
        b"a@b",
        b"",
        b" ",
        b"h h",
        b"h:",
        b"h:x",
        b"h:123456",
        b"h?",
        b"h#",
        b"h\\x",
        b"h%2f",
        b"-",
        b".",
        b"h" * 300,
        b"[::1",
        b"::1",
        b"[x]",
        b"h,i",
        "ö.example".encode(),
    ],
)
def test_P30_odd_hosts(host: bytes) -> None:
    """Anything else in Host would end up in somebody's URL, and is refused."""
    assert refusal(head(host=host))[0] == 400


def test_P30_host_exactly_once() -> None:
    """No Host and two Hosts are refused, in HTTP/1.0 too."""
    assert refusal(head((b"host", b"gw.example")))[0] == 400
    assert refusal(Head(b"GET", "1.1", b"/", [], upgrade=False))[0] == 400
    assert refusal(Head(b"GET", "1.0", b"/", [], upgrade=False))[0] == 400


@pytest.mark.parametrize(
    "headers",
    [
        [(b"transfer-encoding", b"gzip, chunked")],
        [(b"transfer-encoding", b"chunked, identity")],
        [(b"transfer-encoding", b"identity, chunked")],
        [(b"transfer-encoding", b"identity")],
        [(b"transfer-encoding", b"xchunked")],
        [(b"transfer-encoding", b"chunked, chunked")],
        [(b"transfer-encoding", b"")],
        [(b"transfer-encoding", b"chunked"), (b"transfer-encoding", b"chunked")],
        [(b"transfer-encoding", b"chunked"), (b"content-length", b"4")],
        [(b"content-length", b"4"), (b"content-length", b"4")],
        [(b"content-length", b"4"), (b"content-length", b"5")],
        *([(b"content-length", value)] for value in (b"4, 4", b"+4", b"-1", b"0x4", b"4_0", b"", b"4 4", b"1" * 19)),
    ],
)
def test_S01_S02_S03_S05_doubtful_framing(headers: list[tuple[bytes, bytes]]) -> None:
    """Any doubt about where a body ends is a refusal."""
    assert refusal(head(*headers, method=b"POST"))[0] == 400


def test_S07_chunked_on_http_1_0() -> None:
    """HTTP/1.0 has no Transfer-Encoding."""
    assert refusal(head((b"transfer-encoding", b"chunked"), method=b"POST", version="1.0"))[0] == 400


@pytest.mark.parametrize("coding", [b"gzip", b"br", b"deflate", b"identity", b"gzip, gzip"])
def test_H20_compressed_request(coding: bytes) -> None:
    """A request with Content-Encoding is 415."""
    assert refusal(head((b"content-encoding", coding), method=b"POST")) == (415, "unsupported_media_type")


@pytest.mark.parametrize("value", [b"a\x00b", b"a\x01b", b"a\rb", b"a\nb", b"a\x7fb", b"\x0bchunked"])
def test_S12_control_characters_in_a_header(value: bytes) -> None:
    """No header value has a control character in it; a tab is none."""
    assert refusal(head((b"x", value)))[0] == 400
    assert judge(head((b"x", b"a\tb\xff"))).has_body is False


@pytest.mark.parametrize(
    "asked",
    [
        head(*UPGRADE, method=b"POST", upgrade=True),
        head(*UPGRADE, version="1.0", upgrade=True),
        head(*UPGRADE, (b"content-length", b"0"), upgrade=True),
        head(*UPGRADE, (b"content-length", b"5"), upgrade=True),
        head(*UPGRADE, (b"transfer-encoding", b"chunked"), upgrade=True),
    ],
)
def test_S19_upgrade_is_a_plain_get(asked: Head) -> None:
    """A websocket is opened by GET, HTTP/1.1, without a body or its length."""
    assert refusal(asked)[0] == 400


def test_H24_long_lines_of_an_upgrade() -> None:
    """An upgrade with a line over 8000 bytes is 431, where the websocket library would hang."""
    fat = MAX_UPGRADE_LINE - len(b"cookie: \r\n") - len(b"GET  HTTP/1.1")
    assert judge(head(*UPGRADE, (b"cookie", b"a" * fat), upgrade=True)).websocket
    assert refusal(head(*UPGRADE, (b"cookie", b"a" * (fat + 1)), upgrade=True)) == (431, "headers_too_large")
    assert refusal(head(*UPGRADE, target=b"/ws?" + b"a" * 8000, upgrade=True)) == (431, "headers_too_large")


def test_H24_bounds_of_the_headers() -> None:
    """100 headers and 64 KiB pass, one more of either is 431."""
    assert too_large(count=MAX_HEADERS, size=MAX_HEADER_BYTES) is None
    for count, size in ((MAX_HEADERS + 1, 0), (0, MAX_HEADER_BYTES + 1)):
        refused = too_large(count=count, size=size)
        assert refused is not None and (refused.status, refused.type) == (431, "headers_too_large")


@given(
    st.lists(st.tuples(st.sampled_from([b"host", b"content-length", b"transfer-encoding", b"x"]), st.binary())),
    st.binary(),
)
def test_judge_never_fails_otherwise(headers: list[tuple[bytes, bytes]], target: bytes) -> None:
    """Whatever the bytes are, the judgement is a verdict or a refusal."""
    try:
        verdict = judge(Head(b"POST", "1.1", target, headers, upgrade=False))
    except GatewayError as error:
        assert 400 <= error.status < 500
    else:
        assert [name for name, _ in headers].count(b"host") == 1 and not verdict.websocket
