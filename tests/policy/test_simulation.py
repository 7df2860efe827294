"""Fair shares over the long run, in a simulation with a virtual clock that uses the gateway's own choices."""

import random
from collections import Counter
from collections.abc import Callable
from functools import partial

import pytest

from tests.policy.simulation import Servers, Somebody

HOURS_MS = 3_600_000.0
WRONG = 12.0
"""So many times too much or too little is the worst estimate."""


def costs(chance: random.Random, *, typical_ms: float = 5_000.0) -> Callable[[], float]:
    """Jobs of a quarter to four times the typical cost."""
    return lambda: typical_ms * 4.0 ** chance.uniform(-1, 1)


def errors(chance: random.Random) -> Callable[[], float]:
    """Some are always estimated twelve times too low, some too high, the others anywhere in between."""
    constant = chance.choice([1 / WRONG, WRONG, None])
    return lambda: WRONG ** chance.uniform(-1, 1) if constant is None else constant


def crowd(chance: random.Random) -> list[Somebody]:
    """50 users with random weights, arrivals, costs and wrong estimates."""
    kinds = ["busy"] * 28 + ["front only", "small jobs"] + ["one by one"] * 4 + ["idles"] * 6 + ["light"] * 10
    people = []
    for number, kind in enumerate(kinds):
        typical = 250.0 if kind == "small jobs" else 5_000.0
        people.append(
            Somebody(
                id=number,
                kind=kind,
                weight=chance.choice([0.5, 1.0, 1.5, 2.0, 4.0]),
                costs=costs(chance, typical_ms=typical),
                errors=errors(chance),
                front=kind == "front only",
                backlog={"busy": 3, "front only": 3, "small jobs": 8, "one by one": 1}.get(kind, 0),
            )
        )
    return people


def come_and_go(servers: Servers, one: Somebody, chance: random.Random, *, burst: int, pause_ms: float) -> None:
    """Submit a burst, and again after a pause of random length, as long as the simulation lasts."""

    def act() -> None:
        if one.kind == "light" or not servers.unfinished(one):
            for _ in range(burst):
                servers.submit(one)
        servers.at(servers.now + chance.expovariate(1 / pause_ms), act)

    servers.at(chance.uniform(0, pause_ms), act)


def table(people: list[Somebody], fair_ms: float) -> str:
    """What each user got: `share` is the GPU time against what is due to the weight of a user who always has work
    waiting."""
    lines = [f"{'user':>4}  {'kind':<10} {'weight':>6} {'jobs':>6} {'GPU s':>9} {'share':>7}"]
    for one in sorted(people, key=lambda one: (one.kind, one.id)):
        share = f"{one.virtual_ms / fair_ms:.1%}"
        lines.append(f"{one.id:>4}  {one.kind:<10} {one.weight:>6} {one.ran:>6} {one.gpu_ms / 1000:>9.0f} {share:>7}")
    return "\n".join(lines)


@pytest.mark.parametrize(("places", "lanes"), [(1, 1), (4, 4), (2, 1)])
def test_everybody_gets_a_fair_share(places: int, lanes: int) -> None:
    """Each user who always has jobs waiting gets the GPU time that is due to the weight, within 5 %, whatever the jobs
    cost, however wrong the estimates are, and also with `front` jobs only; nobody gets more by idling, by submitting
    one by one, or by many small jobs."""
    chance = random.Random(places)
    people = crowd(chance)
    servers = Servers(people, places=places, lanes=lanes)
    for one in people:
        if one.kind == "idles":
            come_and_go(servers, one, chance, burst=12, pause_ms=2 * HOURS_MS)
        elif one.kind == "light":
            come_and_go(servers, one, chance, burst=1, pause_ms=3 * HOURS_MS)
    servers.run(20 * HOURS_MS / lanes * min(lanes, 2))
    busy = [one for one in people if one.kind in ("busy", "front only", "small jobs")]
    fair_ms = sum(one.gpu_ms for one in busy) / sum(one.weight for one in busy)
    print(f"\nplaces: {places}, executing: {lanes}\n{table(people, fair_ms)}")
    for one in busy:
        assert one.virtual_ms == pytest.approx(fair_ms, rel=0.05), one
    for one in people:
        assert one.virtual_ms <= fair_ms * 1.05, one


@pytest.mark.parametrize(("places", "lanes"), [(1, 1), (4, 4), (2, 1)])
def test_a_newcomer_waits_for_one_job_of_each(places: int, lanes: int) -> None:
    """A light user's first job, next to a user with 500 queued and others who are due, starts after what runs, what was
    handed over, and at most one job of each user."""
    chance = random.Random(places)
    heavy = Somebody(0, "heavy", 1.0, costs(chance), errors(chance), backlog=500)
    due = [
        Somebody(number, "busy", chance.choice([0.5, 1, 4]), costs(chance), errors(chance), backlog=3)
        for number in range(1, 11)
    ]
    light = [Somebody(number, "light", 1.0, costs(chance), errors(chance)) for number in range(11, 31)]
    servers = Servers([heavy, *due, *light], places=places, lanes=lanes)
    waited: dict[int, tuple[float, Counter[int]]] = {}

    def arrive(one: Somebody) -> None:
        came, already = servers.now, len(servers.handed)
        first = servers.submit(one)
        servers.at(came, partial(look, one, came, already, first.waiting.prompt_id))

    def look(one: Somebody, came: float, already: int, prompt_id: str) -> None:
        between = servers.handed[already:]
        if any(job.waiting.prompt_id == prompt_id for job in between):
            before = [job.owner.id for job in between[: [job.waiting.prompt_id for job in between].index(prompt_id)]]
            waited[one.id] = (servers.now - came, Counter(before))
        else:
            servers.at(servers.now + 200.0, partial(look, one, came, already, prompt_id))

    for one in light:
        servers.at(chance.uniform(0.1, 1) * HOURS_MS, partial(arrive, one))
    servers.run(1.1 * HOURS_MS)
    print(f"\nplaces: {places}, executing: {lanes}\n{'user':>4} {'waited s':>9}  jobs handed over before")
    for user, (ms, before) in waited.items():
        print(f"{user:>4} {ms / 1000:>9.1f}  {before.total()}")
    assert len(waited) == len(light)
    for _, before in waited.values():
        assert before[heavy.id] <= 1 and max(before.values(), default=0) <= 1
