"""What says who asks without anybody sending it."""

from pathlib import Path
from typing import Any

import pytest

from gateway.config import IdentityHeader, Settings
from gateway.edge.ambience import Ambience
from gateway.identity.credentials import Credential, Forwarded, Network

USER = (b"x-forwarded-user", b"ann")
GROUPS = (b"x-forwarded-groups", b"a,b")
OTHER = (b"accept", b"*/*")


def ambience(tmp_path: Path, *, header: bool = True, **more: Any) -> Ambience:
    listed = IdentityHeader(groups="X-Forwarded-Groups", proxies=("10.0.0.1", "fd00::/64")) if header else None
    return Ambience(Settings(data_dir=tmp_path, identity_header=listed, **more))


def found(
    made: Ambience, *headers: tuple[bytes, bytes], peer: str | None = "10.0.0.1", ip: str = "1.1.1.1"
) -> tuple[list[tuple[bytes, bytes]], tuple[Credential, ...]]:
    scope = {"headers": list(headers), "client": None if peer is None else (peer, 5)}
    return made.of(scope, client_ip=ip)


def test_nothing_is_on_by_default(tmp_path: Path) -> None:
    """Without the settings nobody is anybody, and headers stay as they are."""
    assert found(ambience(tmp_path, header=False), USER, OTHER) == ([USER, OTHER], ())


@pytest.mark.parametrize("peer", ["10.0.0.1", "::ffff:10.0.0.1", "fd00::5"])
def test_a_listed_proxy_is_believed(tmp_path: Path, peer: str) -> None:
    """What it says is taken, and taken out."""
    assert found(ambience(tmp_path), USER, GROUPS, OTHER, peer=peer) == ([OTHER], (Forwarded("ann", "a,b"),))
    assert found(ambience(tmp_path), USER, peer=peer) == ([], (Forwarded("ann", None),))
    assert found(ambience(tmp_path), GROUPS, peer=peer) == ([], ())


@pytest.mark.parametrize("peer", [None, "10.0.0.2", "127.0.0.1", "::1", "fd00:0:0:1::5", "", "x"])
def test_H07_nobody_else_is_and_nothing_goes_on(tmp_path: Path, peer: str | None) -> None:
    """From anybody else the header is taken out in every spelling, and means nothing."""
    spellings = ("x-forwarded-user", "X-Forwarded-User", "x_forwarded_user", "x.forwarded-user", "X_FORWARDED.GROUPS")
    headers = [(name.encode(), b"ann") for name in spellings]
    assert found(ambience(tmp_path), *headers, OTHER, peer=peer) == ([OTHER], ())


def test_H07_aliases_and_doubles(tmp_path: Path) -> None:
    """From the proxy only the exact name counts; two of it, of either header, are nobody."""
    made, alias = ambience(tmp_path), (b"x_forwarded_user", b"root")
    assert found(made, alias, USER) == ([], (Forwarded("ann", None),))
    assert found(made, alias) == ([], ())
    assert found(made, USER, USER) == ([], ())
    assert found(made, USER, GROUPS, GROUPS) == ([], ())
    assert found(made, (b"x-forwarded-user", b"  ")) == ([], ())


@pytest.mark.parametrize(
    ("ip", "user"),
    [
        ("10.0.5.9", "kiosk"),
        ("::ffff:10.0.5.9", "kiosk"),
        ("10.0.5.1", "screen"),
        ("10.0.6.1", None),
        ("2001:db8::1", "lab"),
        ("2001:db8:1::1", None),
        ("10.0.5.2", None),
        ("", None),
        ("unknown", None),
    ],
)
def test_the_smallest_network_counts(tmp_path: Path, ip: str, user: str | None) -> None:
    """Whoever is in two networks is the smaller one's; a proxy's own address is nobody's."""
    networks = {"10.0.5.0/24": "kiosk", "10.0.5.1": "screen", "2001:db8::/64": "lab"}
    made = ambience(tmp_path, header=False, networks=networks, trusted_proxies=("10.0.5.2",))
    assert found(made, ip=ip)[1] == (() if user is None else (Network(user),))


def test_the_proxys_word_goes_first(tmp_path: Path) -> None:
    """Of a header and a network the header is tried first."""
    made = ambience(tmp_path, networks={"1.1.1.0/24": "kiosk"})
    assert found(made, USER)[1] == (Forwarded("ann", None), Network("kiosk"))
