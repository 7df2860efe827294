"""How long a client may take to send what it began: one timer per connection, for a head or for a body. It does not
know what is sent.

The timer is not moved for every piece that arrives, which would cost more than reading it; when it rings, it looks at
what came meanwhile.
"""

import asyncio
from collections.abc import Callable
from enum import Enum, auto


class Phase(Enum):
    """Where in a request the bytes from the client are."""

    BETWEEN = auto()
    HEAD = auto()
    BODY = auto()


class Deadlines:
    """The timer of one connection. Times are seconds; `late` is called once, with a reason, when one is over."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, *, late: Callable[[str], None], is_waiting_for_us: Callable[[], bool]
    ) -> None:
        self._loop = loop
        self._late = late
        self._is_waiting_for_us = is_waiting_for_us
        self._timer: asyncio.TimerHandle | None = None
        self._in_body = False
        self._gap = 0.0
        self._minimum = 0
        self._last_piece = 0.0
        self._window_from = 0.0
        self._window_bytes = 0
        self._window_is_ours = False

    def head(self, timeout: float) -> None:
        """A head has to be complete in `timeout` seconds from now, or from when this was said first."""
        if self._timer is None or self._in_body:
            self.stop()
            self._timer = self._loop.call_later(timeout, self._late, "the head did not come in time")

    def body(self, *, gap: float, minimum: int) -> None:
        """From now on a piece of a body has to come every `gap` seconds, and `minimum` bytes in any such time."""
        if self._timer is None or not self._in_body:
            self.stop()
            self._in_body, self._gap, self._minimum = True, gap, minimum
            self._last_piece = self._loop.time()
            self._open_window(gap)

    def piece(self, size: int) -> None:
        """So many bytes of the body came."""
        self._last_piece = self._loop.time()
        self._window_bytes += size

    def stop(self) -> None:
        """What was awaited is complete, or nobody waits for it any more."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer, self._in_body = None, False

    def _open_window(self, length: float) -> None:
        self._window_from, self._window_bytes = self._loop.time(), 0
        self._window_is_ours = self._is_waiting_for_us()
        self._timer = self._loop.call_later(length, self._look_at_body)

    def _look_at_body(self) -> None:
        now = self._loop.time()
        if self._window_is_ours or self._is_waiting_for_us():
            # While the client waits for us its silence is our doing, and a window in which it waited at one end says
            # nothing.
            self._last_piece = now
            self._open_window(self._gap)
        elif now - self._last_piece >= self._gap:
            self._late("the body stopped")
        elif self._window_bytes * self._gap < self._minimum * (now - self._window_from):
            self._late("the body is too slow")
        else:
            self._open_window(self._last_piece + self._gap - now)
