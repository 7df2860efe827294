"""When the waiting jobs will start, if nobody comes and every estimate is right: the same choices as `fairness` makes,
made ahead.

It does not know where the estimates come from.
"""

import heapq
from collections import Counter, deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from gateway.policy.fairness import NEWCOMER, Standing, Waiting, charged, next_job

MOST_FORESEEN: Final = 2000
"""Jobs that are put in order ahead: it costs some microseconds for each, and further ahead the future is not known."""


@dataclass(frozen=True, slots=True)
class Held:
    """A job that the server has: `left_ms` is what it will still take."""

    prompt_id: str
    user_id: int
    left_ms: float
    runs: bool


@dataclass(frozen=True, slots=True)
class Turn:
    """When a job's turn is: it starts `start_ms` milliseconds from now, as the `position`-th from now (1 is the
    next)."""

    prompt_id: str
    position: int
    start_ms: float


def forecast(
    held: Sequence[Held],
    waiting: Iterable[Waiting],
    standings: Mapping[int, Standing],
    *,
    costs_ms: Mapping[str, float],
    places: int,
) -> list[Turn]:
    """The turns of all jobs that do not run yet, in order: those at the server, in the order given, then the waiting
    ones. `places` are the jobs that the server takes at a time; it executes one of them. Of very many jobs only the
    first are foreseen."""
    ahead = _Ahead(dict(standings))
    for job in held:
        ahead.execute(job.prompt_id, job.user_id, job.left_ms, is_new=not job.runs)
    queues = _queues(waiting)
    heads = {user_id: _head(queue) for user_id, queue in queues.items()}
    while heads and len(ahead.turns) < MOST_FORESEEN:
        chosen = next_job(heads.values(), ahead.standings, held=ahead.held, places=places)
        if chosen is not None:
            ahead.hand(chosen, costs_ms.get(chosen.prompt_id, 0.0))
            _go_on(queues, heads, chosen.user_id)
        elif not ahead.one_ends():
            break
    return ahead.turns


class _Ahead:
    """The server as it will be."""

    def __init__(self, standings: dict[int, Standing]) -> None:
        self.standings = standings
        self.held: Counter[int] = Counter()
        self.turns: list[Turn] = []
        self._now, self._free = 0.0, 0.0
        self._ends: list[tuple[float, int]] = []

    def hand(self, job: Waiting, cost_ms: float) -> None:
        standing = self.standings.get(job.user_id, NEWCOMER)
        virtual_ms = charged(standing.virtual_ms, max(1.0, cost_ms), standing.weight)
        self.standings[job.user_id] = replace(standing, virtual_ms=virtual_ms)
        self.execute(job.prompt_id, job.user_id, cost_ms, is_new=True)

    def execute(self, prompt_id: str, user_id: int, left_ms: float, *, is_new: bool) -> None:
        start = max(self._now, self._free)
        self._free = start + max(0.0, left_ms)
        self.held[user_id] += 1
        heapq.heappush(self._ends, (self._free, user_id))
        if is_new:
            self.turns.append(Turn(prompt_id, len(self.turns) + 1, start))

    def one_ends(self) -> bool:
        """Go on to the next end of a job; False when none is left to end."""
        if not self._ends:
            return False
        self._now, user_id = heapq.heappop(self._ends)
        self.held[user_id] -= 1
        return True


_Queues = dict[int, tuple[deque[Waiting], deque[int]]]
"""Of each user the jobs in the order in which they go, and their ledger sequences in order."""


def _queues(waiting: Iterable[Waiting]) -> _Queues:
    mine: dict[int, list[Waiting]] = {}
    for job in waiting:
        mine.setdefault(job.user_id, []).append(job)
    return {
        user_id: (
            deque(sorted(jobs, key=lambda job: (job.position, job.seq))),
            deque(sorted(job.seq for job in jobs)),
        )
        for user_id, jobs in mine.items()
    }


def _head(queue: tuple[deque[Waiting], deque[int]]) -> Waiting:
    """A user's first job, with the sequence that breaks the user's ties: `next_job` sees one job of each, not all."""
    jobs, sequences = queue
    return replace(jobs[0], seq=sequences[0])


def _go_on(queues: _Queues, heads: dict[int, Waiting], user_id: int) -> None:
    """To a user's next job."""
    jobs, sequences = queues[user_id]
    sequences.remove(jobs.popleft().seq)
    if jobs:
        heads[user_id] = _head(queues[user_id])
    else:
        del heads[user_id]
