"""Whose job runs next: start-time fair queueing over GPU milliseconds, as arithmetic on values.

It does not know where the values are kept, nor what a job does.

Every user has a *virtual time*: GPU milliseconds used, divided by the user's weight. The user with the least goes next.
A job is charged with an
estimate when it is handed over and corrected with the truth when it ends, so a user cannot hand over a second one on
the first one's credit.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

UNKNOWN_COST_MS = 10_000
"""The estimate for a user without finished jobs: the order of a picture on a small GPU; the truth corrects it at the
end."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """One waiting job. `position` orders a user's own jobs (`front` is lower); `seq` is the ledger's sequence."""

    prompt_id: str
    user_id: int
    seq: int
    position: float


def next_job(waiting: Collection[Waiting], virtual_ms: Mapping[int, float]) -> Waiting | None:
    """The job to hand over now: least virtual time first, ties by the user's earliest ledger sequence; within a user by
    position.

    The tie is broken by the earliest sequence that the *user* has waiting, not by that of the job at the front:
    otherwise a `front` job, which is
    always young, would lose a tie that the user's older jobs had won.
    """
    if not waiting:
        return None
    earliest: dict[int, int] = {}
    for job in waiting:
        earliest[job.user_id] = min(job.seq, earliest.get(job.user_id, job.seq))
    user_id = min(earliest, key=lambda user: (virtual_ms.get(user, 0.0), earliest[user]))
    return min((job for job in waiting if job.user_id == user_id), key=lambda job: (job.position, job.seq))


def joining(own_ms: float, active_ms: Collection[float], idle_clock_ms: float) -> float:
    """The virtual time at which a user who had no unfinished job becomes active.

    The clock is the least virtual time of the active users and, while nobody is active, the most that anyone ever had.
    Starting no earlier than the
    clock earns no credit for idleness; never starting below one's own time keeps submitting jobs one by one from being
    a way round the queue.
    """
    clock = min(active_ms) if active_ms else idle_clock_ms
    return max(own_ms, clock)


def charged(virtual_ms: float, cost_ms: float, weight: float) -> float:
    """The virtual time after `cost_ms` GPU milliseconds more (negative: a refund)."""
    return max(0.0, virtual_ms + cost_ms / weight)


def estimate(recent_ms: Sequence[int]) -> int:
    """What a job will cost, GPU milliseconds, from the user's last finished ones; at least 1, so that a handed-over job
    always counts."""
    if not recent_ms:
        return UNKNOWN_COST_MS
    return max(1, sum(recent_ms) // len(recent_ms))
