"""The middlewares: what ComfyUI refuses before any handler, the headers it adds, and the faults.

It does not know what the handlers answer.
"""

import asyncio
import ipaddress
from collections.abc import Awaitable, Callable
from urllib.parse import urlsplit

from aiohttp import web

from gateway.demo.answers import begin, body_of, trickle
from gateway.demo.faults import reset
from gateway.demo.machine import MACHINE

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

CONTROL_PREFIX = "/_sim/"
_FLUSH = 0.05
_IMAGES = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")


@web.middleware
async def misbehave(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Note the request, and let the faults have it: before it is carried out, and before it is answered."""
    machine = request.app[MACHINE]
    if request.path.startswith(CONTROL_PREFIX):
        return await handler(request)
    raw = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in request.raw_headers]
    machine.record.note("request", detail=(request.method, request.raw_path, raw))
    faults = machine.faults
    if faults.hold_answers > 0:
        await _receive(request)
        await faults.passage()
    if faults.refuse_status is not None:
        return web.Response(status=faults.refuse_status)
    answer = await handler(request)
    await faults.passage()
    if request.method == "POST" and request.path in ("/prompt", "/api/prompt") and faults.takes_post_answer():
        reset(request.transport)
        return answer
    return await _damaged(request, answer)


async def _receive(request: web.Request) -> None:
    """Take in a small body before a hold: a client that then gives up has still asked. Forms are read as a stream."""
    if request.can_read_body and not request.content_type.startswith("multipart/"):
        await request.read()


async def _damaged(request: web.Request, answer: web.StreamResponse) -> web.StreamResponse:
    faults = request.app[MACHINE].faults
    if answer.prepared or not (faults.reset_mid_body or faults.slow_bytes_per_second):
        return answer
    body = body_of(request, answer)
    if body is None:
        return answer
    if faults.takes_body(len(body)):
        begun = await begin(request, answer, body)
        await begun.write(body[: len(body) // 2])
        await asyncio.sleep(_FLUSH)  # An RST overtakes what is not yet on the wire.
        reset(request.transport)
        return begun
    if faults.slow_bytes_per_second:
        begun = await begin(request, answer, body)
        return await trickle(begun, body, bytes_per_second=faults.slow_bytes_per_second)
    return answer


@web.middleware
async def cache_control(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Cache headers by the ending of the path."""
    answer = await handler(request)
    name = request.path.rsplit("/", 1)[-1]
    if name.endswith((".js", ".css")) or (name.startswith("index") and name.endswith(".json")):
        answer.headers.setdefault("Cache-Control", "no-store" if request.app[MACHINE].profile.guarded else "no-cache")
    elif name.lower().endswith(_IMAGES) and answer.status in (200, 206, 404):
        age = 3600 if answer.status == 404 else 86400
        answer.headers.setdefault("Cache-Control", f"public, max-age={age}")
    return answer


@web.middleware
async def same_origin(request: web.Request, handler: Handler) -> web.StreamResponse:
    """403 for a cross-site request (new version) or an Origin that is not the loopback Host; OPTIONS is always 200."""
    guarded = request.app[MACHINE].profile.guarded
    if guarded and request.headers.get("Sec-Fetch-Site") == "cross-site":
        return web.Response(status=403)
    if _is_foreign(request.headers.get("Host"), request.headers.get("Origin")):
        return web.Response(status=403)
    return web.Response() if request.method == "OPTIONS" else await handler(request)


def _is_foreign(host: str | None, origin: str | None) -> bool:
    """Whether Host is loopback and Origin names another host. Ports count only when both give one."""
    if host is None or origin is None:
        return False
    here, there = urlsplit(f"//{host.lower()}"), urlsplit(origin.lower())
    if not here.hostname or not there.hostname or not _is_loopback(here.hostname):
        return False
    if here.port is None or there.port is None:
        return here.hostname != there.hostname
    return here.netloc != there.netloc


def _is_loopback(host: str) -> bool:
    """By address or by the one name that surely is; ComfyUI asks the resolver, which tests must not."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


@web.middleware
async def content_security_policy(request: web.Request, handler: Handler) -> web.StreamResponse:
    """The policy that --disable-api-nodes adds; answers that were raised (500, 405) do not get it."""
    answer = await handler(request)
    csp = request.app[MACHINE].profile.csp
    if csp and not answer.prepared:
        answer.headers["Content-Security-Policy"] = csp
    return answer
