"""An event's way, direct and through the gateway: from when ComfyUI writes a frame to when its client has it.

The simulated ComfyUI and the clients share this process, hence one clock; the gateway runs in its own. It does not
know how frames are routed.
"""

import asyncio
import json
import time
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from typing import Any, Final
from unittest.mock import patch

from aiohttp import web
from websockets.asyncio.client import ClientConnection, connect

from bench.client import Client, Place, steps
from bench.crew import BenchError, Crew
from bench.door import Door, start_gateway
from bench.figures import Row, Sample, medians, quantile, rows
from bench.plan import Plan
from gateway.demo.server import Simulator

MEDIAN: Final = "an event to its client, p50"
LATE: Final = "an event to its client, p99"
_SECONDS_PER_FRAME: Final = 0.005
_PATIENCE_SECONDS: Final = 60.0
_USERS: Final = 50

Stamps = dict[tuple[str, int], float]
"""When a progress frame was written, by prompt id and step."""


def measure(plan: Plan) -> tuple[list[Row], list[str]]:
    """The rows; nothing is ever left out."""
    return rows(asyncio.run(_measure(plan)), (MEDIAN, "ms"), (LATE, "ms")), []


async def _measure(plan: Plan) -> dict[str, Sample]:
    simulator = Simulator()
    await simulator.start()
    taken: dict[str, list[Sample]] = {"direct": [], "gateway": []}
    try:
        with Crew() as crew, stamped() as stamps:
            door = await asyncio.to_thread(start_gateway, crew, simulator.url, users=min(_USERS, plan.sockets) + 1)
            ways = {"direct": Place(simulator.url), "gateway": Place(door.url, {"X-API-Key": door.tokens[0]})}
            async with _idle(door, plan.sockets):
                for _ in range(plan.rounds):
                    for way, place in ways.items():
                        taken[way].append(await _round(place, plan.frames, stamps))
    finally:
        await simulator.stop()
    return {way: medians(samples) for way, samples in taken.items()}


@contextmanager
def stamped() -> Iterator[Stamps]:
    """Note when the simulator hands a progress frame to its socket, as the last thing before it does."""
    stamps: Stamps = {}
    send = web.WebSocketResponse.send_str

    async def stamp_and_send(socket: web.WebSocketResponse, data: str, compress: int | None = None) -> None:
        key = _step(data)
        if key is not None:
            stamps[key] = time.perf_counter()
        await send(socket, data, compress)

    with patch.object(web.WebSocketResponse, "send_str", stamp_and_send):
        yield stamps


async def _round(place: Place, frames: int, stamps: Stamps) -> Sample:
    """Milliseconds that half of the frames, and 99 % of them, took at most."""
    client_id = uuid.uuid4().hex
    graph = steps(frames, seconds=frames * _SECONDS_PER_FRAME, nonce=client_id)
    async with _socket(place, client_id) as socket:
        await asyncio.to_thread(_submit, place, graph, client_id)
        async with asyncio.timeout(_PATIENCE_SECONDS):
            arrivals = await _arrivals(socket)
    if len(arrivals) != frames:
        raise BenchError(f"{len(arrivals)} of {frames} progress frames arrived")
    taken = [(at - stamps[key]) * 1000 for key, at in arrivals.items()]
    return quantile(taken, 0.5), quantile(taken, 0.99)


async def _arrivals(socket: ClientConnection) -> Stamps:
    """When each progress frame was here, until the job is over."""
    arrivals: Stamps = {}
    async for frame in socket:
        now = time.perf_counter()
        if not isinstance(frame, str):
            continue
        key = _step(frame)
        if key is not None:
            arrivals[key] = now
        elif _is_end(json.loads(frame)):
            return arrivals
    raise BenchError("the event socket was closed before the job was over")


def _step(text: str) -> tuple[str, int] | None:
    if not text.startswith('{"type": "progress",'):
        return None
    data = json.loads(text)["data"]
    return data["prompt_id"], data["value"]


def _is_end(message: dict[str, Any]) -> bool:
    return message["type"] == "executing" and message["data"]["node"] is None


def _submit(place: Place, graph: dict[str, dict[str, Any]], client_id: str) -> None:
    with Client(place) as client:
        client.submit(graph, client_id=client_id)


@asynccontextmanager
async def _idle(door: Door, count: int) -> AsyncIterator[None]:
    """So many open sockets of the other users, which nothing is sent to."""
    others = door.tokens[1:]
    async with AsyncExitStack() as stack:
        for number in range(count):
            place = Place(door.url, {"X-API-Key": others[number % len(others)]})
            await stack.enter_async_context(_socket(place, uuid.uuid4().hex))
        yield


def _socket(place: Place, client_id: str) -> connect:
    return connect(
        f"{place.url.replace('http', 'ws', 1)}/ws?clientId={client_id}",
        additional_headers=dict(place.headers),
        compression=None,
        max_size=None,
        ping_interval=None,
        open_timeout=_PATIENCE_SECONDS,
        proxy=None,
    )
