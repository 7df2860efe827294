"""H: headers, through the whole gateway, in both directions."""

import pytest

from tests.e2e.graphs import picture
from tests.proxy.test_headers import REMOVED, SPELLINGS
from tests.rows.front import HOST, UPGRADE, Front, until
from tests.rows.nginx import PROXY_ADDRESS

FORGED = b"X-Forwarded-For: 1.2.3.4"
OUR_OWN = {"host", "x-row", "accept-encoding", "user-agent", "accept"}
"""What may be in a request to ComfyUI to which the client added nothing but a mark."""


def names_seen(front: Front, row: str) -> set[str]:
    """The headers of the one request of this row that ComfyUI got."""
    [(_, _, headers)] = front.seen(row)
    return {name for name, _ in headers}


def answered(front: Front, name: str, raw: bytes, *, keep: bool = False) -> str:
    """An address that ComfyUI answers with these bytes."""
    front.house.odd.answers[name] = raw
    if keep:
        front.house.odd.kept.add(name)
    return f"/extensions?odd={name}"


def ok(*lines: bytes, body: bytes = b"{}") -> bytes:
    return b"\r\n".join([b"HTTP/1.1 200 OK", b"Content-Length: %d" % len(body), *lines, b"", body])


def test_H01_an_address_that_the_client_claims(front: Front) -> None:
    """X-Forwarded-For of a client that is no listed proxy is ignored; nginx writes over it."""
    for lines in ([FORGED], [FORGED, FORGED], [b"X_Forwarded_For: 1.2.3.4"]):
        assert front.line_of(front.get("/queue", *lines))["ip"] == "127.0.0.1"


def test_H02_the_rightmost_untrusted_hop(front: Front) -> None:
    """Of what a listed proxy hands on, the client is the rightmost hop that is no listed proxy."""
    if not front.is_direct:
        reply = front.ask(front.request("/queue", FORGED), source="127.0.0.9")
        assert front.line_of(reply)["ip"] == "127.0.0.9"
        return
    hops = f"X-Forwarded-For: 6.6.6.6, 203.0.113.9, {PROXY_ADDRESS}".encode()
    reply = front.ask(front.request("/queue", hops), source=PROXY_ADDRESS)
    assert front.line_of(reply)["ip"] == "203.0.113.9"


@pytest.mark.parametrize(
    ("lines", "ip"),
    [
        ([b"1.1.1.1", b"2.2.2.2"], "2.2.2.2"),
        ([b""], PROXY_ADDRESS),
        ([b"unknown"], PROXY_ADDRESS),
        ([b"9.9.9.9, unknown"], PROXY_ADDRESS),
        ([b", ".join(b"10.0.%d.%d" % divmod(hop, 250) for hop in range(1000))], "10.0.3.249"),
        ([b"[2001:db8::1]:443"], "2001:db8::1"),
        ([b"2.2.2.2:80"], "2.2.2.2"),
        ([b"x" * 6000], PROXY_ADDRESS),
    ],
    ids=range(8),
)
def test_H03_odd_lists_of_hops(front: Front, lines: list[bytes], ip: str) -> None:
    """Two lines, nothing, words, a thousand hops, IPv6 with a port: the same answer, and one address in the log."""
    fields = [b"X-Forwarded-For: " + line for line in lines]
    if sum(len(field) for field in fields) > 8000 and not front.is_direct:
        assert front.get("/queue", *fields).status == 400
        return
    reply = front.ask(front.request("/queue", *fields), source=PROXY_ADDRESS)
    assert reply.status == 200
    assert front.line_of(reply)["ip"] == (ip if front.is_direct else PROXY_ADDRESS)


def test_H04_other_headers_with_addresses(front: Front) -> None:
    """Forwarded, X-Real-IP and their kin are believed from nobody, and do not go on to ComfyUI."""
    lines = [b"Forwarded: for=1.2.3.4", *(name.title() + b": 1.2.3.4" for name in REMOVED["H04"] if b"for" not in name)]
    reply = front.ask(front.request("/features", *lines, row="H04"), source=PROXY_ADDRESS)
    assert front.line_of(reply)["ip"] == PROXY_ADDRESS
    assert names_seen(front, "H04") <= OUR_OWN


@pytest.mark.parametrize("row", ["H05", "H07", "H08"])
def test_H05_H07_H08_headers_that_speak_for_a_user_or_a_proxy(front: Front, row: str) -> None:
    """Comfy-User, X-Forwarded-User, X-Original-URL and their kin decide nothing and are removed, however spelt.

    Comfy-User is not replaced by the caller's: user data is kept here, and ComfyUI has one user.
    """
    lines = [spelling(name) + b": bob" for name in REMOVED[row] for spelling in SPELLINGS]
    reply = front.get("/features", *lines, row=row)
    assert (reply.status, front.line_of(reply)["user"]) == (200, "alice")
    assert names_seen(front, row) <= OUR_OWN
    assert front.me(*lines) == 401


@pytest.mark.parametrize("value", [b"x-api-key", b"Authorization, X-API-KEY", b"comfy-user, x-forwarded-for, close"])
def test_H09_what_connection_names(front: Front, value: bytes) -> None:
    """Connection names neither our credential nor the proxy's address away; what it names of the client's is dropped.

    Behind nginx the last part is nginx's: it sends a Connection of its own, and does not drop what the client's names.
    """
    row = f"H09-{len(value)}"
    lines = [b"Connection: " + value, b"connection: X-Listed", b"X-Listed: 1"]
    reply = front.ask(front.request("/features", *lines, row=row), source="127.0.0.9")
    assert reply.status == 200
    assert front.line_of(reply)["ip"] == "127.0.0.9"
    assert front.is_direct is ("x-listed" not in names_seen(front, row))


def test_H10_credentials_stay_here(front: Front) -> None:
    """Neither a header nor the address that ComfyUI gets has anything of a credential."""
    token = front.house.tokens["alice"]
    lines = [name.title() + b": x" for name in REMOVED["H10"]] + [b"Cookie: cgw_session=a.b.c; theme=dark"]
    front.get(f"/features?token={token}&row={front.mark('H10')}", *lines, by=None, row="H10")
    front.get(f"/gateway/t/{token}/features?row={front.mark('H10')}", by=None, row="H10")
    asked = front.seen("H10")
    assert [target for _, target, _ in asked] == [f"/features?row={front.mark('H10')}"] * 2
    assert token not in str(asked)
    assert {name for _, _, headers in asked for name, _ in headers} <= OUR_OWN


def test_H11_headers_of_one_hop(front: Front) -> None:
    """Keep-Alive, TE, Trailer, Proxy-Authorization, Upgrade: h2c and HTTP2-Settings end here."""
    lines = [name.title() + b": x" for name in REMOVED["H11"] if name not in (b"connection", b"upgrade")]
    offer = [b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c"]
    assert front.get("/features", *lines, *offer, row="H11").status == 200
    assert names_seen(front, "H11") <= OUR_OWN


def test_H12_one_framing_header(front: Front) -> None:
    """ComfyUI gets exactly one of Content-Length and Transfer-Encoding, whichever way the body came."""
    form = b'--b\r\nContent-Disposition: form-data; name="image"; filename="a.png"\r\n\r\nx\r\n--b--\r\n'
    kind = b"Content-Type: multipart/form-data; boundary=b"
    assert front.post("/upload/image", form, kind, row="H12").status == 200
    chunked = front.request("/upload/image", kind, b"Transfer-Encoding: chunked", method=b"POST", row="H12")
    assert front.ask(chunked + b"%x\r\n%b\r\n0\r\n\r\n" % (len(form), form)).status == 200
    for _, _, headers in front.seen("H12"):
        assert len([name for name, _ in headers if name in ("content-length", "transfer-encoding")]) == 1
    assert len(front.seen("H12")) == 2


def test_H13_internal_redirects(front: Front) -> None:
    """X-Accel-* from ComfyUI reaches nobody, and nginx does not act on it."""
    lines = [b"X-Accel-Redirect: /internal/secret", b"X-Accel-Limit-Rate: 1", b"X_Accel_Redirect: /internal/secret"]
    reply = front.get(answered(front, "H13", ok(*lines)))
    assert (reply.status, reply.body) == (200, b"{}")
    assert not [name for name in reply.headers if "accel" in name]


def test_H14_headers_that_act_on_our_origin(front: Front) -> None:
    """Set-Cookie, Clear-Site-Data, Access-Control-*, Refresh and Link of ComfyUI reach no browser."""
    lines = [
        b"Set-Cookie: cgw_session=evil",
        b'Clear-Site-Data: "*"',
        b"Access-Control-Allow-Origin: *",
        b"Access-Control-Allow-Credentials: true",
        b"Refresh: 0; url=http://evil.invalid/",
        b"Link: <http://evil.invalid/>; rel=preload",
        b"X-Kept: yes",
    ]
    reply = front.get(answered(front, "H14", ok(*lines)))
    assert reply.headers["x-kept"] == "yes"
    names = {line.partition(b":")[0].decode().lower() for line in lines} - {"x-kept"}
    assert not names & reply.headers.keys()


def test_H15_no_cookie_of_comfyui_is_kept(front: Front) -> None:
    """A cookie that ComfyUI set is sent neither with the next request of the same user nor with another's."""
    target = answered(front, "H15", ok(b"Set-Cookie: session=evil; Path=/"), keep=True)
    before = len(front.house.odd.heads)
    for by in ("alice", "bob", "alice"):
        assert front.get(target, by=by).status == 200
    heads = front.house.odd.heads[before:]
    assert len(heads) == 3 and not [head for head in heads if b"cookie" in head.lower()]


@pytest.mark.parametrize("byte", [b"\r", b"\x00", b"\x01", b"\x7f"])
def test_H16_control_characters_from_comfyui(front: Front, byte: bytes) -> None:
    """A bare CR, NUL or other control character in ComfyUI's answer is 502, and splits nothing."""
    reply = front.get(answered(front, f"H16-{byte.hex()}", ok(b"X-Odd: a" + byte + b"X-Split: b")))
    assert reply.status == 502
    assert "x-split" not in reply.headers


def test_H16_a_bare_line_feed_from_comfyui(front: Front) -> None:
    """A bare LF ends a line (RFC 9112, 2.2), and the header behind it is judged as any other."""
    reply = front.get(answered(front, "H16-0a", ok(b"X-Odd: a\nSet-Cookie: evil=1\nX-Accel-Redirect: /x")))
    assert reply.status == 502 or (reply.body, reply.headers["x-odd"]) == (b"{}", "a")
    assert not {"set-cookie", "x-accel-redirect"} & reply.headers.keys()


def test_H16_bytes_beyond_ascii_from_comfyui(front: Front) -> None:
    """Bytes beyond ASCII are passed on as they came."""
    reply = front.get(answered(front, "H16", ok(b"X-Odd: \xe9\xff")))
    assert (reply.status, reply.headers["x-odd"]) == (200, "\xe9\xff")


def test_H18_spellings_of_authorization(front: Front) -> None:
    """`Bearer`, in any case, one blank, and the token; every other spelling is 401."""
    token = front.house.tokens["alice"].encode()
    for scheme in (b"Bearer", b"bearer", b"BEARER"):
        assert front.me(b"Authorization: " + scheme + b" " + token) == "alice"
    for value in (b"Bearer\t%b", b"Bearer  %b", b"Bearer %b,", b"Bearer%b", b"Bearer: %b", b"%b", b"Bearer %b x"):
        assert front.me(b"Authorization: " + value % token) == 401, value


def test_H19_two_credentials(front: Front) -> None:
    """The first good one in the contract's order wins, and a bad one hides no good one."""
    alice, bob = front.house.tokens["alice"], front.house.tokens["bob"]
    assert front.me(f"X-API-Key: {alice}".encode(), query=f"?token={bob}") == "alice"
    assert front.me(f"Authorization: Bearer {bob}".encode(), f"X-API-Key: {alice}".encode()) == "alice"
    assert front.me(b"X-API-Key: wrong", f"Authorization: Bearer {bob}".encode()) == "bob"
    assert front.me(f"Authorization: Bearer {alice}x".encode(), query=f"?token={bob}") == "bob"
    assert front.me(b"Cookie: cgw_session=a.b.c", query=f"?token={bob}") == "bob"


@pytest.mark.parametrize("coding", [b"gzip", b"br", b"deflate", b"identity, gzip"])
def test_H20_compressed_requests(front: Front, coding: bytes) -> None:
    """A body with a Content-Encoding is 415, on every route."""
    for target in ("/prompt", "/upload/image", "/userdata/a.json"):
        assert front.post(target, b"\x1f\x8b\x08\x00", b"Content-Encoding: " + coding, row="H20").status == 415
    assert front.seen("H20") == []


def test_H21_no_100_for_a_stranger(front: Front) -> None:
    """Expect: 100-continue without a credential gets its 401 and no 100.

    nginx says 100 by itself, before it asks the gateway; the 401 follows, and the body is not waited for.
    """
    head = front.request(
        "/upload/image", b"Expect: 100-continue", b"Content-Length: 1000", method=b"POST", by=None, row="H21"
    )
    reply = front.ask(head)
    assert (reply.status, reply.headers.get("interim")) == (401, None if front.is_direct else "100")
    assert front.seen("H21") == []


def test_H22_ten_thousand_ranges(front: Front) -> None:
    """Ten thousand ranges are more header than anybody takes; as many as fit are answered with 200, 206 or 416."""
    prompt_id = front.post_json("/prompt", {"prompt": picture(22, prefix="H22")}).json()["prompt_id"]
    until(lambda: front.get(f"/history/{prompt_id}").json())
    entry = front.get(f"/history/{prompt_id}").json()[prompt_id]
    name = entry["outputs"]["3"]["images"][0]["filename"]
    view = f"/view?filename={name}&type=output"
    assert front.get(view, b"Range: bytes=0-7").body == b"\x89PNG\r\n\x1a\n"
    many = b"Range: bytes=" + b",".join(b"%d-%d" % (n, n) for n in range(10_000))
    assert front.get(view, many).status in (400, 431)
    some = b"Range: bytes=" + b",".join(b"%d-%d" % (n % 9, n % 9) for n in range(1500))
    assert front.get(view, some).status in (200, 206, 416)


@pytest.mark.parametrize(
    ("name", "raw", "statuses"),
    [
        ("many", ok(*(b"X-%d: a" % number for number in range(200))), (200, 502)),
        ("long", ok(b"X-Long: " + b"a" * 65536), (200, 502)),
        ("early", b"HTTP/1.1 103 Early Hints\r\nLink: </evil>\r\n\r\n" + ok(), (200, 502)),
        ("only-1xx", b"HTTP/1.1 101 Switching Protocols\r\n\r\nGET / HTTP/1.1\r\n\r\n", (502,)),
        ("304", b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\nhello", (304, 502)),
        ("204", b"HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\nhello", (204, 502)),
        ("status", b"HTTP/1.1 099 Odd\r\nContent-Length: 0\r\n\r\n", (502,)),
        ("garbage", b"\x16\x03\x01\x00\x00", (502,)),
        ("nothing", b"", (502,)),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_H23_odd_answers(front: Front, name: str, raw: bytes, statuses: tuple[int, ...]) -> None:
    """An odd answer of ComfyUI's becomes a well-formed one or 502, and the next answer is not mixed into it."""
    target = answered(front, f"H23-{name}", raw)
    first, second = front.converse([front.request(target), front.request("/features")])
    assert first.status in statuses and first.whole
    assert first.body == (b"{}" if first.status == 200 else b"" if first.status < 400 else first.body)
    assert "supports_preview_metadata" in second.json()


def test_H23_a_head_with_a_body(front: Front) -> None:
    """The body that ComfyUI sends to a HEAD goes nowhere."""
    target = answered(front, "H23-head", ok(body=b"HTTP/1.1 200 OK\r\n\r\n"))
    first, second = front.converse([front.request(target, method=b"HEAD"), front.request("/features")])
    assert first.status in (200, 502)
    assert "supports_preview_metadata" in second.json()


def test_H24_number_and_size_of_headers(front: Front) -> None:
    """100 headers are served, 101 are 431; so are more than 64 KiB of them, which nginx refuses itself with 400.

    nginx adds up to four headers of its own, so behind it a few less than 100 are served.
    """
    most = (100 if front.is_direct else 95) - len([HOST, b"X-API-Key"])
    many = [b"X-%d: a" % number for number in range(101)]
    assert front.get("/queue", *many[:most]).status == 200
    assert front.get("/queue", *many).status == 431
    assert front.get("/queue", b"X-Long: " + b"a" * 65536).status in (400, 431)
    long = [b"X-%d: " % number + b"a" * 7000 for number in range(10)]
    assert front.get("/queue", *long).status in (400, 431)


def test_H24_upgrades_do_not_hang(front: Front) -> None:
    """An upgrade with too many headers, or a cookie over 8 KiB, is answered at once."""
    many = [b"X-%d: a" % number for number in range(120)]
    assert front.get("/ws", *UPGRADE, *many).status == 431
    assert front.get("/ws", *UPGRADE, b"Cookie: " + b"a" * 8180).status in (400, 431)


def test_H26_links_of_our_own(front: Front) -> None:
    """A forged Host is in no link: all of ours are paths."""
    browser = (b"Accept: text/html", b"Sec-Fetch-Mode: navigate")
    raw = front.request("/?x=1", *browser, by=None).replace(HOST, b"Host: evil.invalid")
    reply = front.ask(raw)
    assert (reply.status, reply.headers["location"]) == (303, "/gateway/login?next=/%3Fx%3D1")
    page = front.ask(front.request("/gateway/login", *browser, by=None).replace(HOST, b"Host: evil.invalid"))
    assert page.status == 200
    assert b"evil" not in page.body and "evil" not in str(reply.headers)
