"""POST /prompt and the routes of queue, history and interrupt.

It does not judge prompts (`graph`) or execute them. Bodies of wrong shape raise, and get 500, as ComfyUI's do.
"""

import asyncio
import json
import time
import uuid
from typing import Any

from aiohttp import web

from gateway.demo.graph import validate
from gateway.demo.inputs import error
from gateway.demo.machine import MACHINE, Machine
from gateway.demo.queue import SECRETS, Item

routes = web.RouteTableDef()


@routes.get("/prompt")
async def get_prompt(request: web.Request) -> web.Response:
    """How many prompts remain."""
    return web.json_response({"exec_info": {"queue_remaining": request.app[MACHINE].queue.remaining}})


@routes.post("/prompt")
async def post_prompt(request: web.Request) -> web.Response:
    """Validate and queue a prompt."""
    machine = request.app[MACHINE]
    body = await request.json()
    number = _number(machine, body)
    if "prompt" not in body:
        return _refused(error("no_prompt", "No prompt provided", "No prompt provided"))
    prompt_id = _prompt_id(machine, body)
    if prompt_id is None:
        return _refused(
            error(
                "invalid_prompt_id",
                "prompt_id must be a valid UUID",
                "prompt_id must be a UUID string in canonical lowercase hyphenated form; "
                "omit it to let the server generate one",
            )
        )
    prompt, targets = body["prompt"], body.get("partial_execution_targets")
    verdict = validate(prompt, targets, profile=machine.profile, catalogue=machine.catalogue, places=machine.places)
    extra_data = _extra_data(machine, body, request)
    if verdict.refusal:
        return _refused(verdict.refusal, verdict.node_errors)
    sensitive = _take_secrets(extra_data) if machine.profile.jobs_api else {}
    machine.queue.put(Item(number, prompt_id, prompt, extra_data, verdict.outputs, sensitive))
    return web.json_response({"prompt_id": prompt_id, "number": number, "node_errors": verdict.node_errors})


def _number(machine: Machine, body: Any) -> float:
    """The prompt's place: its own number as a float, NaN included, or the counter, negative for `front`."""
    if "number" in body:
        return float(body["number"])
    number = -machine.number if _asks(body, "front") else machine.number
    machine.number += 1
    return number


def _asks(body: Any, name: str) -> bool:
    """Whether a body says yes to something; a list or a string that does not contain the name says no."""
    if name not in body:
        return False
    return bool(body[name])


def _prompt_id(machine: Machine, body: dict[str, Any]) -> str | None:
    """The id to use: any str() in the old version, in the new one a canonical UUID, else None."""
    if not machine.profile.jobs_api:
        return str(body.get("prompt_id", uuid.uuid4()))
    given = body.get("prompt_id")
    if given is None:
        return str(uuid.uuid4())
    return given if is_canonical(given) else None


def is_canonical(value: object) -> bool:
    """Whether a value is a UUID string in lower-case hyphenated form."""
    try:
        return isinstance(value, str) and str(uuid.UUID(value)) == value
    except ValueError:
        return False


def _extra_data(machine: Machine, body: dict[str, Any], request: web.Request) -> Any:
    extra_data = body.get("extra_data", {})
    if "client_id" in body:
        extra_data["client_id"] = body["client_id"]
    if machine.profile.jobs_api:
        if "comfy_usage_source" not in extra_data and "Comfy-Usage-Source" in request.headers:
            extra_data["comfy_usage_source"] = request.headers["Comfy-Usage-Source"]
        extra_data["create_time"] = int(time.time() * 1000)
    return extra_data


def _take_secrets(extra_data: dict[str, Any]) -> dict[str, Any]:
    return {name: extra_data.pop(name) for name in SECRETS if name in extra_data}


def _refused(refusal: dict[str, Any], node_errors: dict[str, Any] | None = None) -> web.Response:
    return web.json_response({"error": refusal, "node_errors": node_errors or {}}, status=400)


@routes.get("/queue")
async def get_queue(request: web.Request) -> web.Response:
    """Running and pending items; the pending ones as they lie in the heap."""
    queue = request.app[MACHINE].queue
    running, pending = ([item.shown() for item in items] for items in (queue.running, queue.pending))
    return web.json_response({"queue_running": running, "queue_pending": pending})


@routes.post("/queue")
async def post_queue(request: web.Request) -> web.Response:
    """Clear the queue, delete from it, or both; 200 for unknown ids too."""
    queue = request.app[MACHINE].queue
    body = await request.json()
    if _asks(body, "clear"):
        queue.clear()
    if "delete" in body:
        for prompt_id in body["delete"]:
            queue.delete(prompt_id)
    return web.Response()


@routes.post("/interrupt")
async def post_interrupt(request: web.Request) -> web.Response:
    """Interrupt everything, or one prompt if it runs when looked at: what is hit afterwards may be another one."""
    machine = request.app[MACHINE]
    try:
        body = await request.json()
    except json.JSONDecodeError:
        body = {}
    prompt_id = body.get("prompt_id")
    if prompt_id and not machine.queue.is_running(prompt_id):
        return web.Response()
    if prompt_id:
        await asyncio.sleep(machine.faults.interrupt_lag)
    machine.executor.interrupt()
    return web.Response()


@routes.get("/history")
async def get_history(request: web.Request) -> web.Response:
    """Part of the history; a max_items or offset that is no integer raises."""
    query = request.rel_url.query
    max_items = int(query["max_items"]) if "max_items" in query else None
    offset = int(query["offset"]) if "offset" in query else -1
    return web.json_response(request.app[MACHINE].queue.page(max_items, offset))


@routes.get("/history/{prompt_id}")
async def get_history_of(request: web.Request) -> web.Response:
    """One prompt's entry, {} for an unknown one."""
    prompt_id = request.match_info["prompt_id"]
    history = request.app[MACHINE].queue.history
    return web.json_response({prompt_id: history[prompt_id]} if prompt_id in history else {})


@routes.post("/history")
async def post_history(request: web.Request) -> web.Response:
    """Clear the history, delete from it, or both."""
    queue = request.app[MACHINE].queue
    body = await request.json()
    if _asks(body, "clear"):
        queue.history.clear()
    if "delete" in body:
        for prompt_id in body["delete"]:
            queue.history.pop(prompt_id, None)
    return web.Response()


@routes.post("/free")
async def post_free(request: web.Request) -> web.Response:
    """Forget cached outputs once the worker is idle."""
    queue = request.app[MACHINE].queue
    body = await request.json()
    if body.get("free_memory"):
        queue.free_memory()
    return web.Response()
