"""User data and settings of the one user, `default`, as a server without --multi-user keeps them.

It does not know workflows; a file is bytes under a path.
"""

import json
import re
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from aiohttp import web

from gateway.demo.answers import FileAnswer
from gateway.demo.files import is_active
from gateway.demo.machine import MACHINE, Machine
from gateway.demo.places import below, media_type, textual

routes = web.RouteTableDef()

_SETTINGS = "comfy.settings.json"


def _path(machine: Machine, name: str) -> Path | None:
    """Where a name leads (a `%2F` that survived the router is decoded again); None outside the user's folder."""
    path = below(machine.places.user, unquote(name))
    return textual(path) if path else None


def _info(machine: Machine, path: Path, relative_to: Path) -> dict[str, Any]:
    stat = path.stat()
    times = {"modified": stat.st_mtime, "created": stat.st_ctime}
    if machine.profile.milliseconds:
        times = {name: int(value * 1000) for name, value in times.items()}
    return {"path": path.relative_to(relative_to).as_posix(), "size": stat.st_size, **times}


@routes.get("/users")
async def get_users(request: web.Request) -> web.Response:
    """The single-user form."""
    return web.json_response({"storage": "server", "migrated": request.app[MACHINE].places.user.exists()})


@routes.post("/users")
async def post_users(request: web.Request) -> web.Response:
    """A new user's id, without anybody asking who asks; it is not kept, as nothing but --multi-user uses it."""
    machine, name = request.app[MACHINE], (await request.json())["username"]
    if name == "default":
        return web.json_response({"error": "Duplicate username."}, status=400)
    if not name.strip():
        if not machine.profile.guarded:
            raise ValueError("username not provided")
        return web.json_response({"error": "username not provided"}, status=400)
    return web.json_response(f"{re.sub('[^a-zA-Z0-9-_]+', '-', name.strip())}_{uuid.uuid4()}")


@routes.get("/userdata")
async def list_userdata(request: web.Request) -> web.Response:
    """Files of a folder: names, names with their parts, or full information."""
    machine, query = request.app[MACHINE], request.rel_url.query
    if not query.get("dir"):
        return web.Response(status=400, text="Directory not provided")
    folder = _path(machine, query["dir"])
    if folder is None:
        return web.Response(status=403, text="Invalid directory")
    if not folder.exists():
        return web.Response(status=404, text="Directory not found")
    found = sorted(path for path in _files(folder, deep=_is_true(query.get("recurse"))) if path.is_file())
    if _is_true(query.get("full_info")):
        return web.json_response([_info(machine, path, folder) for path in found])
    names = [path.relative_to(folder).as_posix() for path in found]
    split = _is_true(query.get("split"))
    return web.json_response([[name, *name.split("/")] for name in names] if split else names)


def _files(folder: Path, *, deep: bool) -> Iterator[Path]:
    return (path for path in folder.glob("**/*" if deep else "*") if not path.name.startswith("."))


def _is_true(value: str | None) -> bool:
    return (value or "").lower() == "true"


@routes.get("/v2/userdata")
async def list_userdata_v2(request: web.Request) -> web.Response:
    """Everything below a path, folders first."""
    machine, wanted = request.app[MACHINE], request.rel_url.query.get("path", "")
    root, folder = machine.places.user, _path(machine, wanted)
    if folder is None:
        return web.Response(status=400, text="Invalid path requested")
    if not folder.exists():
        missing = web.Response(status=404, text="Requested path not found")
        return missing if wanted else web.json_response([])
    if not folder.is_dir():
        return web.Response(status=400, text="Requested path is not a directory")
    found = [_entry(path, root) for path in folder.rglob("*")]
    return web.json_response(sorted(found, key=lambda one: (one["type"] != "directory", one["name"].lower())))


def _entry(path: Path, root: Path) -> dict[str, Any]:
    told = {"name": path.name, "path": path.relative_to(root).as_posix()}
    if path.is_dir():
        return {**told, "type": "directory"}
    return {**told, "type": "file", "size": path.stat().st_size, "modified": path.stat().st_mtime}


@routes.get("/userdata/{file}")
async def get_userdata(request: web.Request) -> web.StreamResponse:
    """A file; as a download in the new version."""
    machine = request.app[MACHINE]
    path = _path(machine, request.match_info["file"])
    if path is None or not path.exists():
        return web.Response(status=403 if path is None else 404)
    if not machine.profile.guarded:
        return FileAnswer(path)
    guessed = media_type(path.name)
    content_type = "application/octet-stream" if is_active(guessed) else guessed
    headers = {"X-Content-Type-Options": "nosniff", "Content-Disposition": "attachment"}
    return FileAnswer(path, headers={"Content-Type": content_type, **headers})


@routes.post("/userdata/{file}")
async def post_userdata(request: web.Request) -> web.Response:
    """Store the body."""
    machine = request.app[MACHINE]
    path = _path(machine, request.match_info["file"])
    if path is None:
        return web.Response(status=403)
    if request.query.get("overwrite") == "false" and path.exists():
        return web.Response(status=409, text="File already exists")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(await request.read())
    return _told(request, path)


@routes.delete("/userdata/{file}")
async def delete_userdata(request: web.Request) -> web.Response:
    """Remove a file; a folder raises."""
    path = _path(request.app[MACHINE], request.match_info["file"])
    if path is None or not path.exists():
        return web.Response(status=403 if path is None else 404)
    path.unlink()
    return web.Response(status=204)


@routes.post("/userdata/{file}/move/{dest}")
async def move_userdata(request: web.Request) -> web.Response:
    """Rename a file."""
    machine = request.app[MACHINE]
    source, target = (_path(machine, request.match_info[name]) for name in ("file", "dest"))
    if source is None or target is None:
        return web.Response(status=403)
    if not source.exists():
        return web.Response(status=404)
    if request.query.get("overwrite") == "false" and target.exists():
        return web.Response(status=409, text="File already exists")
    target.parent.mkdir(parents=True, exist_ok=True)
    source.replace(target)
    return _told(request, target)


def _told(request: web.Request, path: Path) -> web.Response:
    machine = request.app[MACHINE]
    root = machine.places.user
    if _is_true(request.query.get("full_info")):
        return web.json_response(_info(machine, path, root))
    return web.json_response(path.relative_to(root).as_posix())


@routes.get("/settings")
async def get_settings(request: web.Request) -> web.Response:
    """All settings."""
    return web.json_response(_settings(request.app[MACHINE]))


@routes.get("/settings/{id}")
async def get_setting(request: web.Request) -> web.Response:
    """One setting, null when unset."""
    return web.json_response(_settings(request.app[MACHINE]).get(request.match_info["id"]))


@routes.post("/settings")
async def post_settings(request: web.Request) -> web.Response:
    """Merge settings; a body that is no object raises."""
    return _save(request.app[MACHINE], {**_settings(request.app[MACHINE]), **await request.json()})


@routes.post("/settings/{id}")
async def post_setting(request: web.Request) -> web.Response:
    """Set one setting to whatever the body is."""
    name, value = request.match_info["id"], await request.json()
    return _save(request.app[MACHINE], {**_settings(request.app[MACHINE]), name: value})


def _settings(machine: Machine) -> dict[str, Any]:
    machine.places.user.mkdir(parents=True, exist_ok=True)  # Even reading makes the folder: /users then says migrated.
    file = machine.places.user / _SETTINGS
    known: dict[str, Any] = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    return known


def _save(machine: Machine, settings: dict[str, Any]) -> web.Response:
    (machine.places.user / _SETTINGS).write_text(json.dumps(settings, indent=4), encoding="utf-8")
    return web.Response()
