"""Same-origin proof of ambient credentials."""

from typing import cast

import pytest

from gateway.errors import CsrfRefused, UnsupportedMedia
from gateway.identity.principal import Principal, Via
from gateway.policy.origin import (
    cookie_name,
    may_be_forged,
    own_origins,
    require_json,
    require_lax,
    require_own_host,
    require_same_origin,
)

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


def somebody(via: Via) -> Principal:
    return Principal(1, "ann", "member", frozenset({"read"}), via, None, None)


@pytest.mark.parametrize(
    ("headers", "may_be"),
    [
        ([], False),
        ([(b"user-agent", b"python-requests/2.32"), (b"accept", b"*/*")], False),
        ([(b"user-agent", b"curl/8.0"), (b"sec-websocket-key", b"x")], False),
        ([(b"user-agent", b"Mozilla/5.0 (X11)")], True),
        ([(b"user-agent", b" mozilla/5.0")], True),
        ([(b"origin", b"null")], True),
        ([(b"referer", b"http://x/")], True),
        ([(b"cookie", b"a=b")], True),
        ([(b"accept-language", b"en")], True),
        ([(b"sec-fetch-mode", b"cors")], True),
        ([(b"sec-ch-ua", b"x")], True),
    ],
)
def test_what_a_browser_may_have_been_made_to_send(headers: Headers, may_be: bool) -> None:
    """A cookie always needs the proof, a header and a network wherever a browser may have sent them, a token never."""
    assert may_be_forged(somebody("session"), headers)
    assert may_be_forged(somebody("header"), headers) is may_be
    assert may_be_forged(somebody("network"), headers) is may_be
    for via in ("token", "password", "jwt"):
        assert not may_be_forged(somebody(cast(Via, via)), headers)


@pytest.mark.parametrize("site", [b"cross-site", b"same-site", b"", b"x"])
def test_parts_of_other_sites_pages(site: bytes) -> None:
    """Where a Lax cookie would not come along nothing else does: only a link that is followed is taken."""
    navigates: Headers = [(b"sec-fetch-site", site), (b"sec-fetch-mode", b"navigate")]
    require_lax(method="GET", headers=navigates, websocket=False)
    for method, websocket, headers in (
        ("GET", False, [(b"sec-fetch-site", site), (b"sec-fetch-mode", b"no-cors")]),
        ("GET", False, [(b"sec-fetch-site", site)]),
        ("GET", False, [*navigates, (b"sec-fetch-mode", b"cors")]),
        ("POST", False, navigates),
        ("GET", True, navigates),
    ):
        with pytest.raises(CsrfRefused):
            require_lax(method=method, headers=headers, websocket=websocket)
    for own in (b"same-origin", b"none"):
        require_lax(method="GET", headers=[(b"sec-fetch-site", own)], websocket=False)
    require_lax(method="POST", headers=[], websocket=True)


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "127.0.0.1:8190", "[::1]:8190", "[fe80::1]", "gpu-box", "GW.example:8190", "localhost:1"]
)
def test_hosts_that_are_ours(host: str) -> None:
    """Our own name, an address, or a name without a dot, with any port."""
    require_own_host(public_url="https://gw.example", host=host)


@pytest.mark.parametrize(
    "host",
    [None, "", "evil.example", "gw.example.evil.example", "x.gw.example", "evil.example:80", "gw.example."],
)
def test_hosts_that_may_be_somebody_elses(host: str | None) -> None:
    """Any other name may have been pointed at us by whoever has it."""
    with pytest.raises(CsrfRefused):
        require_own_host(public_url="https://gw.example", host=host)
    with pytest.raises(CsrfRefused):
        require_own_host(public_url=None, host=host)
