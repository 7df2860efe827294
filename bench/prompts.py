"""POST /prompt, direct and through the gateway, in the two states a queue can be in: nothing waits, or much does.

With an empty queue a job goes straight to a free place. With a long one it is validated, parked and taken out again,
because it waits in the ledger. It does not know how either is done.
"""

import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from statistics import median
from typing import Final

from bench.client import Client, Place, picture, steps
from bench.crew import Crew
from bench.door import start_comfyui, start_gateway
from bench.figures import Row, Sample, interleaved, rows
from bench.plan import Plan

CLIENTS: Final = 8
EMPTY_LATENCY: Final = "POST /prompt, empty queue, 1 connection, median"
EMPTY_RATE: Final = f"POST /prompt, from an empty queue, {CLIENTS} clients"
LONG_LATENCY: Final = "POST /prompt, long queue, 1 connection, median"
LONG_RATE: Final = f"POST /prompt, long queue, {CLIENTS} clients"
_FOR_EVER: Final = 3600.0
_BREATH_SECONDS: Final = 0.02


def measure(plan: Plan) -> tuple[list[Row], list[str]]:
    """The rows; nothing is ever left out. Each way has a ComfyUI of its own, so that their queues do not mix."""
    with Crew() as crew:
        door = start_gateway(crew, start_comfyui(crew, "comfyui-behind"), users=1)
        places = {
            "direct": Place(start_comfyui(crew, "comfyui-direct")),
            "gateway": Place(door.url, {"X-API-Key": door.tokens[0]}),
        }
        empty = {way: partial(_with_empty_queue, place, plan) for way, place in places.items()}
        when_empty = interleaved(empty, rounds=plan.rounds)
        for place in places.values():
            _fill(place, plan.waiting)
        long = {way: partial(_with_long_queue, place, plan) for way, place in places.items()}
        when_long = interleaved(long, rounds=plan.rounds)
    return [
        *rows(when_empty, (EMPTY_LATENCY, "ms"), (EMPTY_RATE, "submits/s")),
        *rows(when_long, (LONG_LATENCY, "ms"), (LONG_RATE, "submits/s")),
    ], []


def _with_empty_queue(place: Place, plan: Plan) -> Sample:
    """Each job is over before the next one comes; then the clients submit as fast as they are answered."""
    with Client(place) as client:
        client.wait_until_idle()
        taken = []
        end = time.monotonic() + plan.post_seconds
        while time.monotonic() < end:
            taken.append(client.submit(picture()))
            client.wait_until_idle()
            # The queue says 0 a moment before the end of the job is written down; that is not this submit's work.
            time.sleep(_BREATH_SECONDS)
        rate = _rate(place, plan.post_seconds)
        client.post("/queue", {"clear": True})
        client.wait_until_idle()
    return median(taken) * 1000, rate


def _with_long_queue(place: Place, plan: Plan) -> Sample:
    with Client(place) as client:
        taken = []
        end = time.monotonic() + plan.post_seconds
        while time.monotonic() < end:
            taken.append(client.submit(picture()))
    return median(taken) * 1000, _rate(place, plan.post_seconds)


def _fill(place: Place, count: int) -> None:
    """A job that runs for ever and many that wait behind it."""
    with Client(place) as client:
        client.submit(steps(1000, seconds=_FOR_EVER, nonce="for ever"))
        for _ in range(count):
            client.submit(picture())


def _rate(place: Place, seconds: float) -> float:
    """Submits per second of all clients together; what is under way at the end still counts, and its time too."""
    begun = time.monotonic()
    with ThreadPoolExecutor(CLIENTS) as pool:
        counts = list(pool.map(lambda _: _submit_until(place, begun + seconds), range(CLIENTS)))
    return sum(counts) / (time.monotonic() - begun)


def _submit_until(place: Place, end: float) -> int:
    count = 0
    with Client(place) as client:
        while time.monotonic() < end:
            client.submit(picture())
            count += 1
    return count
