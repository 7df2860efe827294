"""Signs what a login gives: sessions, for the cookie of a browser, and access tokens. It knows no cookie."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from gateway.config import Settings
from gateway.errors import UserGone
from gateway.identity.jwt import MAX_LIFETIME, Claims, Keys, Typ, sign
from gateway.identity.lineage import AUDIENCE, ISSUER, new_id
from gateway.identity.principal import Principal
from gateway.store.database import Store
from gateway.store.sessions import SessionRow

_KEPT_SECONDS: Final = 7 * 86400
"""How long a session that is over is remembered."""


@dataclass(frozen=True, slots=True)
class Issued:
    """A signed JWT, and the whole seconds that it holds."""

    text: str = field(repr=False)
    seconds: int


class Issuer:
    """Issues to principals that were just authenticated by a password or an API token."""

    def __init__(
        self,
        store: Store,
        *,
        keys: Keys,
        settings: Settings,
        clock: Callable[[], float],
        random: Callable[[int], bytes],
    ) -> None:
        self._store: Final = store
        self._keys: Final = keys
        self._session_seconds: Final = min(settings.session_hours * 3600, MAX_LIFETIME)
        self._access_seconds: Final = min(settings.access_minutes * 60, MAX_LIFETIME)
        self._clock: Final = clock
        self._random: Final = random

    async def session(self, principal: Principal) -> Issued:
        """A new session, with an id that nobody had before."""
        claims = await self._claims(principal, seconds=self._session_seconds)
        row = SessionRow(claims.jti, principal.user_id, created_at=float(claims.iat), expires_at=float(claims.exp))
        await self._store.sessions.add(row)
        # Late, so that a clock that was wrong for a while ends nobody's session for good.
        await self._store.sessions.sweep(claims.iat - _KEPT_SECONDS)
        return self._signed(claims, typ="session")

    async def access(self, principal: Principal) -> Issued:
        """A short-lived token for `Authorization: Bearer`."""
        return self._signed(await self._claims(principal, seconds=self._access_seconds), typ="access")

    async def end(self, principal: Principal) -> None:
        """End the session that the principal came with, if it came with one."""
        if principal.via == "session" and principal.credential_id is not None:
            await self._store.sessions.revoke(principal.credential_id, now=self._clock())

    async def _claims(self, principal: Principal, *, seconds: int) -> Claims:
        """Nothing that is got with a token lives longer than the token."""
        user = await self._store.users.get(principal.user_id)
        if user is None:
            raise UserGone
        now = int(self._clock())
        end = now + seconds if principal.expires_at is None else min(now + seconds, int(principal.expires_at))
        parent = principal.credential_id if principal.via == "token" else None
        return Claims(
            iss=ISSUER,
            aud=AUDIENCE,
            sub=user.key,
            jti=new_id(self._random, parent=parent),
            iat=now,
            exp=max(end, now + 1),
            epoch=user.epoch,
        )

    def _signed(self, claims: Claims, *, typ: Typ) -> Issued:
        return Issued(sign(claims, self._keys, typ=typ), claims.exp - claims.iat)
