"""Whose job runs next."""

from hypothesis import given
from hypothesis import strategies as st

from gateway.policy import fairness
from gateway.policy.fairness import Waiting


def job(user: int, seq: int, position: float | None = None) -> Waiting:
    return Waiting(
        prompt_id=f"{user}-{seq}", user_id=user, seq=seq, position=float(seq) if position is None else position
    )


def test_nothing_waiting_means_no_next_job() -> None:
    """An empty queue has no next job."""
    assert fairness.next_job([], {}) is None


def test_least_virtual_time_goes_first() -> None:
    """The user who used least goes first, however long the other's queue is."""
    heavy = [job(1, seq) for seq in range(200)]
    assert fairness.next_job([*heavy, job(2, 999)], {1: 50.0, 2: 49.0}) == job(2, 999)


def test_ties_go_by_ledger_sequence() -> None:
    """Equal virtual times are ordered by who came first."""
    assert fairness.next_job([job(2, 7), job(1, 9)], {1: 5.0, 2: 5.0}) == job(2, 7)


def test_front_is_the_front_of_ones_own_jobs_only() -> None:
    """A `front` job overtakes the user's own jobs and nobody else's."""
    mine = [job(1, 1), job(1, 3, position=-3.0)]
    assert fairness.next_job(mine, {1: 0.0}) == mine[1]
    assert fairness.next_job([*mine, job(2, 2)], {1: 9.0, 2: 0.0}) == job(2, 2)


def test_front_does_not_lose_the_tie_that_older_jobs_had_won() -> None:
    """A young front job keeps the place that the user's oldest waiting job has in a tie."""
    mine = [job(1, 1), job(1, 30, position=-30.0)]
    assert fairness.next_job([*mine, job(2, 2)], {1: 0.0, 2: 0.0}) == mine[1]


@given(own=st.floats(0, 1e12), active=st.lists(st.floats(0, 1e12), max_size=8), idle=st.floats(0, 1e12))
def test_idleness_earns_no_credit(own: float, active: list[float], idle: float) -> None:
    """Whoever becomes active starts no earlier than the least of the active ones, and never before its own time."""
    start = fairness.joining(own, active, idle)
    assert start >= own
    assert start >= (min(active) if active else idle)
    assert start in {own, idle, *active}


@given(costs=st.lists(st.tuples(st.sampled_from([1, 2, 3]), st.integers(1, 120_000)), min_size=300, max_size=300))
def test_backlogged_users_share_the_gpu_equally(costs: list[tuple[int, int]]) -> None:
    """Users who always have work waiting get the same GPU time, within one job, whatever their jobs cost."""
    queues = {user: [cost for owner, cost in costs if owner == user] for user in (1, 2, 3)}
    virtual = dict.fromkeys(queues, 0.0)
    longest = max(cost for _, cost in costs)
    while all(queues.values()):
        chosen = fairness.next_job([job(user, user) for user in queues], virtual)
        assert chosen is not None
        cost = queues[chosen.user_id].pop()
        virtual[chosen.user_id] = fairness.charged(virtual[chosen.user_id], cost, 1.0)
        assert max(virtual.values()) - min(virtual.values()) <= longest


def test_a_job_that_is_charged_and_refunded_costs_nothing() -> None:
    """An estimate that is given back leaves the virtual time as it was."""
    assert fairness.charged(fairness.charged(100.0, 700, 2.0), -700, 2.0) == 100.0


def test_the_estimate_is_the_mean_of_what_the_user_ran_last() -> None:
    """A user's own finished jobs tell what the next one will cost; without any, a fixed guess."""
    assert fairness.estimate([1000, 3000]) == 2000
    assert fairness.estimate([0]) == 1
    assert fairness.estimate([]) == fairness.UNKNOWN_COST_MS
