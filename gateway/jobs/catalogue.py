"""The node classes of a workflow, as the server describes them. It does not know what they are used for.

Asked once per class and kept until the event socket is opened anew: a class cannot change while ComfyUI runs.
"""

import asyncio
from collections.abc import Collection, Mapping
from urllib.parse import quote

from gateway.comfy.node_class import NodeClass, describe
from gateway.upstream.server import Server

ANSWER_SECONDS = 300.0
"""As for a submit: a server that loads a model answers late."""

MOST_KEPT = 10_000
"""With so many names kept, one more that the server lacks is not remembered: clients can invent them without end."""


class Catalogue:
    """Answers from `/object_info/{class}`; a class that the server does not have is left out."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._known: dict[str, NodeClass | None] = {}
        self._outputs: set[str] = set()

    def forget(self) -> None:
        """The event socket is new: the server may be another process, with other nodes."""
        self._known.clear()
        self._outputs.clear()

    async def output_classes(self, classes: Collection[str]) -> frozenset[str]:
        """Those of `classes` that are output nodes. Raises UpstreamFault when the server does not say."""
        await self._learn_all(classes)
        return frozenset(name for name in classes if name in self._outputs)

    async def classes(self, classes: Collection[str]) -> Mapping[str, NodeClass]:
        """Those of `classes` that the server has, by name. Raises UpstreamFault when it does not say."""
        await self._learn_all(classes)
        return {name: known for name in classes if (known := self._known.get(name)) is not None}

    async def _learn_all(self, classes: Collection[str]) -> None:
        await asyncio.gather(*(self._learn(name) for name in classes if name not in self._known))

    async def _learn(self, name: str) -> None:
        info = await self._server.get_json(f"/object_info/{quote(name, safe='')}", timeout=ANSWER_SECONDS)
        entry = info.get(name) if isinstance(info, dict) else None
        known = describe({"name": name, **entry}) if isinstance(entry, dict) else None
        if isinstance(entry, dict) and entry.get("output_node"):
            self._outputs.add(name)
        if known is not None or len(self._known) < MOST_KEPT:
            self._known[name] = known
