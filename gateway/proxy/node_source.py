"""What the server says of all its node classes, asked at most every ten seconds and understood once.

It does not know who wants it.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import blake2b
from typing import Final

from gateway.comfy.node_info import EMPTY, NodeList, read
from gateway.errors import UpstreamFault
from gateway.log import get_logger
from gateway.proxy.shared_work import SharedWork
from gateway.upstream.reply import parsed
from gateway.upstream.server import Server

KEPT_SECONDS: Final = 10.0
ANSWER_SECONDS: Final = 60.0
"""A model load holds ComfyUI's interpreter for 40 s and more."""
PATIENCE_SECONDS: Final = 5.0
"""How long the newest answer is waited for while an older one of the same server is there."""

_LOG: Final = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Nodes:
    """One answer of the server: `version` is another for every other body, `of` the connection that it belongs to."""

    version: str
    nodes: NodeList
    of: object
    until: float


class NodeSource:
    """GET /object_info of one server.

    `connection` gives an object that is another one after the event socket was connected anew, because classes change
    only with ComfyUI's process; `clock` gives seconds that only grow.
    """

    def __init__(self, server: Server, *, connection: Callable[[], object], clock: Callable[[], float]) -> None:
        self._server, self._connection, self._clock = server, connection, clock
        self._asking: SharedWork[int, Nodes] = SharedWork()
        self._known: Nodes | None = None

    async def get(self) -> Nodes:
        """At most ten seconds old; older, of the same process, while ComfyUI is too busy to answer.

        Raises NoServer, UpstreamTimeout, UpstreamFault when there is none at all.
        """
        connection, known = self._connection(), self._known
        if known is None or known.of is not connection:
            return await self._asked(connection)
        if self._clock() < known.until:
            return known
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                return await self._asked(connection)
        except (TimeoutError, UpstreamFault) as fault:
            _LOG.info("old_node_list", reason=str(fault))
            return known

    async def _asked(self, connection: object) -> Nodes:
        # What another process of ComfyUI was asked is not waited for.
        return await self._asking.do(id(connection), lambda: self._ask(connection))

    async def _ask(self, connection: object) -> Nodes:
        reply = await self._server.send_json("GET", "/object_info", None, timeout=ANSWER_SECONDS)
        if reply.status != 200:
            raise UpstreamFault("ComfyUI does not say which nodes it has.", reason=f"status {reply.status}")
        nodes = await asyncio.to_thread(_understood, reply.body, self._known)
        found = Nodes(*nodes, of=connection, until=self._clock() + KEPT_SECONDS)
        if connection is self._connection():
            self._known = found
        return found


def _understood(body: bytes, before: Nodes | None) -> tuple[str, NodeList]:
    version = blake2b(body, digest_size=16).hexdigest()
    if before is not None and before.version == version:
        return version, before.nodes
    said = parsed(body, asked="GET /object_info")
    if not isinstance(said, dict):
        raise UpstreamFault("ComfyUI's node list is not an object.")
    return version, read(said, before=before.nodes if before else EMPTY)
