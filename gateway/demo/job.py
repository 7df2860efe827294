"""One prompt being executed: what its client is told, and what its history entry will say.

It does not decide what runs or compute anything.
"""

import time
import traceback
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from gateway.demo import pictures
from gateway.demo.cache import Entry
from gateway.demo.events import Events
from gateway.demo.profile import Profile
from gateway.demo.progress import Progress
from gateway.demo.queue import Item
from gateway.demo.record import Record


@dataclass(slots=True, kw_only=True)
class Job:
    """The running prompt. `shown` holds {"meta": ..., "output": ...} of every node that showed something."""

    item: Item
    events: Events
    record: Record
    progress: Progress
    messages: list[list[Any]] = field(default_factory=list)
    executed: list[str] = field(default_factory=list)
    shown: dict[str, dict[str, Any]] = field(default_factory=dict)

    def class_of(self, node_id: str) -> str:
        """The class of one of the prompt's nodes."""
        class_type: str = self.item.prompt[node_id]["class_type"]
        return class_type

    def begin(self) -> None:
        """execution_start."""
        self._tell("execution_start", {"prompt_id": self.item.prompt_id})

    def cached(self, node_ids: list[str]) -> None:
        """execution_cached."""
        self._tell("execution_cached", {"nodes": node_ids, "prompt_id": self.item.prompt_id})

    def enter(self, node_id: str) -> None:
        """executing; what a client that connects now is told at once."""
        if self.events.client_id is not None:
            self.events.last_node_id = node_id
            self._send("executing", {"node": node_id, "display_node": node_id})

    def leave(self, node_id: str, ui: dict[str, Any] | None) -> None:
        """executed, if the node shows something; then its end in progress_state."""
        if ui is not None:
            meta = {"node_id": node_id, "display_node": node_id, "parent_node": None, "real_node_id": node_id}
            self.shown[node_id] = {"meta": meta, "output": ui}
            self._send("executed", {"node": node_id, "display_node": node_id, "output": ui})
        self.progress.finish(node_id)
        self.executed.append(node_id)
        self.record.note("executed_node", self.item.prompt_id, (node_id, self.class_of(node_id)))

    def show_again(self, node_id: str, known: Entry) -> None:
        """A cached node names the file of whoever made it, and `executed` says null when it showed nothing."""
        if known.ui is not None:
            self.shown[node_id] = known.ui
        output = known.ui["output"] if known.ui else None
        self._send("executed", {"node": node_id, "display_node": node_id, "output": output})
        self.progress.finish(node_id)

    def succeeded(self) -> None:
        """execution_success."""
        self._tell("execution_success", {"prompt_id": self.item.prompt_id})
        self.record.note("finished", self.item.prompt_id)

    def interrupted(self, node_id: str) -> None:
        """execution_interrupted, which goes to everybody when the job has no client."""
        self.record.note("interrupted", self.item.prompt_id)
        self._tell("execution_interrupted", self._where(node_id), to_all=True)

    def failed(self, node_id: str, *, inputs: dict[str, Any], raised: Exception, profile: Profile) -> None:
        """execution_error, with tracebacks and inputs as a real server shows them."""
        self.record.note("failed", self.item.prompt_id, str(raised))
        told = {
            **self._where(node_id),
            "exception_message": f"{raised}\n",
            "exception_type": _type_name(raised),
            "traceback": _traceback(raised, profile),
            "current_inputs": {name: [_printed(value)] for name, value in inputs.items()},
            "current_outputs": list(self.item.prompt),
        }
        self._tell("execution_error", told)

    def ended(self) -> None:
        """executing{node: null}, the last word on a job."""
        self._send("executing", {"node": None})

    def result(self, *, success: bool) -> dict[str, Any]:
        """The history entry's outputs, status and meta."""
        status = {"status_str": "success" if success else "error", "completed": success, "messages": self.messages}
        outputs = {node_id: shown["output"] for node_id, shown in self.shown.items()}
        meta = {node_id: shown["meta"] for node_id, shown in self.shown.items()}
        return {"outputs": outputs, "status": status, "meta": meta}

    def _where(self, node_id: str) -> dict[str, Any]:
        executed = list(self.executed)
        told = {"prompt_id": self.item.prompt_id, "node_id": node_id, "node_type": self.class_of(node_id)}
        return {**told, "executed": executed}

    def _send(self, kind: str, data: dict[str, Any]) -> None:
        if self.events.client_id is not None:
            self.events.send(kind, {**data, "prompt_id": self.item.prompt_id}, self.events.client_id)

    def _tell(self, kind: str, data: dict[str, Any], *, to_all: bool = False) -> None:
        """Keep a message for the history, and send it: to nobody when the job has no client, unless `to_all`."""
        data = {**data, "timestamp": int(time.time() * 1000)}
        self.messages.append([kind, data])
        if self.events.client_id is not None or to_all:
            self.events.send(kind, data, self.events.client_id)


def _type_name(raised: Exception) -> str:
    kind = type(raised)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def _traceback(raised: Exception, profile: Profile) -> list[str]:
    """The frames a real server shows, host paths included; the last is the raising line itself."""
    lines = profile.source_lines.items()
    frames = [f'  File "/opt/ComfyUI/execution.py", line {line}, in {name}\n' for name, line in lines]
    raising = traceback.extract_tb(raised.__traceback__)[-1]
    return [*frames, f'  File "/opt/ComfyUI/nodes.py", line {raising.lineno}, in run\n    {raising.line}\n']


def _printed(value: Any) -> Any:
    if value is None or isinstance(value, int | float | bool | str):
        return value
    if isinstance(value, Sequence) and value and isinstance(value[0], pictures.Picture):
        return pictures.as_tensor(value)
    return str(value)
