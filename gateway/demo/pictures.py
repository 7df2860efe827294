"""Drawing: the small pictures simulated nodes make, their previews, and the files they become.

It does not know nodes or folders. Sampled pictures carry grain, so that they are as hard to compress as real ones.
"""

import hashlib
import io
import json
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw, ImageOps
from PIL.PngImagePlugin import PngInfo

Picture = Image.Image
PREVIEW_SIZE = 512  # The longest side of ComfyUI's latent previews.


@dataclass(frozen=True, slots=True)
class Latent:
    """What a sampler works on: a size, a count, and the digest of everything that shaped it."""

    width: int
    height: int
    count: int
    digest: str = ""

    def shaped_by(self, *causes: Any) -> "Latent":
        """The latent after sampling: another one whenever seed, text, model or settings differ."""
        told = json.dumps([self.digest, *causes], sort_keys=True, default=str)
        return Latent(self.width, self.height, self.count, hashlib.sha256(told.encode()).hexdigest())


def plain(width: int, height: int, *, color: int, count: int) -> list[Picture]:
    """One-coloured pictures; `color` is 0xRRGGBB."""
    rgb = (color >> 16 & 255, color >> 8 & 255, color & 255)
    return [Image.new("RGB", (width, height), rgb) for _ in range(count)]


def inverted(pictures: Sequence[Picture]) -> list[Picture]:
    """Each picture with its colours inverted."""
    return [ImageOps.invert(picture.convert("RGB")) for picture in pictures]


def decoded(latent: Latent) -> list[Picture]:
    """The pictures of a latent: the same latent gives the same pictures, every other one gives others."""
    return [_drawn(latent.width, latent.height, f"{latent.digest}:{number}") for number in range(latent.count)]


def _drawn(width: int, height: int, seed: str) -> Picture:
    chance = random.Random(seed)
    dark, light = (tuple(chance.randrange(low, low + 120) for _ in range(3)) for low in (0, 120))
    ground = Image.radial_gradient("L").rotate(chance.randrange(360)).resize((width, height))
    picture = ImageOps.colorize(ground, dark, light)
    brush = ImageDraw.Draw(picture)
    for _ in range(5):
        x, y, r = chance.randrange(width), chance.randrange(height), 1 + chance.randrange(max(width, height) // 4 + 1)
        brush.ellipse((x - r, y - r, x + r, y + r), fill=tuple(chance.randrange(256) for _ in range(3)))
    grain = Image.frombytes("RGB", (width, height), chance.randbytes(width * height * 3))
    return Image.blend(picture, grain, 0.1)


def preview(fraction: float, color: tuple[int, int, int] = (40, 90, 160)) -> bytes:
    """A 512 x 512 JPEG that shows how far a sampler is."""
    picture = Image.new("RGB", (PREVIEW_SIZE, PREVIEW_SIZE), (20, 20, 20))
    ImageDraw.Draw(picture).rectangle((0, 0, int(PREVIEW_SIZE * fraction), PREVIEW_SIZE), fill=color)
    return encoded(picture, "JPEG", quality=95)


def png(picture: Picture, *, level: int, prompt: Any = None, extra_pnginfo: Any = None) -> bytes:
    """A PNG with the whole prompt, and each key of extra_pnginfo, as text chunks."""
    chunks = PngInfo()
    if prompt is not None:
        chunks.add_text("prompt", json.dumps(prompt))
    for name in extra_pnginfo if extra_pnginfo is not None else ():
        chunks.add_text(name, json.dumps(extra_pnginfo[name]))
    return encoded(picture, "PNG", pnginfo=chunks, compress_level=level)


def animation(pictures: Sequence[Picture], *, fps: float, lossless: bool, quality: int) -> bytes:
    """An animated WEBP of the pictures."""
    first, *rest = pictures
    duration = int(1000.0 / fps)
    more = {"save_all": True, "append_images": rest, "duration": duration, "loop": 0}
    return encoded(first, "WEBP", lossless=lossless, quality=quality, **more)


def loaded(path: Path) -> tuple[Picture, Picture]:
    """A file's picture and its mask (the inverse of its alpha; 64 x 64 black without one)."""
    with Image.open(path) as opened:
        upright = ImageOps.exif_transpose(opened)
        has_alpha = "A" in upright.getbands()
        mask = ImageOps.invert(upright.getchannel("A")) if has_alpha else Image.new("L", (64, 64), 0)
        return upright.convert("RGB"), mask


def channel(path: Path, name: str) -> Picture:
    """One channel of a file: red, green, blue, or alpha (inverted, as masks are)."""
    with Image.open(path) as opened:
        picture = opened.convert("RGBA")
    bands = dict(zip(("red", "green", "blue", "alpha"), picture.split(), strict=True))
    return ImageOps.invert(bands["alpha"]) if name == "alpha" else bands[name]


def encoded(picture: Picture, kind: str, **options: Any) -> bytes:
    """The bytes of a picture in one of Pillow's formats."""
    buffer = io.BytesIO()
    picture.save(buffer, format=kind, **options)
    return buffer.getvalue()


def as_tensor(pictures: Sequence[Picture]) -> str:
    """Roughly what Python prints for the tensor a real node would hold; execution_error shows it."""
    corner = pictures[0].convert("RGB").getpixel((0, 0))
    told = ", ".join(f"{value / 255:.4f}" for value in (corner if isinstance(corner, tuple) else (0, 0, 0)))
    return f"tensor([[[[{told}],\n          ...,\n          [{told}]]]])"


def alpha(data: bytes) -> Picture:
    """The alpha channel of an encoded picture, opaque without one."""
    with Image.open(io.BytesIO(data)) as opened:
        return opened.convert("RGBA").getchannel("A")
