"""Switching faults over HTTP, for a simulated server that runs in another process.

It does not exist unless asked for: `Simulator(control=True)`, `python -m gateway.demo --control`.
"""

import asyncio
import json
from collections.abc import Callable, Coroutine
from dataclasses import asdict

from aiohttp import web

from gateway.demo.machine import MACHINE

routes = web.RouteTableDef()
CRASH: web.AppKey[Callable[[float | None], Coroutine[None, None, None]]] = web.AppKey("CRASH")


@routes.post("/_sim/faults")
async def set_faults(request: web.Request) -> web.Response:
    """Change faults by name: `{"hold_answers": 45}`; 400 for an unknown one."""
    try:
        request.app[MACHINE].faults.set(await request.json())
    except ValueError as raised:
        return web.json_response({"error": str(raised)}, status=400)
    return web.Response()


@routes.post("/_sim/crash")
async def crash(request: web.Request) -> web.Response:
    """Die; with `{"restart_after": seconds}` come back on the same port. The answer gets lost with the connection."""
    body = await request.json() if request.can_read_body else {}
    asyncio.get_running_loop().create_task(request.app[CRASH](body.get("restart_after")))
    await asyncio.sleep(5)
    return web.Response()


@routes.get("/_sim/log")
async def log(request: web.Request) -> web.Response:
    """Everything that happened, oldest first."""
    return web.json_response([asdict(entry) for entry in request.app[MACHINE].record.entries], dumps=_dumps)


def _dumps(value: object) -> str:
    return json.dumps(value, default=repr)
