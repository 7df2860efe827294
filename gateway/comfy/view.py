"""One job as its owner may see it: the value from which every shape of `/queue`, `/history` and `/api/jobs` is made.

It does not know where jobs are kept.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

JobState = Literal["pending", "in_progress", "completed", "failed", "cancelled"]
ENDED: frozenset[JobState] = frozenset({"completed", "failed", "cancelled"})


@dataclass(frozen=True, slots=True)
class JobView:
    """One job, as its owner may see it. Times are in milliseconds since the epoch."""

    prompt_id: str
    number: float
    prompt: Mapping[str, Any]
    extra_data: Mapping[str, Any]
    """With the owner's `client_id` and with `create_time`."""
    outputs_to_execute: tuple[str, ...]
    state: JobState
    create_time: int
    started: int | None = None
    ended: int | None = None
    outputs: Mapping[str, Any] = field(default_factory=dict)
    status: Mapping[str, Any] | None = None
    """`{"status_str", "completed", "messages"}`."""
    meta: Mapping[str, Any] = field(default_factory=dict)
    error: Mapping[str, Any] | None = None
    """The data of `execution_error`."""

    @property
    def workflow_id(self) -> str | None:
        """The id that the editor gave the workflow in `extra_data.extra_pnginfo`."""
        value: Any = self.extra_data
        for key in ("extra_pnginfo", "workflow", "id"):
            value = value.get(key) if isinstance(value, Mapping) else None
        return value if isinstance(value, str) else None
