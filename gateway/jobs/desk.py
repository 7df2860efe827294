"""What every part of this room works with: the ledger, the board, the hub, the server, and a bell that wakes the
dispatcher.

It decides nothing. One gateway process has one desk.
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from gateway.jobs.hub import Hub
from gateway.jobs.live import Board, Live
from gateway.store.ledger import Ledger
from gateway.upstream.server import Server

EQUAL_WEIGHT: Final = 1.0


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
