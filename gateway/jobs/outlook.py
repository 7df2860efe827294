"""Where everybody's unfinished jobs stand: who has what at the server, what comes next, and when.

It does not know who asks: callers show each user their own jobs only, and all of them to administrators.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from gateway.jobs.desk import Desk
from gateway.jobs.live import PLACES, Live
from gateway.policy import fairness
from gateway.policy.fairness import Standing
from gateway.policy.forecast import Held, Turn, forecast

SHOWN_TIMES: Final = 10

State = Literal["running", "handed", "waiting"]


@dataclass(frozen=True, slots=True)
class Place:
    """One unfinished job. `position` is 1 for the next to start, over everybody's jobs, 0 for one that runs, and None
    beyond what is foreseen. Times are milliseconds: `start_ms` since the epoch, when it will start or did; None where
    nobody knows, as while the server is away. `estimate_ms` is GPU time, from start to end."""

    prompt_id: str
    user_id: int
    state: State
    position: int | None
    start_ms: float | None
    estimate_ms: int


@dataclass(frozen=True, slots=True)
class Picture:
    """All unfinished jobs, in the order in which they will run, and where their owners stand."""

    connected: bool
    places: tuple[Place, ...]
    standings: Mapping[int, Standing]


class Outlook:
    """Looks at the queue; changes nothing. A look at thousands of jobs takes tenths of a second, so it is shown for ten
    times as long as it took: whoever asks all the time costs a tenth of a processor, and not all of it."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._one = asyncio.Lock()
        self._last: Picture | None = None
        self._good_until = 0.0

    async def look(self) -> Picture:
        """The queue as it is now, or was a moment ago. Raises StoreUnavailable."""
        clock = asyncio.get_running_loop().time
        async with self._one:
            if self._last is None or clock() >= self._good_until:
                began = clock()
                self._last = await self._look()
                self._good_until = clock() + (clock() - began) * (SHOWN_TIMES - 1)
            return self._last

    async def _look(self) -> Picture:
        jobs = [live for live in self._desk.board if live.state != "submitting"]
        standings = await self._standings({live.user_id for live in jobs})
        estimates = await self._estimates(jobs)
        held = [self._held(live, estimates) for live in sorted((live for live in jobs if live.placed), key=_turn)]
        # In a thread: with thousands of jobs it takes tenths of a second, in which no frame would move.
        turns = await asyncio.to_thread(
            forecast, held, self._desk.board.waiting(), standings, costs_ms=estimates, places=PLACES
        )
        found = {turn.prompt_id: turn for turn in turns}
        places = [self._place(live, found.get(live.prompt_id), estimates[live.prompt_id]) for live in jobs]
        return Picture(self._desk.link.up.is_set(), tuple(sorted(places, key=_order)), standings)

    async def _standings(self, users: set[int]) -> dict[int, Standing]:
        virtual = await self._desk.ledger.virtual_times()
        return {user: (await self._desk.terms_of(user)).standing(virtual.get(user, 0.0)) for user in users}

    async def _estimates(self, jobs: Sequence[Live]) -> dict[str, int]:
        """As the hand-over makes them, by prompt id."""
        costs = await self._desk.ledger.costs({(live.user_id, live.shape) for live in jobs})
        return {live.prompt_id: fairness.estimate(*costs[live.user_id, live.shape]) for live in jobs}

    def _held(self, live: Live, estimates: Mapping[str, int]) -> Held:
        estimate, runs = float(estimates[live.prompt_id]), live.state == "running"
        so_far = self._desk.milliseconds() - live.seen_start_ms if runs and live.seen_start_ms else 0.0
        return Held(live.prompt_id, live.user_id, max(0.0, estimate - max(0.0, so_far)), runs=runs)

    def _place(self, live: Live, turn: Turn | None, estimate_ms: int) -> Place:
        state: State = "running" if live.state == "running" else "handed" if live.placed else "waiting"
        start_ms: float | None = live.started_ms if state == "running" else None
        if turn is not None and self._desk.link.up.is_set():
            start_ms = self._desk.milliseconds() + turn.start_ms
        position = 0 if state == "running" else turn.position if turn else None
        return Place(live.prompt_id, live.user_id, state, position, start_ms, estimate_ms)


def _turn(live: Live) -> tuple[bool, float, int]:
    """The order in which the server executes what it has."""
    return live.state != "running", live.posted_at or 0.0, live.seq


def _order(place: Place) -> tuple[bool, int]:
    return place.position is None, place.position or 0
