"""Whose address a request counts for, and whether it came over TLS: the peer's word, or that of a listed proxy.

It does not know what is counted. No proxy is believed unless it is listed; then the client is the rightmost address in
`X-Forwarded-For` that is not a listed proxy itself, because everything left of it is what the client wrote.
"""

import ipaddress
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Headers = Iterable[tuple[bytes, bytes]]

_MAX_HOPS: Final = 32
_V4_WITH_PORT: Final = re.compile(r"([0-9.]{7,15}):[0-9]{1,5}")
_V6_IN_BRACKETS: Final = re.compile(r"\[([0-9A-Fa-f:.]{2,45})\](?::[0-9]{1,5})?")


@dataclass(frozen=True, slots=True)
class Client:
    """Where a request came from. `ip` is canonical text, "" when even the peer has none (a unix socket)."""

    ip: str
    secure: bool


class TrustedProxies:
    """The proxies whose headers are believed: addresses and networks from the settings, none by default."""

    def __init__(self, listed: Sequence[str]) -> None:
        self._networks: Final[tuple[Network, ...]] = tuple(ipaddress.ip_network(text) for text in listed)

    def client(self, *, peer: str | None, scheme: str, headers: Headers) -> Client:
        """The client of a request that came from the address `peer` over `scheme` (`https` or `wss` means TLS)."""
        secure = scheme in ("https", "wss")
        if not self._networks or peer is None:
            return Client(peer or "", secure)
        address = _address(peer)
        if address is None or not self._trusts(address):
            return Client(peer, secure)
        fields = list(headers)
        hops = ",".join(_values(fields, b"x-forwarded-for")).split(",")
        protocols = ",".join(_values(fields, b"x-forwarded-proto")).split(",")
        return Client(str(self._rightmost(hops, address)), protocols[-1].strip().lower() == "https")

    def _rightmost(self, hops: Sequence[str], peer: Address) -> Address:
        """Stops at the first hop that is no address: whatever is left of it was not written by anyone we know."""
        last = peer
        for hop in reversed(hops[-_MAX_HOPS:]):
            address = _address(hop)
            if address is None:
                break
            last = address
            if not self._trusts(address):
                break
        return last

    def lists(self, peer: str | None) -> bool:
        """Whether a connection comes from one of them; one without an address does not."""
        address = None if peer is None else _address(peer)
        return address is not None and self._trusts(address)

    def _trusts(self, address: Address) -> bool:
        return any(address in network for network in self._networks)


def counted(ip: str) -> str:
    """What failures of `ip` are counted under: IPv4 alone, IPv6 by its /64, which one household or one attacker has
    whole.
    """
    address = _address(ip)
    if isinstance(address, ipaddress.IPv6Address):
        return str(ipaddress.ip_network((address.packed, 64), strict=False))
    return ip if address is None else str(address)


def _address(text: str) -> Address | None:
    """One hop as proxies write it: bare, with a port, or in brackets; IPv4 in IPv6 clothes is IPv4."""
    text = text.strip()
    wrapped = _V4_WITH_PORT.fullmatch(text) or _V6_IN_BRACKETS.fullmatch(text)
    try:
        address = ipaddress.ip_address(wrapped.group(1) if wrapped else text)
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address):
        return address.ipv4_mapped or ipaddress.IPv6Address(address.packed)
    return address


def _values(headers: Headers, name: bytes) -> list[str]:
    return [value.decode("latin-1") for key, value in headers if key == name]
