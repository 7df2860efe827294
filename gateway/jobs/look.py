"""Looks at the server: where is a job, and what became of it. It asks and changes nothing, but for taking a waiting job
out of ComfyUI's queue."""

from dataclasses import dataclass
from typing import Any, Final, Literal

import orjson

from gateway.errors import UpstreamFault
from gateway.jobs.desk import Desk

ANSWER_SECONDS: Final = 60.0

Place = Literal["running", "pending", "ended", "absent"]


@dataclass(frozen=True, slots=True)
class Sighting:
    """ComfyUI's queue at one moment, as ids. `pending` may hold an id that runs by now; it cannot lack one that has
    been there all along."""

    running: frozenset[str]
    pending: frozenset[str]

    def place(self, prompt_id: str) -> Place:
        """Where the queue has the job; `absent` may still mean that it has ended."""
        if prompt_id in self.running:
            return "running"
        return "pending" if prompt_id in self.pending else "absent"


async def queue(desk: Desk) -> Sighting:
    """ComfyUI's queue now. Raises UpstreamFault when it does not answer: that says nothing about any job."""
    answer = await desk.server.get_json("/queue", timeout=ANSWER_SECONDS)
    try:
        running, pending = (
            frozenset(str(item[1]) for item in answer[name]) for name in ("queue_running", "queue_pending")
        )
    except (KeyError, TypeError, IndexError) as error:
        raise UpstreamFault("ComfyUI's queue cannot be read.", reason=f"GET /queue: {error!r}") from error
    return Sighting(running, pending)


async def entry(desk: Desk, prompt_id: str, *, patience: float = ANSWER_SECONDS) -> dict[str, Any] | None:
    """ComfyUI's history entry of an ended job, or None."""
    answer = await desk.server.get_json(f"/history/{prompt_id}", timeout=patience)
    found = answer.get(prompt_id) if isinstance(answer, dict) else None
    return found if isinstance(found, dict) else None


async def whereabouts(desk: Desk, prompt_id: str) -> Place:
    """Where a job is. The queue is read before the history: in this order a job was never seen in neither (protocol.md
    §2.1)."""
    place = (await queue(desk)).place(prompt_id)
    if place != "absent":
        return place
    return "absent" if await entry(desk, prompt_id) is None else "ended"


async def take_out(desk: Desk, prompt_id: str) -> None:
    """Delete a job from ComfyUI's queue; it answers 200 whether the job waited, ran or was unknown, so look
    afterwards."""
    await desk.server.send_json("POST", "/queue", orjson.dumps({"delete": [prompt_id]}), timeout=ANSWER_SECONDS)
