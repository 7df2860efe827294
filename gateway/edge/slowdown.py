"""Failed logins make further ones slower: per address, per account, and per both. It does not know what is a good one.

Nobody is locked out. Whoever failed too often waits before the next password is looked at, one after another, and a
right one then gets in: a stranger who guesses at a name delays its owner by seconds and can do no more. Tokens are
never delayed: 192 random bits cannot be guessed, so wrong ones are only counted.

The counters are those of the library `limits`, in memory, in fixed windows: they are forgotten at a restart.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

from limits import RateLimitItem, RateLimitItemPerHour, RateLimitItemPerMinute
from limits.storage import MemoryStorage
from limits.strategies import FixedWindowRateLimiter

from gateway.edge.addresses import counted
from gateway.errors import LockedOut
from gateway.policy.balance import Balance

_COUNT_UP_TO: Final = 1_000_000
_PASSWORDS: Final = RateLimitItemPerHour(_COUNT_UP_TO, namespace="passwords")
_TOKENS: Final = RateLimitItemPerMinute(_COUNT_UP_TO, namespace="tokens")


@dataclass(frozen=True, slots=True)
class Pace:
    """What is free, and what a further try costs. Failures are counted by the hour, those of tokens by the minute."""

    free_of_both: int = 5
    """Failures of one address for one account."""
    free_of_account: int = 10
    free_of_address: int = 20
    steps: tuple[tuple[int, float], ...] = ((20, 0.5), (60, 2.0), (_COUNT_UP_TO, 10.0))
    """(so many failures above the free ones, seconds before each further try)."""
    waiting_for_both: int = 4
    """Tries of one address for one account that may wait; more are refused unseen."""
    waiting_at_address: int = 16
    free_tokens: int = 1000
    """Wrong tokens of one address that get a plain 401."""
    most_counters: int = 50_000
    """More of them are all forgotten at once, so that ever new names and addresses cannot fill the memory."""


@dataclass(frozen=True, slots=True)
class _Who:
    """Who tries, as keys of counters. The account is whatever name was given, in any case, whether or not it exists."""

    address: tuple[str, str]
    account: tuple[str, str]
    both: tuple[str, str, str]


class Slowdown:
    """The failures that this process saw. `ip` is an address as text, `account` a user name as it was typed."""

    def __init__(self, *, pace: Pace | None = None, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep) -> None:
        self._pace: Final = pace or Pace()
        self._sleep: Final = sleep
        self._storage: Final = MemoryStorage()
        self._limiter: Final = FixedWindowRateLimiter(self._storage)
        self._waiting: Final[Counter[tuple[str, ...]]] = Counter()
        self._locks: Final[dict[tuple[str, ...], asyncio.Lock]] = {}

    @asynccontextmanager
    async def turn(self, ip: str, account: str) -> AsyncIterator[None]:
        """In this block a password may be looked at. Waits before it, or raises LockedOut if too many wait already."""
        who = _who(ip, account)
        wait = self._wait(who)
        if wait == 0:
            yield
            return
        self._queue(who, wait)
        try:
            async with self._locks.setdefault(who.both, asyncio.Lock()):
                await self._sleep(wait)
                yield
        finally:
            self._unqueue(who)

    def failed(self, ip: str, account: str) -> None:
        """A password was wrong. Raises LockedOut, for an answer instead of the plain 401, once there are too many."""
        who = _who(ip, account)
        for key in (who.both, who.address, who.account):
            self._count(_PASSWORDS, key)
        wait = self._wait(who)
        if wait > 0:
            raise _locked_out(wait, f"too many wrong passwords from {ip} or for {account[:64]!r}")

    def succeeded(self, ip: str, account: str) -> None:
        """A password was right: forgets what this address did wrong for this account, not its other failures."""
        self._limiter.clear(_PASSWORDS, *_who(ip, account).both)

    def failed_token(self, ip: str) -> None:
        """A token was wrong. Raises LockedOut once there are too many."""
        who = _who(ip, "")
        self._count(_TOKENS, who.address)
        if self._failures(_TOKENS, who.address) > self._pace.free_tokens:
            raise _locked_out(60, f"too many wrong tokens from {ip}")

    def _wait(self, who: _Who) -> float:
        """Seconds before the next try: the worst of the three counters decides."""
        above = max(
            self._failures(_PASSWORDS, who.both) - self._pace.free_of_both,
            self._failures(_PASSWORDS, who.address) - self._pace.free_of_address,
            self._failures(_PASSWORDS, who.account) - self._pace.free_of_account,
        )
        return 0.0 if above < 0 else next((wait for most, wait in self._pace.steps if above < most), 60.0)

    def _queue(self, who: _Who, wait: float) -> None:
        full = self._waiting[who.both] >= self._pace.waiting_for_both
        if full or self._waiting[who.address] >= self._pace.waiting_at_address:
            raise _locked_out(wait, f"too many waiting: {who.both}")
        self._waiting.update((who.both, who.address))

    def _unqueue(self, who: _Who) -> None:
        """Counters and locks of whoever no longer waits are dropped, so that neither table grows with the attackers."""
        for key in (who.both, who.address):
            self._waiting[key] -= 1
            if self._waiting[key] == 0:
                del self._waiting[key]
        if who.both not in self._waiting:
            del self._locks[who.both]

    def _count(self, item: RateLimitItem, key: tuple[str, ...]) -> None:
        if len(self._storage.storage) >= self._pace.most_counters:
            self._storage.reset()
        self._limiter.hit(item, *key)

    def _failures(self, item: RateLimitItem, key: tuple[str, ...]) -> int:
        return _COUNT_UP_TO - self._limiter.get_window_stats(item, *key).remaining


def _who(ip: str, account: str) -> _Who:
    address, name = counted(ip), account[:64].lower()
    return _Who(("address", address), ("account", name), ("both", address, name))


def _locked_out(seconds: float, reason: str) -> LockedOut:
    return LockedOut(
        "Too many failed logins.",
        details="Wait a moment and try again, or use a token.",
        # From here on it is one try in so many seconds.
        headers=Balance(1, 0, seconds).refusal_headers(),
        reason=reason,
    )
