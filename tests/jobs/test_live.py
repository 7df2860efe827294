"""The unfinished jobs in memory."""

from gateway.jobs.live import PLACES, Board, Live


def job(prompt_id: str, user_id: int = 1, state: str = "submitting", *, seq: int = 1, position: float = 0.0) -> Live:
    return Live(prompt_id=prompt_id, user_id=user_id, client_id=None, seq=seq, position=position, state=state)


def board(*jobs: Live) -> Board:
    made = Board()
    for live in jobs:
        made.add(live)
    return made


def test_a_user_counts_own_jobs_only() -> None:
    """queue_remaining is the number of one's own unfinished jobs."""
    mine, other = job("a", 1), job("b", 2)
    made = board(mine, other, job("c", 1))
    assert (made.count(1), made.count(2), made.count(3), made.users()) == (2, 1, 0, {1, 2})
    made.remove(other)
    assert (made.count(2), made.users()) == (0, {1})


def test_removing_twice_is_removing_once() -> None:
    """A job that two have seen end is taken off the board once."""
    mine = job("a")
    made = board(mine, job("b"))
    made.remove(mine)
    made.remove(mine)
    assert made.count(1) == 1


def test_every_change_is_a_new_revision_for_its_owner() -> None:
    """What changed for one user counts up that user's revision and nobody else's."""
    made = board()
    seen = [made.revision(1)]
    mine = job("a", 1)
    for act in (lambda: made.add(mine), lambda: made.touch(1), lambda: made.remove(mine)):
        act()
        seen.append(made.revision(1))
    assert seen == sorted(set(seen))
    assert made.revision(2) == 0


def test_a_place_is_taken_without_waiting_while_one_is_free() -> None:
    """ComfyUI holds at most two of our jobs, so the first two are placed and the third is not."""
    first, second, third = job("a"), job("b"), job("c")
    made = board(first, second, third)
    assert [made.take_place(live) for live in (first, second, third)] == [True, True, False]
    assert made.placed() == [first, second]
    assert PLACES == 2


def test_nobody_takes_a_place_past_those_who_wait() -> None:
    """A free place belongs to a waiting job, not to the one that just came."""
    made = board(job("a", state="waiting"), newcomer := job("b", 2))
    assert not made.take_place(newcomer)


def test_what_is_waiting_can_be_chosen() -> None:
    """The queue is what waits, is not to be cancelled, and is in nobody's hands."""
    held, unwanted = job("a", state="waiting"), job("b", state="waiting")
    held.busy, unwanted.cancel_requested = True, True
    made = board(held, unwanted, job("c", state="waiting", seq=7, position=-2.0), job("d", state="handed"))
    assert [(one.prompt_id, one.seq, one.position) for one in made.waiting()] == [("c", 7, -2.0)]


def test_only_the_one_that_started_last_runs() -> None:
    """A job whose end is still being written down runs no longer: frames without an id belong to the next."""
    over, now = job("a", 1, "running"), job("b", 2, "running")
    over.placed = now.placed = True
    made = board(over, now)
    made.runs(over)
    assert made.running() is over
    made.runs(now)
    assert made.running() is now
    now.placed = False
    assert made.running() is None


def test_nothing_runs_after_events_were_missed() -> None:
    """After a lost connection it is not known who runs."""
    live = job("a", state="running")
    live.placed = True
    made = board(live)
    made.runs(live)
    made.forget_running()
    assert made.running() is None


def test_a_job_that_waits_again_begins_anew() -> None:
    """Nothing of an earlier hand-over counts for a job that is queued again."""
    live = job("a", state="running")
    live.placed, live.node, live.started_ms, live.posted_at, live.absent_since = True, "2", 5, 1.0, 2.0
    live.executed.append("1")
    live.wait()
    assert live == Live(prompt_id="a", user_id=1, client_id=None, seq=1, position=0.0, state="waiting")


def test_secrets_are_not_in_the_repr() -> None:
    """A job that gets into a log line takes no secret along."""
    live = job("a")
    live.secrets = {"api_key_comfy_org": "hush"}
    assert "hush" not in repr(live)
