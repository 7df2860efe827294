"""One configured issuer: what it says of itself, its keys, and whether it signed a token. It does not know who the
subject is here.
"""

from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass
from typing import Final

from gateway.config import ClaimsAdmission
from gateway.edge.kept import Held, Kept
from gateway.errors import IssuerUnavailable
from gateway.identity.issuer_jwt import Signed, UnknownKeyError, verify
from gateway.identity.issuer_keys import IssuerKeys, UnusableKeysError, read_keys
from gateway.identity.relying_party import Metadata, UnusableMetadataError, read_metadata

GetJson = Callable[[str], Awaitable[object]]
"""What an address answers; raises IssuerUnavailable."""
WELL_KNOWN: Final = "/.well-known/openid-configuration"


@dataclass(frozen=True, slots=True)
class Verified:
    """What the issuer signed, and for how many seconds its keys need not be looked at again."""

    signed: Signed
    seconds: float


class IssuerSource:
    """An issuer. `ticks` gives seconds that only go forward."""

    def __init__(self, rules: ClaimsAdmission, *, get_json: GetJson, ticks: Callable[[], float]) -> None:
        self.rules: Final = rules
        self._get_json: Final = get_json
        self._ticks: Final = ticks
        self._metadata: Final = Kept(self._fetch_metadata, ticks=ticks)
        self._keys: Final = Kept(self._fetch_keys, ticks=ticks)

    async def metadata(self) -> Metadata:
        """What it says of itself. Raises IssuerUnavailable."""
        return (await self._metadata.get()).value

    async def keys(self) -> IssuerKeys:
        """Its keys as they are kept. Raises IssuerUnavailable."""
        return (await self._keys.get()).value

    async def verified(self, text: str, *, audiences: Collection[str], now: float) -> Verified:
        """What it says in `text`; its keys are fetched anew for a token that names one which is not kept.

        Raises InvalidJwt, ExpiredJwt; IssuerUnavailable, if there are no keys.
        """
        held = await self._keys.get()
        try:
            return self._verified(text, held, audiences=audiences, now=now)
        except UnknownKeyError:
            newer = await self._keys.newer()
            if newer is held:
                raise
        return self._verified(text, newer, audiences=audiences, now=now)

    def _verified(self, text: str, held: Held[IssuerKeys], *, audiences: Collection[str], now: float) -> Verified:
        signed = verify(
            text,
            held.value,
            issuer=self.rules.issuer,
            audiences=audiences,
            leeway=self.rules.leeway_seconds,
            now=now,
        )
        return Verified(signed, max(0.0, held.fresh_until - self._ticks()))

    async def _fetch_metadata(self) -> Metadata:
        document = await self._get_json(self.rules.issuer.rstrip("/") + WELL_KNOWN)
        try:
            return read_metadata(document, issuer=self.rules.issuer)
        except UnusableMetadataError as error:
            raise IssuerUnavailable(f"{self.rules.issuer}: {error}") from None

    async def _fetch_keys(self) -> IssuerKeys:
        url = self.rules.jwks_url or (await self.metadata()).keys
        try:
            return read_keys(await self._get_json(url), algorithms=self.rules.algorithms)
        except UnusableKeysError as error:
            raise IssuerUnavailable(f"{url}: {error}") from None
