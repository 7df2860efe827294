"""Which opening handshakes of websockets are refused, and in which words."""

import json

import pytest

from gateway.edge.handshake import judge_handshake
from gateway.errors import InvalidRequest
from tests.edge.live import live

KEY = (b"sec-websocket-key", b"dGhlIHNhbXBsZSBub25jZQ==")
VERSION = (b"sec-websocket-version", b"13")
UPGRADE = (b"connection", b"Upgrade")


@pytest.mark.parametrize(
    "more",
    [
        [],
        [(b"origin", b"http://gw.example")],
        [(b"sec-websocket-protocol", b"chat, superchat")],
        [(b"sec-websocket-extensions", b"permessage-deflate; client_max_window_bits")],
        [(b"connection", b"keep-alive")],
    ],
)
def test_ordinary_handshakes_pass(more: list[tuple[bytes, bytes]]) -> None:
    """What browsers and libraries send is not refused."""
    judge_handshake([KEY, VERSION, UPGRADE, *more])


BAD = {
    "no key": [VERSION, UPGRADE],
    "two keys": [KEY, KEY, VERSION, UPGRADE],
    "an empty key": [(KEY[0], b""), VERSION, UPGRADE],
    "a short key": [(KEY[0], b"c2hvcnQ="), VERSION, UPGRADE],
    "a long key": [(KEY[0], b"dGhlIHNhbXBsZSBub25jZSBpcyBsb25n"), VERSION, UPGRADE],
    "no base 64": [(KEY[0], b"dGhlIHNhbXBsZSBub25jZQ*="), VERSION, UPGRADE],
    "no version": [KEY, UPGRADE],
    "an old version": [KEY, (VERSION[0], b"8"), UPGRADE],
    "two versions": [KEY, VERSION, VERSION, UPGRADE],
    "no words": [KEY, VERSION, (UPGRADE[0], b"Upgrade, ;")],
    "another connection": [KEY, VERSION, (UPGRADE[0], b"close")],
    "an odd protocol": [KEY, VERSION, UPGRADE, (b"sec-websocket-protocol", b"a b")],
    "an empty protocol": [KEY, VERSION, UPGRADE, (b"sec-websocket-protocol", b"")],
    "two origins": [KEY, VERSION, UPGRADE, (b"origin", b"http://a"), (b"origin", b"http://b")],
}


@pytest.mark.parametrize("headers", BAD.values(), ids=BAD.keys())
def test_bad_handshakes(headers: list[tuple[bytes, bytes]]) -> None:
    """What cannot be answered with 101 is refused, before anybody else looks at it."""
    with pytest.raises(InvalidRequest):
        judge_handshake(headers)


def test_they_have_the_contracts_shape() -> None:
    """Each of them, on a real socket, is 400 `invalid_request` as JSON; a wrong version names the right one."""
    with live() as running:
        for name, headers in BAD.items():
            lines = b"".join(b"%b: %b\r\n" % field for field in headers)
            head = b"GET /ws HTTP/1.1\r\nHost: gw.example\r\nUpgrade: websocket\r\n" + lines + b"\r\n"
            if name == "another connection":
                continue
            answer = running.ask(head)
            assert answer.status == 400, name
            error = json.loads(answer.body)
            assert error["error"]["type"] == "invalid_request" and error["node_errors"] == {} and error["request_id"]
            if "version" in name:
                assert answer.headers["sec-websocket-version"] == "13"
        assert running.seen.websockets == []
