"""The event sockets: one loop that sends each message to each socket in turn, with ComfyUI's weaknesses.

It does not know what the messages say. Its traps are here on purpose: a missing client id means
everybody, a second socket of the same id takes over and is later deafened by the first, a stalled socket stalls all.
"""

import asyncio
import contextlib
import json
import struct
import uuid
from collections.abc import Callable
from typing import Any

from aiohttp import WSMsgType, web

from gateway.demo.faults import Faults
from gateway.demo.record import Record

PREVIEW_IMAGE, TEXT, PREVIEW_IMAGE_WITH_METADATA = 1, 3, 4
JPEG, PNG = 1, 2


class Events:
    """The sockets of one running server, and the queue of messages for them."""

    def __init__(
        self, *, faults: Faults, record: Record, features: dict[str, Any], status: Callable[[], dict[str, Any]]
    ) -> None:
        self._faults = faults
        self._record = record
        self._features = features
        self._status = status
        self._messages: asyncio.Queue[tuple[str | bytes, Any]] = asyncio.Queue()
        self.sockets: dict[Any, web.WebSocketResponse] = {}
        self.flags: dict[Any, Any] = {}
        self.client_id: Any = None
        self.last_node_id: str | None = None

    def send(self, kind: str, data: dict[str, Any], to: Any = None) -> None:
        """Queue a text message for one client id, or for everybody when that is None."""
        self._messages.put_nowait((_text(kind, data), to))

    def send_binary(self, kind: int, data: bytes, to: Any = None) -> None:
        """Queue a binary message: big-endian uint32 type, then the data."""
        self._messages.put_nowait((struct.pack(">I", kind) + data, to))

    def send_status(self) -> None:
        """Tell everybody how many prompts remain."""
        self.send("status", {"status": self._status()})

    async def publish(self) -> None:
        """Send queued messages for ever, one socket after the other.

        A client id that cannot be a key (a list, a dict) raises TypeError here, which ends the whole process.
        """
        while True:
            message, to = await self._messages.get()
            await self._faults.passage()
            await self._deliver(message, to)

    async def _deliver(self, message: str | bytes, to: Any) -> None:
        for receiver in self._receivers(to):
            if not self._faults.deaf:
                await _write(receiver, message)

    def _receivers(self, to: Any) -> list[web.WebSocketResponse]:
        if to is None:
            return list(self.sockets.values())
        return [self.sockets[to]] if to in self.sockets else []

    def previews_with_metadata(self) -> bool:
        """Whether the job's client takes previews with ids; raises AttributeError when its flags are no object."""
        flags = self.flags.get(self.client_id, {}) if self.client_id is not None else {}
        return flags.get("supports_preview_metadata", False) is True

    async def attend(self, request: web.Request) -> web.WebSocketResponse:
        """Serve one event socket until it closes."""
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        client_id = request.rel_url.query.get("clientId", "") or uuid.uuid4().hex
        self.sockets.pop(client_id, None)
        self.sockets[client_id] = socket
        self.flags[client_id] = {}
        self._record.note("socket_opened", detail=client_id)
        try:
            await self._greet(client_id)
            await self._listen(socket, client_id)
        finally:
            # By id, not by socket: when a second socket has taken the id over, it is the one that goes deaf.
            self.sockets.pop(client_id, None)
            self.flags.pop(client_id, None)
            self._record.note("socket_closed", detail=client_id)
        return socket

    async def _greet(self, client_id: str) -> None:
        await self._deliver(_text("status", {"status": self._status(), "sid": client_id}), client_id)
        if self.client_id == client_id and self.last_node_id is not None:
            await self._deliver(_text("executing", {"node": self.last_node_id}), client_id)

    async def _listen(self, socket: web.WebSocketResponse, client_id: str) -> None:
        """Read until close. Only the first message that parses can carry feature flags."""
        first = True
        async for message in socket:
            if message.type is not WSMsgType.TEXT:
                continue
            with contextlib.suppress(json.JSONDecodeError, AttributeError):
                said = json.loads(message.data)
                if first and said.get("type") == "feature_flags":
                    await self._faults.passage()
                    self.flags[client_id] = said.get("data", {})
                    await self._deliver(_text("feature_flags", self._features), client_id)
                first = False


def _text(kind: str, data: dict[str, Any]) -> str:
    return json.dumps({"type": kind, "data": data})


async def _write(socket: web.WebSocketResponse, message: str | bytes) -> None:
    with contextlib.suppress(ConnectionError, RuntimeError):
        if isinstance(message, str):
            await socket.send_str(message)
        else:
            await socket.send_bytes(message)
