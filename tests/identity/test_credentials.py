"""Which credentials a request carries, and in which order they are tried."""

import base64
import secrets
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.identity import tokens
from gateway.identity.credentials import (
    CREDENTIAL_HEADERS,
    MOST_OF_A_KIND,
    Credential,
    Jwt,
    Token,
    UserPassword,
    find,
    without_token,
)

TOKEN = tokens.mint(secrets.token_bytes).secret_text
JWT = "aaa.bbb.ccc"
NAME = "comfy_gateway"


def found(
    *headers: tuple[bytes, bytes], query: bytes = b"", path_token: str | None = None, cookie_name: str = NAME
) -> tuple[Credential, ...]:
    return find(path_token=path_token, headers=list(headers), query=query, cookie_name=cookie_name)


def basic(pair: str) -> tuple[bytes, bytes]:
    return (b"authorization", b"Basic " + base64.b64encode(pair.encode()))


def authorization(value: bytes) -> tuple[bytes, bytes]:
    return (b"authorization", value)


def test_nothing_is_nothing() -> None:
    """A request without credentials has none."""
    assert found((b"host", b"x"), (b"cookie", b"theme=dark"), query=b"clientId=1") == ()


def test_the_order_of_the_contract() -> None:
    """Path token, X-API-Key, Bearer, Basic, query, cookie: in this order, whatever the order of the header lines."""
    headers = (
        (b"cookie", f"{NAME}=a.b.c".encode()),
        basic("ann:pw"),
        authorization(b"Bearer two"),
        (b"x-api-key", b"one"),
    )
    assert found(*headers, query=b"token=three", path_token="zero") == (
        Token("zero", "path"),
        Token("one", "x-api-key"),
        Token("two", "bearer"),
        UserPassword("ann", "pw"),
        Token("three", "query"),
        Jwt("a.b.c", "cookie"),
    )


def test_a_bad_one_never_hides_a_good_one() -> None:
    """Every line of a header is a candidate, in order: a wrong key in front leaves the right one to be tried."""
    headers = (
        (b"x-api-key", b"bad"),
        (b"X-API-Key", TOKEN.encode()),
        authorization(b"Bearer"),
        authorization(b"Bearer x"),
    )
    assert found(*headers) == (Token("bad", "x-api-key"), Token(TOKEN, "x-api-key"), Token("x", "bearer"))


@pytest.mark.parametrize("value", [b"Bearer", b"Bearer ", b"bearer", b"", b"Basic", b"Basic ", b" ", b"\t"])
def test_an_empty_one_is_no_credential(value: bytes) -> None:
    """An empty Bearer, Basic or X-API-Key is no credential, so it is neither tried nor counted as a failure."""
    assert found(authorization(value), (b"x-api-key", b""), query=b"token=&token", path_token="") == ()


@pytest.mark.parametrize("scheme", [b"Bearer", b"bearer", b"BEARER", b"bEaReR"])
def test_H18_schemes_have_no_case(scheme: bytes) -> None:
    """H18: the scheme's case means nothing."""
    assert found(authorization(scheme + b" x")) == (Token("x", "bearer"),)


@pytest.mark.parametrize(
    "value", [b"Bearer  x", b"Bearer\tx", b"Bearer x y", b"Bearerx", b"Bearer=x", b"Token x", b"Bearer x\x00"]
)
def test_H18_other_spellings_are_no_credential(value: bytes) -> None:
    """H18: Bearer and its token have exactly one space between them; a tab, two spaces or more words are not read."""
    assert found(authorization(value)) == ()


def test_H18_a_trailing_comma_belongs_to_the_token() -> None:
    """H18: nothing is repaired: a comma at the end makes it another token, which nobody has."""
    assert found(authorization(b"Bearer x,")) == (Token("x,", "bearer"),)
    assert tokens.parse(TOKEN + ",") is None


def test_two_dots_make_a_jwt() -> None:
    """A Bearer text in three segments is read as a JWT, all others as a token."""
    assert found(authorization(b"Bearer " + JWT.encode())) == (Jwt(JWT, "bearer"),)
    for other in ("a.b", "a.b.c.d", "a"):
        assert found(authorization(b"Bearer " + other.encode())) == (Token(other, "bearer"),)


def test_basic_with_a_token_as_password() -> None:
    """`http://me:TOKEN@host` works with any user name, also none."""
    for name in ("me", "", "a", "ünal"):
        assert found(basic(f"{name}:{TOKEN}")) == (Token(TOKEN, "basic"),)


@pytest.mark.parametrize(
    ("pair", "credential"),
    [
        ("ann:pass:word", UserPassword("ann", "pass:word")),
        ("ann:pässwörd", UserPassword("ann", "pässwörd")),
        (":pw", UserPassword("", "pw")),
        ("ann: ", UserPassword("ann", " ")),
    ],
)
def test_basic_with_name_and_password(pair: str, credential: Credential) -> None:
    """RFC 7617: the first colon ends the name; the text is UTF-8."""
    assert found(basic(pair)) == (credential,)


@pytest.mark.parametrize(
    "value",
    [
        b"Basic " + base64.b64encode(b"ann"),
        b"Basic " + base64.b64encode(b"ann:"),
        b"Basic " + base64.b64encode(b"ann:\xff\xfe"),
        b"Basic YW5u OnB3",
        b"Basic !!!!",
        b"Basic  " + base64.b64encode(b"ann:pw"),
    ],
)
def test_unreadable_basic_is_no_credential(value: bytes) -> None:
    """Basic that is not base64 of UTF-8 with a name, a colon and a password is not read."""
    assert found(authorization(value)) == ()


@pytest.mark.parametrize("query", [b"token=x", b"a=1&token=x&b=2", b"t%6fken=x", b"token=%78", b"&&token=x"])
def test_a_token_in_the_query(query: bytes) -> None:
    """`?token=` is a credential, wherever it stands and however it is escaped."""
    assert found(query=query) == (Token("x", "query"),)


@pytest.mark.parametrize(
    "query", [b"Token=x", b"token[]=x", b"xtoken=x", b"token", b"token=%", b"token=%zz", b"a=token=x"]
)
def test_other_parameters_are_no_credential(query: bytes) -> None:
    """Only `token` is one, and only if its escapes can be read."""
    assert found(query=query) == ()


def test_cookies_are_found_among_others() -> None:
    """Our cookie is found on any line and beside any others; one of another name is not ours."""
    name = NAME.encode()
    cookie = b"theme=dark; " + name + b"=a.b.c;x" + name + b"=no; " + name + b"x=no"
    assert found((b"cookie", cookie), (b"cookie", name + b"=d")) == (Jwt("a.b.c", "cookie"), Jwt("d", "cookie"))


def test_of_one_kind_only_a_few_are_tried() -> None:
    """One request cannot ask for a thousand password checks: of each kind the first four count."""
    many = [basic(f"ann:{number}") for number in range(50)]
    assert found(*many, query=b"token=x&" * 50) == (
        *(UserPassword("ann", str(number)) for number in range(MOST_OF_A_KIND)),
        *[Token("x", "query")] * MOST_OF_A_KIND,
    )


@given(
    st.none() | st.text(),
    st.lists(st.tuples(st.sampled_from([b"authorization", b"x-api-key", b"cookie"]) | st.binary(), st.binary())),
    st.binary(),
)
def test_no_bytes_make_it_fail(path_token: str | None, headers: list[tuple[bytes, bytes]], query: bytes) -> None:
    """Whatever a client sends, reading it gives an answer."""
    find(path_token=path_token, headers=headers, query=query, cookie_name=NAME)


@given(st.sampled_from([b"Bearer ", b"Basic ", b"basic  ", NAME.encode() + b"=", b"token="]), st.binary())
def test_no_bytes_behind_a_scheme_make_it_fail(start: bytes, more: bytes) -> None:
    """The same, with the beginnings that are looked for."""
    for header in (b"authorization", b"cookie"):
        find(path_token=None, headers=[(header, start + more)], query=start + more, cookie_name=NAME)


def test_N06_texts_of_credentials_do_not_show_them() -> None:
    """N06: a credential that ends up in a traceback or a log line by its text does not show itself."""
    shown = repr(found(basic("ann:pw-of-ann"), authorization(b"Bearer a.b.secret"), (b"x-api-key", TOKEN.encode())))
    assert "pw-of-ann" not in shown and "secret" not in shown and TOKEN not in shown


@pytest.mark.parametrize(
    ("query", "left"),
    [
        (b"", b""),
        (b"token=x", b""),
        (b"a=1&token=x", b"a=1"),
        (b"token=x&a=1", b"a=1"),
        (b"a=%2f&token=x&b=+&token=y", b"a=%2f&b=+"),
        (b"tok%65n=x&a", b"a"),
        (b"a=1&&b;token=x&", b"a=1&&b;token=x&"),
        (b"Token=x&mytoken=y", b"Token=x&mytoken=y"),
        (b"\xff\xfe=%zz&token", b"\xff\xfe=%zz"),
    ],
)
def test_the_token_leaves_the_query(query: bytes, left: bytes) -> None:
    """`?token=` is never forwarded; all other bytes of the query stay as they were."""
    assert without_token(query) == left


@given(st.lists(st.binary().filter(lambda pair: b"&" not in pair)), st.integers(0, 5))
def test_other_bytes_of_the_query_stay(pairs: list[bytes], place: int) -> None:
    """For any query: with a token put in and taken out again it is the same bytes."""
    query = without_token(b"&".join(pairs))
    there = query.split(b"&")
    there.insert(min(place, len(there)), b"token=" + quote(TOKEN).encode())
    assert without_token(b"&".join(there)) == query


def test_our_headers_are_named() -> None:
    """The headers that carry our credentials, and so never go to ComfyUI."""
    assert {b"authorization", b"x-api-key"} == CREDENTIAL_HEADERS
