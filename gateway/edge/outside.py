"""Credentials that others give: tokens of configured issuers, a proxy's header, a listed network. It does not know what
else came along.
"""

import hashlib
from collections.abc import Callable, Mapping
from typing import Final

from gateway.config import IdentityHeader
from gateway.edge.issuer_source import IssuerSource
from gateway.edge.newcomers import Newcomers
from gateway.edge.proofs import NETWORK_SCOPES, Authenticated, Proofs, Refused
from gateway.errors import NotAdmitted
from gateway.identity.credentials import Forwarded, Network
from gateway.identity.issuer_jwt import issuer_named
from gateway.identity.segments import ExpiredJwt, InvalidJwt
from gateway.identity.vouched import from_claims, from_headers
from gateway.store.users import Users

_MINUTE: Final = 60.0


class Outside:
    """Proves them. `issuers` are those of the settings, with the audiences that their tokens must be made for."""

    def __init__(
        self,
        issuers: Mapping[str, tuple[IssuerSource, tuple[str, ...]]],
        *,
        header: IdentityHeader | None,
        newcomers: Newcomers,
        users: Users,
        proofs: Proofs,
        clock: Callable[[], float],
    ) -> None:
        self._issuers: Final = issuers
        self._header: Final = header
        self._newcomers: Final = newcomers
        self._users: Final = users
        self._proofs: Final = proofs
        self._clock: Final = clock

    def is_anothers(self, text: str) -> bool:
        """Whether a JWT cannot be ours, by its form."""
        return bool(self._issuers) and issuer_named(text) is not None

    async def token(self, text: str) -> Authenticated | Refused:
        """A JWT of an issuer. Raises IssuerUnavailable, if its keys cannot be had."""
        found = self._issuers.get(issuer_named(text) or "")
        if found is None:
            return Refused("of an issuer that is not configured")
        source, audiences = found
        rules, now = source.rules, self._clock()
        try:
            verified = await source.verified(text, audiences=audiences, now=now)
            vouched = from_claims(
                verified.signed,
                subject_claim=rules.subject_claim,
                name_claims=rules.name_claims,
                groups_claim=rules.groups_claim,
                # A clock ahead of ours must not keep what is said here next from being the newest.
                said_at=min(verified.signed.issued_at, now),
            )
            user = await self._newcomers.user(vouched, rules)
        except ExpiredJwt as error:
            return Refused(f"{rules.issuer}: {error}", expired=True)
        except InvalidJwt as error:
            return Refused(f"{rules.issuer}: {error}")
        except NotAdmitted as error:
            return Refused(error.reason)
        return self._proofs.vouched(
            user,
            via="jwt",
            # In no form of ours: a `jti` of somebody else's choice must not look like one with a token of ours in it.
            credential_id=f"issuer:{hashlib.sha256(text.encode()).hexdigest()[:32]}",
            expires_at=verified.signed.expires_at,
            recheck_at=now + verified.seconds,
        )

    async def forwarded(self, said: Forwarded) -> Authenticated | Refused:
        """What a listed proxy says of whoever asks."""
        rules, now = self._header, self._clock()
        if rules is None:
            return Refused("no proxy is believed")
        # By the minute, so that not every request is news about somebody.
        told = from_headers(said.user, said.groups, header=rules.user, now=now // _MINUTE * _MINUTE)
        if told is None:
            return Refused("the proxy names nobody")
        try:
            user = await self._newcomers.user(told, rules)
        except NotAdmitted as error:
            return Refused(error.reason)
        return self._proofs.vouched(user, via="header", recheck_at=now + _MINUTE)

    async def network(self, network: Network) -> Authenticated | Refused:
        """Whoever asks from a listed network: an ordinary user, who administers nothing."""
        user = await self._users.by_name(network.user)
        if user is None:
            return Refused(f"the network is that of {network.user}, whom nobody is")
        return self._proofs.vouched(user, via="network", scopes=NETWORK_SCOPES)
