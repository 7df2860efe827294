"""Job shapes: every recorded answer about jobs, rebuilt from job views."""

from collections.abc import Iterable
from typing import Any

import pytest

from gateway.comfy.jobs import (
    JobState,
    JobView,
    final_state,
    gpu_milliseconds,
    history,
    history_item,
    job,
    job_detail,
    jobs_page,
    messages,
    outputs_to_execute,
    parse_jobs_query,
    plain_number,
    queue,
    queue_item,
    select_jobs,
)

Exchanges = dict[str, dict[str, Any]]
STATES: dict[str, JobState] = {"succeeded": "completed", "failed": "failed", "cancelled": "cancelled"}


def _unfinished(item: list[Any], state: JobState) -> JobView:
    number, prompt_id, prompt, extra_data, outputs = item
    return JobView(
        prompt_id=prompt_id,
        number=float(number),
        prompt=prompt,
        extra_data=extra_data,
        outputs_to_execute=tuple(outputs),
        state=state,
        create_time=extra_data.get("create_time", 0),
    )


def _ended(item: dict[str, Any]) -> JobView:
    """The view of a recorded history entry, with times and error from ComfyUI's own messages."""
    view = _unfinished(item["prompt"], STATES[final_state(item)])
    said = dict(messages(item["status"]))
    last = next((said[name] for name in said if name.endswith(("_success", "_error", "_interrupted"))), {})
    return JobView(
        prompt_id=view.prompt_id,
        number=view.number,
        prompt=view.prompt,
        extra_data=view.extra_data,
        outputs_to_execute=view.outputs_to_execute,
        state=view.state,
        create_time=view.create_time,
        started=said["execution_start"]["timestamp"],
        ended=last["timestamp"],
        outputs=item["outputs"],
        status=item["status"],
        meta=item["meta"],
        error=said.get("execution_error"),
    )


def _history(exchanges: Exchanges) -> dict[str, JobView]:
    """Every recorded history entry, in the order in which the jobs ended."""
    views: dict[str, JobView] = {}
    for name, line in exchanges.items():
        if name.startswith("history."):
            for prompt_id, item in line["body"]["json"].items():
                views.setdefault(prompt_id, _ended(item))
    return views


def _queued(body: dict[str, Any]) -> Iterable[JobView]:
    yield from (_unfinished(item, "in_progress") for item in body["queue_running"])
    yield from (_unfinished(item, "pending") for item in body["queue_pending"])


def _bodies(exchanges: Exchanges, prefix: str) -> list[Any]:
    found = [line["body"]["json"] for name, line in exchanges.items() if name.startswith(prefix)]
    return [body for body in found if body]


def test_history(exchanges: Exchanges) -> None:
    """GET /history and /history/{id} come back as recorded, for saved, cached, interrupted and failed jobs."""
    bodies = _bodies(exchanges, "history.")
    assert len(bodies) > 8
    for body in bodies:
        rebuilt = history(_ended(item) for item in body.values())
        assert rebuilt == body
        assert list(rebuilt) == list(body)


def test_queue(exchanges: Exchanges) -> None:
    """GET /queue comes back as recorded: empty, while one runs, with three."""
    bodies = _bodies(exchanges, "queue.empty") + _bodies(exchanges, "queue.while") + _bodies(exchanges, "queue.three")
    assert len(bodies) == 3
    for body in bodies:
        assert queue(_queued(body)) == body


def test_jobs_by_id(exchanges: Exchanges) -> None:
    """GET /api/jobs/{id} comes back as recorded, key for key in the same order, with absent values left out."""
    views = _history(exchanges)
    for body in _bodies(exchanges, "job."):
        rebuilt = job_detail(views[body["id"]])
        assert rebuilt == body
        assert list(rebuilt) == list(body)


def test_jobs_list(exchanges: Exchanges) -> None:
    """GET /api/jobs comes back as recorded: newest first, filtered, paged, counted."""
    if "jobs" not in exchanges:
        return
    query = parse_jobs_query({"status": "completed,failed,cancelled", "limit": "3", "offset": "0"})
    views, total = select_jobs(_history(exchanges).values(), query)
    assert jobs_page(views, offset=0, limit=3, total=total) == exchanges["jobs"]["body"]["json"]


def test_active_jobs(exchanges: Exchanges) -> None:
    """GET /api/jobs for running and pending jobs comes back as recorded, without times and outputs."""
    if "jobs.active" not in exchanges:
        return
    query = parse_jobs_query({"status": "in_progress,pending", "limit": "200", "offset": "0"})
    views, total = select_jobs(_queued(exchanges["queue.three"]["body"]["json"]), query)
    assert jobs_page(views, offset=0, limit=200, total=total) == exchanges["jobs.active"]["body"]["json"]


def test_the_newer_version_has_jobs(version: str, exchanges: Exchanges) -> None:
    """The two tests above found their recordings where there are any."""
    assert ({"jobs", "jobs.active"} <= set(exchanges)) == (version == "0.28.1")


VIEW = JobView(
    prompt_id="id",
    number=0.0,
    prompt={"3": {"class_type": "SaveImage", "inputs": {}}},
    extra_data={"client_id": "c", "create_time": 5},
    outputs_to_execute=("3",),
    state="pending",
    create_time=5,
)


def test_numbers_print_as_comfyuis() -> None:
    """A counter prints as `0`, not `0.0`; a fraction stays one."""
    assert repr(queue_item(VIEW)[0]) == "0"
    assert repr(job(VIEW)["priority"]) == "0"
    assert queue_item(_unfinished([-2.5, "id", {}, {}, []], "pending"))[0] == -2.5
    assert repr(plain_number(1e300)) == "1e+300"


def test_pending_detail_is_the_list_form() -> None:
    """A job that has not ended has no outputs and no workflow yet, as in 0.28.1."""
    assert (
        job_detail(VIEW)
        == job(VIEW)
        == {
            "id": "id",
            "status": "pending",
            "priority": 0,
            "create_time": 5,
            "outputs_count": 0,
        }
    )


@pytest.mark.parametrize(
    ("extra_data", "workflow_id"),
    [
        ({}, None),
        ({"extra_pnginfo": {}}, None),
        ({"extra_pnginfo": {"workflow": {}}}, None),
        ({"extra_pnginfo": {"workflow": {"id": "wf"}}}, "wf"),
        ({"extra_pnginfo": {"workflow": {"id": 5}}}, None),
        ({"extra_pnginfo": {"workflow": None}}, None),
        ({"extra_pnginfo": None}, None),
        ({"extra_pnginfo": []}, None),
    ],
)
def test_workflow_id(extra_data: dict[str, Any], workflow_id: str | None) -> None:
    """D06, trap 2: an odd extra_pnginfo costs its job the workflow id, and nobody the list of jobs."""
    view = _unfinished([0, "id", {}, extra_data, []], "pending")
    assert view.workflow_id == workflow_id
    assert job(view).get("workflow_id") == workflow_id


def test_outputs_to_execute_as_recorded(exchanges: Exchanges, object_info: dict[str, Any]) -> None:
    """The recorded outputs_to_execute are those computed from object_info."""
    classes = {name for name, info in object_info.items() if info["output_node"]}
    assert "SaveImage" in classes
    for view in _history(exchanges).values():
        assert outputs_to_execute(view.prompt, classes) == view.outputs_to_execute


GRAPH = {
    "9": {"class_type": "SaveImage", "inputs": {}},
    "1": {"class_type": "EmptyImage", "inputs": {}},
    "3": {"class_type": "PreviewImage", "inputs": {}},
    "2": {"class_type": "SaveImage", "inputs": {}},
}


@pytest.mark.parametrize(
    ("targets", "node_errors", "expected"),
    [
        (None, {}, ("9", "3", "2")),
        (None, None, ("9", "3", "2")),
        (("3", "9", "404", "1"), {}, ("9", "3")),
        (None, {"1": {"dependent_outputs": ["3"]}}, ("9", "2")),
        (("3",), {"1": {"dependent_outputs": ["3", "9"]}}, ()),
        (None, {"1": {"errors": []}}, ("9", "3", "2")),
    ],
)
def test_outputs_to_execute(
    targets: tuple[str, ...] | None, node_errors: dict[str, Any] | None, expected: tuple[str, ...]
) -> None:
    """Design §3: partial targets choose among the output nodes, and outputs behind an error are left out."""
    classes = {"SaveImage", "PreviewImage"}
    assert outputs_to_execute(GRAPH, classes, targets=targets, node_errors=node_errors) == expected


def test_gpu_milliseconds_as_recorded(exchanges: Exchanges) -> None:
    """Design §4.7: time is booked from ComfyUI's own timestamps, for jobs that succeeded, failed, were interrupted."""
    for view in _history(exchanges).values():
        assert view.started is not None
        assert view.ended is not None
        assert gpu_milliseconds(view.status) == view.ended - view.started


def _status(*said: tuple[str, object]) -> dict[str, Any]:
    return {"messages": [[name, {"timestamp": time}] for name, time in said]}


@pytest.mark.parametrize(
    ("status", "milliseconds"),
    [
        (None, 0),
        ({}, 0),
        ({"messages": None}, 0),
        ({"messages": [5, [], ["execution_start"], ["execution_start", None], [1, {}]]}, 0),
        (_status(("execution_start", 5)), 0),
        (_status(("execution_success", 5)), 0),
        (_status(("execution_start", 5), ("execution_success", 8)), 3),
        (_status(("execution_start", 9), ("execution_success", 8)), 0),
        (_status(("execution_start", "5"), ("execution_success", 8)), 0),
        (_status(("execution_start", 5), ("execution_error", 7), ("execution_success", 9)), 4),
    ],
)
def test_gpu_milliseconds(status: dict[str, Any] | None, milliseconds: int) -> None:
    """Missing or odd messages book nothing, and never a negative time."""
    assert gpu_milliseconds(status) == milliseconds


def test_final_states_as_recorded(exchanges: Exchanges) -> None:
    """An interrupted job was cancelled, a raising one failed, the others succeeded."""
    states = {
        name: final_state(next(iter(line["body"]["json"].values())))
        for name, line in exchanges.items()
        if name.startswith("history.") and line["body"]["json"]
    }
    assert states["history.interrupted"] == "cancelled"
    assert states["history.error"] == "failed"
    assert states["history.save_image"] == "succeeded"


@pytest.mark.parametrize("item", [{}, {"status": None}, {"status": {}}, {"status": {"status_str": "success"}}])
def test_final_state_without_an_error(item: dict[str, Any]) -> None:
    """What ComfyUI does not call an error has succeeded."""
    assert final_state(item) == "succeeded"


def test_history_item_of_a_job_without_status() -> None:
    """A job that ended here (its server was lost) has the same keys as any other."""
    assert list(history_item(VIEW)) == ["prompt", "outputs", "status", "meta"]
