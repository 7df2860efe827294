"""How many bytes each user keeps, measured now and then and added to in between, with room taken in advance.

It does not know how it is measured, nor how much a user may keep. All of it is in memory: one process counts, and
after a restart it measures anew.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final

KEPT_SECONDS: Final = 60.0
"""What others change in the directory is noticed by then."""
SHARE: Final = 20
"""After jobs and uploads, one user's files are measured for at most this part of the time: a walk over 10,000 files
takes a tenth of a second."""


@dataclass(slots=True)
class _Account:
    """One user. `landed` are the sizes of uploads since the last measurement began; `taken` is room for those under
    way. `lessened` and `grown` count what makes a measurement old, the first at once and the second soon."""

    measured: int = 0
    measured_at: float | None = None
    lasted: float = 0.0
    landed: list[int] = field(default_factory=list)
    taken: int = 0
    lessened: int = 0
    grown: int = 0
    seen: tuple[int, int] = (0, 0)
    one_at_a_time: asyncio.Lock = field(default_factory=asyncio.Lock)

    @property
    def kept(self) -> int:
        return self.measured + sum(self.landed)

    def is_old(self, now: float) -> bool:
        if self.measured_at is None or now - self.measured_at >= KEPT_SECONDS or self.lessened != self.seen[0]:
            return True
        return self.grown != self.seen[1] and now - self.measured_at >= SHARE * self.lasted


class DiskUse:
    """By user id, in bytes. `measure` looks; `clock` is a monotonic one, in seconds."""

    def __init__(self, measure: Callable[[int], Awaitable[int]], *, clock: Callable[[], float]) -> None:
        self._measure, self._clock = measure, clock
        self._accounts: Final[dict[int, _Account]] = {}

    async def kept(self, user_id: int) -> int:
        """What the user keeps, without what is under way."""
        account = self._account(user_id)
        async with account.one_at_a_time:
            if account.is_old(self._clock()):
                await self._look(user_id, account)
        return account.kept

    def take(self, user_id: int, size: int, *, limit: int) -> bool:
        """Take room for an upload, after `kept`; False, and nothing is taken, if there is not so much."""
        account = self._account(user_id)
        if account.kept + account.taken + size > limit:
            return False
        account.taken += size
        return True

    def give_back(self, user_id: int, size: int) -> None:
        """Give room back that was taken."""
        self._account(user_id).taken -= size

    def land(self, user_id: int, size: int) -> None:
        """So much is there now. It counts beside a measurement that is under way, which may have missed it."""
        self._account(user_id).landed.append(size)

    def lessen(self, user_id: int) -> None:
        """Something was deleted: the next question measures."""
        self._account(user_id).lessened += 1

    def grow(self, user_id: int) -> None:
        """A job may have written something."""
        self._account(user_id).grown += 1

    def _account(self, user_id: int) -> _Account:
        return self._accounts.setdefault(user_id, _Account())

    async def _look(self, user_id: int, account: _Account) -> None:
        began, seen, landed = self._clock(), (account.lessened, account.grown), len(account.landed)
        account.measured = await self._measure(user_id)
        del account.landed[:landed]
        account.seen, account.measured_at = seen, self._clock()
        account.lasted = account.measured_at - began
