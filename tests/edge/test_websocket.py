"""What the websocket protocol does not say."""

import logging

import pytest

from tests.edge.live import live
from tests.edge.test_protocol import UPGRADE


def upgrade(path: bytes) -> bytes:
    return b"GET %b HTTP/1.1\r\n%b\r\n" % (path, UPGRADE)


def test_C13_no_address_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """Neither an accepted nor a refused websocket leaves its address, or an error, in the server's own log."""
    caplog.set_level(logging.DEBUG)
    with live() as running:
        wire = running.wire()
        wire.send(upgrade(b"/ws?token=secret"))
        assert wire.answer().status == 101
        wire.send(b"\x81\x82\x00\x00\x00\x00hi")
        assert wire.exactly(4) == b"\x81\x02hi"
        assert running.ask(upgrade(b"/refused?token=secret")).status == 401
    assert "secret" not in caplog.text
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]
