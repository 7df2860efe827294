"""Which headers cross the gateway."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.comfy.table import TABLE
from gateway.errors import UpstreamFault
from gateway.proxy.headers import Treatment, answer_headers, request_headers, treatment_of

SPELLINGS = [
    lambda name: name,
    lambda name: name.upper(),
    lambda name: name.title(),
    lambda name: name.replace(b"-", b"_"),
    lambda name: name.replace(b"-", b"."),
    lambda name: name.upper().replace(b"-", b"_"),
]

REMOVED = {
    "H04": [b"x-real-ip", b"true-client-ip", b"cf-connecting-ip", b"forwarded", b"x-forwarded-for", b"via"],
    "H05": [b"comfy-user"],
    "H07": [b"x-forwarded-user", b"x-auth-request-user", b"remote-user", b"x-gateway-user", b"x-gateway-role"],
    "H08": [
        b"x-forwarded-uri",
        b"x-forwarded-prefix",
        b"x-forwarded-method",
        b"x-forwarded-port",
        b"x-forwarded-host",
        b"x-forwarded-proto",
        b"x-original-url",
        b"x-rewrite-url",
        b"x-http-method-override",
    ],
    "H10": [b"authorization", b"cookie", b"x-api-key", b"proxy-authorization", b"ticket"],
    "H11": [b"keep-alive", b"te", b"trailer", b"upgrade", b"http2-settings", b"proxy-connection", b"connection"],
    "H12": [b"content-length", b"transfer-encoding", b"host", b"expect"],
    "judged here": [b"origin", b"referer", b"sec-fetch-site", b"sec-fetch-mode", b"x-request-id"],
}
NAMES = [pytest.param(name, id=f"{row} {name.decode()}") for row, names in REMOVED.items() for name in names]


@pytest.mark.parametrize("name", NAMES)
def test_h04_h05_h07_h08_h10_h11_h12_a_client_cannot_send_these_however_it_spells_them(name: bytes) -> None:
    """Every name that normalises to one of ours, or that belongs to one hop, is removed."""
    sent = [(spelling(name), b"close" if name == b"connection" else b"evil") for spelling in SPELLINGS]
    assert request_headers([(b"accept", b"a"), *sent, (b"x-a", b"b")]) == ((b"accept", b"a"), (b"x-a", b"b"))


def test_h05_the_clients_comfy_user_is_replaced_by_ours() -> None:
    """Comfy-User: bob as alice arrives as alice."""
    sent = [(b"comfy-user", b"bob"), (b"Comfy_User", b"bob"), (b"accept", b"a")]
    assert request_headers(sent, own=((b"comfy-user", b"alice"),)) == ((b"accept", b"a"), (b"comfy-user", b"alice"))


@pytest.mark.parametrize("value", [b"authorization", b"comfy-user, x-forwarded-for", b"Comfy_User,X-OWN", b" x-own ,,"])
def test_h09_connection_removes_the_clients_headers_and_never_ours(value: bytes) -> None:
    """Our headers still arrive; what a client lists is dropped from what the client sent."""
    own = ((b"comfy-user", b"alice"), (b"x-forwarded-for", b"1"), (b"authorization", b"o"), (b"x-own", b"2"))
    sent = [(b"x-listed", b"1"), (b"Connection", value), (b"connection", b"X-Listed, keep-alive"), (b"x-kept", b"1")]
    assert request_headers(sent, own=own) == ((b"x-kept", b"1"), *own)


def test_our_own_name_replaces_the_clients_whatever_it_is() -> None:
    """Clean first, then add: a header that we add cannot be there twice."""
    sent = [(b"X_New.Name", b"evil"), (b"x-new-name", b"evil")]
    assert request_headers(sent, own=((b"x-new-name", b"ours"),)) == ((b"x-new-name", b"ours"),)


def test_what_is_left_keeps_its_order_and_its_duplicates() -> None:
    """Everything else is the client's."""
    sent = [(b"range", b"bytes=0-1"), (b"x-a", b"1"), (b"if-none-match", b'"e"'), (b"x-a", b"2"), (b"x-a", b"1")]
    assert request_headers(sent) == tuple(sent)


TOKENS = st.text("abcdefghijklmnopqrstuvwxyzABC-_.0123456789", min_size=1, max_size=20).map(str.encode)


@given(st.lists(st.tuples(TOKENS, st.binary(max_size=20))), st.lists(TOKENS))
def test_nothing_that_a_client_sends_changes_what_we_add(sent, listed) -> None:
    """Whatever the headers and whatever `Connection` lists, ours arrive once and last."""
    own = ((b"comfy-user", b"alice"), (b"x-gateway-trace", b"1"))
    out = request_headers([*sent, (b"connection", b", ".join(listed))], own=own)
    assert out[-2:] == own
    normal = [name.lower().replace(b"_", b"-").replace(b".", b"-") for name, _ in out]
    assert normal.count(b"comfy-user") == normal.count(b"x-gateway-trace") == 1
    assert not {b"authorization", b"cookie", b"x-api-key", b"connection", b"host", b"content-length"} & set(normal)


def cleaned(*headers, status: int = 200, treatment: Treatment = Treatment.STATIC, ambient: bool = False):
    return answer_headers(headers, status=status, treatment=treatment, ambient=ambient)


STRIPPED = [
    b"x-accel-redirect",
    b"x-accel-buffering",
    b"x-accel-expires",
    b"set-cookie",
    b"clear-site-data",
    b"access-control-allow-origin",
    b"access-control-allow-credentials",
    b"refresh",
    b"link",
    b"server",
    b"service-worker-allowed",
    b"www-authenticate",
    b"connection",
    b"keep-alive",
    b"trailer",
    b"upgrade",
    b"proxy-authenticate",
    b"x-request-id",
]


@pytest.mark.parametrize("treatment", Treatment)
@pytest.mark.parametrize("name", STRIPPED, ids=lambda name: name.decode())
def test_h13_h14_comfyui_cannot_send_these_to_a_browser(name: bytes, treatment: Treatment) -> None:
    """What acts on nginx, on the session or on the whole origin is stripped, however it is spelled."""
    value = b"/internal/secret"
    out = cleaned((name, value), (name.title(), value), (name.upper().replace(b"-", b"_"), value), treatment=treatment)
    assert all(kept != value for _, kept in out)


def test_static_answers_pass_as_they_are() -> None:
    """The editor's files keep their headers, order and duplicates, and get none of ours."""
    headers = ((b"Content-Type", b"text/html"), (b"X-A", b"1"), (b"Cache-Control", b"public"), (b"x-a", b"\xe9"))
    assert cleaned(*headers) == [(name.lower(), value) for name, value in headers]


def test_what_comfyui_calls_hop_by_hop_ends_here() -> None:
    """Connection names headers for this hop; the length is not one of them."""
    out = cleaned(
        (b"Connection", b"X-Hop, content-length"), (b"x_hop", b"1"), (b"Content-Length", b"5"), (b"x-a", b"1")
    )
    assert out == [(b"content-length", b"5"), (b"x-a", b"1")]


@pytest.mark.parametrize("value", [b"a\rb", b"a\nb", b"a\x00b", b"a\x01", b"\x7f"])
def test_h16_a_control_character_in_a_value_is_a_fault(value: bytes) -> None:
    """A header value never splits an answer."""
    with pytest.raises(UpstreamFault):
        cleaned((b"x-a", value))


def test_h16_other_bytes_pass_as_bytes() -> None:
    """Latin-1 and tab are nobody's business."""
    assert cleaned((b"x-a", b"caf\xe9\t\xff")) == [(b"x-a", b"caf\xe9\t\xff")]


@pytest.mark.parametrize("status", [0, 99, 101, 199, 600, 999])
def test_a_status_that_is_no_answer_is_a_fault(status: int) -> None:
    """An upgrade that nobody asked for, or a number that does not exist, is not passed on."""
    with pytest.raises(UpstreamFault):
        cleaned(status=status)


@pytest.mark.parametrize("value", [b"gzip", b"gzip, chunked", b"chunked, identity"])
def test_a_transfer_coding_that_nobody_decoded_is_a_fault(value: bytes) -> None:
    """Only chunked is taken off, so only chunked may have been on."""
    with pytest.raises(UpstreamFault):
        cleaned((b"Transfer-Encoding", value))


@pytest.mark.parametrize("status", [204, 304])
def test_an_answer_without_a_body_has_no_length(status: int) -> None:
    """304 may declare the length of what it does not send; our own server would wait for it."""
    assert cleaned((b"Content-Length", b"5"), (b"etag", b'"e"'), status=status) == [(b"etag", b'"e"')]


def test_i36_what_depends_on_the_user_is_private_where_comfyui_says_nothing() -> None:
    """Cache-Control: private, and Vary on what names the user."""
    out = dict(cleaned((b"Content-Type", b"application/json"), treatment=Treatment.PRIVATE))
    assert out[b"cache-control"] == b"private"
    assert out[b"vary"] == b"Authorization, X-API-Key, Cookie"
    assert out[b"x-content-type-options"] == b"nosniff"


@pytest.mark.parametrize(
    ("said", "out"),
    [
        (b"no-cache", [b"no-cache"]),
        (b"private, max-age=5", [b"private, max-age=5"]),
        (b"public, max-age=86400", [b"private"]),
        (b"Public", [b"private"]),
    ],
)
def test_i36_comfyui_cannot_make_one_users_answer_public(said: bytes, out: list[bytes]) -> None:
    """ComfyUI knows only one user, so its `public` means nothing here; anything stricter stays."""
    headers = cleaned((b"Cache-Control", said), treatment=Treatment.PRIVATE)
    assert [value for name, value in headers if name == b"cache-control"] == out


def test_a_session_of_a_browser_is_kept_from_other_sites() -> None:
    """Cross-Origin-Resource-Policy where a cookie decided who sees it, and nowhere else: token clients may embed."""
    policy = (b"cross-origin-resource-policy", b"same-origin")
    assert policy in cleaned(treatment=Treatment.FILE, ambient=True)
    assert policy not in cleaned(treatment=Treatment.FILE)
    assert policy not in cleaned(ambient=True)


ACTIVE = [
    b"image/svg+xml",
    b"text/html; charset=utf-8",
    b"application/xhtml+xml",
    b"text/xml",
    b"application/xml",
    b"text/javascript",
    b"application/javascript",
    b"TEXT/HTML",
    b"multipart/related",
    b"application/pdf",
    b"text/css",
    b"application/octet-stream",
    b"",
]


@pytest.mark.parametrize("kind", ACTIVE, ids=lambda kind: kind.decode() or "none")
def test_x01_x02_a_users_file_that_could_act_is_never_inline(kind: bytes) -> None:
    """SVG, HTML, XML, scripts and whatever is not on the list are downloads, in a sandbox, with their type fixed."""
    typed = [(b"Content-Type", kind)] if kind else []
    out = dict(cleaned(*typed, (b"Content-Disposition", b'filename="x.svg"'), treatment=Treatment.FILE))
    assert out[b"content-disposition"] == b'attachment; filename="x.svg"'
    assert out[b"x-content-type-options"] == b"nosniff"
    assert out[b"content-security-policy"].startswith(b"sandbox; default-src 'none'")


@pytest.mark.parametrize(
    "kind", [b"image/png", b"image/jpeg", b"image/webp", b"image/gif", b"video/mp4", b"audio/flac"]
)
def test_x03_a_picture_is_shown_as_what_it_says_it_is(kind: bytes) -> None:
    """Listed types stay inline; the browser may not guess another."""
    disposition = (b"Content-Disposition", b'filename="x.png"')
    out = dict(cleaned((b"Content-Type", kind), disposition, treatment=Treatment.FILE))
    assert out[b"content-disposition"] == b'filename="x.png"'
    assert (out[b"content-type"], out[b"x-content-type-options"]) == (kind, b"nosniff")


@pytest.mark.parametrize("kind", [b"text/javascript", b"application/x-javascript", b"text/ecmascript; charset=utf-8"])
def test_x07_a_users_script_is_no_script(kind: bytes) -> None:
    """A script or a service worker needs a script's type, and a user's file does not get one."""
    out = cleaned((b"Content-Type", kind), treatment=Treatment.FILE)
    assert [value for name, value in out if name == b"content-type"] == [b"application/octet-stream"]


def test_x06_an_svg_keeps_its_type_for_an_img_element() -> None:
    """`<img src>` ignores the disposition, and needs the type."""
    out = dict(cleaned((b"Content-Type", b"image/svg+xml"), treatment=Treatment.FILE))
    assert out[b"content-type"] == b"image/svg+xml"


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ([], b"attachment"),
        ([b"inline"], b"attachment"),
        ([b'inline; filename="a.html"'], b'attachment; filename="a.html"'),
        ([b'ATTACHMENT; filename="a"'], b'ATTACHMENT; filename="a"'),
        ([b'filename="a; inline"'], b'attachment; filename="a; inline"'),
        ([b"inline", b"attachment"], b"attachment"),
    ],
)
def test_the_disposition_of_a_download_begins_with_attachment(theirs: list[bytes], ours: bytes) -> None:
    """ComfyUI's file name is kept, its disposition is not."""
    headers = [(b"Content-Disposition", value) for value in theirs]
    out = cleaned((b"Content-Type", b"text/html"), *headers, treatment=Treatment.FILE)
    assert [value for name, value in out if name == b"content-disposition"] == [ours]


def test_two_types_are_none() -> None:
    """An answer that says two things about its type is not believed in either."""
    out = cleaned((b"Content-Type", b"image/png"), (b"Content-Type", b"text/html"), treatment=Treatment.FILE)
    assert [value for name, value in out if name == b"content-type"] == [b"application/octet-stream"]
    assert (b"content-disposition", b"attachment") in out


def test_comfyuis_own_policy_does_not_weaken_ours() -> None:
    """Clean first, then add: one policy, and it is ours."""
    headers = ((b"Content-Security-Policy", b"default-src *"), (b"X-Content-Type-Options", b"none"))
    out = cleaned((b"Content-Type", b"image/png"), *headers, treatment=Treatment.FILE)
    assert [value[:7] for name, value in out if name == b"content-security-policy"] == [b"sandbox"]
    assert [value for name, value in out if name == b"x-content-type-options"] == [b"nosniff"]


def test_a_304_does_not_turn_a_kept_picture_into_a_download() -> None:
    """A browser writes the headers of a 304 into the answer that it has kept."""
    out = dict(cleaned((b"etag", b'"e"'), status=304, treatment=Treatment.FILE))
    assert b"content-disposition" not in out


def test_the_routes_that_give_users_files_are_treated_as_such() -> None:
    """/view and /userdata give files; only static rows pass as they are; everything else is private."""
    files = {row.pattern for row in TABLE if treatment_of(row) is Treatment.FILE}
    assert files >= {"/view", "/userdata/{file}"}
    assert files <= {row.pattern for row in TABLE if row.method == "GET"}
    assert all((treatment_of(row) is Treatment.STATIC) == row.static for row in TABLE)
