"""The line of log of each request."""

import json
from dataclasses import replace

import pytest

from gateway.edge.access_log import AccessLog, Line

LINE = Line(
    method="GET",
    path="/view",
    status=200,
    bytes=12,
    milliseconds=1.26,
    user="alice",
    ip="127.0.0.1",
    request_id="abc",
    reason="",
)


def written(asked: Line, *, as_json: bool = True) -> str:
    lines: list[str] = []
    AccessLog(json=as_json, write=lines.append, clock=lambda: 1_800_000_000.9).write(asked)
    return lines[0]


def test_json() -> None:
    """A line of JSON with who, what, how and how long."""
    assert json.loads(written(LINE)) == {
        "event": "request",
        "timestamp": "2027-01-15T08:00:00Z",
        "method": "GET",
        "path": "/view",
        "status": 200,
        "bytes": 12,
        "ms": 1.3,
        "user": "alice",
        "ip": "127.0.0.1",
        "request_id": "abc",
    }


def test_text() -> None:
    """A line for people."""
    expected = "2027-01-15T08:00:00Z GET /view 200 12 B 1.3 ms alice 127.0.0.1 abc\n"
    assert written(LINE, as_json=False) == expected
    refused = written(replace(LINE, status=401, user=None, reason="no credential"), as_json=False)
    assert refused.endswith("401 12 B 1.3 ms - 127.0.0.1 abc 'no credential'\n")


@pytest.mark.parametrize("as_json", [True, False])
def test_N06_no_secret_and_one_line(as_json: bool) -> None:
    """Tokens in the path are masked, line breaks cannot begin another line, and a long path is cut."""
    path = "/gateway/t/cgw_aaaaaaaa_0123456789abcdefghijklmnopqrstuvwxyzABC/x\r\nGET /forged" + "a" * 5000
    text = written(replace(LINE, path=path, reason="bad cgw_aaaaaaaa_0123456789"), as_json=as_json)
    assert "0123456789" not in text
    assert text.count("\n") == 1 and text.endswith("\n") and "\r" not in text
    assert len(text) < 1000
