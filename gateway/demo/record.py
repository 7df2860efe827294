"""The append-only record of what a simulated server did, which tests read afterwards.

It does not know what any entry means; it outlives crashes of the server that writes it.
"""

import time
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Happening:
    """One thing that happened.

    `at` is seconds since the epoch. `kind` is one of: request, queued, started, finished, interrupted, failed, deleted,
    executed_node, loaded_model, socket_opened, socket_closed, crashed, worker_died. `detail` by kind: request
    (method, raw path, list of raw header pairs); executed_node (node id, class); loaded_model the checkpoint's name;
    socket_* the client id; worker_died and failed the exception's text.
    """

    at: float
    kind: str
    prompt_id: str | None
    detail: Any


class Record:
    """A list of happenings that only grows."""

    def __init__(self) -> None:
        self.entries: list[Happening] = []

    def note(self, kind: str, prompt_id: str | None = None, detail: Any = None) -> None:
        """Append one happening, stamped with the present time."""
        self.entries.append(Happening(at=time.time(), kind=kind, prompt_id=prompt_id, detail=detail))

    def of(self, kind: str) -> list[Happening]:
        """The happenings of one kind, oldest first."""
        return [entry for entry in self.entries if entry.kind == kind]
