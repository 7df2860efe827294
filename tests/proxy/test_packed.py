"""Large answers in the encoding that a client takes."""

import gzip
from types import MappingProxyType

import orjson
import pytest

from gateway.comfy.table import TABLE, Call
from gateway.identity.principal import Principal
from gateway.proxy.answer import Answered, Asked
from gateway.proxy.packed import has_it, pack, packed_answer, takes_gzip

VALUE = {"a": ["ö"] * 1000}


async def nothing() -> dict[str, object]:
    return {"type": "http.disconnect"}


async def answer(*headers: tuple[bytes, bytes]) -> Answered:
    call = Call("GET", b"/object_info", b"", "/object_info", TABLE[0], MappingProxyType({}))
    principal = Principal(1, "alice", "member", frozenset(), via="token", credential_id=None, expires_at=None)
    return await packed_answer(pack(VALUE), Asked(call, principal, headers, nothing))


@pytest.mark.parametrize(
    ("asked", "taken"),
    [
        (b"gzip", True),
        (b"gzip, deflate, br", True),
        (b"br;q=1.0, GZIP;q=0.5", True),
        (b"*", True),
        (b"", False),
        (b"identity", False),
        (b"gzip;q=0", False),
        (b"gzip; q=0.000", False),
        (b"gzip;q=0, *", False),
        (b"*;q=0", False),
        (b"gzipped", False),
    ],
)
def test_who_takes_gzip(asked: bytes, taken: bool) -> None:
    """Only a client that asks for gzip gets it."""
    assert takes_gzip(asked) is taken


async def test_both_encodings() -> None:
    """The same value compressed or not, under one tag, with the encoding in Vary beside our own headers."""
    plain, packed = await answer(), await answer((b"accept-encoding", b"deflate"), (b"accept-encoding", b"gzip"))
    assert orjson.loads(plain.body) == orjson.loads(gzip.decompress(packed.body)) == VALUE
    assert len(packed.body) < len(plain.body) / 10
    assert dict(packed.headers)[b"content-encoding"] == b"gzip" and b"content-encoding" not in dict(plain.headers)
    for headers in (dict(plain.headers), dict(packed.headers)):
        assert headers[b"vary"] == b"Authorization, X-API-Key, Cookie, Accept-Encoding"
        assert headers[b"cache-control"] == b"private, no-cache" and headers[b"etag"].startswith(b'W/"')


async def test_a_client_that_has_it() -> None:
    """If-None-Match with the tag is answered with 304 and no body; with another, with all of it."""
    etag = dict((await answer()).headers)[b"etag"]
    for tags in (etag, etag.removeprefix(b"W/"), b'"x", ' + etag, b"*"):
        told = await answer((b"if-none-match", tags))
        assert (told.status, told.body) == (304, b"") and dict(told.headers)[b"etag"] == etag
    assert (await answer((b"if-none-match", b'"x"'))).status == 200


def test_tags() -> None:
    """A tag is matched as a whole."""
    assert has_it(b'W/"ab"', b'"ab"') and not has_it(b'W/"ab"', b'"abc"') and not has_it(b'W/"ab"', b"")


def test_equal_values_have_equal_tags() -> None:
    """The tag depends on the value alone, so that it outlives a restart of the gateway."""
    assert pack(VALUE) == pack(dict(VALUE)) and pack(VALUE).etag != pack({}).etag
