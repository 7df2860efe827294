"""What the 3D classes do: a scene that the editor describes in one object, and its preview.

It does not know 3D. Both hand on what the workflow says of the camera, whatever it is, and so did ComfyUI.
"""

import shutil
import uuid
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from gateway.demo import pictures
from gateway.demo.classes import Call, Done


async def _load_scene(call: Call) -> Done:
    scene, model = call.inputs["image"], call.inputs["model_file"]
    picture, normal = (pictures.loaded(_path(call, scene[name]))[0] for name in ("image", "normal"))
    mask = pictures.loaded(_path(call, scene["mask"]))[1]
    camera = scene["camera_info"]
    if not call.profile.jobs_api:
        lineart, _ = pictures.loaded(_path(call, scene["lineart"]))
        return Done(([picture], [mask], model, [normal], [lineart], camera, None))
    named = model not in ("", "none")
    file = _path(call, model) if named else None
    return Done(([picture], [mask], model if named else "", [normal], camera, None, file, []))


def _path(call: Call, name: str) -> Path:
    path = call.places.resolve(name)
    if path is None:
        raise ValueError(f"Invalid file path: {name!r}")
    return path


async def _preview_scene(call: Call) -> Done:
    """Files get random names, and are told of as bare texts."""
    model, camera, background = (call.inputs.get(name) for name in ("model_file", "camera_info", "bg_image"))
    if isinstance(model, Path):
        model = _copied(model, call.places.root / "output")
    result: list[Any] = [model, camera]
    if call.profile.jobs_api:
        result.append(_drawn(background[0], call.places.root / "temp") if background else None)
    return Done((), {"result": result})


def _copied(model: Path, folder: Path) -> str:
    name = f"preview3d_{uuid.uuid4().hex}{model.suffix}"
    shutil.copyfile(model, folder / name)
    return name


def _drawn(background: pictures.Picture, folder: Path) -> str:
    name = f"bg_{uuid.uuid4().hex}.png"
    background.save(folder / name, compress_level=1)
    return f"temp/{name}"


SCENES: dict[str, Callable[[Call], Awaitable[Done]]] = {"Load3D": _load_scene, "Preview3D": _preview_scene}
