"""The unfinished jobs in memory: whose they are, where they are, and who holds a place at the server.

It does not know the database: the ledger is the truth over a restart, and this is rebuilt from it (`recover`).
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from gateway.comfy.files import FileRef
from gateway.policy.fairness import Waiting
from gateway.store.ledger import Job
from gateway.store.turns import JobTurn

PLACES: Final = 2
"""Jobs that ComfyUI holds at a time: the running one, and the next, which hides the gap between two jobs (design
§2.4)."""


@dataclass(slots=True)
class Live:
    """One unfinished job. Times ending in `_at` are seconds of the event loop's clock, those in `_ms` milliseconds
    since the epoch: `started_ms` by ComfyUI's clock, the others by ours.

    `claimed` are the files that are recorded as this job's: the boot of the server, the file, and whether for ever.

    `busy` is held by the one task that moves the job just now: a submit, a hand-over, a cancellation or a look at the
    server. Nobody else acts on a busy job; who wants it to end leaves a wish (`cancel_requested`, and `stop_requested`
    for one that may be running by then), and the holder carries it out before letting go. Events move the ledger
    whoever holds the job: the ledger refuses a move from a state in which the job is no longer.

    `weight` is the one that the job is charged with. `time_limit` are the seconds after which it was stopped for
    running too long, counted from `ran_from`; None for a job that was not.
    """

    prompt_id: str
    user_id: int
    client_id: str | None
    seq: int
    position: float
    state: str
    had_secrets: bool = False
    secrets: dict[str, str] = field(default_factory=dict, repr=False)
    placed: bool = False
    busy: bool = False
    cancel_requested: bool = False
    stop_requested: bool = False
    node: str | None = None
    executed: list[str] = field(default_factory=list)
    claimed: set[tuple[str, FileRef, bool]] = field(default_factory=set, repr=False)
    started_ms: int | None = None
    seen_start_ms: int | None = None
    last_event_ms: int | None = None
    posted_at: float | None = None
    answered_at: float | None = None
    absent_since: float | None = None
    attempts: int = 0
    shape: str = ""
    weight: float = 1.0
    ran_from: float | None = None
    time_limit: int | None = None

    def wait(self) -> None:
        """The job waits (again): nothing of an earlier hand-over counts any more."""
        self.state, self.placed, self.node = "waiting", False, None
        self.started_ms = self.seen_start_ms = self.last_event_ms = None
        self.posted_at = self.answered_at = self.absent_since = self.ran_from = None
        self.executed.clear()
        self.claimed.clear()


def live_of(job: Job, turn: JobTurn) -> Live:
    """A ledger row as it stands in memory, with what the fair queue keeps of it."""
    return Live(
        prompt_id=job.prompt_id,
        user_id=job.user_id,
        client_id=job.client_id,
        seq=job.seq,
        position=job.position,
        state=job.state,
        had_secrets=job.had_secrets,
        placed=job.state != "waiting",
        cancel_requested=job.cancel_requested,
        stop_requested=job.cancel_requested,
        started_ms=job.started_at,
        attempts=job.attempts,
        shape=turn.shape,
        weight=turn.weight,
        time_limit=turn.time_limit,
    )


class Board:
    """All unfinished jobs, by id. Every change counts up the owner's `revision`, which is what an ETag is made of."""

    def __init__(self) -> None:
        self._jobs: dict[str, Live] = {}
        self._count: Counter[int] = Counter()
        self._revision: Counter[int] = Counter()
        self._running: Live | None = None
        self._disowned: set[str] = set()

    def __iter__(self) -> Iterator[Live]:
        return iter(tuple(self._jobs.values()))

    def add(self, live: Live) -> None:
        """A job came to be."""
        self._jobs[live.prompt_id] = live
        self._count[live.user_id] += 1
        self.touch(live.user_id)

    def remove(self, live: Live) -> None:
        """A job ended, or never was."""
        if self._jobs.pop(live.prompt_id, None) is None:
            return
        self._count[live.user_id] -= 1
        if not self._count[live.user_id]:
            del self._count[live.user_id]
        self.touch(live.user_id)

    def disown(self, live: Live) -> None:
        """A job's owner is gone. Its id is nobody's any more: who took it would get what ComfyUI still says of it."""
        self._disowned.add(live.prompt_id)
        self.remove(live)

    def is_disowned(self, prompt_id: str) -> bool:
        """Whether the id was that of a job whose owner is gone."""
        return prompt_id in self._disowned

    def get(self, prompt_id: str | None) -> Live | None:
        """The job, if it is unfinished."""
        return None if prompt_id is None else self._jobs.get(prompt_id)

    def of(self, user_id: int) -> list[Live]:
        """A user's unfinished jobs, in ledger order."""
        return sorted((live for live in self._jobs.values() if live.user_id == user_id), key=lambda live: live.seq)

    def count(self, user_id: int) -> int:
        """How many unfinished jobs the user has: what `status` frames call queue_remaining."""
        return self._count[user_id]

    def users(self) -> set[int]:
        """Everybody with an unfinished job."""
        return set(self._count)

    def touch(self, user_id: int) -> None:
        """Something that the user can see changed."""
        self._revision[user_id] += 1

    def revision(self, user_id: int) -> int:
        """Counts everything that changed for the user since the gateway started."""
        return self._revision[user_id]

    def running(self) -> Live | None:
        """The job that ComfyUI executes now, which is the one that started last: it executes one at a time.

        Not the one that was `running` before, whose end may still be being written down: a frame without an id would go
        to the wrong user.
        """
        live = self._running
        return live if live and live.placed and live.state == "running" and self.get(live.prompt_id) is live else None

    def runs(self, live: Live) -> None:
        """This job started."""
        self._running = live

    def forget_running(self) -> None:
        """Events were missed: whatever runs now may be somebody else's."""
        self._running = None

    def placed(self) -> list[Live]:
        """The jobs that ComfyUI has, or may have."""
        return [live for live in self._jobs.values() if live.placed]

    def held(self) -> Counter[int]:
        """How many jobs of each user ComfyUI has, or may have."""
        return Counter(live.user_id for live in self._jobs.values() if live.placed)

    def waiting(self) -> list[Waiting]:
        """The queue, for `fairness`."""
        return [
            Waiting(prompt_id=live.prompt_id, user_id=live.user_id, seq=live.seq, position=live.position)
            for live in self._jobs.values()
            if live.state == "waiting" and not live.cancel_requested and not live.busy
        ]

    def take_place(self, live: Live, *, max_running: int | None = None) -> bool:
        """Give a new job a place at the server if one is free and nobody waits. No await between the question and the
        answer: nobody comes between."""
        if max_running is not None and self.held()[live.user_id] >= max_running:
            return False
        if len(self.placed()) >= PLACES or any(other.state == "waiting" for other in self._jobs.values()):
            return False
        live.placed = True
        return True
