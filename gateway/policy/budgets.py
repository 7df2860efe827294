"""Budgets: how many GPU seconds a user may use in a day, a week and a month, what is left of them, and the refusal of
who has none left.

It does not know jobs, nor where the books are. Days are those of UTC, weeks begin on Mondays, months on their first.

What counts as used is what ended jobs took by ComfyUI's clock; what unfinished ones are expected to take is held back
beside it, or a thousand jobs could be submitted before the first one ends. A clock that was set back frees nothing:
days ahead of today count, too, but for those so far ahead that only a wrong clock can have been there.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from math import ceil
from typing import Final, Literal

from gateway.config import Role
from gateway.errors import BudgetExhausted
from gateway.policy.balance import Balance

Period = Literal["day", "week", "month"]

DAY_SECONDS: Final = 24 * 3600
DAYS_AHEAD: Final = 31
WARN_SHARE: Final = 0.8
SOON_SECONDS: Final = 30.0
"""When to try again where only unfinished jobs are in the way: nobody knows when the next one ends."""
_EPOCH: Final = date(1970, 1, 1)


@dataclass(frozen=True, slots=True)
class Budget:
    """So many GPU seconds in each period."""

    period: Period
    seconds: int

    def first_day(self, today: int) -> int:
        """The first day of the period that `today` is in; both in days since 1970."""
        day = _EPOCH + timedelta(days=today)
        begins = {"day": day, "week": day - timedelta(days=day.weekday()), "month": day.replace(day=1)}[self.period]
        return (begins - _EPOCH).days


@dataclass(frozen=True, slots=True)
class Left:
    """One budget as it stands: GPU milliseconds used, and those that unfinished jobs are expected to take. `resets_at`
    is when enough of it begins anew, in seconds since 1970."""

    budget: Budget
    used_ms: int
    expected_ms: int
    resets_at: int

    @property
    def remaining_ms(self) -> int:
        """What a new job may still use."""
        return max(0, self.budget.seconds * 1000 - self.used_ms - self.expected_ms)

    @property
    def share(self) -> float:
        """How much of it is used or held back; 1 is all."""
        return (self.used_ms + self.expected_ms) / (self.budget.seconds * 1000)

    @property
    def is_low(self) -> bool:
        """Whether its user should be warned."""
        return self.share >= WARN_SHARE


@dataclass(slots=True)
class Purse:
    """The budgets of one submit, looked at in its transaction. `left` is how they stand then."""

    budgets: tuple[Budget, ...]
    now: float
    left: tuple[Left, ...] = field(default=())

    @property
    def days(self) -> tuple[int, int]:
        """The first and the last day that the books are asked about."""
        return days_of(self.budgets, now=self.now)

    def require(self, used_ms: Mapping[int, int], expected_ms: int) -> None:
        """Returns if something is left of each budget; raises BudgetExhausted if not."""
        self.left = left_of(self.budgets, used_ms, expected_ms, now=self.now)
        require_left(self.left, now=self.now)

    def take(self, cost_ms: int) -> None:
        """Hold back what the job is expected to take."""
        self.left = tuple(replace(one, expected_ms=one.expected_ms + cost_ms) for one in self.left)


def budgets(role: Role) -> tuple[Budget, ...]:
    """The budgets of a role; none where it has no limit."""
    limits: Mapping[Period, int | None] = {
        "day": role.gpu_seconds_per_day,
        "week": role.gpu_seconds_per_week,
        "month": role.gpu_seconds_per_month,
    }
    return tuple(Budget(period, seconds) for period, seconds in limits.items() if seconds is not None)


def day_of(seconds: float) -> int:
    """The day of UTC that a time is in, in days since 1970."""
    return int(seconds // DAY_SECONDS)


def days_of(budgets: Sequence[Budget], *, now: float) -> tuple[int, int]:
    """The first and the last day that count for any of the budgets."""
    today = day_of(now)
    return min((budget.first_day(today) for budget in budgets), default=today), today + DAYS_AHEAD


def left_of(budgets: Sequence[Budget], used_ms: Mapping[int, int], expected_ms: int, *, now: float) -> tuple[Left, ...]:
    """How the budgets stand: `used_ms` by day, in the days of `days_of`, and `expected_ms` of unfinished jobs."""
    return tuple(_left(budget, used_ms, expected_ms, today=day_of(now)) for budget in budgets)


def _left(budget: Budget, used_ms: Mapping[int, int], expected_ms: int, *, today: int) -> Left:
    def used_from(day: int) -> int:
        first = budget.first_day(day)
        return sum(spent for when, spent in used_ms.items() if first <= when)

    # Nothing is known to be used after DAYS_AHEAD days, and within 31 more a period begins.
    begins = (day for day in range(today + 1, today + 2 * DAYS_AHEAD + 2) if budget.first_day(day) == day)
    free = next(day for day in begins if used_from(day) < budget.seconds * 1000)
    return Left(budget, used_from(today), expected_ms, free * DAY_SECONDS)


def tightest(left: Sequence[Left]) -> Left | None:
    """The budget of which the largest share is gone; None of none."""
    return max(left, key=lambda one: one.share, default=None)


def require_left(left: Sequence[Left], *, now: float) -> None:
    """Returns if something is left of each; raises BudgetExhausted for the one that is exhausted for longest."""
    gone = [one for one in left if not one.remaining_ms]
    if gone:
        raise _refusal(max(gone, key=lambda one: (one.used_ms >= one.budget.seconds * 1000, one.resets_at)), now=now)


def _refusal(gone: Left, *, now: float) -> BudgetExhausted:
    limit, period, resets = gone.budget.seconds, gone.budget.period, moment(gone.resets_at)
    until_reset = gone.resets_at - now
    # The times stand in the messages, because ComfyUI's editor shows nothing else.
    if gone.used_ms >= limit * 1000:
        message = (
            f"You have used up your GPU time: {_seconds(gone.used_ms)} of {limit} seconds this {period}. "
            f"It begins anew on {_for_people(resets)}."
        )
        details = "What runs or waits already is still done. Ask an administrator if you need more."
        wait, frees = until_reset, resets
    else:
        message = (
            f"Your unfinished jobs are expected to need the rest of your GPU time: of {limit} seconds this {period} "
            f"{_seconds(gone.used_ms)} are used, and they need about {_seconds(gone.expected_ms)}. "
            f"Try again when one of them has ended; the budget begins anew on {_for_people(resets)}."
        )
        details = "Wait for one of your jobs, or cancel one."
        wait, frees = min(SOON_SECONDS, until_reset), "when your jobs end"
    return BudgetExhausted(
        message,
        details=details,
        extra_info={
            "period": period,
            "limit": limit,
            "current": gone.used_ms / 1000,
            "expected": gone.expected_ms / 1000,
            "frees": frees,
            "resets_at": resets,
            "retry_after_seconds": Balance(limit, 0, wait).whole_seconds,
        },
        headers=Balance(limit, 0, wait).refusal_headers(),
    )


def _for_people(time: str) -> str:
    """`2026-01-31T00:00:00Z` without what only programs need."""
    return f"{time[:10]} at {time[11:16]} UTC"


def warning(left: Left) -> str:
    """In words, how little is left."""
    share, limit, period = int(left.share * 100), left.budget.seconds, left.budget.period
    return (
        f"{share} % of your {limit} GPU seconds for this {period} are used, or will be by your unfinished jobs; "
        f"they begin anew at {moment(left.resets_at)}."
    )


def budget_fields(left: Sequence[Left], *, now: float) -> tuple[tuple[bytes, bytes], ...]:
    """The headers of an answer to a submit, in lower case: how the budget stands of which the largest share is gone,
    and a warning if that is much. None without budgets."""
    low = tightest(left)
    if low is None:
        return ()
    remaining, wait = low.remaining_ms // 1000, Balance(0, 0, low.resets_at - now).whole_seconds
    text = f"period={low.budget.period}, limit={low.budget.seconds}, remaining={remaining}, reset={wait}"
    told = ((b"x-gateway-budget", text.encode()),)
    return (*told, (b"x-gateway-budget-warning", warning(low).encode())) if low.is_low else told


def moment(seconds: int) -> str:
    """A time as ISO 8601 has it, in UTC."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _seconds(milliseconds: int) -> int:
    return ceil(milliseconds / 1000)
