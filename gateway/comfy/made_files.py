"""The files that ComfyUI says a job made, in `executed` and in the history: what a record of their owner may rest on.

It does not know whose they are. Nodes also hand on what a workflow brought, and that may look like a file: a camera of
a 3D scene, a text. So only lists count that ComfyUI itself fills, and of bare names those that nobody can think up.
"""

import re
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, Final

from gateway.comfy.files import FileRef, FileType
from gateway.errors import FileNotAllowed

LISTS: Final = frozenset(
    {"images", "input_images", "a_images", "b_images", "latents", "audio", "3d", "files", "gifs", "video", "videos"}
)
"""The keys of an output under which nodes list what they wrote: all of ComfyUI's own in 0.3.64 and 0.28.1, and those
that packs of videos use. A pack that lists files under another key writes them below its prefix, or they stay unserved.
"""
RESULT: Final = "result"
"""Where the 3D previews of 0.28.1 name their files, beside what the workflow brought."""

_RANDOM = r"[0-9a-f]{32}"
_MINTED: Final[tuple[tuple[re.Pattern[str], FileType], ...]] = (
    (re.compile(rf"()(preview3d_{_RANDOM}\.[0-9a-z]{{1,8}})"), "output"),
    (re.compile(rf"()((?:preview3d_advanced|preview_splat|preview_pointcloud)_{_RANDOM}\.[0-9a-z]{{1,8}})"), "temp"),
    (re.compile(rf"(temp/)(bg_{_RANDOM}\.png)"), "temp"),
)


def listed(outputs: Any) -> Iterator[FileRef]:
    """The files in `{node id: {list: [{filename, subfolder, type}]}}`; a name that cannot be read is left out."""
    for key, item in _items(outputs):
        if key in LISTS and isinstance(item, dict):
            type_, subfolder, filename = (item.get(name) for name in ("type", "subfolder", "filename"))
            if isinstance(type_, str) and isinstance(subfolder, str) and isinstance(filename, str):
                with suppress(FileNotAllowed):
                    yield FileRef.read(type_, subfolder.replace("\\", "/"), filename)


def minted(outputs: Any) -> Iterator[FileRef]:
    """The files in `{node id: {"result": [name]}}` whose names ComfyUI drew by lot.

    A graph can show any text there, but the name of another's file it would have to know; such a name is never drawn
    twice, so its first owner keeps it for ever.
    """
    for key, item in _items(outputs):
        if key == RESULT and isinstance(item, str):
            for pattern, type_ in _MINTED:
                if match := pattern.fullmatch(item):
                    yield FileRef(type_, "", match[2])


def _items(outputs: Any) -> Iterator[tuple[str, Any]]:
    for node in outputs.values() if isinstance(outputs, dict) else ():
        for key, items in node.items() if isinstance(node, dict) else ():
            for item in items if isinstance(items, list) else ():
                yield key, item
