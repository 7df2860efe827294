"""Queries: one value per name, or a refusal."""

from urllib.parse import urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.comfy.query import query_values
from gateway.errors import InvalidRequest


@pytest.mark.parametrize(
    ("query", "values"),
    [
        (b"", {}),
        (b"&", {}),
        (b"a=1&b=2", {"a": "1", "b": "2"}),
        (b"preview=webp;90", {"preview": "webp;90"}),
        (b"filename=a+b%2Bc.png", {"filename": "a b+c.png"}),
        (b"filename=%E4%BD%A0.png", {"filename": "你.png"}),
        (b"subfolder=&type", {"subfolder": "", "type": ""}),
        (b"a=b=c", {"a": "b=c"}),
        (b"rand=0.123&filename=x", {"rand": "0.123", "filename": "x"}),
    ],
)
def test_values(query: bytes, values: dict[str, str]) -> None:
    """A query is read as ComfyUI's server reads it, when every name comes once."""
    assert query_values(query) == values


@pytest.mark.parametrize(
    "query",
    [
        b"subfolder=a&subfolder=b",
        b"subfolder=a&%73ubfolder=b",
        b"a&a",
        b"a=%",
        b"a=%zz",
        b"a=%ff",
        b"a=%00",
        b"a=%0a",
        b"%0d=1",
        "a=é".encode(),
        b"a=1#b",
        b"a= b",
    ],
)
def test_refused(query: bytes) -> None:
    """I11: a repeated name in any spelling, a broken escape or a control character is 400."""
    with pytest.raises(InvalidRequest):
        query_values(query)


TEXT = st.text(st.characters(exclude_categories=["Cc", "Cs"]), max_size=8)


@given(st.dictionaries(TEXT, TEXT, max_size=5))
def test_round_trip(values: dict[str, str]) -> None:
    """What a client encodes by the rules comes back unchanged."""
    assert query_values(urlencode(values).encode()) == values
