"""Which node classes are outputs, as the server says. It knows nothing else of nodes.

Asked once per class and kept until the server restarts, since a class cannot change while ComfyUI runs.
"""

import asyncio
from collections.abc import Collection
from urllib.parse import quote

from gateway.upstream.server import Server

ANSWER_SECONDS = 30.0


class Catalogue:
    """Answers `is this class an output node?` from `/object_info/{class}`."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._is_output: dict[str, bool] = {}

    def forget(self) -> None:
        """The server restarted: its nodes may be others."""
        self._is_output.clear()

    async def output_classes(self, classes: Collection[str]) -> frozenset[str]:
        """Those of `classes` that are output nodes. Raises UpstreamFault when the server does not say."""
        await asyncio.gather(*(self._learn(name) for name in classes if name not in self._is_output))
        return frozenset(name for name in classes if self._is_output.get(name))

    async def _learn(self, name: str) -> None:
        info = await self._server.get_json(f"/object_info/{quote(name, safe='')}", timeout=ANSWER_SECONDS)
        entry = info.get(name) if isinstance(info, dict) else None
        self._is_output[name] = bool(isinstance(entry, dict) and entry.get("output_node"))
