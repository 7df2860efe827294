"""The counters of what was asked: slowapi's `Limiter`, its storage and its engine `limits`. They know no user.

slowapi itself sees FastAPI's routes only, and of those not the included ones, nor what no route has, nor sockets; and
it looks when the body has been read. So its check is asked before FastAPI is, and everything else is counted through
the same engine under the same keys.
"""

import logging
import time
from collections.abc import Callable
from typing import Any, Final

from limits.strategies import RateLimiter
from slowapi import Limiter
from slowapi.errors import RateLimitExceeded
from starlette.requests import Request

from gateway.edge.rate import Rate
from gateway.edge.windows import SCHEME
from gateway.policy.balance import Balance

logging.getLogger("slowapi").setLevel(logging.ERROR)  # A line for each refusal is the access log's to write.


class Counters:
    """How often each `who` did what is counted under `scope`. `clock` gives seconds and never goes back."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock: Final = clock
        options: dict[str, Any] = {"clock": clock}
        self._limiter: Final = _Limiter(
            _who, strategy="moving-window", storage_uri=f"{SCHEME}://", storage_options=options
        )
        self._engine: Final[RateLimiter] = self._limiter.limiter
        self._checks: Final[dict[tuple[str, str], Callable[..., None]]] = {}

    async def hit(self, rate: Rate, who: str, scope: str) -> bool:
        """Count one, unless it is one too many; whether it was not."""
        return self._engine.hit(rate, who, scope)

    async def hit_route(self, rate: Rate, who: str, scope: str) -> bool:
        """The same by slowapi's check, for a request to FastAPI."""
        check = self._checks.get((scope, rate.text))
        if check is None:
            check = self._checks[scope, rate.text] = self._check(scope, rate.text)
        try:
            check(Request({"type": "http", "path": "/gateway", "headers": [], "who": who}))
        except RateLimitExceeded:
            return False
        return True

    async def balance(self, rate: Rate, who: str, scope: str) -> Balance:
        """What is left."""
        reset, remaining = self._engine.get_window_stats(rate, who, scope)
        return Balance(rate.amount, max(0, remaining), reset - self._clock())

    def _check(self, scope: str, text: str) -> Callable[..., None]:
        """A function that slowapi limits: it is known to slowapi by its name."""

        def check(request: Request) -> None:
            """Let through."""

        check.__name__ = f"{scope} {text}"
        limited: Callable[..., None] = self._limiter.shared_limit(text, scope=scope)(check)
        return limited


class _Limiter(Limiter):
    """Our settings come from one place: not from a `.env`, nor from `RATELIMIT_…` in the environment."""

    def get_app_config(self, key: str, default_value: Any = None) -> Any:
        return default_value


def _who(request: Request) -> str:
    who: str = request.scope["who"]
    return who
