"""The routes that only tell something: versions, models, node classes, templates, logs.

It does not change anything, and knows no user.
"""

import time
from pathlib import Path
from typing import Any

from aiohttp import web

from gateway.demo.machine import MACHINE, Machine

routes = web.RouteTableDef()
newer_routes = web.RouteTableDef()
internal_routes = web.RouteTableDef()

_HIDDEN_FOLDERS = ("configs", "custom_nodes")


@routes.get("/features")
async def features(request: web.Request) -> web.Response:
    """The server's feature flags."""
    return web.json_response(request.app[MACHINE].profile.features)


@routes.get("/system_stats")
async def system_stats(request: web.Request) -> web.Response:
    """Versions, command line and memory."""
    profile, places = request.app[MACHINE].profile, request.app[MACHINE].places
    argv = ["main.py", "--cpu", "--disable-auto-launch", "--output-directory", str(places.root / "output")]
    system = {**profile.system, "argv": [*argv, "--disable-api-nodes"]}
    names = ("vram_total", "vram_free", "torch_vram_total", "torch_vram_free")
    memory = dict.fromkeys(names, profile.system["ram_total"])
    device = {"name": "cpu", "type": "cpu", "index": None, **memory}
    return web.json_response({"system": system, "devices": [device]})


@routes.get("/object_info")
async def object_info(request: web.Request) -> web.Response:
    """Every class."""
    body = request.app[MACHINE].catalogue.encoded()
    return web.Response(body=body, content_type="application/json", charset="utf-8")


@routes.get("/object_info/{node_class}")
async def object_info_of(request: web.Request) -> web.Response:
    """One class, {} for an unknown one."""
    catalogue, name = request.app[MACHINE].catalogue, request.match_info["node_class"]
    return web.json_response({name: catalogue.definition(name)} if name in catalogue else {})


@routes.get("/extensions")
async def extensions(request: web.Request) -> web.Response:
    """Scripts the browser will import."""
    root = request.app[WEB_ROOT]
    core = [f"/{file.relative_to(root).as_posix()}" for file in root.glob("extensions/**/*.js")]
    return web.json_response([*core, f"/extensions/{PACK}/lab.js"])


PACK = "lab_slow"
WEB_ROOT = web.AppKey("WEB_ROOT", Path)


@routes.get("/embeddings")
async def embeddings(_: web.Request) -> web.Response:
    """No embeddings."""
    return web.json_response([])


def _model_files(machine: Machine, folder: str) -> list[str]:
    return machine.catalogue.checkpoints if folder == "checkpoints" else []


@routes.get("/models")
async def models(request: web.Request) -> web.Response:
    """The kinds of models."""
    return web.json_response(request.app[MACHINE].profile.model_folders)


@routes.get("/models/{folder}")
async def models_of(request: web.Request) -> web.Response:
    """The names of one kind."""
    machine, folder = request.app[MACHINE], request.match_info["folder"]
    if folder not in machine.profile.model_folders:
        return web.Response(status=404)
    return web.json_response(_model_files(machine, folder))


@routes.get("/experiment/models")
async def experiment_models(request: web.Request) -> web.Response:
    """The kinds with their absolute folders."""
    machine = request.app[MACHINE]
    more = {"extensions": [".ckpt", ".safetensors"]} if machine.profile.guarded else {}
    shown = [name for name in machine.profile.model_folders if name not in _HIDDEN_FOLDERS]
    root = machine.places.root / "models"
    return web.json_response([{"name": name, "folders": [str(root / name)], **more} for name in shown])


@routes.get("/experiment/models/{folder}")
async def experiment_models_of(request: web.Request) -> web.Response:
    """The files of one kind."""
    machine, folder = request.app[MACHINE], request.match_info["folder"]
    if folder not in machine.profile.model_folders:
        return web.Response(status=404)
    now = time.time()
    told = {"pathIndex": 0, "modified": now, "created": now, "size": 1}
    return web.json_response([{"name": name, **told} for name in _model_files(machine, folder)])


@routes.get("/experiment/models/preview/{folder}/{path_index}/{filename:.*}")
async def model_preview(_: web.Request) -> web.Response:
    """No model has a preview."""
    return web.Response(status=404)


@routes.get("/view_metadata/{folder_name}")
async def view_metadata(_: web.Request) -> web.Response:
    """No model has metadata."""
    return web.Response(status=404)


@routes.get("/workflow_templates")
async def workflow_templates(_: web.Request) -> web.Response:
    """Templates by the node pack that brings them."""
    return web.json_response({PACK: ["empty"]})


@routes.get("/i18n")
async def i18n(_: web.Request) -> web.Response:
    """No custom node brings translations."""
    return web.json_response({})


@newer_routes.get("/global_subgraphs")
async def global_subgraphs(_: web.Request) -> web.Response:
    """Subgraph blueprints by id."""
    return web.json_response({_SUBGRAPH: {"source": "templates", "name": "Demo", "info": {"node_pack": "comfyui"}}})


_SUBGRAPH = "0" * 64
_BLUEPRINT = Path(__file__).parent / "pack" / "blueprints" / "invert.json"


@newer_routes.get("/global_subgraphs/{id}")
async def global_subgraph(request: web.Request) -> web.Response:
    """One blueprint with its data, null for an unknown one."""
    if request.match_info["id"] != _SUBGRAPH:
        return web.json_response(None)
    told: dict[str, Any] = {"source": "templates", "name": "Demo", "info": {"node_pack": "comfyui"}}
    return web.json_response({**told, "data": _BLUEPRINT.read_text(encoding="utf-8")})


@newer_routes.get("/node_replacements")
async def node_replacements(_: web.Request) -> web.Response:
    """Renamed classes; the simulation lists one and replaces none."""
    inputs = [{"new_id": "image", "old_id": "images"}, {"new_id": "upscale_method", "set_value": "lanczos"}]
    outputs = [{"new_idx": 0, "old_idx": 0}]
    told = {"old_widget_ids": ["longer_edge"], "input_mapping": inputs, "output_mapping": outputs}
    old, new = "ResizeImagesByLongerEdge", "ImageScaleToMaxDimension"
    return web.json_response({old: [{"new_node_id": new, "old_node_id": old, **told}]})


async def assets_disabled(_: web.Request) -> web.Response:
    """What every asset route answers without --enable-assets."""
    message = "Assets system is disabled. Start the server with --enable-assets to use this feature."
    said = {"code": "SERVICE_DISABLED", "message": message, "details": {}}
    return web.json_response({"error": said}, status=503)


@internal_routes.get("/logs")
async def logs(_: web.Request) -> web.Response:
    """The log as one text."""
    return web.json_response("2026-01-01T00:00:00.000000 - To see the GUI go to: http://127.0.0.1:8188\n")


@internal_routes.get("/logs/raw")
async def raw_logs(_: web.Request) -> web.Response:
    """The log as entries."""
    entry = {"t": "2026-01-01T00:00:00.000000", "m": "To see the GUI go to: http://127.0.0.1:8188\n"}
    return web.json_response({"entries": [entry], "size": {"cols": 80, "rows": 24}})


@internal_routes.patch("/logs/subscribe")
async def subscribe(request: web.Request) -> web.Response:
    """Accepts a subscription of any client id; the simulation logs nothing new."""
    body = await request.json()
    _ = body["clientId"], body["enabled"]
    return web.Response()


@internal_routes.get("/folder_paths")
async def folder_paths(request: web.Request) -> web.Response:
    """Absolute folders by kind of model."""
    machine = request.app[MACHINE]
    root = machine.places.root / "models"
    return web.json_response({name: [str(root / name)] for name in machine.profile.model_folders})


@internal_routes.get("/files/{directory_type}")
async def files_of(request: web.Request) -> web.Response:
    """Everybody's files in the root of one folder, newest first."""
    machine, kind = request.app[MACHINE], request.match_info["directory_type"]
    folder = machine.places.of(kind)
    if folder is None:
        return web.json_response({"error": "Invalid directory type"}, status=400)
    found = [entry for entry in folder.iterdir() if entry.is_file() and not entry.name.startswith(".")]
    found.sort(key=lambda entry: -entry.stat().st_mtime)
    suffix = f" [{kind}]" if machine.profile.guarded else ""
    return web.json_response([f"{entry.name}{suffix}" for entry in found])
