"""What the rate limits cost: CPU time of the door for one request of a known user, in this process and in memory.

It does not know what is limited.
"""

import asyncio
import time
from statistics import median
from typing import Any, Final

from bench.figures import Row
from bench.plan import Plan
from gateway.config import AddressRates, Rates, Role, TokenRates
from gateway.edge.counters import Counters
from gateway.edge.door import Door
from gateway.identity.principal import Principal

COST: Final = "rate limits, CPU of a request"
USERS: Final = 100
REQUESTS: Final = 20_000
_PLENTY: Final = "100000/minute"
"""No request may be refused: a refusal is another way through the door."""


def measure(plan: Plan) -> tuple[list[Row], list[str]]:
    """Microseconds for a user with a token, both of which are counted."""
    costs = [asyncio.run(_round()) for _ in range(plan.rounds)]
    return [Row(COST, "µs", {"gateway": median(costs)})], []


async def _round() -> float:
    role = Role(permissions=frozenset({"read"}), rates=Rates(default=_PLENTY), token_rates=TokenRates(default=_PLENTY))
    door = Door(Counters(), limits_of=lambda _: role, by_address=AddressRates())
    users = [
        Principal(number, f"user{number}", "member", role.permissions, "token", f"token{number}", None)
        for number in range(USERS)
    ]
    begun = time.process_time()
    for number in range(REQUESTS):
        await door.user(users[number % USERS], "default", _scope())
    return (time.process_time() - begun) / REQUESTS * 1e6


def _scope() -> dict[str, Any]:
    about: dict[str, Any] = {"client_ip": "127.0.0.1", "principal": None, "carried": True, "added": []}
    return {"type": "http", "method": "GET", "headers": [], "gateway": about}
