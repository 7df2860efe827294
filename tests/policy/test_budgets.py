"""Budgets as values: periods, what is left, and what is said of it."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.config import Role
from gateway.errors import BudgetExhausted
from gateway.policy.budgets import (
    DAY_SECONDS,
    DAYS_AHEAD,
    Budget,
    Left,
    Period,
    Purse,
    budget_fields,
    budgets,
    day_of,
    days_of,
    left_of,
    moment,
    require_left,
    tightest,
)


def at(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


WEDNESDAY = at("2026-11-25T13:00:00")
TODAY = day_of(WEDNESDAY)


def left(budget: Budget, used_ms: dict[int, int] | None = None, expected_ms: int = 0) -> Left:
    (only,) = left_of([budget], used_ms or {}, expected_ms, now=WEDNESDAY)
    return only


def refused(*given: Left) -> BudgetExhausted:
    with pytest.raises(BudgetExhausted) as caught:
        require_left(given, now=WEDNESDAY)
    return caught.value


def test_the_budgets_of_a_role() -> None:
    """A role has the budgets that its settings name; by default none."""
    assert budgets(Role(permissions=frozenset())) == ()
    role = Role(permissions=frozenset(), gpu_seconds_per_day=5, gpu_seconds_per_week=6, gpu_seconds_per_month=7)
    assert budgets(role) == (Budget("day", 5), Budget("week", 6), Budget("month", 7))


@pytest.mark.parametrize(
    ("period", "first", "resets"),
    [
        ("day", "2026-11-25", "2026-11-26T00:00:00Z"),
        ("week", "2026-11-23", "2026-11-30T00:00:00Z"),
        ("month", "2026-11-01", "2026-12-01T00:00:00Z"),
    ],
)
def test_periods_are_those_of_utc(period: Period, first: str, resets: str) -> None:
    """Days, weeks from Monday and months, in UTC: what was used the day before a period began does not count in it."""
    budget, began = Budget(period, 10), day_of(at(first))
    assert budget.first_day(TODAY) == began
    found = left(budget, {began - 1: 4000, began: 300, TODAY: 20} if began != TODAY else {began - 1: 4000, TODAY: 320})
    assert (found.used_ms, found.remaining_ms, moment(found.resets_at)) == (320, 9680, resets)
    assert days_of([budget], now=WEDNESDAY)[0] == began


@given(st.integers(0, 40_000), st.sampled_from(["day", "week", "month"]))
def test_every_day_is_in_one_period(today: int, period: Period) -> None:
    """The first day of a period is never ahead of a day in it, and is its own first day; within 31 days a new one
    begins."""
    budget = Budget(period, 1)
    first = budget.first_day(today)
    assert today - 31 < first <= today and budget.first_day(first) == first
    found = left_of([budget], {}, 0, now=today * DAY_SECONDS + 0.5)[0]
    assert budget.first_day(found.resets_at // DAY_SECONDS) == found.resets_at // DAY_SECONDS
    assert 0 < found.resets_at // DAY_SECONDS - today <= 31


def test_at_100_percent_it_is_refused() -> None:
    """With a millisecond left one more job may come; with none left it may not, and the refusal says the limit, what
    was used, and when it begins anew, in words and for programs."""
    require_left([left(Budget("day", 10), {TODAY: 9_999})], now=WEDNESDAY)
    error = refused(left(Budget("day", 10), {TODAY: 10_400}))
    assert (error.status, error.type) == (429, "budget_exhausted")
    anew = "It begins anew on 2026-11-26 at 00:00 UTC."
    assert error.message == f"You have used up your GPU time: 11 of 10 seconds this day. {anew}"
    assert error.extra_info == {
        "period": "day",
        "limit": 10,
        "current": 10.4,
        "expected": 0.0,
        "frees": "2026-11-26T00:00:00Z",
        "resets_at": "2026-11-26T00:00:00Z",
        "retry_after_seconds": 11 * 3600,
    }
    assert error.headers["Retry-After"] == error.headers["RateLimit-Reset"] == str(11 * 3600)
    assert (error.headers["RateLimit-Limit"], error.headers["RateLimit-Remaining"]) == ("10", "0")


def test_unfinished_jobs_hold_back_what_they_need() -> None:
    """What unfinished jobs are expected to take is not there for others; who is refused for it may come again soon."""
    require_left([left(Budget("day", 10), {TODAY: 4_000}, 5_999)], now=WEDNESDAY)
    error = refused(left(Budget("day", 10), {TODAY: 4_000}, 6_000))
    assert "Your unfinished jobs are expected to need the rest" in error.message
    assert (error.headers["Retry-After"], error.extra_info["frees"]) == ("30", "when your jobs end")


def test_the_longest_wait_is_said() -> None:
    """Of several exhausted budgets the one that is so for longest is named."""
    used = {TODAY: 20_000}
    error = refused(*left_of([Budget("day", 10), Budget("month", 15), Budget("week", 15)], used, 0, now=WEDNESDAY))
    assert error.extra_info["period"] == "month"


def test_a_clock_that_was_set_back_frees_nothing() -> None:
    """What was used on a day ahead of today counts, and the reset that is said is one that frees; a day so far ahead
    that the clock must have been wrong is not asked about."""
    found = left(Budget("day", 10), {TODAY + 1: 6_000, TODAY + 2: 4_000})
    assert found.remaining_ms == 0
    assert moment(found.resets_at) == "2026-11-27T00:00:00Z"
    assert left(Budget("month", 10), {TODAY + 7: 10_000}).resets_at == at("2027-01-01T00:00:00")
    assert days_of([Budget("day", 10)], now=WEDNESDAY)[1] == TODAY + DAYS_AHEAD


def test_a_warning_from_80_percent_on() -> None:
    """The headers of a submit say how the tightest budget stands, and from 80 % on they warn in words."""
    assert budget_fields((), now=WEDNESDAY) == ()
    low = left_of([Budget("day", 10), Budget("month", 100)], {TODAY: 7_000}, 900, now=WEDNESDAY)
    assert tightest(low) == low[0]
    told = f"period=day, limit=10, remaining=2, reset={11 * 3600}".encode()
    assert budget_fields(low, now=WEDNESDAY) == ((b"x-gateway-budget", told),)
    fields = dict(budget_fields((left(Budget("day", 10), {TODAY: 7_000}, 1_000),), now=WEDNESDAY))
    assert fields[b"x-gateway-budget-warning"] == (
        b"80 % of your 10 GPU seconds for this day are used, or will be by your unfinished jobs; "
        b"they begin anew at 2026-11-26T00:00:00Z."
    )


def test_a_purse_holds_back_what_it_lets_through() -> None:
    """A submit that may go ahead leaves the budgets as they are with its own job."""
    purse = Purse((Budget("day", 10),), WEDNESDAY)
    purse.require({TODAY: 1_000}, 2_000)
    purse.take(3_000)
    assert purse.left == (Left(Budget("day", 10), 1_000, 5_000, int(at("2026-11-26T00:00:00"))),)
    with pytest.raises(BudgetExhausted):
        purse.require({TODAY: 10_000}, 0)
