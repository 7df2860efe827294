"""GET /view and the uploads.

It does not know who asks: every file is everybody's, as in ComfyUI.
"""

import asyncio
import json
from os.path import normpath
from pathlib import Path
from typing import Any

from aiohttp import web
from multidict import MultiDictProxy
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from gateway.demo import pictures
from gateway.demo.answers import FileAnswer
from gateway.demo.machine import MACHINE, Machine
from gateway.demo.places import below, is_within, media_type, textual

routes = web.RouteTableDef()

_ACTIVE_TYPES = {
    "text/html", "application/xhtml+xml", "text/javascript", "application/javascript", "application/x-javascript",
    "application/ecmascript", "text/css", "image/svg+xml", "application/xml", "text/xml", "message/rfc822",
}  # fmt: skip

# The old version renames these but leaves them inline, and knows nothing of SVG.
_OLD_ACTIVE_TYPES = {"text/html", "text/html-sandboxed", "application/xhtml+xml", "text/javascript", "text/css"}


@routes.get("/view")
async def view(request: web.Request) -> web.StreamResponse:
    """A file, a preview of it, or one of its channels."""
    machine, query = request.app[MACHINE], request.rel_url.query
    if query.get("filename", "").startswith("blake3:") and machine.profile.guarded:
        return web.Response(status=404)
    if "filename" not in query:
        return web.Response(status=404)
    name, folder = machine.places.annotated(query["filename"])
    if not name or name.startswith("/") or ".." in name:
        return web.Response(status=400)
    folder = folder or machine.places.of(query.get("type", "output"))
    if folder is None:
        return web.Response(status=400)
    inside = below(folder, query.get("subfolder", ""))
    if inside is None:
        return web.Response(status=403)
    path = inside / Path(name).name
    if not path.is_file():
        return web.Response(status=404)
    if "preview" in query:
        return await asyncio.to_thread(_preview, path, query["preview"], channel=query.get("channel", ""))
    if query.get("channel") in ("rgb", "a"):
        return await asyncio.to_thread(_channel, path, query["channel"])
    return _whole(machine, path)


def _preview(path: Path, wanted: str, *, channel: str) -> web.Response:
    """The picture as webp or jpeg; `wanted` is `format;quality`, of which anything unusable is ignored."""
    kind, quality = wanted.split(";")[0], wanted.split(";")[-1]
    if kind not in ("webp", "jpeg") or "a" in channel:
        kind = "webp"
    with Image.open(path) as opened:
        picture: Image.Image = opened.convert("RGB") if kind == "jpeg" or channel == "rgb" else opened
        body = pictures.encoded(picture, kind, quality=int(quality) if quality.isdigit() else 90)
    return _picture(path, body, f"image/{kind}")


def _channel(path: Path, channel: str) -> web.Response:
    with Image.open(path) as opened:
        if channel == "rgb":
            picture: Image.Image = opened.convert("RGB")
        else:
            picture = Image.new("RGBA", opened.size)
            alpha = opened.getchannel("A") if opened.mode == "RGBA" else Image.new("L", opened.size, 255)
            picture.putalpha(alpha)
    return _picture(path, pictures.encoded(picture, "PNG"), "image/png")


def _picture(path: Path, body: bytes, content_type: str) -> web.Response:
    return web.Response(
        body=body, content_type=content_type, headers={"Content-Disposition": f'filename="{path.name}"'}
    )


def _whole(machine: Machine, path: Path) -> web.StreamResponse:
    """The file itself, with Range; the new version makes what a browser could execute a download."""
    content_type, disposition = media_type(path.name), f'filename="{path.name}"'
    if not machine.profile.guarded:
        content_type = "application/octet-stream" if content_type in _OLD_ACTIVE_TYPES else content_type
        return FileAnswer(path, headers={"Content-Disposition": disposition, "Content-Type": content_type})
    quoted = path.name.replace("\\", "\\\\").replace('"', '\\"')
    disposition = f'filename="{quoted}"'
    if is_active(content_type):
        content_type, disposition = "application/octet-stream", f"attachment; {disposition}"
    headers = {"Content-Disposition": disposition, "Content-Type": content_type, "X-Content-Type-Options": "nosniff"}
    return FileAnswer(path, headers=headers)


def is_active(content_type: str) -> bool:
    """Whether a browser may execute this when shown inline, as the new version judges."""
    return content_type in _ACTIVE_TYPES or content_type.endswith(("+xml", "/xml"))


@routes.post("/upload/image")
async def upload_image(request: web.Request) -> web.Response:
    """Store a file. Nothing looks at its content."""
    return _upload(request.app[MACHINE], await request.post(), masked=False)


@routes.post("/upload/mask")
async def upload_mask(request: web.Request) -> web.Response:
    """Store a copy of the picture `original_ref` names, with the alpha of the one sent."""
    return _upload(request.app[MACHINE], await request.post(), masked=True)


def _upload(machine: Machine, post: MultiDictProxy[Any], *, masked: bool) -> web.Response:
    """A form's `image` into the folder of `type`; an unknown type raises, as it does there.

    Only the folder of the type is enforced: a file NAME of `../alice/b.png` leaves the subfolder.
    """
    image, kind, subfolder = post.get("image"), post.get("type", "input"), post.get("subfolder", "")
    root = machine.places.of(kind)
    if root is None:
        raise ValueError(f"unknown type {kind!r}")
    if image is None or image == "":
        return web.Response(status=400)
    data, name = image.file.read(), image.filename
    if not name:
        return web.Response(status=400)
    folder = root / normpath(subfolder)
    if not is_within(root, folder / name):
        return web.Response(status=400)
    folder.mkdir(parents=True, exist_ok=True)
    if post.get("overwrite") not in ("true", "1"):
        name, known = _free_name(folder, name, data)
        if known:
            return _stored(name, subfolder, kind)
    path = textual(folder / name)
    if masked:
        _store_masked(machine, path, original=json.loads(str(post["original_ref"])), mask=data)
    else:
        path.write_bytes(data)
    return _stored(name, subfolder, kind)


def _stored(name: str, subfolder: str, kind: str) -> web.Response:
    return web.json_response({"name": name, "subfolder": subfolder, "type": kind})


def _free_name(folder: Path, wanted: str, data: bytes) -> tuple[str, bool]:
    """A name that is free, or the one of a file with the same bytes (and then True)."""
    ending = Path(wanted).suffix
    stem = wanted.removesuffix(ending)
    name, number = wanted, 1
    while (folder / name).exists():
        if (folder / name).read_bytes() == data:
            return name, True
        name, number = f"{stem} ({number}){ending}", number + 1
    return name, False


def _store_masked(machine: Machine, path: Path, *, original: dict[str, Any], mask: bytes) -> None:
    """Nothing is stored, and no error told, when the original cannot be found."""
    source = _original(machine, original)
    if source is None or not source.is_file():
        return
    with Image.open(source) as opened:
        chunks = PngInfo()
        for key, text in getattr(opened, "text", {}).items():
            chunks.add_text(key, text)
        picture = opened.convert("RGBA")
    picture.putalpha(pictures.alpha(mask))
    picture.save(path, compress_level=4, pnginfo=chunks)


def _original(machine: Machine, original: dict[str, Any]) -> Path | None:
    name, folder = machine.places.annotated(original["filename"])
    if not name or name.startswith("/") or ".." in name:
        return None
    folder = folder or machine.places.of(original.get("type", "output"))
    inside = below(folder, original.get("subfolder", "")) if folder else None
    return inside / name if inside else None
