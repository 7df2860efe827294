"""Who asks: the credentials of a request, tried in their order, and a memory that is dropped as soon as anything
changes.

It does not know what is asked for, nor whether it is allowed.
"""

import asyncio
import hashlib
import secrets
import time
from collections.abc import Awaitable, Callable
from typing import Final

from starlette.types import Scope

from gateway.config import Admission, Settings
from gateway.edge.newcomers import Newcomers
from gateway.edge.outside import Outside
from gateway.edge.own_page import require_own_page
from gateway.edge.passwords import PasswordCheck
from gateway.edge.proofs import Authenticated, Proofs, Refused
from gateway.edge.slowdown import Slowdown
from gateway.edge.sources import Sources
from gateway.edge.validity import Validity
from gateway.errors import (
    CHALLENGE,
    GatewayError,
    IssuerUnavailable,
    LockedOut,
    NotAdmitted,
    StoreUnavailable,
    TokenExpired,
    Unauthenticated,
)
from gateway.identity import tokens
from gateway.identity.credentials import (
    CREDENTIAL_HEADERS,
    Credential,
    Forwarded,
    Jwt,
    Network,
    Token,
    UserPassword,
    find,
)
from gateway.identity.jwt import Keys
from gateway.identity.passwords import Passwords
from gateway.identity.principal import Principal
from gateway.identity.vouched import Vouched
from gateway.log import get_logger
from gateway.policy.origin import cookie_name
from gateway.store.database import Store

_CARRIERS: Final = CREDENTIAL_HEADERS | {b"cookie"}
_MOST_REMEMBERED: Final = 10_000
_TOUCH_SECONDS: Final = 60.0

log = get_logger(__name__)


class Authenticator:
    """Authenticates requests. `clock` gives seconds since 1970."""

    def __init__(
        self,
        store: Store,
        keys: Keys,
        settings: Settings,
        clock: Callable[[], float] = time.time,
        *,
        passwords: Passwords | None = None,
        slowdown: Slowdown | None = None,
        random: Callable[[int], bytes] = secrets.token_bytes,
        sources: Sources | None = None,
    ) -> None:
        self._store: Final = store
        self._clock: Final = clock
        self._public_url: Final = settings.public_url
        self._slowdown: Final = slowdown or Slowdown()
        self._proofs: Final = Proofs(store, keys=keys, settings=settings, clock=clock)
        self._passwords: Final = PasswordCheck(
            store, passwords=passwords or Passwords(), slowdown=self._slowdown, clock=clock, random=random
        )
        self._newcomers: Final = Newcomers(
            store.identities, reserved=settings.networks.values(), clock=clock, random=random
        )
        self._outside: Final = Outside(
            {} if sources is None else sources.issuers,
            header=settings.identity_header,
            newcomers=self._newcomers,
            users=store.users,
            proofs=self._proofs,
            clock=clock,
        )
        self._validity: Final = Validity(self._proofs, changes=store.changes, clock=clock)
        self.still_valid: Final = self._validity.still
        self.ended: Final = self._validity.ended
        self._secret: Final = random(32)
        self._requests: Final[dict[bytes, Authenticated]] = {}
        self._memory: Final[dict[bytes, Authenticated]] = {}
        self._version = -1
        self._touched: Final[dict[str, float]] = {}
        self._touching: Final[set[asyncio.Task[None]]] = set()

    async def authenticate(self, scope: Scope) -> Principal:
        """The principal of a request that came through the boundary; also set in `scope["gateway"]`.

        Raises Unauthenticated, TokenExpired or LockedOut if no credential is good; CsrfRefused for a session cookie
        that cannot prove that our own pages sent the request; StoreUnavailable.
        """
        about = scope["gateway"]
        version = self._forget_if_changed()
        key = self._key(scope)
        principal = self._requests.get(key) if key is not None else None
        if principal is None or self._is_over(principal):
            principal = await self._first_good(self._credentials(scope), ip=about["client_ip"])
            if key is not None and principal.via != "password" and version == self._version:
                self._remember(self._requests, key, principal)
        if principal.is_ambient:
            require_own_page(scope, principal, public_url=self._public_url)
        about["principal"] = principal
        if principal.via == "token":
            self._touch(principal)
        return principal

    async def login(self, name: str, password: str, *, ip: str) -> Principal:
        """Who logs in with a name and a password, or with an API token in the password's place and any name.

        Raises Unauthenticated, TokenExpired or LockedOut.
        """
        is_token = password.startswith(tokens.PREFIX)
        credential = Token(password, "basic") if is_token else UserPassword(name, password)
        return await self._first_good((credential,), ip=ip)

    async def vouched(self, vouched: Vouched, rules: Admission, *, expires_at: float | None) -> Principal:
        """Who logs in for whom a provider has just vouched. Raises NotAdmitted."""
        user = await self._newcomers.user(vouched, rules)
        found = self._proofs.vouched(user, via="sso", expires_at=expires_at)
        if isinstance(found, Refused):
            raise NotAdmitted(found.reason)
        return found

    async def close(self) -> None:
        """Finish what was begun in the background."""
        if self._touching:
            await asyncio.wait(self._touching)

    def _key(self, scope: Scope) -> bytes | None:
        """A keyed digest of everything in the request that `find` looks at; None if that is more than headers and path.

        The same bytes have the same principal, so a warm request need not be taken apart.
        """
        query = scope["query_string"]
        if b"token" in query or b"%" in query:
            return None
        about = scope["gateway"]
        parts = [b"%b %b" % field for field in scope["headers"] if field[0] in _CARRIERS]
        more = repr((about["secure"], about["path_token"], about["ambient"]))
        parts.append(more.encode("utf-8", "surrogatepass"))
        return hashlib.blake2b(b"\n".join(parts), key=self._secret, digest_size=32).digest()

    def _credentials(self, scope: Scope) -> tuple[Credential, ...]:
        about = scope["gateway"]
        found = find(
            path_token=about["path_token"],
            headers=scope["headers"],
            query=scope["query_string"],
            cookie_name=cookie_name(secure=about["secure"]),
        )
        if any(_is_carried(credential) for credential in found):
            about["carried"] = True
        ambient: tuple[Credential, ...] = about["ambient"]
        return found + ambient

    async def _first_good(self, credentials: tuple[Credential, ...], *, ip: str) -> Authenticated:
        if not credentials:
            raise _refused(Unauthenticated, "Log in, or send a token.", "no credential")
        version = self._forget_if_changed()
        refusals: list[Refused] = []
        unknown: LockedOut | IssuerUnavailable | None = None
        for credential in credentials:
            try:
                found = await self._proof(credential, ip=ip, version=version)
            except (LockedOut, IssuerUnavailable) as error:
                unknown = error
                continue
            if isinstance(found, Authenticated):
                return found
            refusals.append(found)
        raise unknown or self._refusal(refusals, credentials, ip=ip)

    async def _proof(self, credential: Credential, *, ip: str, version: int) -> Authenticated | Refused:
        match credential:
            case Token(text=text):
                key = hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
                known = self._known(key) if text.startswith(tokens.PREFIX) else None
                if known is not None:
                    return known
                parsed = tokens.parse(text)
                if parsed is None:
                    return Refused("not in the form of our tokens")
                return self._keep(key, await self._proofs.token(parsed), version)
            case Jwt(text=text, source=source):
                # The text may be the key: the verifier takes one spelling of each token only.
                key = hashlib.sha256(f"{source} {text}".encode("utf-8", "surrogatepass")).digest()
                return self._known(key) or self._keep(key, await self._prover(text, source)(text), version)
            case UserPassword(name=name, password=password):
                user = await self._passwords.user(name, password, ip=ip)
                return Refused("wrong name or password") if user is None else self._proofs.password(user)
            case Forwarded():
                return await self._outside.forwarded(credential)
            case Network():
                return await self._outside.network(credential)

    def _prover(self, text: str, source: str) -> Callable[[str], Awaitable[Authenticated | Refused]]:
        if source == "cookie":
            return self._proofs.session
        return self._outside.token if self._outside.is_anothers(text) else self._proofs.access

    def _known(self, key: bytes) -> Authenticated | None:
        found = self._memory.get(key)
        return None if found is None or self._is_over(found) else found

    def _is_over(self, principal: Authenticated) -> bool:
        expires_at, recheck_at = principal.expires_at, principal.recheck_at
        if expires_at is None and recheck_at is None:
            return False
        now = self._clock()
        return (expires_at is not None and now >= expires_at) or (recheck_at is not None and now >= recheck_at)

    def _keep(self, key: bytes, found: Authenticated | Refused, version: int) -> Authenticated | Refused:
        """Only what was looked up under the version that still is: a change meanwhile may have been missed or not."""
        if isinstance(found, Authenticated) and version == self._version:
            self._remember(self._memory, key, found)
        return found

    @staticmethod
    def _remember(memory: dict[bytes, Authenticated], key: bytes, found: Authenticated) -> None:
        if len(memory) >= _MOST_REMEMBERED:
            memory.clear()
        memory[key] = found

    def _forget_if_changed(self) -> int:
        version = self._store.changes.version()
        if version != self._version:
            self._version = version
            self._requests.clear()
            self._memory.clear()
            self._passwords.forget()
        return version

    def _refusal(self, refusals: list[Refused], credentials: tuple[Credential, ...], *, ip: str) -> GatewayError:
        """What is sent on purpose and wrong is counted; what came along by itself is nobody's attempt."""
        reason = "; ".join(refused.reason for refused in refusals)
        if refusals and all(refused.expired for refused in refusals):
            return _refused(TokenExpired, "The credential has expired.", reason)
        if any(_is_carried(credential) and not isinstance(credential, UserPassword) for credential in credentials):
            self._slowdown.failed_token(ip)
        return _refused(Unauthenticated, "The credential is not valid.", reason)

    def _touch(self, principal: Authenticated) -> None:
        """Note the use of a token, at most once a minute and without making the request wait for it."""
        token_id, now = principal.credential_id or "", self._clock()
        if now - self._touched.get(token_id, 0.0) < _TOUCH_SECONDS:
            return
        if len(self._touched) >= _MOST_REMEMBERED:
            self._touched.clear()
        self._touched[token_id] = now
        task = asyncio.create_task(self._write_touch(token_id, now))
        self._touching.add(task)
        task.add_done_callback(self._touching.discard)

    async def _write_touch(self, token_id: str, now: float) -> None:
        try:
            await self._store.tokens.touch(token_id, now=now)
        except StoreUnavailable as error:
            log.warning("token_use_not_noted", token_id=token_id, reason=error.reason)


def _is_carried(credential: Credential) -> bool:
    """Whether somebody sent it on purpose; a cookie is added by the browser, other things by nobody who asks."""
    return not (isinstance(credential, Forwarded | Network) or _is_cookie(credential))


def _is_cookie(credential: Credential) -> bool:
    return isinstance(credential, Jwt) and credential.source == "cookie"


def _refused(kind: type[Unauthenticated], message: str, reason: str) -> Unauthenticated:
    details = (
        "Send Authorization: Bearer <token>, X-API-Key: <token> or ?token=<token>. In a browser open /gateway/login."
    )
    return kind(message, details=details, headers={"WWW-Authenticate": CHALLENGE}, reason=reason)
