"""A job ends: the final history entry is fetched and stored, GPU time is booked once, and the owner is told.

It does not know how the end was noticed: by an event, by a look at the server, or because the server is gone.
"""

import asyncio
from typing import Any, Final

from gateway.comfy import events
from gateway.comfy import jobs as shapes
from gateway.comfy.events import BinaryFrame, TextFrame
from gateway.comfy.host import without_host_paths
from gateway.errors import UpstreamFault
from gateway.jobs import look
from gateway.jobs.desk import EQUAL_WEIGHT, Desk
from gateway.jobs.live import Live
from gateway.log import get_logger
from gateway.store.ledger import FINISHED

HISTORY_SECONDS: Final = 10.0
HISTORY_TRIES: Final = 6
MOST_RUNS: Final = 2
"""A job that was interrupted though nobody asked is queued again once; a second time it is believed."""

SECRETS_LOST: Final = (
    "The gateway restarted while this job waited, and keys that are sent with a job are never stored. Submit it again."
)

log = get_logger(__name__)


class Settler:
    """Ends jobs, each exactly once: the ledger refuses a second end."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._under_way: dict[str, asyncio.Task[None]] = {}

    def begin(self, live: Live, frame: TextFrame) -> None:
        """The server said that the job's execution is over (`executing` with node null). Its place is free from now
        on."""
        if live.prompt_id in self._under_way:
            return
        live.placed = False
        self._desk.bell.set()
        task = asyncio.create_task(self._settle(live, frame))
        self._under_way[live.prompt_id] = task
        task.add_done_callback(lambda _: self._under_way.pop(live.prompt_id, None))

    def is_settling(self, live: Live) -> bool:
        """Whether the end of this job is being written down."""
        return live.prompt_id in self._under_way

    async def drain(self) -> None:
        """Let the ends under way be written down, at shutdown."""
        if self._under_way:
            await asyncio.wait(self._under_way.values(), timeout=10)

    async def _settle(self, live: Live, frame: TextFrame) -> None:
        entry = await self._final_entry(live.prompt_id)
        if entry is None:
            await self.lost(live, "ComfyUI ended this job and forgot it before its results could be read.")
            return
        await self.ended(live, entry, farewell=(frame,))

    async def _final_entry(self, prompt_id: str) -> dict[str, Any] | None:
        """The entry, which is always there at `executing {node: null}`; a server that is busy loading the next model
        answers late."""
        for _ in range(HISTORY_TRIES):
            try:
                return await look.entry(self._desk, prompt_id, patience=HISTORY_SECONDS)
            except UpstreamFault as fault:
                log.warning("history_unread", prompt_id=prompt_id, reason=fault.reason or fault.message)
                await asyncio.sleep(1)
        return None

    async def ended(
        self, live: Live, entry: dict[str, Any], *, farewell: tuple[TextFrame | BinaryFrame, ...] = ()
    ) -> None:
        """Write down what ComfyUI's history says of a job, and tell the owner."""
        state = shapes.final_state(entry)
        if state == "cancelled" and not live.cancel_requested and live.attempts < MOST_RUNS:
            await self._again(live)
            return
        status = without_host_paths(entry.get("status") or {})
        columns = {"outputs": entry.get("outputs") or {}, "status": status, "meta": entry.get("meta") or {}}
        gpu_ms = shapes.gpu_milliseconds(status)
        if await self._finish(live, state, gpu_ms=gpu_ms, **columns):
            self._tell(live, farewell or (_over(live.prompt_id),))

    async def _again(self, live: Live) -> None:
        """ComfyUI's targeted interrupt checks first and acts later, so it can hit the next job; that one did nothing
        wrong."""
        log.warning("interrupted_unasked", prompt_id=live.prompt_id, run=live.attempts)
        await self.back_to_queue(live)

    async def back_to_queue(self, live: Live) -> None:
        """Queue a job again that did not run to its end through no fault of its own; one that its owner gave up ends
        here."""
        if live.cancel_requested:
            await self.cancelled_unstarted(live)
            return
        if live.had_secrets and not live.secrets:
            await self.fail(
                live,
                "secrets_lost",
                SECRETS_LOST,
            )
            return
        job = await self._desk.ledger.get(live.prompt_id)
        if job and await self._desk.ledger.give_back(job, expect=("handing", "handed", "running"), weight=EQUAL_WEIGHT):
            live.state, live.placed, live.node, live.started_ms, live.posted_at = "waiting", False, None, None, None
            live.executed.clear()
            self._desk.changed(live)

    async def lost(self, live: Live, words: str) -> None:
        """The server went away while the job ran: it is never run again by itself, and booked to its last event."""
        await self.fail(live, "server_lost", words)

    async def fail(self, live: Live, kind: str, words: str) -> None:
        """End a job as failed, with an `execution_error` event that says why."""
        now = self._desk.milliseconds()
        error = events.error_data(
            prompt_id=live.prompt_id,
            exception_type=kind,
            exception_message=words,
            timestamp=now,
            node_id=live.node,
            executed=live.executed,
        )
        messages: list[list[Any]] = [["execution_error", error]]
        if live.started_ms is not None:
            messages.insert(0, ["execution_start", {"prompt_id": live.prompt_id, "timestamp": live.started_ms}])
        gpu_ms = max(0, (live.last_event_ms or 0) - live.started_ms) if live.started_ms else 0
        status = {"status_str": "error", "completed": False, "messages": messages}
        if await self._finish(live, "failed", gpu_ms=gpu_ms, status=status, error=error):
            self._tell(live, (_made(events.execution_error(error)), _over(live.prompt_id)))

    async def cancelled_unstarted(self, live: Live) -> bool:
        """End a job that never ran. ComfyUI leaves no history of such a job, and neither do we."""
        done = await self._finish(live, "cancelled", gpu_ms=0, hidden=True)
        if done:
            self._desk.changed(live)
        return done

    async def _finish(self, live: Live, state: str, *, gpu_ms: int, **columns: Any) -> bool:
        job = await self._desk.ledger.get(live.prompt_id)
        if job is None or job.state in FINISHED:
            self._desk.board.remove(live)
            return False
        done = await self._desk.ledger.finish(
            job, state, weight=EQUAL_WEIGHT, gpu_ms=gpu_ms, ended_at=self._desk.milliseconds(), **columns
        )
        live.placed = False
        self._desk.board.remove(live)
        return done

    def _tell(self, live: Live, frames: tuple[TextFrame | BinaryFrame, ...]) -> None:
        """In ComfyUI's order: what happened, the queue's new length, then `executing {node: null}`."""
        *news, over = frames
        self._desk.hub.deliver(live.user_id, live.client_id, news)
        self._desk.changed(live)
        self._desk.hub.deliver(live.user_id, live.client_id, (over,))


def _over(prompt_id: str) -> TextFrame:
    return _made(events.executing(None, prompt_id=prompt_id))


def _made(raw: str) -> TextFrame:
    frame = events.parse(raw)
    assert isinstance(frame, TextFrame), "a frame of our own making can be read"
    return frame
