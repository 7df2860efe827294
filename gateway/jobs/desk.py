"""What every part of this room works with: the ledger, the board, the hub, the server, and a bell that wakes the
dispatcher.

It decides nothing. One gateway process has one desk.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Final

from gateway.jobs.files import JobFiles
from gateway.jobs.hub import Hub
from gateway.jobs.live import Board, Live
from gateway.policy.terms import Terms
from gateway.store.ledger import Ledger
from gateway.upstream.server import Server

DRAIN_SECONDS: Final = 10.0
"""What is half done at shutdown may take this long to come to its end."""


async def cancelled(*tasks: asyncio.Task[Any]) -> None:
    """Cancel tasks and wait for their ends. A task that was cancelled in the middle of a statement to the database must
    be waited for: cancelled a second time, as at the end of the event loop, it would never end."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


@dataclass(slots=True)
class Link:
    """The event socket to the server, as the others see it. `client_id` is unguessable, so nobody can take our events
    away."""

    client_id: str
    up: asyncio.Event = field(default_factory=asyncio.Event)


@dataclass(frozen=True, slots=True)
class Desk:
    """The collaborators. `now` is wall time in seconds since the epoch."""

    ledger: Ledger
    board: Board
    hub: Hub
    server: Server
    link: Link
    files: JobFiles
    terms_of: Callable[[int], Awaitable[Terms]]
    bell: asyncio.Event = field(default_factory=asyncio.Event)
    now: Callable[[], float] = time.time

    def milliseconds(self) -> int:
        """Wall time, in ComfyUI's unit."""
        return int(self.now() * 1000)

    def changed(self, live: Live) -> None:
        """Something that the owner can see changed: tell their sockets, and look whether a place is free."""
        self.board.touch(live.user_id)
        self.hub.status(live.user_id)
        self.bell.set()
