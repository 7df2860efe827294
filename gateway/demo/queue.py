"""The queue and history of one running server: a heap of (number, prompt_id, ...), as ComfyUI keeps it in memory.

It does not know how a prompt is executed or who is told that the queue changed.
"""

import asyncio
import copy
import heapq
from collections.abc import Callable
from typing import Any, NamedTuple

from gateway.demo.record import Record

HISTORY_LIMIT = 10000
SECRETS = ("auth_token_comfy_org", "api_key_comfy_org")


class Item(NamedTuple):
    """One queued prompt.

    Compared field by field: ties of number go by prompt_id, and a tie of both compares dicts, which raises TypeError.
    """

    number: float
    prompt_id: str
    prompt: dict[str, Any]
    extra_data: Any
    outputs: list[str]
    sensitive: dict[str, Any]

    def shown(self) -> list[Any]:
        """The five elements /queue and /history show."""
        return list(self[:5])


class PromptQueue:
    """Pending, running and finished prompts. `changed` is called wherever ComfyUI broadcasts `status`."""

    def __init__(self, changed: Callable[[], None], record: Record) -> None:
        self._changed = changed
        self._record = record
        self._awake = asyncio.Event()
        self.pending: list[Item] = []
        self.running: list[Item] = []
        self.history: dict[str, dict[str, Any]] = {}
        self._free_memory = False

    @property
    def remaining(self) -> int:
        """Pending and running prompts together."""
        return len(self.pending) + len(self.running)

    def in_order(self) -> list[Item]:
        """Pending items as they will run; /queue shows the raw heap instead."""
        return sorted(self.pending, key=lambda item: (item.number, item.prompt_id))

    def put(self, item: Item) -> None:
        """Queue an item.

        With the number AND prompt_id of a pending one, the heap compares dicts: TypeError after the item was appended,
        so the caller answers 500 with the job queued all the same.
        """
        self._record.note("queued", item.prompt_id)
        heapq.heappush(self.pending, item)
        self._awake.set()
        self._changed()

    async def get(self) -> Item | None:
        """Wait for the next prompt and mark it running; None when there is only memory to free.

        A copy is what the queue and the history show from then on.
        """
        while not self.pending and not self._free_memory:
            self._awake.clear()
            await self._awake.wait()
        if not self.pending:
            return None
        item = heapq.heappop(self.pending)
        self.running.append(copy.deepcopy(item))
        self._changed()
        return item

    def free_memory(self) -> None:
        """Ask the worker to forget its cache before the next prompt."""
        self._free_memory = True
        self._awake.set()

    def take_free_memory(self) -> bool:
        """Whether that was asked for since this was last called."""
        asked, self._free_memory = self._free_memory, False
        return asked

    def done(self, prompt_id: str, result: dict[str, Any]) -> None:
        """Move the running prompt to history; a later prompt of the same id overwrites it."""
        shown = next(item for item in self.running if item.prompt_id == prompt_id)
        self.running.remove(shown)
        if len(self.history) > HISTORY_LIMIT:
            del self.history[next(iter(self.history))]
        self.history[prompt_id] = {"prompt": _without_secrets(shown), **result}
        self._changed()

    def is_running(self, prompt_id: object) -> bool:
        """Whether this very prompt is being executed."""
        return any(item.prompt_id == prompt_id for item in self.running)

    def clear(self) -> None:
        """Drop everything pending; the running prompt goes on."""
        for item in self.pending:
            self._record.note("deleted", item.prompt_id)
        self.pending = []
        self._changed()

    def delete(self, prompt_id: object) -> bool:
        """Drop one pending prompt. The last one is dropped by a clear, hence with two `status` events."""
        for place, item in enumerate(self.pending):
            if item.prompt_id != prompt_id:
                continue
            if len(self.pending) == 1:
                self.clear()
            else:
                self._record.note("deleted", item.prompt_id)
                del self.pending[place]
                heapq.heapify(self.pending)
            self._changed()
            return True
        return False

    def page(self, max_items: int | None, offset: int) -> dict[str, dict[str, Any]]:
        """Part of the history, oldest first; without an offset (-1) the LAST max_items."""
        ids = list(self.history)
        if offset < 0 and max_items is not None:
            offset = len(ids) - max_items
        start = max(offset, 0)
        # The limit is looked at after an entry was taken, so max_items=0 still gives one.
        end = None if max_items is None else start + max(max_items, 1)
        return {prompt_id: self.history[prompt_id] for prompt_id in ids[start:end]}


def _without_secrets(item: Item) -> list[Any]:
    shown = item.shown()
    if isinstance(item.extra_data, dict):
        shown[3] = {key: value for key, value in item.extra_data.items() if key not in SECRETS}
    return shown
