"""When the waiting jobs will start."""

from gateway.policy.fairness import Standing, Waiting
from gateway.policy.forecast import MOST_FORESEEN, Held, Turn, forecast


def job(user: int, seq: int, position: float | None = None) -> Waiting:
    return Waiting(f"{user}-{seq}", user, seq, float(seq) if position is None else position)


def test_what_the_server_has_goes_first() -> None:
    """After the job that runs come those that were handed over, then the waiting ones."""
    held = [Held("runs", 1, 3000.0, runs=True), Held("next", 2, 500.0, runs=False)]
    turns = forecast(held, [job(3, 9)], {}, costs_ms={"3-9": 7.0}, places=2)
    assert turns == [Turn("next", 1, 3000.0), Turn("3-9", 2, 3500.0)]


def test_users_take_turns_by_weight() -> None:
    """The waiting jobs come in the order in which the fair queue will choose them, `front` first among one's own."""
    waiting = [job(1, 1), job(1, 2), job(1, 3), job(1, 8, position=-8.0), job(2, 4), job(2, 5)]
    standings = {1: Standing(weight=2.0), 2: Standing()}
    costs = {one.prompt_id: 1000.0 for one in waiting}
    turns = forecast([], waiting, standings, costs_ms=costs, places=1)
    assert [turn.prompt_id for turn in turns] == ["1-8", "2-4", "1-1", "1-2", "2-5", "1-3"]
    assert [turn.start_ms for turn in turns] == [1000.0 * place for place in range(6)]


def test_max_running_leaves_the_turn_to_others() -> None:
    """A user who may have one job at the server is passed over until it ends."""
    held = [Held("runs", 1, 4000.0, runs=True)]
    standings = {1: Standing(max_running=1), 2: Standing(9e9)}
    costs = {"1-1": 100.0, "2-2": 100.0}
    turns = forecast(held, [job(1, 1), job(2, 2)], standings, costs_ms=costs, places=2)
    assert turns == [Turn("2-2", 1, 4000.0), Turn("1-1", 2, 4100.0)]


def test_the_far_future_is_not_foreseen() -> None:
    """Of very many jobs the first are put in order; the others have no turn yet."""
    turns = forecast([], [job(1, seq) for seq in range(MOST_FORESEEN * 2)], {}, costs_ms={}, places=1)
    assert len(turns) == MOST_FORESEEN
