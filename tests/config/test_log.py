"""The log keeps secrets and long or strange fields out."""

import json
import logging
from collections.abc import Callable, Iterator
from urllib.parse import quote

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from gateway.identity import tokens
from gateway.log import MAX_FIELD, configure, get_logger, mask, masked

TOKEN = tokens.mint(lambda count: bytes(range(count))).secret_text
JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJ4In0.c2lnbmF0dXJlc2lnbmF0dXJl"


Written = Callable[[], list[str]]


@pytest.fixture
def written(capsys: pytest.CaptureFixture[str]) -> Iterator[Written]:
    """The lines on standard error so far; the set-up of the process's logging is put back afterwards."""
    root = logging.getLogger()
    before = (root.handlers, root.level)
    yield lambda: capsys.readouterr().err.splitlines()
    root.handlers, root.level = before
    structlog.reset_defaults()


def masked_event(**fields: object) -> dict[str, object]:
    return dict(masked(None, "info", fields))


@given(st.text(), st.text(), st.binary(min_size=24, max_size=24), st.booleans())
def test_N06_no_token_gets_through(before: str, after: str, seed: bytes, escaped: bool) -> None:
    """N06: whatever stands around a token, its secret does not reach the log, nor any half of it."""
    text = tokens.mint(lambda count: seed[:count]).secret_text
    secret = text[len("cgw_xxxxxxxx_") :]
    for field in (before + text + after, before + quote(text).replace("_", "%5F" if escaped else "_") + after):
        shown = str(masked_event(event=field)["event"])
        assert secret not in shown and secret[:16] not in shown and secret[16:] not in shown


@pytest.mark.parametrize(
    "line",
    [
        f"GET /ws?clientId=1&token={TOKEN}&x=1",
        "GET /ws?token=not-one-of-ours",
        f"/gateway/t/{TOKEN}/prompt",
        "/gateway/t/not-one-of-ours/prompt",
        f"Authorization: Bearer {JWT}",
        "authorization: Basic bm90LW9uZS1vZi1vdXJz",
        "[(b'host', b'x'), (b'authorization', b'Basic bm90LW9uZS1vZi1vdXJz')]",
        "{'cookie': 'session=not-one-of-ours; theme=dark'}",
        "Set-Cookie: session=not-one-of-ours; Path=/",
        '{"password": "not-one-of-ours"}',
        "X-API-Key: not-one-of-ours",
        "password=not-one-of-ours",
        f"prefix {JWT} suffix",
        "postgresql+asyncpg://gateway:not-one-of-ours@db/gateway cannot be reached",
    ],
)
def test_N06_credentials_are_masked_wherever_they_stand(line: str) -> None:
    """N06: query tokens, cookies, Authorization, API keys, passwords and JWTs do not reach the log."""
    for shown in (mask(line), str(masked_event(event=line)["event"]), str(masked_event(headers=[line])["headers"])):
        assert TOKEN not in shown and JWT not in shown
        assert "not-one-of-ours" not in shown and "bm90LW9uZS1vZi1vdXJz" not in shown


@pytest.mark.parametrize("name", ["token", "password", "cookie", "authorization", "x-api-key", "user_password"])
def test_N06_fields_with_secret_names_are_hidden(name: str) -> None:
    """N06: a field that is called like a secret is hidden whatever is in it."""
    assert masked_event(**{name: "anything"})[name] == "***"


def test_harmless_lines_stay_readable() -> None:
    """Masking does not eat what operators read the log for."""
    line = "GET /view?filename=a.png&type=output 200 12345 bytes user=ann"
    assert masked_event(event=line, status=200, ms=1.5, ok=True, none=None) == {
        "event": line,
        "status": 200,
        "ms": 1.5,
        "ok": True,
        "none": None,
    }


@given(st.text(max_size=2000))
def test_T23_fields_are_bounded_and_escaped(text: str) -> None:
    """T23: a field has at most 256 characters before escaping, and no control character that could forge a line."""
    shown = str(masked_event(user=text)["user"])
    assert all(character.isprintable() or character == " " or ord(character) > 0x9F for character in shown)
    assert not set(shown) & {"\n", "\r", "\x1b", "\x00", "\u2028", "\u202e"}
    assert len(shown) <= MAX_FIELD * len("\\u0000")
    assert len(str(masked_event(user="x" * 1_000_000)["user"])) == MAX_FIELD


def test_lines_are_json(written: Written) -> None:
    """For machines each event is one object on one line of standard error, with level, name and time."""
    configure(json=True)
    get_logger("gateway.test").info("user %s", "x", user="ann\nROOT logged in", path=f"/ws?token={TOKEN}")
    (line,) = map(json.loads, written())
    assert line["event"] == "user x" and line["level"] == "info" and line["logger"] == "gateway.test"
    assert line["user"] == "ann\\u000aROOT logged in" and line["path"] == "/ws?token=***"
    assert str(line["timestamp"]).endswith("Z")


def test_N06_other_libraries_are_masked_too(written: Written) -> None:
    """N06: uvicorn logs the query of an accepted socket; its token does not reach the log."""
    configure(json=True)
    logging.getLogger("uvicorn.error").info('%s - "WebSocket %s" [accepted]', "127.0.0.1", f"/ws?token={TOKEN}")
    logging.getLogger("some.library").debug("too chatty")
    (line,) = map(json.loads, written())
    assert TOKEN not in json.dumps(line) and str(line["event"]).startswith('127.0.0.1 - "WebSocket /ws?token=***')


def test_N06_tracebacks_are_masked_too(written: Written) -> None:
    """N06: a traceback reaches the log with its lines, without secrets, and cannot forge a line."""
    configure(json=True)
    try:
        raise RuntimeError(f"cannot use {TOKEN}\n2026-01-01 [info] all is well")
    except RuntimeError:
        get_logger("gateway.test").exception("failed")
    (line,) = map(json.loads, written())
    assert "Traceback" in str(line["exception"]) and TOKEN not in str(line["exception"])
    assert "\n  | 2026-01-01 [info]" in str(line["exception"])


def test_lines_for_people(written: Written) -> None:
    """For people the same events are plain lines, one each, masked as well."""
    configure(json=False)
    get_logger("gateway.test").warning("look", path=f"/ws?token={TOKEN}")
    (line,) = written()
    assert "look" in line and "warning" in line and TOKEN not in line
