"""Logins at somebody else's, by OpenID Connect: where a browser is sent, and what is made of it when it comes back.

It knows no cookie and no page. Nothing that comes back is believed but what this browser's own login asked for: state
and cookie belong together, the code is changed once and with the verifier that only we know, and the ID token is for
this client and has this login's nonce.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from typing import Final, Protocol

from starlette.types import Scope

from gateway.config import Settings, SignOn
from gateway.edge.door import Door
from gateway.edge.issuer_source import IssuerSource
from gateway.errors import InvalidRequest, IssuerUnavailable, NotAdmitted, NotFound
from gateway.identity.issuer_jwt import Signed
from gateway.identity.jwt import Keys
from gateway.identity.pending_login import SECONDS, NotPendingError, Pending, PendingLogins
from gateway.identity.principal import Principal
from gateway.identity.relying_party import (
    Client,
    Metadata,
    UnusableMetadataError,
    authorization_address,
    require_own_login,
    token_request,
)
from gateway.identity.segments import InvalidJwt
from gateway.identity.vouched import Vouched, from_claims, with_user_info
from gateway.upstream.issuer_calls import IssuerCalls

_MOST_USED: Final = 10_000
_MOST_CODE: Final = 4096


class Vouch(Protocol):
    """Who somebody is here for whom a provider vouches; see `gateway.edge.authentication`."""

    def __call__(self, vouched: Vouched, rules: SignOn, *, expires_at: float | None) -> Awaitable[Principal]:
        """Raises NotAdmitted."""


@dataclass(frozen=True, slots=True)
class Begun:
    """Where the browser goes, and what it keeps until it comes back, for at most `seconds`."""

    address: str
    cookie: str
    seconds: int


@dataclass(frozen=True, slots=True)
class Finished:
    """Who has logged in, and where they were going."""

    principal: Principal
    next: str


class SignOns:
    """The providers of the settings. `clock` gives seconds since 1970."""

    def __init__(
        self,
        settings: Settings,
        *,
        keys: Keys,
        sources: Mapping[str, IssuerSource],
        calls: IssuerCalls,
        vouch: Vouch,
        door: Door,
        clock: Callable[[], float],
        random: Callable[[int], bytes],
    ) -> None:
        self._settings: Final = settings
        self._pending: Final = PendingLogins(keys)
        self._sources: Final = sources
        self._calls: Final = calls
        self._vouch: Final = vouch
        self._door: Final = door
        self._clock: Final = clock
        self._random: Final = random
        self._used: Final[dict[str, int]] = {}

    def titles(self) -> dict[str, str]:
        """What stands on the button of each provider."""
        return {name: rules.title or f"Log in with {name}" for name, rules in self._settings.sso.items()}

    async def begin(self, name: str, *, next_address: str) -> Begun:
        """Begin a login. Raises NotFound, IssuerUnavailable."""
        rules = self._rules(name)
        metadata = await self._sources[name].metadata()
        pending = self._pending.begin(name, next_address=next_address, random=self._random, now=self._clock())
        try:
            address = authorization_address(
                self._client(name, rules),
                metadata,
                state=pending.state,
                nonce=pending.nonce,
                verifier=pending.verifier,
            )
        except UnusableMetadataError as error:
            raise IssuerUnavailable(f"{rules.issuer}: {error}") from None
        return Begun(address, pending.cookie, SECONDS)

    async def finish(self, name: str, scope: Scope, *, said: Mapping[str, str], cookie: str | None) -> Finished:
        """Finish a login with what the provider `said` in the address to which it sent the browser back.

        Raises NotFound, InvalidRequest, NotAdmitted, TooMany, IssuerUnavailable.
        """
        rules = self._rules(name)
        await self._door.address(scope, "login")
        pending = self._pending_of(name, said, cookie)
        metadata = await self._sources[name].metadata()
        code = self._code(said, metadata)
        self._use(pending)
        signed = await self._signed(name, rules, metadata, code=code, pending=pending)
        principal = await self._vouch(self._vouched(signed, rules), rules, expires_at=self._end(rules))
        await self._door.user(principal, "login")
        return Finished(principal, pending.next)

    def _rules(self, name: str) -> SignOn:
        rules = self._settings.sso.get(name)
        if rules is None:
            raise NotFound("There is no such login.")
        return rules

    def _client(self, name: str, rules: SignOn) -> Client:
        secret = None if rules.client_secret is None else rules.client_secret.get_secret_value()
        back = f"{self._settings.public_url}/gateway/sso/{name}/callback"
        return Client(rules.client_id, secret, rules.scopes, back)

    def _pending_of(self, name: str, said: Mapping[str, str], cookie: str | None) -> Pending:
        try:
            pending = self._pending.find(cookie or "", provider=name, state=said.get("state", ""), now=self._clock())
            if pending.state in self._used:
                raise NotPendingError("it was finished already")
        except NotPendingError as error:
            raise _refused(str(error), "This login was begun in another browser, or too long ago.") from None
        return pending

    def _code(self, said: Mapping[str, str], metadata: Metadata) -> str:
        """The code, if it comes from whom the browser was sent to (RFC 9207), and is none of an error."""
        named = said.get("iss")
        if (named is None and metadata.names_itself) or (named is not None and named != metadata.issuer):
            raise _refused("the answer is of another issuer, or of none", "The answer came from somebody else.")
        if said.get("error") == "access_denied":
            raise NotAdmitted(
                "the provider denied access, or the person did",
                message="You were not logged in.",
                details="The provider says that access was denied.",
            )
        code = said.get("code", "")
        if "error" in said or not 0 < len(code) <= _MOST_CODE:
            raise _refused(f"the provider says {said.get('error', 'nothing')[:64]!r}", "The provider refused it.")
        return code

    def _use(self, pending: Pending) -> None:
        """Once: what came back may lie in the history of a browser, or in the log of a server."""
        now = self._clock()
        if len(self._used) >= _MOST_USED:
            for state in [state for state, until in self._used.items() if until <= now]:
                del self._used[state]
        if len(self._used) >= _MOST_USED:
            raise IssuerUnavailable("too many logins at once")
        self._used[pending.state] = pending.until

    async def _signed(self, name: str, rules: SignOn, metadata: Metadata, *, code: str, pending: Pending) -> Signed:
        """The ID token of this login, and what the user info adds to it."""
        request = token_request(self._client(name, rules), metadata, code=code, verifier=pending.verifier)
        answer = await self._calls.ask("POST", request.url, headers=request.headers, body=request.body)
        tokens = answer.document if isinstance(answer.document, dict) else {}
        if answer.status != 200 or not isinstance(tokens.get("id_token"), str):
            words = str(tokens.get("error", "no ID token"))[:64]
            raise _refused(f"{request.url}: status {answer.status}, {words!r}", "The provider refused it.")
        access_token = tokens.get("access_token") if isinstance(tokens.get("access_token"), str) else None
        try:
            verified = await self._sources[name].verified(
                tokens["id_token"], audiences=(rules.client_id,), now=self._clock()
            )
            require_own_login(
                verified.signed, client_id=rules.client_id, nonce=pending.nonce, access_token=access_token
            )
            return await self._with_user_info(verified.signed, metadata, access_token)
        except InvalidJwt as error:
            raise _refused(f"{rules.issuer}: {error}", "The provider's answer does not hold.") from None

    async def _with_user_info(self, signed: Signed, metadata: Metadata, access_token: str | None) -> Signed:
        """Some providers say names and groups only there."""
        if metadata.user_info is None or access_token is None:
            return signed
        headers = {"Authorization": f"Bearer {access_token}"}
        answer = await self._calls.ask("GET", metadata.user_info, headers=headers)
        if answer.status != 200 or not isinstance(answer.document, dict):
            raise IssuerUnavailable(f"{metadata.user_info}: status {answer.status}")
        return replace(signed, claims=with_user_info(signed.claims, answer.document))

    def _vouched(self, signed: Signed, rules: SignOn) -> Vouched:
        try:
            return from_claims(
                signed,
                subject_claim=rules.subject_claim,
                name_claims=rules.name_claims,
                groups_claim=rules.groups_claim,
                # Just asked for, so newer than any token that was signed before.
                said_at=self._clock(),
            )
        except InvalidJwt as error:
            raise _refused(f"{rules.issuer}: {error}", "The provider's answer does not hold.") from None

    def _end(self, rules: SignOn) -> float | None:
        return None if rules.session_hours is None else self._clock() + rules.session_hours * 3600


def _refused(reason: str, words: str) -> InvalidRequest:
    return InvalidRequest("You could not be logged in.", details=f"{words} Please try again.", reason=reason)
