"""Who listens: the open sockets of every user, and what is queued for each of them.

It does not know sockets: `proxy.relay` takes frames out of an Outbox and sends them. A reader that stays behind loses
its own socket, nobody else's frames.
"""

import asyncio
from collections import defaultdict, deque
from collections.abc import Callable, Iterable
from typing import Final

from gateway.comfy import events
from gateway.comfy.events import BinaryFrame, TextFrame

MAX_MESSAGES: Final = 256
MAX_BYTES: Final = 16 * 1024 * 1024

Payload = str | bytes


class Outbox:
    """A bounded queue of frames for one socket: a JPEG preview is replaced by the newest, everything else keeps its
    place."""

    def __init__(self, *, max_messages: int = MAX_MESSAGES, max_bytes: int = MAX_BYTES) -> None:
        self._frames: deque[list[Payload]] = deque()
        self._preview: list[Payload] | None = None
        self._bytes = 0
        self._max_messages, self._max_bytes = max_messages, max_bytes
        self._filled = asyncio.Event()
        self.overflowed = False

    def put(self, payload: Payload, *, replaceable: bool = False) -> None:
        """Queue a frame; over the limits the box is `overflowed` for good, and what it held is let go."""
        if self.overflowed:
            return
        if replaceable and self._preview is not None:
            self._drop(self._preview)
        cell = [payload]
        self._preview = cell if replaceable else self._preview
        self._frames.append(cell)
        self._bytes += len(payload)
        too_many, alone = len(self._frames) > self._max_messages, len(self._frames) == 1
        if too_many or (self._bytes > self._max_bytes and not alone):
            self.overflowed = True
            self._frames.clear()
        self._filled.set()

    def _drop(self, cell: list[Payload]) -> None:
        self._bytes -= len(cell[0])
        self._frames.remove(cell)

    async def get(self) -> Payload | None:
        """The next frame, or None when the box has overflowed."""
        while not self._frames:
            if self.overflowed:
                return None
            self._filled.clear()
            await self._filled.wait()
        cell = self._frames.popleft()
        if cell is self._preview:
            self._preview = None
        self._bytes -= len(cell[0])
        return cell[0]


class Listener:
    """One open socket: its user, the id it goes by (`sid`, the client's own), and whether it understands previews with
    metadata."""

    def __init__(self, *, user_id: int, sid: str, outbox: Outbox | None = None) -> None:
        self.user_id, self.sid = user_id, sid
        self.outbox = outbox or Outbox()
        self.preview_metadata = False

    def offer(self, frame: TextFrame | BinaryFrame) -> None:
        """Queue a frame in the form that this client understands."""
        if isinstance(frame, TextFrame):
            self.outbox.put(frame.raw)
            return
        raw = events.plain_preview(frame) if frame.kind == 4 and not self.preview_metadata else frame.raw
        self.outbox.put(raw, replaceable=events.is_replaceable(frame))


class Hub:
    """The open sockets of everybody. `count` tells how many unfinished jobs a user has."""

    def __init__(self, count: Callable[[int], int]) -> None:
        self._listeners: defaultdict[int, list[Listener]] = defaultdict(list)
        self._count = count

    def attach(self, listener: Listener) -> None:
        """A socket opened."""
        self._listeners[listener.user_id].append(listener)

    def detach(self, listener: Listener) -> None:
        """A socket closed."""
        mine = self._listeners[listener.user_id]
        mine.remove(listener)
        if not mine:
            del self._listeners[listener.user_id]

    def open_sockets(self, user_id: int) -> int:
        """How many sockets the user has open."""
        return len(self._listeners.get(user_id, ()))

    def deliver(self, user_id: int, client_id: str | None, frames: Iterable[TextFrame | BinaryFrame]) -> None:
        """Frames of a job: to its owner's sockets with the job's client id, or to all of the owner's if the job named
        none."""
        for frame in frames:
            for listener in self._listeners.get(user_id, ()):
                if client_id is None or listener.sid == client_id:
                    listener.offer(frame)

    def broadcast(self, frame: TextFrame | BinaryFrame) -> None:
        """A frame that concerns nobody's job and that the settings let everybody see."""
        for listeners in self._listeners.values():
            for listener in listeners:
                listener.offer(frame)

    def status(self, user_id: int) -> None:
        """Tell a user's sockets that the user's own queue changed; the frontend refreshes on it."""
        text = events.status(self._count(user_id))
        for listener in self._listeners.get(user_id, ()):
            listener.outbox.put(text)
