"""The execution cache: outputs of nodes, kept while the next prompt has a node of the same key.

It does not know users, and that is the point. What is not an input (extra_pnginfo, the client)
is not in the key; what is an input, declared or not, is.
"""

import hashlib
import json
import uuid
from dataclasses import dataclass
from typing import Any

from gateway.demo.nodes import Catalogue
from gateway.demo.places import Places


@dataclass(frozen=True, slots=True)
class Entry:
    """The outputs of one executed node by slot, and what it showed: {"output": ..., "meta": ...} or None."""

    outputs: tuple[Any, ...]
    ui: dict[str, Any] | None


def is_link(value: Any) -> bool:
    """Whether an input's value means another node's output: [node id, slot]."""
    return (
        isinstance(value, list) and len(value) == 2 and isinstance(value[0], str) and isinstance(value[1], int | float)
    )


class Cache:
    """Entries of the last prompt's nodes. `take` a prompt before asking for its nodes."""

    def __init__(self, *, catalogue: Catalogue, places: Places) -> None:
        self._catalogue = catalogue
        self._places = places
        self._entries: dict[str, Entry] = {}
        self._keys: dict[str, str] = {}

    def take(self, prompt: dict[str, Any]) -> None:
        """Make this the present prompt and forget what none of its nodes can use.

        Every node is looked at, connected or not: one without "inputs" raises KeyError and with that kills the worker.
        """
        self._keys = {}
        for node_id in prompt:
            self._key(node_id, prompt, ())
        kept = set(self._keys.values())
        self._entries = {key: entry for key, entry in self._entries.items() if key in kept}

    def get(self, node_id: str) -> Entry | None:
        """What is known about a node of the present prompt."""
        return self._entries.get(self._keys[node_id])

    def put(self, node_id: str, entry: Entry) -> None:
        """Remember a node of the present prompt."""
        self._entries[self._keys[node_id]] = entry

    def clear(self) -> None:
        """Forget everything, as POST /free with free_memory does."""
        self._entries = {}

    def _key(self, node_id: str, prompt: dict[str, Any], path: tuple[str, ...]) -> str:
        if node_id in self._keys:
            return self._keys[node_id]
        if node_id not in prompt or node_id in path:
            return uuid.uuid4().hex
        node = prompt[node_id]
        inputs = {
            name: ["link", self._key(value[0], prompt, (*path, node_id)), value[1]] if is_link(value) else value
            for name, value in node["inputs"].items()
        }
        own_id = node_id if self._catalogue.takes_unique_id(node["class_type"]) else None
        parts = [node["class_type"], own_id, self._changed(node), inputs]
        self._keys[node_id] = hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
        return self._keys[node_id]

    def _changed(self, node: dict[str, Any]) -> str | None:
        """What a class adds to its key: image loaders the file's content, SaveImageWebsocket something ever new."""
        if node["class_type"] == "SaveImageWebsocket":
            return uuid.uuid4().hex
        if node["class_type"] not in ("LoadImage", "LoadImageMask", "LoadImageOutput"):
            return None
        name = node["inputs"].get("image")
        path = self._places.resolve(name) if isinstance(name, str) else None
        return hashlib.sha256(path.read_bytes()).hexdigest() if path and path.is_file() else uuid.uuid4().hex
