"""When what was asked lately, in memory: the storage for the moving windows of the library `limits`. It knows no rate.

The library's own keeps a list with the newest first and a timer thread, and counts by the wall clock: a clock that is
set back would refuse everybody for as long. Here the newest is last, so that one look at the n-th from the end decides,
what is over goes with the next new one, and time only moves forward.
"""

import time
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Final

from limits.storage import MovingWindowSupport, Storage

SCHEME: Final = "gateway-memory"
_SCHEMES: Final = [SCHEME]
MOST_HITS: Final = 1_000_000
"""About 32 MB of times. With more of them those keys are forgotten first that had nothing let through for longest: ever
new addresses cannot fill the memory."""


class Windows(Storage, MovingWindowSupport):
    """The times of what was let through, by key; registered with `limits` under `SCHEME`. `clock` gives seconds."""

    STORAGE_SCHEME: list[str] | None = _SCHEMES

    def __init__(
        self,
        uri: str | None = None,
        wrap_exceptions: bool = False,
        *,
        clock: Callable[[], float] = time.monotonic,
        most_hits: int = MOST_HITS,
        **_options: Any,
    ) -> None:
        super().__init__(uri, wrap_exceptions)
        self.clock: Final = clock
        self._most_hits: Final = most_hits
        self._hits = 0
        # One table for each length, by the last hit: then what is over stands in front, whatever the rates are.
        self._tables: Final[dict[int, OrderedDict[str, list[float]]]] = {}

    @property
    def hits(self) -> int:
        """How many times are kept."""
        return self._hits

    @property
    def keys(self) -> int:
        """For how many keys."""
        return sum(map(len, self._tables.values()))

    @property
    def base_exceptions(self) -> type[Exception]:
        """What can go wrong with the storage: nothing here."""
        return MemoryError

    def acquire_entry(self, key: str, limit: int, expiry: int, amount: int = 1) -> bool:
        """Note `amount` hits of now, unless there would be more than `limit` in some window of `expiry` seconds."""
        now = self.clock()
        table = self._tables.get(expiry)
        if table is None:
            table = self._tables[expiry] = OrderedDict()
        times = table.get(key)
        if times is None:
            self._sweep(table, now - expiry)
            times = []
        if amount > limit or (len(times) > limit - amount and times[amount - limit - 1] > now - expiry):
            return False
        if len(times) >= 2 * limit:
            self._hits -= len(times) - limit
            del times[:-limit]
        times.extend([now] * amount)
        self._hits += amount
        table[key] = times
        table.move_to_end(key)
        return True

    def get_moving_window(self, key: str, limit: int, expiry: int) -> tuple[float, int]:
        """The time of the oldest hit in the window that ends now, and how many there are."""
        now = self.clock()
        table = self._tables.get(expiry)
        times = None if table is None else table.get(key)
        if times is None:
            return now, 0
        first = bisect_right(times, now - expiry, lo=max(0, len(times) - limit))
        return (times[first], len(times) - first) if first < len(times) else (now, 0)

    def _sweep(self, table: OrderedDict[str, list[float]], over: float) -> None:
        """Forget whose last hit was before `over`, and then more, if there is no room."""
        while table and next(iter(table.values()))[-1] <= over:
            self._drop_first(table)
        while self._hits >= self._most_hits:
            self._drop_first(max(self._tables.values(), key=len))

    def _drop_first(self, table: OrderedDict[str, list[float]]) -> None:
        _, times = table.popitem(last=False)
        self._hits -= len(times)

    def check(self) -> bool:
        """Whether it can be used."""
        return True

    def reset(self) -> int:
        """Forget everything; for how many keys there was something."""
        keys = self.keys
        self._tables.clear()
        self._hits = 0
        return keys

    def clear(self, key: str) -> None:
        """Forget one key."""
        for table in self._tables.values():
            self._hits -= len(table.pop(key, ()))

    def incr(self, key: str, expiry: int, amount: int = 1) -> int:
        """Of fixed windows, as `get` and `get_expiry`: there are none here."""
        raise NotImplementedError(key)

    def get(self, key: str) -> int:
        """See `incr`."""
        raise NotImplementedError(key)

    def get_expiry(self, key: str) -> float:
        """See `incr`."""
        raise NotImplementedError(key)
