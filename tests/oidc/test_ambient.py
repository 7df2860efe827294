"""A proxy's header and a listed network: who asks without sending anything, and what other sites make of it."""

import socket
from urllib.parse import urlsplit

import pytest
import websocket

from tests.oidc.conftest import PATIENCE, Town
from tests.rows.front import UPGRADE, Reply, Wire

PROXY, KIOSK, STRANGER = "127.0.0.2", "127.0.0.3", "127.0.0.1"
BROWSER = b"User-Agent: Mozilla/5.0 (X11; Linux x86_64)"
POST = (b"Content-Type: application/json", b"Content-Length: 2")


def ask(
    town: Town, *lines: bytes, source: str, target: str = "/gateway/api/v1/me", method: bytes = b"GET", host: str = ""
) -> Reply:
    """One request from an address of this machine."""
    port = urlsplit(town.door.url).port or 0
    wire = Wire(port, source=source)
    try:
        head = [
            method + b" " + target.encode() + b" HTTP/1.1",
            b"Host: " + (host or f"localhost:{port}").encode(),
            *lines,
        ]
        wire.send(b"\r\n".join([*head, b"", b""]) + (b"{}" if method == b"POST" else b""))
        return wire.reply()
    finally:
        wire.close()


def name(reply: Reply) -> str | int:
    return str(reply.json()["name"]) if reply.status == 200 else reply.status


@pytest.fixture(scope="module")
def kiosk(built: Town) -> Town:
    built.door.command("user", "add", "kiosk", "--role", "admin")
    return built


def test_a_listed_proxy_says_who_asks(town: Town) -> None:
    """The value of its header is who asks, on HTTP and on sockets; its groups give the role, each time anew."""
    lines = (b"X-Forwarded-User: hal@example.org", b"X-Forwarded-Groups: a, comfy-admins")
    said = ask(town, *lines, source=PROXY).json()
    assert (said["name"], said["role"], said["via"]) == ("hal@example.org", "admin", "header")
    assert ask(town, lines[0], source=PROXY).json()["role"] == "member"
    assert ask(town, lines[0], *UPGRADE, source=PROXY, target="/ws").status == 101


def test_the_header_gives_no_local_user(town: Town) -> None:
    """Whoever has a local user's name at the proxy is somebody else here."""
    assert (
        name(ask(town, b"X-Forwarded-User: admin", source=PROXY)) == "admin-2"
        or name(ask(town, b"X-Forwarded-User: admin", source=PROXY)) != "admin"
    )


@pytest.mark.parametrize(
    "spelling",
    [
        "X-Forwarded-User",
        "x-forwarded-user",
        "X_Forwarded_User",
        "X-Forwarded_User",
        "X.Forwarded.User",
        "X_FORWARDED-USER",
    ],
)
def test_H07_nobody_else_is_believed(town: Town, spelling: str) -> None:
    """The header of anybody but the listed proxy is nothing, in every spelling, also beside X-Forwarded-For."""
    line = f"{spelling}: hal@example.org".encode()
    assert name(ask(town, line, source=STRANGER)) == 401
    assert name(ask(town, line, b"X-Forwarded-For: 127.0.0.2", source=STRANGER)) == 401


@pytest.mark.parametrize("spelling", ["X_Forwarded_User", "X-Forwarded_User", "X.Forwarded.User"])
def test_H07_an_alias_that_came_through_the_proxy(town: Town, spelling: str) -> None:
    """A client's own spelling that the proxy let through is neither who asks nor a doubt about it."""
    alias = f"{spelling}: root@example.org".encode()
    assert name(ask(town, alias, source=PROXY)) == 401
    assert name(ask(town, alias, b"X-Forwarded-User: hal@example.org", source=PROXY)) == "hal@example.org"


def test_two_headers_are_none(town: Town) -> None:
    """Two of them, of which one may be the client's, are nobody."""
    lines = (b"X-Forwarded-User: hal@example.org", b"X-Forwarded-User: root@example.org")
    assert name(ask(town, *lines, source=PROXY)) == 401
    lines = (b"X-Forwarded-User: hal@example.org", b"X-Forwarded-Groups: a", b"X-Forwarded-Groups: comfy-admins")
    assert name(ask(town, *lines, source=PROXY)) == 401


@pytest.mark.parametrize("value", [b"", b" ", b"a b", b"../x", b"a,b", b"\xe4nn", b"x" * 300])
def test_values_that_name_nobody(town: Town, value: bytes) -> None:
    """What can be nobody's name for ever is nobody."""
    assert name(ask(town, b"X-Forwarded-User: " + value, source=PROXY)) == 401


def test_what_somebody_sends_goes_first(town: Town) -> None:
    """A token beside the header, or from the listed network, is who asks."""
    token = town.door.user("sender")
    line = f"X-API-Key: {token}".encode()
    assert name(ask(town, line, b"X-Forwarded-User: hal@example.org", source=PROXY)) == "sender"
    assert name(ask(town, line, source=KIOSK)) == "sender"


def test_a_listed_network_is_a_user(kiosk: Town) -> None:
    """Whoever asks from there with nothing is that user, on HTTP and sockets, but administers nothing."""
    said = ask(kiosk, source=KIOSK).json()
    assert (said["name"], said["via"], said["permissions"]) == ("kiosk", "network", ["read", "submit"])
    assert ask(kiosk, *UPGRADE, source=KIOSK, target="/ws").status == 101
    assert ask(kiosk, source=KIOSK, target="/internal/logs").status == 403
    assert name(ask(kiosk, source=STRANGER)) == name(ask(kiosk, source="127.0.0.4")) == 401
    assert name(ask(kiosk, b"X-Forwarded-For: 127.0.0.3", source=STRANGER)) == 401


def test_a_socket_from_a_listed_network_stays_open(kiosk: Town) -> None:
    """What it may is the same after the gateway has looked again; it ends when the user is disabled."""
    port = urlsplit(kiosk.door.url).port or 0
    line = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE, source_address=(KIOSK, 0))
    opened = websocket.create_connection(f"ws://localhost:{port}/ws", socket=line, timeout=PATIENCE)
    kiosk.door.command("user", "add", "somebody-new")
    opened.settimeout(1.5)
    with pytest.raises(websocket.WebSocketTimeoutException):
        while True:
            assert opened.recv_data()[0] != websocket.ABNF.OPCODE_CLOSE
    opened.settimeout(PATIENCE)
    kiosk.door.command("user", "disable", "kiosk")
    while opened.recv_data()[0] != websocket.ABNF.OPCODE_CLOSE:
        pass
    opened.shutdown()
    assert name(ask(kiosk, source=KIOSK)) == 401
    kiosk.door.command("user", "enable", "kiosk")


def test_nobody_gets_the_name_of_a_network(town: Town, kiosk: Town) -> None:
    """Whoever is called as a user of the networks at the proxy is called otherwise here."""
    assert name(ask(town, b"X-Forwarded-User: nobody-yet", source=PROXY)) == "nobody-yet-2"
    assert name(ask(town, source="127.0.0.4")) == 401


@pytest.mark.parametrize(
    "lines",
    [
        (b"Origin: http://evil.example",),
        (b"Origin: null",),
        (b"Sec-Fetch-Site: cross-site",),
        (b"Sec-Fetch-Site: same-site",),
        (b"Sec-Fetch-Site: none",),
        (BROWSER,),
        (b"Referer: http://evil.example/",),
        (b"Cookie: a=b",),
        (b"Accept-Language: en",),
        (b"Sec-CH-UA: x",),
    ],
    ids=repr,
)
def test_C01_other_sites_change_nothing(kiosk: Town, lines: tuple[bytes, ...]) -> None:
    """A request that a browser may have been made to send is 403 without the proof that our own page sent it."""
    for source, more in ((KIOSK, ()), (PROXY, (b"X-Forwarded-User: hal@example.org",))):
        reply = ask(kiosk, *lines, *more, *POST, source=source, target="/interrupt", method=b"POST")
        assert (reply.status, reply.type) == (403, "csrf")
        if lines[0].startswith((b"Origin", b"Sec-Fetch")):
            assert ask(kiosk, *lines, *more, *UPGRADE, source=source, target="/ws").status == 403


def test_C03_our_own_pages_and_scripts_do(kiosk: Town) -> None:
    """Our own page may, with JSON only; and so may a script, which does not look like a browser, with any type."""
    own = f"Origin: http://localhost:{urlsplit(kiosk.door.url).port}".encode()
    assert ask(kiosk, own, BROWSER, *POST, source=KIOSK, target="/interrupt", method=b"POST").status == 200
    form = (b"Content-Type: application/x-www-form-urlencoded", b"Content-Length: 2")
    assert ask(kiosk, own, BROWSER, *form, source=KIOSK, target="/interrupt", method=b"POST").status == 415
    assert (
        ask(kiosk, *form, b"User-Agent: Python-urllib/3.11", source=KIOSK, target="/interrupt", method=b"POST").status
        == 200
    )


def test_C02_parts_of_other_sites_pages(kiosk: Town) -> None:
    """A picture or script of ours in another site's page is refused; a link from there is followed."""
    part = (b"Sec-Fetch-Site: cross-site", b"Sec-Fetch-Mode: no-cors", b"Sec-Fetch-Dest: image")
    assert ask(kiosk, *part, source=KIOSK, target="/queue").type == "csrf"
    link = (b"Sec-Fetch-Site: cross-site", b"Sec-Fetch-Mode: navigate", b"Sec-Fetch-Dest: document")
    assert ask(kiosk, *link, source=KIOSK, target="/queue").status == 200


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8190", "gw.evil.example", "localhost.evil.example"])
def test_another_name_for_our_address(kiosk: Town, host: str) -> None:
    """A name that somebody else may have pointed at us is no way in for a network, though it is the page's own."""
    assert ask(kiosk, source=KIOSK, host=host).type == "csrf"
    assert ask(kiosk, f"Origin: http://{host}".encode(), source=KIOSK, host=host).type == "csrf"


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.1:8190", "gpu-box", "[::1]:8190", "localhost"])
def test_our_own_names(kiosk: Town, host: str) -> None:
    """An address, and a name without a dot, are nobody else's."""
    assert name(ask(kiosk, source=KIOSK, host=host)) == "kiosk"
