"""Whose address a request counts for."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.edge.addresses import Client, TrustedProxies, counted

PROXIES = TrustedProxies(("10.0.0.1", "192.168.0.0/24", "fd00::/8"))


def client(peer: str | None, *forwarded: str, proxies: TrustedProxies = PROXIES) -> str:
    headers = [(b"x-forwarded-for", line.encode("latin-1")) for line in forwarded]
    return proxies.client(peer=peer, scheme="http", headers=headers).ip


def test_H01_nobody_is_believed_by_default() -> None:
    """Without a listed proxy the peer is the client, whatever it says."""
    assert client("203.0.113.7", "1.2.3.4", proxies=TrustedProxies(())) == "203.0.113.7"


def test_H01_an_unlisted_peer_is_not_believed() -> None:
    """A peer that is not listed cannot choose its address."""
    assert client("203.0.113.7", "1.2.3.4") == "203.0.113.7"


@pytest.mark.parametrize(
    ("forwarded", "expected"),
    [
        (["1.2.3.4"], "1.2.3.4"),
        (["6.6.6.6, 1.2.3.4"], "1.2.3.4"),
        (["6.6.6.6, 1.2.3.4, 192.168.0.9"], "1.2.3.4"),
        (["6.6.6.6", "1.2.3.4"], "1.2.3.4"),
        (["192.168.0.7, 192.168.0.9"], "192.168.0.7"),
        ([], "10.0.0.1"),
    ],
)
def test_H02_the_rightmost_untrusted_hop(forwarded: list[str], expected: str) -> None:
    """Behind a listed proxy the client is the rightmost hop that is no proxy of ours; what is left of it is forged."""
    assert client("10.0.0.1", *forwarded) == expected


@pytest.mark.parametrize(
    ("forwarded", "expected"),
    [
        ([""], "10.0.0.1"),
        (["unknown"], "10.0.0.1"),
        (["1.2.3.4, unknown"], "10.0.0.1"),
        (["1.2.3.4, unknown, 192.168.0.9"], "192.168.0.9"),
        ([" 1.2.3.4:5678 "], "1.2.3.4"),
        (["[2001:db8::1]:443"], "2001:db8::1"),
        (["2001:DB8:0:0::1"], "2001:db8::1"),
        (["::ffff:1.2.3.4"], "1.2.3.4"),
        (["1.2.3.4,"], "10.0.0.1"),
        (["1.2.3.4\x00"], "10.0.0.1"),
        (["fe80::1%eth0"], "fe80::1"),
        (["01.2.3.4"], "10.0.0.1"),
        (["192.168.0.9, " * 1000 + "192.168.0.9"], "192.168.0.9"),
        (["1.2.3.4, " * 1000 + "5.6.7.8"], "5.6.7.8"),
    ],
)
def test_H03_odd_lists(forwarded: list[str], expected: str) -> None:
    """Empty, unknown, with ports, in brackets, a thousand hops: an address, and never a failure."""
    assert client("10.0.0.1", *forwarded) == expected


@pytest.mark.parametrize(
    "name", [b"x-real-ip", b"true-client-ip", b"cf-connecting-ip", b"forwarded", b"x_forwarded_for"]
)
def test_H04_other_headers_are_never_used(name: bytes) -> None:
    """Only X-Forwarded-For is read, even from a listed proxy."""
    headers = [(name, b"for=1.2.3.4" if name == b"forwarded" else b"1.2.3.4")]
    assert PROXIES.client(peer="10.0.0.1", scheme="http", headers=headers).ip == "10.0.0.1"


def test_a_unix_socket_has_no_address() -> None:
    """A peer without an address, as on a unix socket, counts as one without."""
    assert client(None, "1.2.3.4") == ""


@pytest.mark.parametrize(
    ("peer", "scheme", "protocol", "secure"),
    [
        ("10.0.0.1", "http", b"https", True),
        ("10.0.0.1", "ws", b"HTTPS", True),
        ("10.0.0.1", "http", b"https, http", False),
        ("10.0.0.1", "http", b"http", False),
        ("10.0.0.1", "https", b"http", False),
        ("203.0.113.7", "http", b"https", False),
        ("203.0.113.7", "https", b"http", True),
        ("203.0.113.7", "wss", b"", True),
    ],
)
def test_https_is_what_the_listed_proxy_says(peer: str, scheme: str, protocol: bytes, secure: bool) -> None:
    """Whether the browser speaks https is known from the connection, or from a listed proxy's X-Forwarded-Proto."""
    assert PROXIES.client(peer=peer, scheme=scheme, headers=[(b"x-forwarded-proto", protocol)]) == Client(peer, secure)


@given(st.lists(st.text(alphabet=st.characters(max_codepoint=255)), max_size=5))
def test_H03_no_list_makes_it_fail(forwarded: list[str]) -> None:
    """Whatever X-Forwarded-For says, there is an address."""
    assert client("10.0.0.1", *forwarded) != ""


def test_R06_ipv6_counts_by_its_64() -> None:
    """All addresses of an IPv6 /64 count as one, IPv4 addresses each for itself."""
    assert counted("2001:db8:1:2::1") == counted("2001:db8:1:2:ffff::9") != counted("2001:db8:1:3::1")
    assert counted("::ffff:1.2.3.4") == counted("1.2.3.4") != counted("1.2.3.5")
    assert counted("") == ""
