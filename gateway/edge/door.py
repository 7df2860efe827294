"""How often: the one door at which every request and every message on a socket is counted, whoever answers it.

It does not know what is asked, only the class that it counts under. Who is known counts by user, and by token where the
role has rates for tokens; strangers count by their address. What is refused does not count, so whoever asks too often
still gets all that the rate allows.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from starlette.types import Scope

from gateway.comfy.rows import RateClass
from gateway.config import AddressRates, Role
from gateway.edge.addresses import counted
from gateway.edge.counters import Counters
from gateway.edge.navigation import is_person
from gateway.edge.rate import Rate, rate
from gateway.errors import GatewayError, TooMany, Unauthenticated
from gateway.identity.principal import Principal
from gateway.policy.balance import Balance

PublicClass = Literal["page", "health", "login", "anonymous"]
UserClass = RateClass | Literal["login"]
Hit = Callable[[Rate, str, str], Awaitable[bool]]

_WORDS: Final[dict[str, str]] = {
    "submit": "You are submitting jobs too fast",
    "poll": "You are asking about jobs too often",
    "view": "You are loading pictures too fast",
    "upload": "You are uploading files too fast",
    "socket": "You are opening websockets too often",
    "login": "There were too many logins",
    "anonymous": "Too many requests without a good credential come from your address",
}
_HINTS: Final[dict[str, str]] = {
    "poll": " A websocket (/ws) tells of every change without asking.",
    "anonymous": " Who logs in or sends a good token is not held up.",
}


class Door:
    """Counts, and raises TooMany (429 `rate_limited`) for what comes too often.

    `limits_of` looks up the role, with its rates, of a principal; `by_address` are the rates of strangers.
    """

    def __init__(self, counters: Counters, *, limits_of: Callable[[Principal], Role], by_address: AddressRates) -> None:
        self._counters: Final = counters
        self._limits_of: Final = limits_of
        self._by_address: Final = by_address

    async def user(
        self, principal: Principal, rate_class: UserClass, scope: Scope | None = None, *, is_route: bool = False
    ) -> None:
        """Count one of `rate_class` for a known caller, and say in the answer to `scope` what is left.

        `is_route` is for what FastAPI answers.
        """
        role = self._limits_of(principal)
        buckets = [_Bucket(f"user:{principal.user_id}", rate_class, rate(getattr(role.rates, rate_class)))]
        of_token: str | None = getattr(role.token_rates, rate_class)
        if of_token is not None:
            buckets += _of_token(principal, rate_class, of_token)
        left = await self._spend(buckets, self._counters.hit_route if is_route else self._counters.hit)
        # Files that a browser keeps would keep the numbers, too.
        if scope is not None and rate_class != "static":
            scope["gateway"]["added"].extend(left.fields())
            scope["gateway"]["sends_file"] = rate_class == "view"

    async def address(self, scope: Scope, public_class: PublicClass, *, is_route: bool = False) -> None:
        """Count one of `public_class` for the address that a request came from."""
        text: str = getattr(self._by_address, "page" if public_class == "health" else public_class)
        who = f"address:{counted(scope['gateway']['client_ip'])}"
        await self._spend(
            [_Bucket(who, public_class, rate(text))], self._counters.hit_route if is_route else self._counters.hit
        )

    async def stranger(self, scope: Scope, error: GatewayError) -> GatewayError:
        """What a request is refused with, of which nobody knows whose it is: `error`, or TooMany when that came too
        often.

        A person who opens a page is sent to the login page all the same, as often as one may open that.
        """
        if scope["gateway"]["principal"] is not None or isinstance(error, TooMany) or error.status >= 500:
            return error
        to_login = isinstance(error, Unauthenticated) and is_person(scope)
        try:
            await self.address(scope, "page" if to_login else "anonymous")
        except TooMany as too_many:
            return too_many
        return error

    async def _spend(self, buckets: Sequence["_Bucket"], hit: Hit) -> Balance:
        """Count one in each of the buckets, or in none; what is left in the emptiest."""
        if len(buckets) > 1:
            for bucket in buckets:
                if (await self._left(bucket)).remaining == 0:
                    raise await self._refusal(bucket)
        for bucket in buckets:
            if not await hit(bucket.rate, bucket.who, bucket.scope):
                raise await self._refusal(bucket)
        left = await self._left(buckets[0])
        for bucket in buckets[1:]:
            left = min(left, await self._left(bucket), key=lambda one: one.remaining)
        return left

    async def _left(self, bucket: "_Bucket") -> Balance:
        return await self._counters.balance(bucket.rate, bucket.who, bucket.scope)

    async def _refusal(self, bucket: "_Bucket") -> TooMany:
        left = await self._left(bucket)
        seconds, whose = left.whole_seconds, bucket.who.partition(":")[0]
        words = _WORDS.get(bucket.scope, "You are asking too often")
        wait = f"{seconds} second{'' if seconds == 1 else 's'}"
        return TooMany(
            # With the time in it: ComfyUI's editor shows the message alone.
            f"{words}: at most {bucket.rate!r}. Try again in {wait}.",
            details=f"Wait {wait}.{_HINTS.get(bucket.scope, '')}",
            extra_info={
                "class": bucket.scope,
                "per": whose,
                "limit": left.limit,
                "window_seconds": bucket.rate.seconds,
                "current": left.limit - left.remaining,
                "retry_after_seconds": seconds,
            },
            headers=left.refusal_headers(),
            reason=f"{bucket.who} {bucket.scope}: more than {bucket.rate!r}",
        )


@dataclass(frozen=True, slots=True)
class _Bucket:
    """Who, what counts together, and how often."""

    who: str
    scope: str
    rate: Rate


def _of_token(principal: Principal, rate_class: UserClass, text: str) -> list[_Bucket]:
    """What was got with a token counts for the token."""
    token = principal.token_id
    return [] if token is None else [_Bucket(f"token:{token}", rate_class, rate(text))]
