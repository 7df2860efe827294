"""Whose job runs next."""

from collections.abc import Collection, Mapping

from hypothesis import given
from hypothesis import strategies as st

from gateway.policy import fairness
from gateway.policy.fairness import Standing, Waiting


def job(user: int, seq: int, position: float | None = None) -> Waiting:
    return Waiting(
        prompt_id=f"{user}-{seq}", user_id=user, seq=seq, position=float(seq) if position is None else position
    )


def chosen(
    waiting: Collection[Waiting],
    virtual: Mapping[int, float],
    *,
    held: Mapping[int, int] | None = None,
    places: int = 1,
    max_running: int | None = None,
) -> Waiting | None:
    """The next job, with users who differ in their virtual times only."""
    standings = {user: Standing(virtual_ms=ms, max_running=max_running) for user, ms in virtual.items()}
    return fairness.next_job(waiting, standings, held=held or {}, places=places)


def starts(
    own: float, active: Mapping[int, float], *, idle: float = 0.0, open_ms: Mapping[int, float] | None = None
) -> float:
    """Where user 0 starts next to users of the same priority and of weight 1."""
    standings = {0: Standing(virtual_ms=own), **{user: Standing(virtual_ms=ms) for user, ms in active.items()}}
    return fairness.joining(0, standings, active=set(active), open_ms=open_ms or {}, idle_clock_ms=idle)


def test_nothing_waiting_means_no_next_job() -> None:
    """An empty queue has no next job."""
    assert chosen([], {}) is None


def test_least_virtual_time_goes_first() -> None:
    """The user who used least goes first, however long the other's queue is."""
    heavy = [job(1, seq) for seq in range(200)]
    assert chosen([*heavy, job(2, 999)], {1: 50.0, 2: 49.0}) == job(2, 999)


def test_ties_go_by_ledger_sequence() -> None:
    """Equal virtual times are ordered by who came first."""
    assert chosen([job(2, 7), job(1, 9)], {1: 5.0, 2: 5.0}) == job(2, 7)


def test_front_is_the_front_of_ones_own_jobs_only() -> None:
    """A `front` job overtakes the user's own jobs and nobody else's."""
    mine = [job(1, 1), job(1, 3, position=-3.0)]
    assert chosen(mine, {1: 0.0}) == mine[1]
    assert chosen([*mine, job(2, 2)], {1: 9.0, 2: 0.0}) == job(2, 2)


def test_front_does_not_lose_the_tie_that_older_jobs_had_won() -> None:
    """A young front job keeps the place that the user's oldest waiting job has in a tie."""
    mine = [job(1, 1), job(1, 30, position=-30.0)]
    assert chosen([*mine, job(2, 2)], {1: 0.0, 2: 0.0}) == mine[1]


def test_no_place_no_job() -> None:
    """Nothing is handed over while the servers have as many jobs as there are places."""
    assert chosen([job(1, 1)], {}, held={2: 1}, places=1) is None
    assert chosen([job(1, 1)], {}, held={2: 3}, places=4) == job(1, 1)


def test_max_running_binds_at_the_hand_over() -> None:
    """A user of whom the servers have as many jobs as the role allows is passed over, and the next one's turn it is."""
    both = [job(1, 1), job(2, 2)]
    assert chosen(both, {1: 0.0, 2: 9.0}, held={1: 1}, places=4, max_running=1) == job(2, 2)
    assert chosen(both[:1], {1: 0.0}, held={1: 1}, places=4, max_running=1) is None
    assert chosen(both, {1: 0.0, 2: 9.0}, held={1: 1}, places=4, max_running=2) == job(1, 1)


def test_a_higher_priority_goes_first() -> None:
    """Of two priorities the higher one goes first, whatever was used; a lower one goes when no job of it may."""
    standings = {1: Standing(9e9, priority=1, max_running=1), 2: Standing(0.0)}
    both = [job(2, 1), job(1, 2)]
    assert fairness.next_job(both, standings, held={}, places=2) == job(1, 2)
    assert fairness.next_job(both, standings, held={1: 1}, places=2) == job(2, 1)


@given(own=st.floats(0, 1e6), active=st.lists(st.floats(0, 1e6), max_size=8), idle=st.floats(0, 1e6))
def test_idleness_earns_no_credit(own: float, active: list[float], idle: float) -> None:
    """Whoever becomes active starts no earlier than the least of the active ones, and never before its own time."""
    start = starts(own, dict(enumerate(active, start=1)), idle=idle)
    assert start >= own
    assert start >= (min(active) if active else idle)
    assert start in {own, idle, *active}


def test_a_newcomer_starts_before_what_is_open() -> None:
    """The estimates of jobs that have not ended do not count: however wrong, they keep no newcomer waiting."""
    assert starts(0.0, {1: 120_000.0, 2: 130_000.0}, open_ms={1: 120_000.0, 2: 30_000.0}) == 0.0


def test_old_use_is_no_debt() -> None:
    """Who used much under another weight or priority waits for no more than one GPU hour of others."""
    assert starts(1e12, {1: 5.0, 2: 7.0}) == 7.0 + fairness.MOST_DEBT_MS


def test_priorities_have_clocks_of_their_own() -> None:
    """A user of a high priority starts with the others of it, not with those who have been waiting for their turn."""
    standings = {0: Standing(priority=1), 1: Standing(500.0, priority=1), 2: Standing(3.0)}
    start = fairness.joining(0, standings, active={1, 2}, open_ms={}, idle_clock_ms=900.0)
    assert start == 500.0
    assert fairness.joining(0, standings, active={2}, open_ms={}, idle_clock_ms=900.0) == 900.0


@given(
    costs=st.lists(st.tuples(st.sampled_from([1, 2, 3]), st.integers(1, 120_000)), min_size=300, max_size=300),
    weights=st.tuples(*[st.sampled_from([0.5, 1.0, 3.0])] * 3),
)
def test_backlogged_users_share_the_gpu_by_weight(
    costs: list[tuple[int, int]], weights: tuple[float, float, float]
) -> None:
    """Users who always have work waiting get GPU time as their weights say, within one job, whatever their jobs
    cost."""
    queues = {user: [cost for owner, cost in costs if owner == user] for user in (1, 2, 3)}
    standings = {user: Standing(weight=weights[user - 1]) for user in queues}
    longest = max(cost for _, cost in costs) / min(weights)
    while all(queues.values()):
        turn = fairness.next_job([job(user, user) for user in queues], standings, held={}, places=1)
        assert turn is not None
        before, cost = standings[turn.user_id], queues[turn.user_id].pop()
        virtual_ms = fairness.charged(before.virtual_ms, cost, before.weight)
        standings[turn.user_id] = Standing(virtual_ms, weight=before.weight)
        spread = [standing.virtual_ms for standing in standings.values()]
        assert max(spread) - min(spread) <= longest + 1e-6


def test_a_job_that_is_charged_and_refunded_costs_nothing() -> None:
    """An estimate that is given back leaves the virtual time as it was."""
    assert fairness.charged(fairness.charged(100.0, 700, 2.0), -700, 2.0) == 100.0


def test_the_estimate_is_what_the_same_shape_cost_last() -> None:
    """Jobs of the same shape tell what the next one will cost; without them the user's last ones; else a fixed
    guess."""
    assert fairness.estimate([50, 70], [1000, 3000]) == 60
    assert fairness.estimate([], [1000, 3000]) == 2000
    assert fairness.estimate([0], []) == 1
    assert fairness.estimate([], []) == fairness.UNKNOWN_COST_MS


def test_one_odd_job_does_not_move_the_estimate() -> None:
    """An answer from the execution cache, or a job that had to load a model, counts for nothing."""
    assert fairness.estimate([0, 1000, 1000, 1000, 60_000], []) == 1000
    assert fairness.estimate([0, 1000, 60_000], []) == 1000
