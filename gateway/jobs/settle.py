"""A job ends: the final history entry is fetched and stored, GPU time is booked once, and the owner is told.

It does not know how the end was noticed: by an event, by a look at the server, or because the server is gone.
"""

import asyncio
from collections.abc import Collection, Mapping
from typing import Any, Final

from gateway.comfy import events
from gateway.comfy import jobs as shapes
from gateway.comfy.events import BinaryFrame, TextFrame
from gateway.errors import GatewayError, UpstreamFault, UserGone
from gateway.jobs import look
from gateway.jobs.desk import DRAIN_SECONDS, Desk, cancelled
from gateway.jobs.live import Live
from gateway.jobs.park import UNSTARTED, queued, started
from gateway.log import get_logger
from gateway.store.ledger import FINISHED, UNFINISHED
from gateway.upstream.reply import AnswerTooLarge

HISTORY_SECONDS: Final = 10.0
HISTORY_TRIES: Final = 6
PAUSE_SECONDS: Final = 1.0
MOST_RUNS: Final = 2
"""A job that was interrupted though nobody asked is queued again once; a second time it is believed."""

SECRETS_LOST: Final = (
    "The gateway restarted while this job waited, and keys that are sent with a job are never stored. Submit it again."
)

FILE_TAKEN: Final = (
    "ComfyUI named a result of this job that it made for somebody else before, so it is not given out. Submit it again."
)
OVER_TIME: Final = (
    "This job ran for longer than {seconds} seconds, which is as long as a job of yours may take, so it was stopped. "
    "Use fewer steps, or smaller or fewer pictures, or split the work; or ask an administrator for more time."
)
TOO_LARGE: Final = "This job ended, but its results are larger than the gateway can read. Let it return less text."

log = get_logger(__name__)


class Settler:
    """Ends jobs, each exactly once: the ledger refuses a second end."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._under_way: dict[str, asyncio.Task[None]] = {}

    def begin(self, live: Live, frame: TextFrame) -> None:
        """The server said that the job's execution is over (`executing` with node null). Its place is free from now
        on. A job that waits again had ended before: this is an old word about its last run."""
        if live.prompt_id in self._under_way or live.state == "waiting":
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
        """Let the ends under way be written down, at shutdown; the next start finds the others."""
        if self._under_way:
            await asyncio.wait(self._under_way.values(), timeout=DRAIN_SECONDS)
        await cancelled(*self._under_way.values())

    async def _settle(self, live: Live, frame: TextFrame) -> None:
        """Write the end down. A job whose end could not be read or written stays as it is: without a place and not
        ended, so the next look finds it (`recover`)."""
        try:
            await self._read_and_end(live, frame)
        except GatewayError as fault:
            log.warning("end_not_written", prompt_id=live.prompt_id, reason=fault.reason or fault.message)
        except Exception:
            log.exception("settle_failed", prompt_id=live.prompt_id)

    async def _read_and_end(self, live: Live, frame: TextFrame) -> None:
        try:
            entry = await self._final_entry(live.prompt_id)
        except AnswerTooLarge:
            await self.too_large(live)
            return
        if entry is not None:
            await self.ended(live, entry, farewell=(frame,))
        else:
            await self._without_entry(live)

    async def _without_entry(self, live: Live) -> None:
        """Forgotten by ComfyUI; or on its way to its second run, and this was an old word about the first."""
        place = await look.whereabouts(self._desk, live.prompt_id)
        if live.state == "running" and place == "absent":
            await self.lost(live, "ComfyUI ended this job and forgot it before its results could be read.")
        elif live.state != "waiting" and place != "ended":
            live.placed = True

    async def _final_entry(self, prompt_id: str) -> dict[str, Any] | None:
        """The entry, which is always there at `executing {node: null}`; a server that is busy loading the next model
        answers late. Raises UpstreamFault when it did not answer: that says nothing about the job."""
        for _ in range(HISTORY_TRIES - 1):
            try:
                return await look.entry(self._desk, prompt_id, patience=HISTORY_SECONDS)
            except AnswerTooLarge:
                raise
            except UpstreamFault as fault:
                log.warning("history_unread", prompt_id=prompt_id, reason=fault.reason or fault.message)
                await asyncio.sleep(PAUSE_SECONDS)
        return await look.entry(self._desk, prompt_id, patience=HISTORY_SECONDS)

    async def ended(
        self, live: Live, entry: dict[str, Any], *, farewell: tuple[TextFrame | BinaryFrame, ...] = ()
    ) -> None:
        """Write down what ComfyUI's history says of a job, and tell the owner; forget it, if the owner is gone."""
        try:
            await self._ended(live, entry, farewell)
        except UserGone:
            self._desk.board.disown(live)
            self._desk.changed(live)

    async def _ended(self, live: Live, entry: dict[str, Any], farewell: tuple[TextFrame | BinaryFrame, ...]) -> None:
        state = shapes.final_state(entry)
        status = await self._desk.files.told(live, entry.get("status") or {})
        told = dict(shapes.messages(status))
        await self._start_that_was_missed(live, told)
        unasked = state == "cancelled" and not live.cancel_requested
        if unasked and live.time_limit is None and live.attempts < MOST_RUNS:
            await self._again(live)
            return
        await self._desk.files.ended(live)
        outputs = entry.get("outputs") or {}
        if not await self._desk.files.claim(live, outputs):
            await self.fail(live, "file_taken", FILE_TAKEN)
            return
        if unasked and live.time_limit is not None:
            words = OVER_TIME.format(seconds=live.time_limit)
            await self.fail(live, "time_limit", words, gpu_ms=shapes.gpu_milliseconds(status))
            return
        if await self._finish(
            live,
            state,
            gpu_ms=shapes.gpu_milliseconds(status),
            ended_at=_last_word(told),
            outputs=await self._desk.files.shown(live, outputs),
            status=status,
            meta=entry.get("meta") or {},
            error=told.get("execution_error") if state == "failed" else None,
        ):
            self._tell(live, farewell or (_over(live.prompt_id),))

    async def _start_that_was_missed(self, live: Live, told: Mapping[str, Mapping[str, Any]]) -> None:
        """A job that is first seen when it has ended did start, and that counts as a run."""
        timestamp = told.get("execution_start", {}).get("timestamp")
        if live.state != "running" and isinstance(timestamp, int):
            await started(self._desk, live, timestamp)

    async def _again(self, live: Live) -> None:
        """ComfyUI's targeted interrupt checks first and acts later, so it can hit the next job; that one did nothing
        wrong. The ledger knows that it waits before ComfyUI forgets that it ran: a crash between the two loses nothing.
        It is not handed over before that, or its second run would be forgotten instead."""
        log.warning("interrupted_unasked", prompt_id=live.prompt_id, run=live.attempts)
        was_busy, live.busy = live.busy, True
        try:
            await self.back_to_queue(live)
            await look.forget(self._desk, live.prompt_id)
        except UpstreamFault as fault:
            log.warning("old_run_not_forgotten", prompt_id=live.prompt_id, reason=fault.reason or fault.message)
        finally:
            live.busy = was_busy
            self._desk.bell.set()
        if live.cancel_requested and live.state == "waiting":
            await self.cancelled_unstarted(live)

    async def back_to_queue(self, live: Live, *, never_sent: bool = False) -> None:
        """Queue a job again that did not run to its end through no fault of its own; one that its owner gave up ends
        here."""
        if live.cancel_requested:
            await self.cancelled_unstarted(live)
        elif live.had_secrets and not live.secrets:
            await self.fail(live, "secrets_lost", SECRETS_LOST)
        elif await queued(self._desk, live, expect=(*UNSTARTED, "running"), never_sent=never_sent):
            self._desk.changed(live)
        else:
            await self.align(live)

    async def align(self, live: Live) -> None:
        """The ledger did not do what was asked, so memory is not what it should be: believe the ledger."""
        believed = live.state
        job = await self._desk.ledger.get(live.prompt_id)
        if live.state != believed:
            return
        if job is None or job.state in FINISHED:
            self._desk.board.remove(live)
        elif job.state == "waiting":
            live.wait()
        elif job.state != believed:
            live.state, live.placed = job.state, True
        self._desk.changed(live)

    async def lost(self, live: Live, words: str) -> None:
        """The server went away while the job ran: it is never run again by itself, and booked to its last event."""
        await self.fail(live, "server_lost", words)

    async def too_large(self, live: Live) -> None:
        """The job has ended, and how can never be read: asked for again at each look, it would cost that much each
        time."""
        await self.fail(live, "results_too_large", TOO_LARGE)

    async def fail(self, live: Live, kind: str, words: str, *, gpu_ms: int | None = None) -> None:
        """End a job as failed, with an `execution_error` event that says why. It is booked with `gpu_ms`, and without
        that to its last event."""
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
        begun = live.seen_start_ms or live.started_ms
        if gpu_ms is None:
            gpu_ms = max(0, (live.last_event_ms or 0) - begun) if begun else 0
        status = {"status_str": "error", "completed": False, "messages": messages}
        if await self._finish(live, "failed", gpu_ms=gpu_ms, status=status, error=error):
            self._tell(live, (_made(events.execution_error(error)), _over(live.prompt_id)))

    async def cancelled_unstarted(self, live: Live, *, expect: Collection[str] = UNFINISHED) -> bool:
        """End a job that never ran, if it is in one of the states in `expect`. ComfyUI leaves no history of such a job,
        and neither do we."""
        done = await self._finish(live, "cancelled", gpu_ms=0, hidden=True, expect=expect)
        if done:
            self._desk.changed(live)
        return done

    async def _finish(
        self, live: Live, state: str, *, gpu_ms: int, ended_at: int | None = None, **columns: Any
    ) -> bool:
        now = self._desk.milliseconds()
        done = await self._desk.ledger.finish(
            live, state, weight=live.weight, gpu_ms=gpu_ms, ended_at=ended_at or now, now=now, **columns
        )
        if not done:
            await self.align(live)
            return False
        live.placed = False
        self._desk.board.remove(live)
        return True

    def _tell(self, live: Live, frames: tuple[TextFrame | BinaryFrame, ...]) -> None:
        """In ComfyUI's order: what happened, the queue's new length, then `executing {node: null}`."""
        *news, over = frames
        self._desk.hub.deliver(live.user_id, live.client_id, news)
        self._desk.changed(live)
        self._desk.hub.deliver(live.user_id, live.client_id, (over,))


def _over(prompt_id: str) -> TextFrame:
    return _made(events.executing(None, prompt_id=prompt_id))


def _last_word(told: Mapping[str, Mapping[str, Any]]) -> int | None:
    """When a job ended, by ComfyUI's clock, as is its start; milliseconds since the epoch."""
    last = list(told.values())[-1:]
    timestamp = last[0].get("timestamp") if last else None
    return timestamp if isinstance(timestamp, int) else None


def _made(raw: str) -> TextFrame:
    frame = events.parse(raw)
    assert isinstance(frame, TextFrame), "a frame of our own making can be read"
    return frame
