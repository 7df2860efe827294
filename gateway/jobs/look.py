"""Looks at the server: where is a job, and what became of it. It asks and changes nothing, but for taking one job out
of ComfyUI's queue or history."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final, Literal

import orjson

from gateway.errors import UpstreamFault
from gateway.jobs.desk import Desk
from gateway.upstream.reply import UnreadableAnswer

ANSWER_SECONDS: Final = 60.0
PARKING: Final = 1e12
"""A job that only wants to be validated is posted behind everything that could run, and taken out again at once."""

Place = Literal["running", "pending", "ended", "absent"]


@dataclass(frozen=True, slots=True)
class Sighting:
    """ComfyUI's queue at one moment, as ids. `pending` may hold an id that runs by now; it cannot lack one that has
    been there all along."""

    running: frozenset[str]
    pending: frozenset[str]
    parked: frozenset[str] = frozenset()
    """Those of `pending` that wait at a parking number."""
    ours: frozenset[str] = frozenset()
    """Those that were submitted under our client id."""

    def place(self, prompt_id: str) -> Place:
        """Where the queue has the job; `absent` may still mean that it has ended."""
        if prompt_id in self.running:
            return "running"
        return "pending" if prompt_id in self.pending else "absent"


async def queue(desk: Desk) -> Sighting:
    """ComfyUI's queue now. Raises UpstreamFault when it does not answer: that says nothing about any job."""
    answer = await desk.server.get_json("/queue", timeout=ANSWER_SECONDS)
    try:
        running = frozenset(str(item[1]) for item in answer["queue_running"])
        waiting = {str(item[1]): item[0] for item in answer["queue_pending"]}
        ours = frozenset(_under(desk.link.client_id, *answer["queue_running"], *answer["queue_pending"]))
    except (KeyError, TypeError, IndexError) as error:
        raise UnreadableAnswer("ComfyUI's queue cannot be read.", reason=f"GET /queue: {error!r}") from error
    parked = (
        prompt_id for prompt_id, number in waiting.items() if isinstance(number, int | float) and number > PARKING
    )
    return Sighting(running, frozenset(waiting), frozenset(parked), ours)


def _under(client_id: str, *items: Any) -> Iterator[str]:
    for item in items:
        extra_data = item[3] if len(item) > 3 else None
        if isinstance(extra_data, dict) and extra_data.get("client_id") == client_id:
            yield str(item[1])


async def entry(desk: Desk, prompt_id: str, *, patience: float = ANSWER_SECONDS) -> dict[str, Any] | None:
    """ComfyUI's history entry of an ended job, or None. Raises UpstreamFault; only `{}` says that there is none."""
    answer = await desk.server.get_json(f"/history/{prompt_id}", timeout=patience)
    found = answer.get(prompt_id, {}) if isinstance(answer, dict) else None
    if not isinstance(found, dict):
        raise UnreadableAnswer("ComfyUI's history cannot be read.", reason=f"GET /history/{prompt_id}: {answer!r:.80}")
    parts = {key: found.get(key) for key in ("outputs", "status", "meta")}
    return {**found, **{key: part if isinstance(part, dict) else {} for key, part in parts.items()}} if found else None


async def whereabouts(desk: Desk, prompt_id: str) -> Place:
    """Where a job is. The queue is read before the history: in this order a job was never seen in neither."""
    place = (await queue(desk)).place(prompt_id)
    if place != "absent":
        return place
    return "absent" if await entry(desk, prompt_id) is None else "ended"


async def take_out(desk: Desk, prompt_id: str) -> None:
    """Delete a job from ComfyUI's queue; it answers 200 whether the job waited, ran or was unknown, so look
    afterwards. Raises UpstreamFault."""
    await _delete(desk, "/queue", prompt_id)


async def forget(desk: Desk, prompt_id: str) -> None:
    """Delete an entry from ComfyUI's history: a job that is run again must not be taken for ended. Raises
    UpstreamFault."""
    await _delete(desk, "/history", prompt_id)


async def _delete(desk: Desk, path: str, prompt_id: str) -> None:
    reply = await desk.server.send_json("POST", path, orjson.dumps({"delete": [prompt_id]}), timeout=ANSWER_SECONDS)
    if reply.status != 200:
        raise UpstreamFault("ComfyUI refused to forget a job.", reason=f"POST {path}: status {reply.status}")
