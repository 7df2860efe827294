"""Whose job runs next: start-time fair queueing over GPU milliseconds, as arithmetic on values.

It does not know where the values are kept, nor what a job does.

Every user has a *virtual time*: GPU milliseconds used, divided by the user's weight. Of the highest priority class that
has somebody who may go, the user with the least goes next. A job is charged with an estimate when it is handed over and
corrected with the truth when it ends, so a user cannot hand over a second one on the first one's credit.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

UNKNOWN_COST_MS: Final = 10_000
"""The estimate for a user without finished jobs: the order of a picture on a small GPU; the truth corrects it at the
end."""

MOST_DEBT_MS: Final = 3_600_000
"""GPU milliseconds that a user who becomes active may be behind the last of the others. Taking turns leaves nobody
behind by more than one own job; more comes of another weight or priority in earlier times, and is forgiven."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """One waiting job. `position` orders a user's own jobs (`front` is lower); `seq` is the ledger's sequence."""

    prompt_id: str
    user_id: int
    seq: int
    position: float


@dataclass(frozen=True, slots=True)
class Standing:
    """Where one user stands: the virtual time, and what the role says. Of two priorities the higher goes first, always:
    while it has jobs that may go, a lower one gets nothing. Virtual times are compared within one priority only."""

    virtual_ms: float = 0.0
    weight: float = 1.0
    priority: int = 0
    max_running: int | None = None


NEWCOMER: Final = Standing()


def next_job(
    waiting: Collection[Waiting], standings: Mapping[int, Standing], *, held: Mapping[int, int], places: int
) -> Waiting | None:
    """The job to hand over now; None when there is none that may go, or no place free.

    `held` are the jobs that the servers have, by user, and `places` how many they take. Highest priority first, then
    least virtual time, ties by the user's earliest ledger sequence; within a user by position.

    The tie is broken by the earliest sequence that the *user* has waiting, not by that of the job at the front:
    otherwise a `front` job, which is always young, would lose a tie that the user's older jobs had won.
    """
    if sum(held.values()) >= places:
        return None
    earliest: dict[int, int] = {}
    for job in waiting:
        earliest[job.user_id] = min(job.seq, earliest.get(job.user_id, job.seq))
    ranks = {
        user_id: (-standing.priority, standing.virtual_ms, seq)
        for user_id, seq in earliest.items()
        if may_hold_more(standing := standings.get(user_id, NEWCOMER), held.get(user_id, 0))
    }
    if not ranks:
        return None
    chosen = min(ranks, key=ranks.__getitem__)
    return min((job for job in waiting if job.user_id == chosen), key=lambda job: (job.position, job.seq))


def may_hold_more(standing: Standing, held: int) -> bool:
    """Whether a user of whom the servers have `held` jobs may hand over another."""
    return standing.max_running is None or held < standing.max_running


def joining(
    user_id: int,
    standings: Mapping[int, Standing],
    *,
    active: Collection[int],
    open_ms: Mapping[int, int] | Mapping[int, float],
    idle_clock_ms: float,
) -> float:
    """The virtual time at which a user who had no unfinished job becomes active.

    `active` are the users with unfinished jobs, `open_ms` what each is charged for jobs that have not ended, in GPU
    milliseconds. The clock is the least virtual time of the active users of the same priority and, while there are
    none, `idle_clock_ms`: the most that anyone ever had. Starting no earlier than the clock earns no credit for
    idleness; never starting below one's own time keeps submitting jobs one by one from being a way round the queue.

    The active ones count with where they stood before the jobs that the servers have now. With the estimates for these
    counted in, whoever came while one ran would start behind all the jobs that fit into a wrong estimate.
    """
    own = standings.get(user_id, NEWCOMER)
    rivals = [
        charged(standing.virtual_ms, -open_ms.get(user, 0.0), standing.weight)
        for user in active
        if user != user_id and (standing := standings.get(user, NEWCOMER)).priority == own.priority
    ]
    if not rivals:
        return max(own.virtual_ms, idle_clock_ms)
    return max(min(rivals), min(own.virtual_ms, max(rivals) + MOST_DEBT_MS / own.weight))


def charged(virtual_ms: float, cost_ms: float, weight: float) -> float:
    """The virtual time after `cost_ms` GPU milliseconds more (negative: a refund)."""
    return max(0.0, virtual_ms + cost_ms / weight)


def estimate(same_shape_ms: Sequence[int], recent_ms: Sequence[int]) -> int:
    """What a job will cost, GPU milliseconds: as the user's last ones of the same shape did, or else as the user's last
    ones; at least 1, so that a handed-over job always counts."""
    known = same_shape_ms or recent_ms
    return max(1, middle_mean(known)) if known else UNKNOWN_COST_MS


def middle_mean(values: Sequence[int]) -> int:
    """The mean without the lowest and the highest quarter: one answer from the execution cache, or one model load, must
    not move it."""
    ordered = sorted(values)
    cut = (len(ordered) + 1) // 4
    kept = ordered[cut : len(ordered) - cut]
    return sum(kept) // len(kept)
