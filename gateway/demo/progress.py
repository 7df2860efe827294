"""Progress of one job, and the events it causes: progress_state, progress, previews.

It does not know what the nodes compute. The order of the frames is the recorded one.
"""

import json
import struct
from dataclasses import dataclass, field
from typing import Any

from gateway.demo.events import JPEG, PNG, PREVIEW_IMAGE, PREVIEW_IMAGE_WITH_METADATA, Events


@dataclass(frozen=True, slots=True)
class Preview:
    """An encoded picture that goes out with a step. SaveImageWebsocket sends its RESULT this way, as PNG."""

    data: bytes
    is_png: bool = False


@dataclass(slots=True, kw_only=True)
class Progress:
    """The nodes of a job that are running or finished, in the order they began."""

    events: Events
    prompt_id: str
    nodes: dict[str, dict[str, Any]] = field(default_factory=dict)

    def start(self, node_id: str) -> None:
        """A node begins, at 0.0 of 1.0."""
        self._set(node_id, value=0.0, total=1.0, state="running")

    def finish(self, node_id: str) -> None:
        """A node is done, at whatever its maximum was; 1 when nothing was heard of it (it was cached)."""
        total = self.nodes.get(node_id, {"max": 1})["max"]
        self._set(node_id, value=total, total=total, state="finished")

    def step(self, node_id: str, *, value: int, total: int, preview: Preview | None) -> None:
        """One step of a node. A preview with ids goes before `progress`, one without after it."""
        self._set(node_id, value=value, total=total, state="running")
        with_ids = preview is not None and self.events.previews_with_metadata()
        to = self.events.client_id
        if preview is not None and with_ids:
            self.events.send_binary(PREVIEW_IMAGE_WITH_METADATA, self._labelled(node_id, preview), to)
        told = {"value": value, "max": total, "prompt_id": self.prompt_id, "node": node_id}
        self.events.send("progress", told, to)
        if preview is not None and not with_ids:
            form = struct.pack(">I", PNG if preview.is_png else JPEG)
            self.events.send_binary(PREVIEW_IMAGE, form + preview.data, to)

    def _set(self, node_id: str, *, value: float, total: float, state: str) -> None:
        ids = {"node_id": node_id, "prompt_id": self.prompt_id, **_display(node_id)}
        self.nodes[node_id] = {"value": value, "max": total, "state": state, **ids}
        told = {"prompt_id": self.prompt_id, "nodes": self.nodes}
        self.events.send("progress_state", told, self.events.client_id)

    def _labelled(self, node_id: str, preview: Preview) -> bytes:
        label = {"node_id": node_id, "prompt_id": self.prompt_id, **_display(node_id)}
        text = json.dumps({**label, "image_type": "image/png" if preview.is_png else "image/jpeg"}).encode()
        return struct.pack(">I", len(text)) + text + preview.data


def _display(node_id: str) -> dict[str, Any]:
    """Ids of a node that no subgraph made; the simulation has no others."""
    return {"display_node_id": node_id, "parent_node_id": None, "real_node_id": node_id}
