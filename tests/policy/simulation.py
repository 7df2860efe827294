"""A day at the servers in a second: users who submit, a queue that chooses with the functions of the gateway, and a
clock that jumps from one event to the next.

It knows `policy.fairness` as the ledger and the dispatcher use it, and nothing of databases or ComfyUI.
"""

import heapq
import itertools
from collections import Counter, defaultdict, deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial

from gateway.policy import fairness
from gateway.policy.fairness import Standing, Waiting


@dataclass(eq=False)
class Somebody:
    """A user. `costs` and `errors` make the next job's true cost in ms, and the factor by which it is estimated
    wrongly; whoever has fewer than `backlog` unfinished jobs submits at once."""

    id: int
    kind: str
    weight: float
    costs: Callable[[], float]
    errors: Callable[[], float] = lambda: 1.0
    front: bool = False
    backlog: int = 0
    gpu_ms: float = 0.0
    ran: int = 0
    last_ms: deque[int] = field(default_factory=lambda: deque(maxlen=5))

    @property
    def virtual_ms(self) -> float:
        """What the user got, by weight."""
        return self.gpu_ms / self.weight


@dataclass(eq=False)
class Job:
    """A job at the server or on its way there."""

    owner: Somebody
    waiting: Waiting
    cost_ms: float
    error: float
    charged_ms: float = 0.0


class Servers:
    """A queue before servers that take `places` jobs at a time and execute `lanes` of them."""

    def __init__(self, people: list[Somebody], *, places: int, lanes: int | None = None) -> None:
        self.people = {one.id: one for one in people}
        self.places, self.lanes = places, lanes or places
        self.standings = {one.id: Standing(weight=one.weight) for one in people}
        self.now = 0.0
        self.jobs: dict[str, Job] = {}
        self.waiting: dict[str, Waiting] = {}
        self.held: deque[Job] = deque()
        self.handed: list[Job] = []
        self._executing: set[str] = set()
        self._unfinished: Counter[int] = Counter()
        self._held: Counter[int] = Counter()
        self._sequence = itertools.count(1)
        self._order = itertools.count()
        self._events: list[tuple[float, int, Callable[[], None]]] = []

    def at(self, when_ms: float, act: Callable[[], None]) -> None:
        """Do something later."""
        heapq.heappush(self._events, (when_ms, next(self._order), act))

    def submit(self, owner: Somebody) -> Job:
        """What `Submitter` and the ledger do."""
        seq = next(self._sequence)
        if not self.unfinished(owner):
            self._join(owner)
        position = float(-seq if owner.front else seq)
        job = Job(owner, Waiting(f"{owner.id}-{seq}", owner.id, seq, position), owner.costs(), owner.errors())
        self.jobs[job.waiting.prompt_id] = job
        self._unfinished[owner.id] += 1
        self.waiting[job.waiting.prompt_id] = job.waiting
        return job

    def unfinished(self, owner: Somebody) -> int:
        """How many jobs wait or run."""
        return self._unfinished[owner.id]

    def run(self, until_ms: float) -> None:
        """Let time pass."""
        self._refill()
        self._hand_over()
        while self._events and self._events[0][0] <= until_ms:
            self.now, _, act = heapq.heappop(self._events)
            act()
            self._refill()
            self._hand_over()
        self.now = until_ms

    def _refill(self) -> None:
        for one in self.people.values():
            for _ in range(one.backlog - self._unfinished[one.id]):
                self.submit(one)

    def _join(self, owner: Somebody) -> None:
        charges: dict[int, float] = defaultdict(float)
        for job in self.held:
            charges[job.owner.id] += job.charged_ms
        start = fairness.joining(
            owner.id,
            self.standings,
            active={user_id for user_id, count in self._unfinished.items() if count},
            open_ms=charges,
            idle_clock_ms=max(standing.virtual_ms for standing in self.standings.values()),
        )
        self.standings[owner.id] = replace(self.standings[owner.id], virtual_ms=start)

    def _hand_over(self) -> None:
        """What `Dispatcher` does."""
        while True:
            chosen = fairness.next_job(self.waiting.values(), self.standings, held=self._held, places=self.places)
            if chosen is None:
                return
            job = self.jobs[chosen.prompt_id]
            del self.waiting[chosen.prompt_id]
            job.charged_ms = max(1.0, fairness.estimate(job.owner.last_ms, []) * job.error)
            self._charge(job.owner, job.charged_ms)
            self.held.append(job)
            self._held[job.owner.id] += 1
            self.handed.append(job)
            self._execute()

    def _execute(self) -> None:
        for job in itertools.islice(self.held, self.lanes):
            if job.waiting.prompt_id not in self._executing:
                self._executing.add(job.waiting.prompt_id)
                self.at(self.now + job.cost_ms, partial(self._ended, job))

    def _ended(self, job: Job) -> None:
        """What `Settler` and the ledger do."""
        self.held.remove(job)
        self._held[job.owner.id] -= 1
        self._unfinished[job.owner.id] -= 1
        del self.jobs[job.waiting.prompt_id]
        self._executing.discard(job.waiting.prompt_id)
        self._charge(job.owner, job.cost_ms - job.charged_ms)
        job.owner.gpu_ms += job.cost_ms
        job.owner.ran += 1
        job.owner.last_ms.append(int(job.cost_ms))
        self._execute()

    def _charge(self, owner: Somebody, cost_ms: float) -> None:
        before = self.standings[owner.id]
        virtual_ms = fairness.charged(before.virtual_ms, cost_ms, owner.weight)
        self.standings[owner.id] = replace(before, virtual_ms=virtual_ms)
