"""GET /api/jobs: its query, read with ComfyUI's own error texts, and the jobs it asks for.

It does not know where the jobs come from, nor how one is shown.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal, get_args

from gateway.comfy.view import ENDED, JobState, JobView

STATES: tuple[JobState, ...] = get_args(JobState)
_WHOLE = re.compile(r"\s*[-+]?[0-9]{1,18}\s*", re.ASCII)


class JobsQueryError(Exception):
    """A query that ComfyUI answers with 400 and `{"error": text}`; `text` is ComfyUI's own."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text

    def body(self) -> dict[str, str]:
        return {"error": self.text}


@dataclass(frozen=True, slots=True)
class JobsQuery:
    """Which jobs, in which order; without a limit all of them from the offset on."""

    status: frozenset[JobState] = frozenset(STATES)
    workflow_id: str | None = None
    sort_by: Literal["created_at", "execution_duration"] = "created_at"
    sort_order: Literal["asc", "desc"] = "desc"
    limit: int | None = None
    offset: int = 0


def parse_jobs_query(values: Mapping[str, str]) -> JobsQuery:
    """Read the query of GET /api/jobs. Raises JobsQueryError with the text that ComfyUI 0.28.1 gives."""
    status = _states(values.get("status", ""))
    sort_by = values.get("sort_by", "created_at").lower()
    if sort_by not in ("created_at", "execution_duration"):
        raise JobsQueryError("sort_by must be 'created_at' or 'execution_duration'")
    sort_order = values.get("sort_order", "desc").lower()
    if sort_order not in ("asc", "desc"):
        raise JobsQueryError("sort_order must be 'asc' or 'desc'")
    limit = _whole("limit", values["limit"]) if "limit" in values else None
    if limit is not None and limit <= 0:
        raise JobsQueryError("limit must be a positive integer")
    offset = _whole("offset", values["offset"]) if "offset" in values else 0
    return JobsQuery(
        status=status,
        workflow_id=values.get("workflow_id") or None,
        sort_by="created_at" if sort_by == "created_at" else "execution_duration",
        sort_order="asc" if sort_order == "asc" else "desc",
        limit=limit,
        offset=max(0, offset),
    )


def select_jobs(views: Iterable[JobView], query: JobsQuery) -> tuple[list[JobView], int]:
    """The jobs of the page, and how many there are on all pages. Equal ones keep the order given, both ways."""
    chosen = [
        view
        for view in views
        if view.state in query.status and (query.workflow_id is None or view.workflow_id == query.workflow_id)
    ]
    key = _duration if query.sort_by == "execution_duration" else _created
    chosen.sort(key=key, reverse=query.sort_order == "desc")
    end = None if query.limit is None else query.offset + query.limit
    return chosen[query.offset : end], len(chosen)


def _states(text: str) -> frozenset[JobState]:
    """An absent or empty status means all; a list of nothing but commas means none."""
    if not text:
        return frozenset(STATES)
    names = [name.strip().lower() for name in text.split(",") if name.strip()]
    wrong = [name for name in names if name not in STATES]
    if wrong:
        raise JobsQueryError(f"Invalid status value(s): {', '.join(wrong)}. Valid values: {', '.join(STATES)}")
    return frozenset(state for state in STATES if state in names)


def _whole(name: str, text: str) -> int:
    if not _WHOLE.fullmatch(text):
        raise JobsQueryError(f"{name} must be an integer")
    return int(text)


def _created(view: JobView) -> int:
    return view.create_time


def _duration(view: JobView) -> int:
    """Milliseconds of running; 0 for a job that has not ended, as in ComfyUI."""
    return view.ended - view.started if view.state in ENDED and view.ended and view.started else 0
