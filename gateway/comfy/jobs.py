"""One job in the shapes that ComfyUI's clients read: `/queue`, `/history` and `/api/jobs`.

It does not know where jobs are kept or whose they are. Shapes are those of the recordings; where the two versions
differ, of 0.28.1, which older clients read too.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Literal

from gateway.comfy.listing import JobsQuery, JobsQueryError, parse_jobs_query, select_jobs
from gateway.comfy.outputs import normal, summary
from gateway.comfy.view import ENDED, JobState, JobView

__all__ = [
    "ENDED",
    "JobState",
    "JobView",
    "JobsQuery",
    "JobsQueryError",
    "final_state",
    "gpu_milliseconds",
    "history",
    "history_item",
    "job",
    "job_detail",
    "jobs_page",
    "messages",
    "outputs_to_execute",
    "parse_jobs_query",
    "plain_number",
    "queue",
    "queue_item",
    "select_jobs",
]

_LAST_MESSAGES = ("execution_success", "execution_error", "execution_interrupted")


def plain_number(number: float) -> float:
    """A whole number as an int, so that it prints as ComfyUI's own counter does: `0`, not `0.0`.

    Not beyond 2^53, where a float is whole without meaning it, and its int would be too long for JSON writers.
    """
    return int(number) if abs(number) < 2**53 and number == int(number) else number


def queue_item(view: JobView) -> list[Any]:
    """`[number, prompt_id, prompt, extra_data, outputs_to_execute]`."""
    number = plain_number(view.number)
    return [number, view.prompt_id, view.prompt, view.extra_data, list(view.outputs_to_execute)]


def queue(views: Iterable[JobView]) -> dict[str, Any]:
    """The answer of GET /queue; pending jobs in the order given, which is the order in which they will run."""
    unfinished = list(views)
    return {
        "queue_running": [queue_item(view) for view in unfinished if view.state == "in_progress"],
        "queue_pending": [queue_item(view) for view in unfinished if view.state == "pending"],
    }


def history_item(view: JobView) -> dict[str, Any]:
    """One value of GET /history."""
    return {"prompt": queue_item(view), "outputs": view.outputs, "status": view.status, "meta": view.meta}


def history(views: Iterable[JobView]) -> dict[str, Any]:
    """The answer of GET /history and GET /history/{prompt_id}, in the order given; ComfyUI's is the order of ending."""
    return {view.prompt_id: history_item(view) for view in views}


def job(view: JobView) -> dict[str, Any]:
    """One job of GET /api/jobs: absent values are left out, and times and outputs appear when it has ended."""
    ended = view.state in ENDED
    count, preview = summary(view.outputs) if ended else (0, None)
    values = {
        "id": view.prompt_id,
        "status": view.state,
        "priority": plain_number(view.number),
        "create_time": view.create_time,
        "execution_start_time": view.started if ended else None,
        "execution_end_time": view.ended if ended else None,
        "execution_error": view.error if ended else None,
        "outputs_count": count,
        "preview_output": preview,
        "workflow_id": view.workflow_id,
    }
    return {key: value for key, value in values.items() if value is not None}


def job_detail(view: JobView) -> dict[str, Any]:
    """The answer of GET /api/jobs/{id}; like 0.28.1's, one that has not ended yet has no more than the list says."""
    if view.state not in ENDED:
        return job(view)
    return {
        **job(view),
        "outputs": normal(view.outputs),
        "execution_status": view.status,
        "workflow": {"prompt": view.prompt, "extra_data": view.extra_data},
    }


def jobs_page(views: Iterable[JobView], *, offset: int, limit: int | None, total: int) -> dict[str, Any]:
    """The answer of GET /api/jobs for the jobs of one page."""
    jobs = [job(view) for view in views]
    more = offset + len(jobs) < total
    return {"jobs": jobs, "pagination": {"offset": offset, "limit": limit, "total": total, "has_more": more}}


def outputs_to_execute(
    prompt: Mapping[str, Any],
    output_classes: Collection[str],
    *,
    targets: Collection[str] | None = None,
    node_errors: Mapping[str, Any] | None = None,
) -> tuple[str, ...]:
    """The ids of the output nodes that ComfyUI will run, in the prompt's order.

    `output_classes` are the classes with `output_node` in object_info. An output that an error in `node_errors` names
    among its `dependent_outputs` is left out by ComfyUI, while the others run. (ComfyUI's own order is that of a set.)
    """
    failed = {output for error in (node_errors or {}).values() for output in error.get("dependent_outputs", ())}
    return tuple(
        node_id
        for node_id, node in prompt.items()
        if node["class_type"] in output_classes and node_id not in failed and (targets is None or node_id in targets)
    )


def messages(status: Mapping[str, Any] | None) -> list[tuple[str, Mapping[str, Any]]]:
    """The well-formed `[event, data]` messages of a history status."""
    found = (status or {}).get("messages")
    return [
        (item[0], item[1])
        for item in (found if isinstance(found, list) else ())
        if isinstance(item, Sequence) and len(item) >= 2 and isinstance(item[0], str) and isinstance(item[1], Mapping)
    ]


def gpu_milliseconds(status: Mapping[str, Any] | None) -> int:
    """From `execution_start` to the last word, by ComfyUI's own clock; 0 when either is missing."""
    start = end = None
    for name, data in messages(status):
        time = data.get("timestamp")
        if isinstance(time, int):
            start = time if name == "execution_start" else start
            end = time if name in _LAST_MESSAGES else end
    return max(0, end - start) if start is not None and end is not None else 0


def final_state(item: Mapping[str, Any]) -> Literal["succeeded", "failed", "cancelled"]:
    """How a job of ComfyUI's history ended; an interrupted one also has the status "error" there."""
    status = item.get("status")
    if not isinstance(status, Mapping) or status.get("status_str") != "error":
        return "succeeded"
    interrupted = any(name == "execution_interrupted" for name, _ in messages(status))
    return "cancelled" if interrupted else "failed"
