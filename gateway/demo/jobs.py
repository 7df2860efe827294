"""/api/jobs*, which newer servers answer from the same queue and history in another shape.

It does not exist on the old version. An entry whose extra_pnginfo or workflow is no object raises, for everybody.
"""

import json
from typing import Any

from aiohttp import web

from gateway.demo.machine import MACHINE, Machine
from gateway.demo.prompts import is_canonical
from gateway.demo.queue import Item

# Its paths carry the prefix that every route is registered under once more: /api/api/jobs answers too.
routes = web.RouteTableDef()

STATUSES = ("pending", "in_progress", "completed", "failed", "cancelled")
_PREVIEWABLE = ("images", "video", "audio", "3d", "text")


@routes.get("/api/jobs")
async def get_jobs(request: web.Request) -> web.Response:
    """A page of jobs; 400 {"error": text} for a query that makes no sense."""
    query = request.rel_url.query
    try:
        wanted = _statuses(query.get("status"))
        sort_by = _one_of("sort_by", query.get("sort_by", "created_at"), ("created_at", "execution_duration"))
        order = _one_of("sort_order", query.get("sort_order", "desc"), ("asc", "desc"))
        limit = _integer("limit", query.get("limit"), positive=True)
        offset = max(0, _integer("offset", query.get("offset"), positive=False) or 0)
    except ValueError as raised:
        return web.json_response({"error": str(raised)}, status=400)
    jobs = [job for job in _all(request.app[MACHINE]) if job["status"] in wanted]
    if workflow_id := query.get("workflow_id"):
        jobs = [job for job in jobs if job.get("workflow_id") == workflow_id]
    jobs.sort(key=_duration if sort_by == "execution_duration" else _created, reverse=order == "desc")
    page = jobs[offset : None if limit is None else offset + limit]
    more = offset + len(page) < len(jobs)
    pagination = {"offset": offset, "limit": limit, "total": len(jobs), "has_more": more}
    return web.json_response({"jobs": page, "pagination": pagination})


@routes.get("/api/jobs/{job_id}")
async def get_job(request: web.Request) -> web.Response:
    """One job, with outputs and workflow once it is in the history."""
    machine, job_id = request.app[MACHINE], request.match_info["job_id"]
    if job_id in machine.queue.history:
        entry = machine.queue.history[job_id]
        _, _, prompt, extra_data, _ = entry["prompt"]
        whole = {"outputs": entry["outputs"], "execution_status": entry["status"]}
        workflow = {"prompt": prompt, "extra_data": extra_data}
        return web.json_response({**_finished(job_id, entry), **whole, "workflow": workflow})
    for job in _waiting(machine):
        if job["id"] == job_id:
            return web.json_response(job)
    return web.json_response({"error": "Job not found"}, status=404)


@routes.post("/api/jobs/{job_id}/cancel")
async def cancel_job(request: web.Request) -> web.Response:
    """Cancel one job; an unknown or finished one is no error."""
    return web.json_response({"cancelled": _cancel(request.app[MACHINE], request.match_info["job_id"])})


@routes.post("/api/jobs/cancel")
async def cancel_jobs(request: web.Request) -> web.Response:
    """Cancel several; all ids are checked before anything is done."""
    try:
        body = await request.json()
    except json.JSONDecodeError:
        return web.json_response({"error": "Request body must be valid JSON"}, status=400)
    ids = body.get("job_ids") if isinstance(body, dict) else None
    if not isinstance(ids, list):
        return web.json_response({"error": "job_ids must be a list"}, status=400)
    invalid = [one if isinstance(one, str) else repr(one) for one in ids if not is_canonical(one)]
    if invalid:
        return web.json_response({"error": "job_ids contains invalid id(s)", "invalid_ids": invalid}, status=400)
    done = [_cancel(request.app[MACHINE], one) for one in ids]
    return web.json_response({"cancelled": any(done)})


def _cancel(machine: Machine, job_id: str) -> bool:
    """Interrupt or dequeue, whichever fits now. Nothing is awaited in between, so it cannot hit another job."""
    if machine.queue.is_running(job_id):
        machine.executor.interrupt()
        return True
    return machine.queue.delete(job_id)


def _all(machine: Machine) -> list[dict[str, Any]]:
    finished = [_finished(job_id, entry) for job_id, entry in machine.queue.history.items()]
    return [*_waiting(machine), *finished]


def _waiting(machine: Machine) -> list[dict[str, Any]]:
    running = [_queued(item, "in_progress") for item in machine.queue.running]
    return [*running, *(_queued(item, "pending") for item in machine.queue.pending)]


def _queued(item: Item, status: str) -> dict[str, Any]:
    job = {"id": item.prompt_id, "status": status, "priority": item.number}
    return _pruned({**job, **_created_by(item.extra_data), "outputs_count": 0, **_workflow_of(item.extra_data)})


def _finished(job_id: str, entry: dict[str, Any]) -> dict[str, Any]:
    number, _, _, extra_data, _ = entry["prompt"]
    messages = dict(entry["status"]["messages"])
    *_, ended = messages.values()
    failed = messages.get("execution_error")
    cancelled = "execution_interrupted" in messages
    status = "completed" if entry["status"]["completed"] else "cancelled" if cancelled else "failed"
    shown = [
        (node_id, kind, item)
        for node_id, output in entry["outputs"].items()
        for kind, items in output.items()
        if kind != "animated"
        for item in items
    ]
    return _pruned(
        {
            "id": job_id,
            "status": status,
            "priority": number,
            **_created_by(extra_data),
            "execution_start_time": messages["execution_start"]["timestamp"],
            "execution_end_time": ended["timestamp"],
            "execution_error": failed,
            "outputs_count": sum(isinstance(item, dict) for _, _, item in shown),
            "preview_output": _preview(shown),
            **_workflow_of(extra_data),
        }
    )


def _preview(shown: list[tuple[str, str, Any]]) -> dict[str, Any] | None:
    """The first saved picture, else the first thing at all; texts are shown so, though they do not count as outputs."""
    fit = [
        {**(item if isinstance(item, dict) else {"content": item}), "nodeId": node_id, "mediaType": kind}
        for node_id, kind, item in shown
        if kind in _PREVIEWABLE
    ]
    saved = [one for one in fit if one.get("type") == "output"]
    return next(iter(saved or fit), None)


def _created_by(extra_data: dict[str, Any]) -> dict[str, Any]:
    return {"create_time": extra_data.get("create_time")}


def _workflow_of(extra_data: dict[str, Any]) -> dict[str, Any]:
    return {"workflow_id": extra_data.get("extra_pnginfo", {}).get("workflow", {}).get("id")}


def _pruned(job: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in job.items() if value is not None}


def _created(job: dict[str, Any]) -> int:
    return int(job.get("create_time", 0))


def _duration(job: dict[str, Any]) -> int:
    start, end = job.get("execution_start_time", 0), job.get("execution_end_time", 0)
    return end - start if start and end else 0


def _statuses(given: str | None) -> tuple[str, ...]:
    wanted = tuple(one.strip().lower() for one in (given or "").split(",") if one.strip())
    unknown = [one for one in wanted if one not in STATUSES]
    if unknown:
        raise ValueError(f"Invalid status value(s): {', '.join(unknown)}. Valid values: {', '.join(STATUSES)}")
    return wanted if given else STATUSES


def _one_of(name: str, given: str, options: tuple[str, str]) -> str:
    if given.lower() not in options:
        raise ValueError(f"{name} must be '{options[0]}' or '{options[1]}'")
    return given.lower()


def _integer(name: str, given: str | None, *, positive: bool) -> int | None:
    if given is None:
        return None
    try:
        number = int(given)
    except ValueError:
        raise ValueError(f"{name} must be an integer") from None
    if positive and number <= 0:
        raise ValueError(f"{name} must be a positive integer")
    return number
