"""A rate of the settings as an item of the library `limits`, made once for each text. It knows no one who asks."""

from functools import lru_cache
from typing import Final

from limits import RateLimitItem, parse

_ONE: Final = {1: "a second", 60: "a minute", 3600: "an hour", 86400: "a day"}


class Rate(RateLimitItem):
    """`amount` in `seconds`. The same keys as the library's own items have, in half the time: it is asked for them
    twice in each request."""

    __slots__ = ("_tail", "seconds", "text")

    def __init__(self, text: str) -> None:
        parsed = parse(text)
        super().__init__(parsed.amount, parsed.multiples, parsed.namespace)
        self.text: Final = text
        self.seconds: Final = parsed.get_expiry()
        self._tail: Final = parsed.key_for().removeprefix(parsed.namespace)

    def get_expiry(self) -> int:
        """The seconds of the window."""
        return self.seconds

    def key_for(self, *identifiers: bytes | str | float) -> str:
        """The key for two texts."""
        who, scope = identifiers
        return f"LIMITER/{who!s}/{scope!s}{self._tail}"

    def __repr__(self) -> str:
        """For a person: "30 in a minute"."""
        return f"{self.amount} in {_ONE.get(self.seconds, f'{self.seconds} seconds')}"


@lru_cache(maxsize=4096)
def rate(text: str) -> Rate:
    """The rate that a text such as "30/minute" means; the settings have looked at it. Raises ValueError."""
    return Rate(text)
