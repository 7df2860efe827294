"""The routes of a simulated server, put together as ComfyUI registers its own.

It does not know sockets or ports. The order and the doubling under /api decide which paths exist.
"""

from pathlib import Path

from aiohttp import web

from gateway.demo import control, files, information, jobs, prompts, userdata
from gateway.demo.guard import cache_control, content_security_policy, misbehave, same_origin
from gateway.demo.information import PACK, WEB_ROOT, assets_disabled
from gateway.demo.machine import MACHINE, Machine

_HERE = Path(__file__).parent
_STATIC = {
    f"/api/workflow_templates/{PACK}": "workflow_templates",
    f"/extensions/{PACK}": "web",
    "/docs": "docs",
}
_UPLOAD_LIMIT = 100 * 1024 * 1024
_UUID = "[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"
_ASSET_ROUTES = (
    "GET /api/assets", "POST /api/assets", "GET /api/assets/{id:UUID}", "PUT /api/assets/{id:UUID}",
    "DELETE /api/assets/{id:UUID}", "GET /api/assets/{id:UUID}/content", "POST /api/assets/{id:UUID}/tags",
    "DELETE /api/assets/{id:UUID}/tags",
    "GET /api/assets/tags/refine", "POST /api/assets/from-hash", "HEAD /api/assets/hash/{hash}",
    "POST /api/assets/prune", "POST /api/assets/seed", "POST /api/assets/seed/cancel", "GET /api/assets/seed/status",
    "GET /api/tags",
)  # fmt: skip


def application(machine: Machine, *, web_root: Path, templates: bool, controlled: bool) -> web.Application:
    """The application that serves one machine; with `templates` as where ComfyUI's package of them is installed."""
    middlewares = [misbehave, cache_control, same_origin, content_security_policy]
    app = web.Application(client_max_size=_UPLOAD_LIMIT, middlewares=middlewares)
    app[MACHINE] = machine
    app[WEB_ROOT] = web_root
    if machine.profile.jobs_api:
        _add_assets(app)
    if controlled:
        app.add_routes(control.routes)
    app.add_subapp("/internal", _internal(machine))
    routes = _routes(machine, web_root)
    _add(app, routes, prefix="/api")
    _add(app, routes, prefix="")
    for prefix, folder in _STATIC.items():
        app.add_routes([web.static(prefix, _HERE / "pack" / folder)])
    if templates:  # The new version has them only with their package, which the recordings were made without.
        app.add_routes([web.static("/templates", _HERE / "pack" / "templates")])
    app.add_routes([web.static("/", web_root)])
    return app


def _routes(machine: Machine, web_root: Path) -> list[web.RouteDef]:
    """Everything that is served under two prefixes, in order of registration."""

    async def root(_: web.Request) -> web.StreamResponse:
        uncached = {"Cache-Control": "no-store, must-revalidate" if machine.profile.guarded else "no-cache"}
        return web.FileResponse(web_root / "index.html", headers={**uncached, "Pragma": "no-cache", "Expires": "0"})

    tables = [prompts.routes, files.routes, userdata.routes, information.routes]
    if machine.profile.jobs_api:
        tables += [jobs.routes, information.newer_routes]
    listed = [route for table in tables for route in table if isinstance(route, web.RouteDef)]
    own = [web.get("/ws", machine.events.attend), web.get("/", root)]
    return [*own, *listed]


def _add(app: web.Application, routes: list[web.RouteDef], *, prefix: str) -> None:
    for route in routes:
        app.router.add_routes([web.RouteDef(route.method, prefix + route.path, route.handler, route.kwargs)])


def _add_assets(app: web.Application) -> None:
    for line in _ASSET_ROUTES:
        method, path = line.replace("UUID", _UUID).split()
        app.router.add_routes([web.RouteDef(method, path, assets_disabled, {})])


def _internal(machine: Machine) -> web.Application:
    app = web.Application()
    app[MACHINE] = machine
    app.add_routes(information.internal_routes)
    return app
