"""One answer, out of the bytes of a connection."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.upstream.answer import HEAD_BYTES, HEAD_LINES, AnswerReader, MalformedAnswerError

CHUNKED = (
    b"HTTP/1.1 200 OK\r\nX-A: 1\r\nx-a: 2\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"3\r\nabc\r\n4;x=y\r\ndefg\r\n0\r\nT: u\r\n\r\n"
)
GOOD = {
    "length": (b"HTTP/1.1 200 OK\r\nX-A: 1\r\nx-a: 2\r\nContent-Length: 7\r\n\r\nabcdefg", 7),
    "chunks": (CHUNKED, None),
    "behind interim answers": (b"HTTP/1.1 100 Go\r\n\r\nHTTP/1.1 103 Hints\r\nLink: x\r\n\r\n" + CHUNKED, None),
}


def read(raw: bytes, cuts: list[int], *, bodiless: bool = False) -> AnswerReader:
    """The answer in these bytes, fed in pieces that end at the cuts."""
    reader = AnswerReader(bodiless=bodiless)
    places = sorted({0, len(raw), *(cut for cut in cuts if cut < len(raw))})
    for start, end in pairwise(places):
        reader.feed(raw[start:end])
    return reader


@pytest.mark.parametrize("name", GOOD)
@given(cuts=st.lists(st.integers(min_value=0, max_value=200)))
def test_the_pieces_in_which_an_answer_comes_change_nothing(name: str, cuts: list[int]) -> None:
    """Headers in order with their duplicates, the body, and the end are the same however the bytes are cut."""
    raw, length = GOOD[name]
    reader = read(raw, cuts)
    assert (reader.status, reader.length, reader.complete, reader.keeps) == (200, length, True, True)
    assert reader.headers[:2] == [(b"X-A", b"1"), (b"x-a", b"2")]
    assert b"".join(reader.pieces) == b"abcdefg"
    assert reader.held == 7


@given(
    raw=st.lists(
        st.sampled_from(
            [b"HTTP/1.1 ", b"200 OK", b"100 Go", b"304 X", b"\r\n", b"Content-Length: 3", b"Transfer-Encoding: chunked",
             b"Connection: close", b"Upgrade: x", b"Connection: upgrade", b"abc", b"3", b"0", b"\n", b"\x00", b": "]
        ),
        max_size=30,
    ).map(b"".join),
    cuts=st.lists(st.integers(min_value=0, max_value=300), max_size=5),
    bodiless=st.booleans(),
)  # fmt: skip
def test_whatever_comes_is_an_answer_a_part_of_one_or_malformed(raw: bytes, cuts: list[int], bodiless: bool) -> None:
    """No bytes raise anything else, and a complete answer with a declared length has just that length."""
    try:
        reader = read(raw, cuts, bodiless=bodiless)
    except MalformedAnswerError:
        return
    if reader.complete and not bodiless and reader.length is not None and reader.status != 304:
        assert sum(map(len, reader.pieces)) == reader.length


@pytest.mark.parametrize("rest", [b"x", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"])
def test_s23_what_follows_an_answer_in_the_same_bytes_makes_it_malformed(rest: bytes) -> None:
    """Nobody can say which of the two was meant for the one who asked."""
    reader = AnswerReader(bodiless=False)
    with pytest.raises(MalformedAnswerError):
        reader.feed(GOOD["length"][0] + rest)
    assert not reader.complete


def test_what_follows_later_leaves_the_answer_good() -> None:
    """An answer that was complete is one."""
    reader = read(GOOD["length"][0], [])
    with pytest.raises(MalformedAnswerError):
        reader.feed(b"x")
    assert reader.complete


@pytest.mark.parametrize(
    ("head", "keeps"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n", True),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: keep-alive\r\n", True),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: x, Close\r\n", False),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\n", False),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\nConnection: keep-alive\r\n", False),
    ],
)
def test_a_connection_is_kept_only_where_the_answer_says_nothing_else(head: bytes, keeps: bool) -> None:
    """HTTP/1.1 without `close`."""
    reader = read(head + b"\r\n", [])
    assert (reader.complete, reader.keeps) == (True, keeps)


def test_an_answer_without_framing_ends_with_its_connection() -> None:
    """Only an orderly end makes it complete."""
    reader = read(b"HTTP/1.1 200 OK\r\n\r\nabc", [])
    assert not reader.complete
    assert reader.end()
    assert not read(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nabc", []).end()
    assert not read(b"HTTP/1.1 200 OK\r\n", []).end()


@pytest.mark.parametrize(
    "raw",
    [
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\na",
        b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * (HEAD_LINES + 1) + b"\r\n",
        b"HTTP/1.1 200 OK\r\na: " + b"b" * HEAD_BYTES,
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;" + b"x" * HEAD_BYTES,
        b"HTTP/1.1 150 Wait\r\nContent-Length: 4\r\n\r\nevil" + GOOD["length"][0],
    ],
)
def test_what_could_be_read_in_two_ways_or_without_end_is_malformed(raw: bytes) -> None:
    """Every doubt about where an answer ends is a refusal; heads, trailers and extensions are bounded."""
    with pytest.raises(MalformedAnswerError):
        read(raw, [])


@pytest.mark.parametrize("rest", [b"", b"4", b"4\r\n", b"0\r\n\r\n"])
def test_s23_a_chunked_answer_to_head_is_the_last_on_its_connection(rest: bytes) -> None:
    """Nothing may follow it, and of a chunk's head the parser does not say that it does."""
    reader = read(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + rest, [], bodiless=True)
    assert (reader.complete, reader.keeps) == (True, False)
