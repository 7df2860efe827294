"""JSON bodies: one reading, or a refusal."""

import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gateway.comfy.document import Limits, read
from gateway.errors import InvalidPrompt, InvalidRequest, TooLarge

LIMITS = Limits()


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{not json",
        b"null x",
        b"[1,]",
        b"{'a': 1}",
        b"[01]",
        b"[+1]",
        b"[.5]",
        b"[NaN]",
        b"[Infinity]",
        b"[-Infinity]",
        b"[1e400]",
        b'["\\ud800"]',
        b'["\\udc00\\ud800"]',
        b'["a\nb"]',
        b"\xef\xbb\xbf{}",
        '{"a": 1}'.encode("utf-16"),
        '{"a": 1}'.encode("utf-16-le"),
        '{"a": 1}'.encode("utf-32"),
        b'{"a": "\xff"}',
        b'{"a": "\xed\xa0\x80"}',
        b"+AHs-+AH0-",
    ],
)
def test_not_strict_json(body: bytes) -> None:
    """Security 4.3: NaN, Infinity, lone surrogates, other encodings than UTF-8 and what is no JSON are refused."""
    with pytest.raises(InvalidRequest):
        read(body, limits=LIMITS)


@pytest.mark.parametrize(
    "body",
    [
        b'{"a": 1, "a": 2}',
        b'{"a": 1, "\\u0061": 2}',
        b'{"": 1, "": 2}',
        b'[[{"x": {"b": 1, "c": 2, "b": 1}}]]',
        b'{"a\\"": 1, "a\\u0022": 1}',
        b'{"a\\\\": 1, "b": "\\\\", "a\\u005c": ":"}',
    ],
)
def test_equal_keys(body: bytes) -> None:
    """Security 4.3: a key that comes twice, in whatever spelling, is refused: readers disagree which one counts."""
    with pytest.raises(InvalidRequest, match="same key twice"):
        read(body, limits=LIMITS)


@pytest.mark.parametrize(
    ("body", "value"),
    [
        (b'{"a": {"a": {"a": 1}}, "b": {"a": 1}}', {"a": {"a": {"a": 1}}, "b": {"a": 1}}),
        (b'{"a": ":", "b": "\\":\\"", "c": "\\\\"}', {"a": ":", "b": '":"', "c": "\\"}),
        (b'{"a\\"b": "{[", "c:d": "]}"}', {'a"b': "{[", "c:d": "]}"}),
        (b"[18446744073709551615, -9223372036854775808]", [2**64 - 1, -(2**63)]),
        (b"[0.1234567890123456789012345]", [0.12345678901234568]),
        ('{"ключ": "你好 🎨"}'.encode(), {"ключ": "你好 🎨"}),
        (b' \t\r\n"x"', "x"),
    ],
)
def test_read(body: bytes, value: Any) -> None:
    """Text that looks like structure is text, and a 64-bit seed keeps its every digit."""
    assert read(body, limits=LIMITS) == value


@pytest.mark.parametrize("body", [b"[18446744073709551616]", b"[-9223372036854775809]", b"[" + b"9" * 300 + b"]"])
def test_long_integers(body: bytes) -> None:
    """D07: an integer that would silently become another number is refused, however long it is."""
    with pytest.raises(InvalidRequest, match="number that is too long") as refusal:
        read(body, limits=LIMITS)
    assert len(refusal.value.details) <= 64


def test_absurd_numbers() -> None:
    """D07: a number of absurd length is refused, whole or not."""
    with pytest.raises(InvalidRequest):
        read(b"[" + b"9" * 1_000_000 + b"]", limits=LIMITS)
    with pytest.raises(InvalidRequest, match="number that is too long"):
        read(b"[0." + b"1" * 100 + b"]", limits=LIMITS)


def _nested(depth: int, opening: str = "[", closing: str = "]") -> bytes:
    return (opening * depth + closing * depth).encode()


def test_depth() -> None:
    """Security 2: 64 levels are read, 65 are refused, of lists and of objects alike."""
    assert read(_nested(64), limits=LIMITS) is not None
    assert read(b'{"a":' * 64 + b"1" + b"}" * 64, limits=LIMITS) is not None
    for body in (_nested(65), b'{"a":' * 65 + b"1" + b"}" * 65, b'{"a":[' * 33 + b"1" + b"]}" * 33):
        with pytest.raises(InvalidRequest, match="too deeply"):
            read(body, limits=LIMITS)


@pytest.mark.parametrize("depth", [1_000, 1_024, 1_100, 200_000])
def test_great_depth(depth: int) -> None:
    """D07: a body nested 200,000 levels deep is a refusal, never a RecursionError."""
    for body in (_nested(depth), b"[" * depth, b'{"a":' * depth, _nested(depth) * 2):
        with pytest.raises(InvalidRequest):
            read(body, limits=LIMITS)


def test_brackets_in_texts_are_no_depth() -> None:
    """A prompt may be about brackets."""
    assert read(json.dumps(["[" * 1000, '"[' * 100, "\\" * 7 + "["]).encode(), limits=LIMITS)


def test_size() -> None:
    """D07: 8 MiB are read, one byte more is 413."""
    body = b'"' + b"a" * (LIMITS.max_bytes - 2) + b'"'
    assert len(read(body, limits=LIMITS)) == LIMITS.max_bytes - 2
    with pytest.raises(TooLarge) as refusal:
        read(body + b" ", limits=LIMITS)
    assert refusal.value.status == 413


def test_many_values() -> None:
    """D07: a body of a million keys is refused before it is parsed."""
    body = b"{" + b",".join(b'"%d":0' % number for number in range(1_000_000)) + b"}"
    with pytest.raises(InvalidRequest, match="too many values"):
        read(body, limits=Limits(max_bytes=len(body)))


def test_refusal_is_the_callers() -> None:
    """The caller says which kind of refusal it is, so that a bad submit reads as one."""
    with pytest.raises(InvalidPrompt):
        read(b"{", limits=LIMITS, refusal=InvalidPrompt)


KEYS = st.text(max_size=3)
SCALARS = (
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False, allow_infinity=False)
)
VALUES = st.recursive(
    SCALARS | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=15,
)


@given(VALUES, st.booleans(), st.sampled_from([None, 1]))
@example({"\\": '":', '"': "\\"}, True, None)
def test_every_value_comes_back(value: Any, ascii_only: bool, indent: int | None) -> None:
    """Any JSON value, however it is written, is read as it is."""
    body = json.dumps(value, ensure_ascii=ascii_only, indent=indent).encode()
    assert read(body, limits=LIMITS) == value


@st.composite
def objects(draw: st.DrawFn) -> tuple[str, bool]:
    """An object as text, written key by key, and whether some key comes twice in it or below."""
    twice = False
    parts = []
    keys = draw(
        st.lists(st.sampled_from(['"a"', '"\\u0061"', '"b"', '"\\""', '"\\\\"', '"a:"', '"{"', '""']), max_size=5)
    )
    for key in keys:
        if draw(st.integers(0, 5)) == 0:
            inner, inner_twice = draw(objects())
            twice = twice or inner_twice
        else:
            inner = draw(st.sampled_from(['":"', '"\\":"', '"\\\\"', "[1]", "null", '"a"', '["\\\\\\"", ":"]']))
        parts.append(f"{key}: {inner}")
    names = [json.loads(key) for key in keys]
    return "{" + ", ".join(parts) + "}", twice or len(set(names)) < len(names)


@given(objects())
def test_equal_keys_are_always_found(case: tuple[str, bool]) -> None:
    """An object is refused exactly when it, or one inside it, has a key twice."""
    text, twice = case
    if twice:
        with pytest.raises(InvalidRequest, match="same key twice"):
            read(text.encode(), limits=LIMITS)
    else:
        assert read(text.encode(), limits=LIMITS) == json.loads(text)


@given(st.binary(max_size=40) | st.text(alphabet='{}[]":,\\0123456789.eE-+ntfu \n', max_size=40).map(str.encode))
def test_any_bytes_are_read_or_refused(body: bytes) -> None:
    """No body makes the reader fail in another way; what it reads, Python's own reader reads alike."""
    try:
        value = read(body, limits=LIMITS)
    except InvalidRequest:
        return
    assert json.loads(body) == value
