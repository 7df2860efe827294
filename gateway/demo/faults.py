"""The misbehaviours a simulated server can be told to show, and the two that act on a connection.

It does not know which answer or event it holds, cuts or slows.
"""

import asyncio
import socket
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass

_LOOK_AGAIN = 0.02
_ABORTIVE_CLOSE = struct.pack("ii", 1, 0)  # SO_LINGER on, zero seconds: close() sends RST, not FIN.


@dataclass(slots=True)
class Faults:
    """Switches, all off; change them at any time, from any task.

    hold_answers: seconds for which, from the moment it is set, no answer and no event leaves and no step is computed;
    then everything is answered. As a model load that holds the interpreter lock: requests made meanwhile are carried
    out afterwards, even those whose client has gone. `float("inf")` is a hang; 0 ends a hold early.
    stop_executing: HTTP and sockets live, the worker does nothing.
    reset_mid_body: the next answer with a body over 1 kB is cut half way by RST; then this clears itself.
    slow_bytes_per_second: bodies trickle at this rate.
    drop_post_answer: so many next POST /prompt are carried out, but the connection is reset instead of answered.
    refuse_status: every request gets this status, and is not carried out.
    deaf: events are silently sent to nobody, as the late close of a socket of the same id leaves another.
    history_lag: seconds between execution_success and the entry in /history: it is a race there.
    interrupt_lag: seconds between the check and the act of a targeted POST /interrupt, which is not atomic there.
    """

    stop_executing: bool = False
    reset_mid_body: bool = False
    slow_bytes_per_second: float | None = None
    drop_post_answer: int = 0
    refuse_status: int | None = None
    deaf: bool = False
    history_lag: float = 0.002
    interrupt_lag: float = 0.0
    _held_until: float = 0.0

    @property
    def hold_answers(self) -> float:
        """Seconds the present hold still lasts."""
        return max(0.0, self._held_until - time.monotonic())

    @hold_answers.setter
    def hold_answers(self, seconds: float) -> None:
        self._held_until = time.monotonic() + seconds

    async def passage(self) -> None:
        """Return when nothing is held."""
        await _until(lambda: self.hold_answers <= 0)

    async def may_execute(self) -> None:
        """Return when the worker may go on."""
        await _until(lambda: not self.stop_executing and self.hold_answers <= 0)

    def set(self, changes: dict[str, float | int | bool | None]) -> None:
        """Change several switches by name; raises ValueError for a name that is none."""
        unknown = [name for name in changes if name.startswith("_") or not hasattr(type(self), name)]
        if unknown:
            raise ValueError(f"no such fault: {', '.join(unknown)}")
        for name, value in changes.items():
            setattr(self, name, value)

    def takes_post_answer(self) -> bool:
        """Whether the answer of this POST /prompt is to be dropped; counts down."""
        if self.drop_post_answer <= 0:
            return False
        self.drop_post_answer -= 1
        return True

    def takes_body(self, size: int) -> bool:
        """Whether a body of so many bytes is to be cut; clears the switch when it is."""
        if not self.reset_mid_body or size <= 1024:
            return False
        self.reset_mid_body = False
        return True


async def _until(condition: Callable[[], bool]) -> None:
    """Look again and again: switches are plain attributes, so that a test may set them from wherever it is."""
    for _ in iter(condition, True):
        await asyncio.sleep(_LOOK_AGAIN)


def reset(transport: asyncio.Transport | None) -> None:
    """Close a connection with RST, as the kernel does for a killed process with unread data."""
    if transport is None or transport.is_closing():
        return
    connected: socket.socket | None = transport.get_extra_info("socket")
    if connected is not None:
        connected.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _ABORTIVE_CLOSE)
    transport.abort()
