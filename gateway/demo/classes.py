"""What each executable class does when it runs.

It does not know the queue, the cache or who listens; a call carries all it may touch.
"""

import asyncio
import random
import string
import struct
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gateway.demo import pictures
from gateway.demo.events import TEXT, Events
from gateway.demo.places import Places
from gateway.demo.profile import Profile
from gateway.demo.progress import Preview
from gateway.demo.saving import target

_BREATH = 0.1


@dataclass(slots=True, kw_only=True)
class Call:
    """One execution of one node.

    `pause(seconds)` waits, while the worker is held even longer. `step(value, total, preview)` reports progress and
    raises when the job was interrupted, `check()` only raises. `memory` is the node's own, kept from prompt to prompt.
    """

    node_id: str
    inputs: dict[str, Any]
    prompt: dict[str, Any]
    extra_data: dict[str, Any]
    profile: Profile
    places: Places
    events: Events
    pause: Callable[[float], Awaitable[None]]
    step: Callable[[int, int, Preview | None], None]
    check: Callable[[], None]
    loaded_model: Callable[[str], None]
    seconds_per_step: float
    models_seconds: float
    memory: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Done:
    """Outputs by slot, and what the node shows in `executed` and in the history (None: nothing)."""

    outputs: tuple[Any, ...] = ()
    ui: dict[str, Any] | None = field(default=None)


async def _empty_image(call: Call) -> Done:
    given = call.inputs
    drawn = pictures.plain(given["width"], given["height"], color=given["color"], count=given["batch_size"])
    return Done((drawn,))


async def _invert(call: Call) -> Done:
    return Done((pictures.inverted(call.inputs["image"]),))


async def _load_image(call: Call) -> Done:
    picture, mask = pictures.loaded(_existing(call))
    return Done(([picture], [mask]))


async def _load_mask(call: Call) -> Done:
    return Done(([pictures.channel(_existing(call), call.inputs["channel"])],))


def _existing(call: Call) -> Path:
    path = call.places.resolve(call.inputs["image"])
    if path is None:
        raise ValueError(f"Invalid file path: {call.inputs['image']!r}")
    return path


async def _save_image(call: Call) -> Done:
    return await _saved(call, kind="output", prefix=call.inputs["filename_prefix"], level=4)


async def _preview_image(call: Call) -> Done:
    suffix = call.memory.setdefault("suffix", "".join(random.choices(string.ascii_lowercase, k=5)))
    return await _saved(call, kind="temp", prefix=f"ComfyUI_temp_{suffix}", level=1)


async def _saved(call: Call, *, kind: str, prefix: str, level: int) -> Done:
    images = call.inputs["images"]
    place = target(prefix, call.places.root / kind, size=images[0].size)
    shown = []
    for number, image in enumerate(images):
        name = place.file(number, ".png")
        pnginfo = call.extra_data.get("extra_pnginfo")
        data = await asyncio.to_thread(pictures.png, image, level=level, prompt=call.prompt, extra_pnginfo=pnginfo)
        (place.folder / name).write_bytes(data)
        shown.append({"filename": name, "subfolder": place.subfolder, "type": kind})
    return Done((images,), {"images": shown})


async def _preview_mask(call: Call) -> Done:
    call.inputs["images"] = call.inputs["mask"]
    return await _preview_image(call)


async def _mask_to_image(call: Call) -> Done:
    return Done(([mask.convert("RGB") for mask in call.inputs["mask"]],))


async def _save_webp(call: Call) -> Done:
    given = call.inputs
    place = target(given["filename_prefix"], call.places.root / "output", size=given["images"][0].size)
    name = place.file(0, ".webp")
    data = pictures.animation(given["images"], fps=given["fps"], lossless=given["lossless"], quality=given["quality"])
    (place.folder / name).write_bytes(data)
    ui: dict[str, Any] = {"images": [{"filename": name, "subfolder": place.subfolder, "type": "output"}]}
    if len(given["images"]) > 1 or not call.profile.jobs_api:
        ui["animated"] = [len(given["images"]) > 1]
    return Done((given["images"],), ui)


async def _save_to_socket(call: Call) -> Done:
    """The result goes out as a preview, and the history says nothing of it."""
    images = call.inputs["images"]
    for number, image in enumerate(images):
        data = await asyncio.to_thread(pictures.png, image, level=1)
        call.step(number, len(images), Preview(data, is_png=True))
    return Done()


async def _string(call: Call) -> Done:
    return Done((call.inputs["value"],))


async def _concatenate(call: Call) -> Done:
    given = call.inputs
    return Done((given["delimiter"].join((given["string_a"], given["string_b"])),))


async def _preview_any(call: Call) -> Done:
    source = call.inputs["source"]
    is_picture = isinstance(source, list) and isinstance(source[0], pictures.Picture)
    return Done((source,), {"text": [pictures.as_tensor(source) if is_picture else str(source)]})


async def _image_size(call: Call) -> Done:
    images = call.inputs["image"]
    width, height = images[0].size
    _send_text(call, f"width: {width}, height: {height}\n batch size: {len(images)}")
    return Done((width, height, len(images)))


def _send_text(call: Call, text: str) -> None:
    """To ALL sockets and without a prompt id, as core nodes do."""
    node = call.node_id.encode()
    call.events.send_binary(TEXT, struct.pack(">I", len(node)) + node + text.encode())


def _preview(fraction: float) -> Preview:
    return Preview(pictures.preview(fraction))


async def _lab_slow(call: Call) -> Done:
    given = call.inputs
    total = given["steps"]
    for step in range(1, total + 1):
        await _slumber(call, given["seconds"] / total)
        call.step(step, total, _preview(step / total) if given.get("previews", True) else None)
        if given.get("text", False):
            _send_text(call, f"step {step}/{total}")
    return Done((given["image"],))


async def _slumber(call: Call, seconds: float) -> None:
    """A pause that notices an interrupt at once, where a sampler would first finish its step."""
    for _ in range(int(seconds / _BREATH)):
        await call.pause(_BREATH)
        call.check()
    await call.pause(seconds % _BREATH)


async def _lab_fail(call: Call) -> Done:
    raise RuntimeError(call.inputs["message"])


async def _lab_broadcast(call: Call) -> Done:
    call.events.send("lab.broadcast", {"value": call.inputs["value"]})
    return Done((call.inputs["image"],))


async def _load_checkpoint(call: Call) -> Done:
    name = call.inputs["ckpt_name"]
    await call.pause(call.models_seconds)
    call.loaded_model(name)
    return Done((f"model:{name}", f"clip:{name}", f"vae:{name}"))


async def _encode_text(call: Call) -> Done:
    return Done(((call.inputs["text"], call.inputs["clip"]),))


async def _empty_latent(call: Call) -> Done:
    given = call.inputs
    return Done((pictures.Latent(given["width"], given["height"], given["batch_size"]),))


async def _sample(call: Call) -> Done:
    given = call.inputs
    for step in range(1, given["steps"] + 1):
        await call.pause(call.seconds_per_step)
        call.step(step, given["steps"], _preview(step / given["steps"]))
    latent: pictures.Latent = given["latent_image"]
    causes = {name: value for name, value in given.items() if name != "latent_image"}
    return Done((latent.shaped_by(causes),))


async def _decode(call: Call) -> Done:
    return Done((await asyncio.to_thread(pictures.decoded, call.inputs["samples"]),))


CLASSES: dict[str, Callable[[Call], Awaitable[Done]]] = {
    "EmptyImage": _empty_image,
    "ImageInvert": _invert,
    "LoadImage": _load_image,
    "LoadImageOutput": _load_image,
    "LoadImageMask": _load_mask,
    "SaveImage": _save_image,
    "PreviewImage": _preview_image,
    "MaskPreview": _preview_mask,
    "MaskToImage": _mask_to_image,
    "SaveAnimatedWEBP": _save_webp,
    "SaveImageWebsocket": _save_to_socket,
    "PrimitiveString": _string,
    "PrimitiveInt": _string,
    "StringConcatenate": _concatenate,
    "PreviewAny": _preview_any,
    "GetImageSize": _image_size,
    "LabSlow": _lab_slow,
    "LabFail": _lab_fail,
    "LabBroadcast": _lab_broadcast,
    "CheckpointLoaderSimple": _load_checkpoint,
    "CLIPTextEncode": _encode_text,
    "EmptyLatentImage": _empty_latent,
    "KSampler": _sample,
    "VAEDecode": _decode,
}
