"""Same-origin proof of cookie sessions."""

import pytest

from gateway.errors import CsrfRefused, UnsupportedMedia
from gateway.policy.origin import cookie_name, own_origins, require_json, require_same_origin

OURS = frozenset({"https://gw.example"})
ORIGIN = (b"origin", b"https://gw.example")
FOREIGN = [
    b"https://evil.example",
    b"https://gw.example.evil",
    b"https://evilgw.example",
    b"https://gw.example:444",
    b"http://gw.example",
    b"https://GW.example",
    b"https://gw.example/",
    b"https://gw.example, https://evil.example",
    b"null",
    b"",
    b"\xff",
]
Headers = list[tuple[bytes, bytes]]


def proves(headers: Headers, *, method: str = "POST", websocket: bool = False, mutates: bool = False) -> bool:
    try:
        require_same_origin(method=method, headers=headers, own_origins=OURS, websocket=websocket, mutates=mutates)
    except CsrfRefused as refusal:
        assert (refusal.status, refusal.type) == (403, "csrf")
        return False
    return True


@pytest.mark.parametrize("origin", FOREIGN)
@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"])
def test_C01_C02_foreign_origins(origin: bytes, method: str) -> None:
    """Any Origin but exactly ours is refused, whatever else comes along, also for reading."""
    assert not proves([(b"origin", origin)], method=method)
    assert not proves([(b"origin", origin), (b"sec-fetch-site", b"same-origin")], method=method)
    assert not proves([ORIGIN, (b"origin", origin)], method=method)


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
def test_C02_changing_needs_a_proof(method: str) -> None:
    """A change needs Origin or Sec-Fetch-Site to say that our own page asks, and neither to say otherwise."""
    assert proves([ORIGIN], method=method)
    assert proves([(b"sec-fetch-site", b"same-origin")], method=method)
    assert proves([ORIGIN, (b"sec-fetch-site", b"same-origin")], method=method)
    assert not proves([], method=method)
    for site in (b"cross-site", b"same-site", b"none", b"", b"Same-Origin"):
        assert not proves([(b"sec-fetch-site", site)], method=method)
        assert not proves([ORIGIN, (b"sec-fetch-site", site)], method=method)


def test_C04_C16_reading_needs_none() -> None:
    """Pages load from links of other sites and from the address bar."""
    for site in (b"cross-site", b"same-site", b"none", b"same-origin"):
        assert proves([(b"sec-fetch-site", site)], method="GET")
    assert proves([], method="GET") and proves([ORIGIN], method="HEAD")


def test_C04_a_get_that_changes_something() -> None:
    """A route that changes something on GET needs the proof of a change."""
    assert not proves([], method="GET", mutates=True)
    assert proves([ORIGIN], method="GET", mutates=True)


def test_C05_websockets() -> None:
    """A websocket needs the proof, although it is a GET."""
    assert proves([ORIGIN], method="GET", websocket=True)
    assert not proves([], method="GET", websocket=True)
    for origin in FOREIGN:
        assert not proves([(b"origin", origin)], method="GET", websocket=True)


@pytest.mark.parametrize(
    ("public_url", "host", "expected"),
    [
        ("https://gw.example", "127.0.0.1:8190", {"https://gw.example"}),
        ("https://gw.example:443", None, {"https://gw.example"}),
        ("http://GW.example:8080", None, {"http://gw.example:8080"}),
        (None, "gw.example", {"http://gw.example", "https://gw.example"}),
        (None, "127.0.0.1:8190", {"http://127.0.0.1:8190", "https://127.0.0.1:8190"}),
        (None, "gw.example:443", {"http://gw.example:443", "https://gw.example"}),
        (None, "gw.example:80", {"http://gw.example", "https://gw.example:80"}),
        (None, "[::1]:8190", {"http://[::1]:8190", "https://[::1]:8190"}),
        (None, "", set()),
        (None, None, set()),
    ],
)
def test_our_own_origins(public_url: str | None, host: str | None, expected: set[str]) -> None:
    """The public URL's origin alone, or, without one, the Host's with either scheme."""
    assert own_origins(public_url=public_url, host=host) == expected


@pytest.mark.parametrize(
    "value", [b"application/json", b"application/json; charset=utf-8", b'Application/JSON;charset="UTF-8"']
)
def test_json_is_json(value: bytes) -> None:
    """JSON is taken, with UTF-8 said or unsaid."""
    require_json([(b"content-type", value)])


@pytest.mark.parametrize(
    "values",
    [
        [],
        [b"text/plain"],
        [b"application/x-www-form-urlencoded"],
        [b"multipart/form-data; boundary=x"],
        [b"text/plain; application/json"],
        [b"application/json; charset=utf-7"],
        [b"application/json, text/plain"],
        [b"application/jsonp"],
        [b"application/json", b"text/plain"],
        [b""],
    ],
)
def test_C03_other_types(values: list[bytes]) -> None:
    """Whatever a foreign page's form could send is 415."""
    with pytest.raises(UnsupportedMedia):
        require_json([(b"content-type", value) for value in values])


def test_C09_names_of_the_cookie() -> None:
    """Over https the cookie has the prefix that binds it to this host and to https."""
    assert cookie_name(secure=True) == "__Host-cgw_session"
    assert cookie_name(secure=False) == "cgw_session"
