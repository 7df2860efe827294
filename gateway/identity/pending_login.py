"""A login that a browser has begun at somebody else's: what is kept of it in a cookie until the browser comes back.

It does not know cookies, nor the other side. All that must be secret or must be guessed by nobody (state, nonce, the
verifier of PKCE) is derived with our key from a random number that only this browser has; so a login that was begun in
one browser cannot be finished in another, and there is nothing to store.
"""

import base64
import hmac
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from gateway.identity.jwt import Keys

SECONDS: Final = 600
"""How long somebody may take to log in."""
_MAX_LENGTH: Final = 4000
_SEED_BYTES: Final = 32


class NotPendingError(Exception):
    """No login of this browser that can be finished now. The reason is for the log."""


@dataclass(frozen=True, slots=True)
class Pending:
    """One login: at which provider, where to go afterwards, and until when (in seconds since 1970)."""

    provider: str
    next: str
    until: int
    state: str = field(repr=False)
    nonce: str = field(repr=False)
    verifier: str = field(repr=False)
    cookie: str = field(repr=False)


class PendingLogins:
    """Begins and recognizes logins, with a key that is derived from the one that signs sessions."""

    def __init__(self, keys: Keys) -> None:
        self._key: Final = hmac.digest(keys.current.secret, b"comfyui-gateway: pending logins", "sha256")

    def begin(self, provider: str, *, next_address: str, random: Callable[[int], bytes], now: float) -> Pending:
        """A new one."""
        content: dict[str, str | int] = {
            "provider": provider,
            "next": next_address,
            "until": int(now) + SECONDS,
            "seed": _text(random(_SEED_BYTES)),
        }
        return self._pending(content)

    def find(self, cookie: str, *, provider: str, state: str, now: float) -> Pending:
        """The login that the cookie and the state belong to, both. Raises NotPendingError."""
        text, _, seal = cookie.partition(".")
        if len(cookie) > _MAX_LENGTH or not hmac.compare_digest(_bytes(seal), _bytes(self._derived("seal", text))):
            raise NotPendingError("the cookie is none of ours")
        # Whoever could write the seal wrote what is in it.
        pending = self._pending(json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))))
        if pending.provider != provider or not hmac.compare_digest(_bytes(pending.state), _bytes(state)):
            raise NotPendingError("the state is of another login")
        if now >= pending.until:
            raise NotPendingError("it took too long")
        return pending

    def _pending(self, content: dict[str, str | int]) -> Pending:
        seed = str(content["seed"])
        text = _text(json.dumps(content, separators=(",", ":"), sort_keys=True).encode())
        return Pending(
            provider=str(content["provider"]),
            next=str(content["next"]),
            until=int(content["until"]),
            state=self._derived("state", seed),
            nonce=self._derived("nonce", seed),
            verifier=self._derived("verifier", seed),
            cookie=f"{text}.{self._derived('seal', text)}",
        )

    def _derived(self, purpose: str, text: str) -> str:
        """43 characters, which is also what a verifier needs (RFC 7636, 4.1)."""
        return _text(hmac.digest(self._key, _bytes(f"{purpose}:{text}"), "sha256"))


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")
