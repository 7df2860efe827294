"""What says who asks without anybody sending it: a header of a listed proxy, and the network that one is in.

It does not know who that is here. The header is taken out of every request, in every spelling, whoever it comes from:
nothing behind here can mistake a client's own for the proxy's.
"""

import ipaddress
from typing import Final

from starlette.types import Scope

from gateway.config import IdentityHeader, Settings
from gateway.edge.addresses import Network as IpNetwork
from gateway.edge.addresses import TrustedProxies
from gateway.identity.credentials import Credential, Forwarded, Network
from gateway.log import get_logger

Headers = list[tuple[bytes, bytes]]

_NORMAL: Final = bytes.maketrans(b"_.", b"--")

log = get_logger(__name__)


class Ambience:
    """Both, as the settings have them; neither by default."""

    def __init__(self, settings: Settings) -> None:
        header = settings.identity_header
        self._header: Final = None if header is None else _Header(header)
        self._proxies: Final = TrustedProxies(settings.trusted_proxies)
        listed = ((ipaddress.ip_network(text), user) for text, user in settings.networks.items())
        self._networks: Final[tuple[tuple[IpNetwork, str], ...]] = tuple(
            sorted(listed, key=lambda entry: -entry[0].prefixlen)
        )

    def of(self, scope: Scope, *, client_ip: str) -> tuple[Headers, tuple[Credential, ...]]:
        """The headers of a request without those of the proxy, and what is known of whoever asks, best first."""
        headers, found = scope["headers"], list[Credential]()
        if self._header is not None:
            headers, forwarded = self._header.taken(scope)
            found += [forwarded] if forwarded is not None else []
        if self._networks:
            found += [Network(user) for user in self._users_of(client_ip)][:1]
        return headers, tuple(found)

    def _users_of(self, ip: str) -> list[str]:
        """Smallest network first. A proxy's own address is nobody's: it did not say for whom it asks."""
        if self._proxies.lists(ip):
            return []
        try:
            address = ipaddress.ip_address(ip)
        except ValueError:
            return []
        if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
            address = address.ipv4_mapped
        return [user for network, user in self._networks if address in network]


class _Header:
    def __init__(self, header: IdentityHeader) -> None:
        self._proxies: Final = TrustedProxies(header.proxies)
        self._user: Final = header.user.lower().encode("ascii")
        self._groups: Final = None if header.groups is None else header.groups.lower().encode("ascii")
        self._ours: Final = frozenset({self._user, self._groups} - {None})

    def taken(self, scope: Scope) -> tuple[Headers, Forwarded | None]:
        """Everything else, and what a listed proxy said; nothing, where it can be read in two ways."""
        headers: Headers = list(scope["headers"])
        kept = [field for field in headers if field[0].lower().translate(_NORMAL) not in self._ours]
        peer = (scope.get("client") or (None,))[0]
        if len(kept) == len(headers) or not self._proxies.lists(peer):
            return kept, None
        users, groups = self._values(headers, self._user), self._values(headers, self._groups)
        if len(users) > 1 or len(groups) > 1:
            # One of them may be the client's own, which the proxy has let through.
            log.warning("identity_header_twice", peer=peer, users=len(users), groups=len(groups))
            return kept, None
        user = users[0].strip() if users else ""
        return kept, Forwarded(user, groups[0] if groups else None) if user else None

    @staticmethod
    def _values(headers: Headers, name: bytes | None) -> list[str]:
        return [value.decode("latin-1") for key, value in headers if key == name]
