"""Which answers other sites may read."""

from gateway.edge.cors import Cors

LISTED = Cors(["https://app.example", "http://localhost:3000"])
APP = (b"origin", b"https://app.example")


def test_listed_origins_may_read() -> None:
    """An answer for a listed origin says so, names exactly that origin, and never allows cookies."""
    headers = dict(LISTED.headers([APP]))
    assert headers[b"access-control-allow-origin"] == b"https://app.example"
    assert headers[b"vary"] == b"Origin"
    assert b"access-control-allow-credentials" not in headers


def test_C14_others_may_not() -> None:
    """Another origin, a similar one, `null`, none, and two at once get no permission."""
    for origins in ([b"https://evil.example"], [b"https://app.example.evil"], [b"null"], [], [APP[1], APP[1]]):
        headers = dict(LISTED.headers([(b"origin", origin) for origin in origins]))
        assert headers == {b"vary": b"Origin"}


def test_no_list_means_nobody() -> None:
    """Without listed origins nothing is added to any answer."""
    assert Cors([]).headers([APP]) == []
    assert Cors([]).preflight([APP, (b"access-control-request-method", b"POST")]) is None


def test_preflight() -> None:
    """A listed origin is told which methods it may use, and may use the headers that it asked for."""
    asked = [
        APP,
        (b"access-control-request-method", b"POST"),
        (b"access-control-request-headers", b"authorization, x-a"),
    ]
    answer = dict(LISTED.preflight(asked) or [])
    assert b"POST" in answer[b"access-control-allow-methods"]
    assert answer[b"access-control-allow-headers"] == b"authorization, x-a"


def test_C14_preflight_of_others() -> None:
    """A preflight of another origin, and an OPTIONS that is none, are nothing that this answers."""
    method = (b"access-control-request-method", b"POST")
    assert LISTED.preflight([(b"origin", b"https://evil.example"), method]) is None
    assert LISTED.preflight([APP]) is None
    assert LISTED.preflight([method]) is None


def test_odd_header_names_are_not_repeated() -> None:
    """Only what looks like header names is repeated in the answer."""
    asked = [APP, (b"access-control-request-method", b"POST"), (b"access-control-request-headers", b"a\xff, <script>")]
    assert b"access-control-allow-headers" not in dict(LISTED.preflight(asked) or [])
