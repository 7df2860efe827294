"""Follows the server: one event socket, always drained, whose frames move the ledger and go to their owners.

It does not know browsers. Reading and working are two tasks, so that a slow database never makes ComfyUI wait: its one
publish loop waits for each socket in turn.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from gateway.comfy import events
from gateway.comfy.events import BinaryFrame, TextFrame
from gateway.errors import GatewayError, NobodyThere, UpstreamFault, UserGone
from gateway.jobs.cancel import stop_stray
from gateway.jobs.desk import Desk, cancelled
from gateway.jobs.live import Live
from gateway.jobs.park import started
from gateway.jobs.settle import MOST_RUNS, Settler
from gateway.log import get_logger
from gateway.upstream.socket import EventSocket

FIRST_PAUSE: Final = 0.1
LONGEST_PAUSE: Final = 5.0
RETRY_SECONDS: Final = 1.0
CAPABILITIES: Final = '{"type": "feature_flags", "data": {"supports_preview_metadata": true}}'
"""Previews come with their prompt id; clients that did not ask for that get them without."""

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Rules:
    """Frames without a prompt id that may pass, by type: to everybody, or to the owner of the running job. All others
    are dropped."""

    broadcast: frozenset[str] = frozenset()
    owner_of_running: frozenset[str] = frozenset()


class Follower:
    """Keeps the event socket open and acts on what comes. `on_up` is awaited at each new connection before the server
    counts as up."""

    def __init__(self, desk: Desk, settler: Settler, *, rules: Rules, on_up: Callable[[], Awaitable[None]]) -> None:
        self._desk, self._settler, self._rules, self._on_up = desk, settler, rules, on_up
        self._frames: asyncio.Queue[TextFrame | BinaryFrame | asyncio.Event] = asyncio.Queue()
        self._socket: EventSocket | None = None
        self._strays: set[asyncio.Task[bool]] = set()
        self._pause = FIRST_PAUSE
        self.server_flags: dict[str, object] = {}
        self.status_at = 0.0
        self.frame_at = 0.0
        self.refused_since: float | None = None

    async def run(self) -> None:
        """Connect, read, and connect again with growing pauses, until cancelled."""
        worker = asyncio.create_task(self._work())
        try:
            await self._keep_connected()
        finally:
            await self.reconnect()
            await cancelled(worker, *self._strays)

    async def reconnect(self) -> None:
        """Close the socket, wholly, before another opens: an old one that closes late would make the new one
        deaf."""
        socket, self._socket = self._socket, None
        if socket:
            await socket.close()

    async def _keep_connected(self) -> None:
        while True:
            try:
                await self._listen()
            except GatewayError as fault:
                self._note_refusal(fault)
                log.info("event_socket_down", reason=fault.reason or fault.message)
            except Exception:
                log.exception("event_socket_failed")
            self._desk.link.up.clear()
            await asyncio.sleep(self._pause)
            self._pause = min(self._pause * 2, LONGEST_PAUSE)

    def _note_refusal(self, fault: GatewayError) -> None:
        """Only a refused connection tells that nobody is there; silence does not (a model load is 40 s of silence)."""
        if not isinstance(fault, NobodyThere):
            self.refused_since = None
        elif self.refused_since is None:
            self.refused_since = asyncio.get_running_loop().time()

    async def _listen(self) -> None:
        socket = await EventSocket.connect(self._desk.server.url, self._desk.link.client_id)
        self._socket, self._pause = socket, FIRST_PAUSE
        loop = asyncio.get_running_loop()
        self.refused_since, self.status_at, self.frame_at = None, loop.time(), loop.time()
        seam = asyncio.Event()
        self._frames.put_nowait(seam)
        arrival = asyncio.create_task(self._arrive(seam))
        try:
            await socket.send(CAPABILITIES)
            async for raw in socket:
                self._hear(raw, loop.time())
        finally:
            await cancelled(arrival)
            await socket.close()

    async def _arrive(self, seam: asyncio.Event) -> None:
        """Learn what happened while nobody listened, and only then take jobs again; frames are read all the while.
        `seam` lies behind the last frame of the socket before."""
        await seam.wait()
        while True:
            try:
                await self._on_up()
            except UpstreamFault as fault:
                log.warning("server_not_ready", reason=fault.reason or fault.message)
            except Exception:
                log.exception("arrival_failed")
            else:
                self._desk.link.up.set()
                self._desk.bell.set()
                return
            await asyncio.sleep(RETRY_SECONDS)

    def _hear(self, raw: str | bytes, now: float) -> None:
        """What tells that we are heard by ComfyUI counts when it arrives, however far behind the work is."""
        self.frame_at = now
        frame = events.parse(raw)
        if isinstance(frame, TextFrame) and frame.type == "status":
            self.status_at = now
        elif isinstance(frame, TextFrame) and frame.type == "feature_flags":
            self.server_flags = dict(frame.data)
        elif frame is not None:
            self._frames.put_nowait(frame)

    async def _work(self) -> None:
        while True:
            frame = await self._frames.get()
            if isinstance(frame, asyncio.Event):
                self._desk.board.forget_running()
                frame.set()
                continue
            try:
                await self._act(frame)
            except Exception:
                log.exception("frame_failed")

    async def _act(self, frame: TextFrame | BinaryFrame) -> None:
        live = self._owner_job(frame)
        if live is None:
            self._unowned(frame)
            return
        try:
            shown = await self._as_shown(live, frame)
        except UserGone:
            return
        if shown is not None:
            await self._follow(live, shown)

    async def _as_shown(self, live: Live, frame: TextFrame | BinaryFrame) -> TextFrame | BinaryFrame | None:
        """The frame as the job's owner may see it; None for results that are another's already (`settle` says so)."""
        if not isinstance(frame, TextFrame):
            return frame
        if frame.type == "execution_error":
            return events.changed(frame, await self._desk.files.told(live, frame.data))
        if frame.type != "executed":
            return frame
        if not await self._desk.files.claim(live, {frame.data.get("node"): frame.data.get("output")}):
            return None
        return events.changed(frame, await self._desk.files.shown(live, frame.data))

    def _owner_job(self, frame: TextFrame | BinaryFrame) -> Live | None:
        running = self._desk.board.running()
        audience = events.audience(
            frame,
            running_prompt=running.prompt_id if running else None,
            broadcast=self._rules.broadcast,
            owner_of_running=self._rules.owner_of_running,
        )
        return self._desk.board.get(audience.prompt_id) if isinstance(audience, events.OwnerOf) else None

    def _unowned(self, frame: TextFrame | BinaryFrame) -> None:
        """Foreign, not understood, or for everybody. An `execution_start` is sent to the job's own client id only: one
        that comes here was ours once."""
        audience = events.audience(
            frame, running_prompt=None, broadcast=self._rules.broadcast, owner_of_running=self._rules.owner_of_running
        )
        if isinstance(audience, events.Everybody):
            self._desk.hub.broadcast(frame)
        elif isinstance(frame, TextFrame) and frame.type == "execution_start" and frame.prompt_id:
            task = asyncio.create_task(stop_stray(self._desk, frame.prompt_id))
            self._strays.add(task)
            task.add_done_callback(self._strays.discard)

    async def _follow(self, live: Live, frame: TextFrame | BinaryFrame) -> None:
        live.last_event_ms = self._desk.milliseconds()
        if isinstance(frame, TextFrame) and frame.type == "executing" and frame.node is None:
            self._settler.begin(live, frame)
            return
        try:
            if isinstance(frame, TextFrame):
                await self._note(live, frame)
        finally:
            # The owner gets it also while the database is away.
            if not frame_is_kept_back(live, frame):
                self._desk.hub.deliver(live.user_id, live.client_id, (frame,))

    async def _note(self, live: Live, frame: TextFrame) -> None:
        if frame.type == "execution_start":
            self._desk.board.runs(live)
            timestamp = frame.data.get("timestamp")
            await started(self._desk, live, timestamp if isinstance(timestamp, int) else self._desk.milliseconds())
        elif frame.type == "executing":
            live.node = frame.data.get("display_node") or frame.node
        elif frame.type == "executed":
            live.executed.append(str(frame.data.get("node")))
            if isinstance(output := frame.data.get("output"), dict):
                await self._desk.ledger.record_output(live.prompt_id, str(frame.data.get("node")), output)


def frame_is_kept_back(live: Live, frame: TextFrame | BinaryFrame) -> bool:
    """An interruption that the owner did not ask for is not shown: the job is queued again, or was stopped for running
    too long, and ends with an error that says so (`settle`)."""
    interrupted = isinstance(frame, TextFrame) and frame.type == "execution_interrupted"
    return interrupted and not live.cancel_requested and (live.time_limit is not None or live.attempts < MOST_RUNS)
