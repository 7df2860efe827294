"""Whether one credential is good now: its own proof, and what the store says of it and of its user at this moment.

It does not know where a credential was found, what else came with it, nor what its failure costs.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

from gateway.config import Settings
from gateway.identity import jwt, tokens
from gateway.identity.jwt import Claims, ExpiredJwt, InvalidJwt, Keys
from gateway.identity.lineage import AUDIENCE, ISSUER, parent_token
from gateway.identity.principal import Principal, Via
from gateway.policy.access import permissions
from gateway.store.database import Store
from gateway.store.tokens import TokenRow
from gateway.store.users import User

NETWORK_SCOPES: Final = frozenset({"read", "submit"})
"""Whoever is in a listed network is nobody in particular, and administers nothing."""


@dataclass(frozen=True, slots=True)
class Authenticated(Principal):
    """A Principal together with the `epoch` that its user had: a later one ends everything but API tokens.

    At `recheck_at`, in seconds since 1970, what others said has to be looked at again before it is believed once more.
    """

    epoch: int = 0
    recheck_at: float | None = None


@dataclass(frozen=True, slots=True)
class Refused:
    """A credential that does not hold. `expired`: it did, until its time was over. The reason is for the log."""

    reason: str
    expired: bool = False


class Proofs:
    """Looks at credentials one by one. Raises StoreUnavailable when it cannot know: nothing is allowed on a guess."""

    def __init__(self, store: Store, *, keys: Keys, settings: Settings, clock: Callable[[], float]) -> None:
        self._store: Final = store
        self._keys: Final = keys
        self._roles: Final = settings.roles
        self._clock: Final = clock

    async def token(self, parsed: tokens.ParsedToken) -> Authenticated | Refused:
        """An API token."""
        row = await self._store.tokens.get(parsed.id)
        if row is None or not tokens.matches(parsed, row.digest):
            return Refused("no such token")
        over = self._token_over(row)
        if over is not None:
            return over
        user = await self._store.users.get(row.user_id)
        return self._admit(user, via="token", credential_id=row.id, expires_at=row.expires_at, token=row)

    async def session(self, text: str) -> Authenticated | Refused:
        """The JWT in a session cookie; it holds as long as its row in the store does."""
        claims = self._claims(text, typ="session")
        if isinstance(claims, Refused):
            return claims
        row = await self._store.sessions.get(claims.jti)
        if row is None or row.revoked_at is not None:
            return Refused("the session has ended")
        return await self._signed(claims, via="session")

    async def access(self, text: str) -> Authenticated | Refused:
        """A short-lived JWT from the token endpoint."""
        claims = self._claims(text, typ="access")
        return claims if isinstance(claims, Refused) else await self._signed(claims, via="jwt")

    def password(self, user: User) -> Authenticated | Refused:
        """A user whose password was right."""
        return self._admit(user, via="password", credential_id=None, expires_at=None, token=None)

    def vouched(
        self,
        user: User,
        *,
        via: Via,
        credential_id: str | None = None,
        expires_at: float | None = None,
        recheck_at: float | None = None,
        scopes: frozenset[str] | None = None,
    ) -> Authenticated | Refused:
        """A user for whom somebody else vouched, or a network."""
        found = self._admit(
            user, via=via, credential_id=credential_id, expires_at=expires_at, token=None, scopes=scopes
        )
        return replace(found, recheck_at=recheck_at) if isinstance(found, Authenticated) else found

    async def still(self, principal: Authenticated) -> bool:
        """Whether the same credential would give the same principal now."""
        now = await self._again(principal)
        same_epoch = principal.via == "token" or (isinstance(now, Authenticated) and now.epoch == principal.epoch)
        return (
            isinstance(now, Authenticated)
            and same_epoch
            and (now.role, now.permissions) == (principal.role, principal.permissions)
            and (principal.expires_at is None or self._clock() < principal.expires_at)
        )

    async def _again(self, principal: Authenticated) -> Authenticated | Refused:
        row = None
        if principal.via == "session":
            session = await self._store.sessions.get(principal.credential_id or "")
            if session is None or session.revoked_at is not None:
                return Refused("the session has ended")
        token_id = principal.credential_id if principal.via == "token" else parent_token(principal.credential_id)
        if token_id is not None:
            row = await self._store.tokens.get(token_id)
            over = Refused("no such token") if row is None else self._token_over(row)
            if over is not None:
                return over
        user = await self._store.users.get(principal.user_id)
        scopes = NETWORK_SCOPES if principal.via == "network" else None
        return self._admit(user, via=principal.via, credential_id=None, expires_at=None, token=row, scopes=scopes)

    def _claims(self, text: str, *, typ: jwt.Typ) -> Claims | Refused:
        try:
            return jwt.verify(text, self._keys, typ=typ, audience=AUDIENCE, issuer=ISSUER, now=self._clock())
        except ExpiredJwt as error:
            return Refused(str(error), expired=True)
        except InvalidJwt as error:
            return Refused(str(error))

    async def _signed(self, claims: Claims, *, via: Via) -> Authenticated | Refused:
        """What the store says of a JWT that we signed: the user's epoch, and the token that it was got with, if any."""
        user = await self._store.users.by_key(claims.sub)
        if user is None or user.epoch != claims.epoch:
            return Refused("the user is gone or has changed the password")
        token_id, row = parent_token(claims.jti), None
        if token_id is not None:
            row = await self._store.tokens.get(token_id)
            over = Refused("no such token") if row is None else self._token_over(row)
            if over is not None:
                return over
        return self._admit(user, via=via, credential_id=claims.jti, expires_at=float(claims.exp), token=row)

    def _token_over(self, row: TokenRow) -> Refused | None:
        if row.revoked_at is not None:
            return Refused(f"token {row.id} is revoked")
        if row.expires_at is not None and self._clock() >= row.expires_at:
            return Refused(f"token {row.id} has expired", expired=True)
        return None

    def _admit(
        self,
        user: User | None,
        *,
        via: Via,
        credential_id: str | None,
        expires_at: float | None,
        token: TokenRow | None,
        scopes: frozenset[str] | None = None,
    ) -> Authenticated | Refused:
        if user is None or user.disabled:
            return Refused("the user is gone or disabled")
        return Authenticated(
            user_id=user.id,
            name=user.name,
            role=user.role,
            permissions=permissions(self._roles.get(user.role), scopes if token is None else token.scopes),
            via=via,
            credential_id=credential_id,
            expires_at=expires_at,
            limits=user.limits,
            epoch=user.epoch,
        )
