"""Which of a user's files a file picker of the editor lists, as ComfyUI would if the user were alone.

It does not know how object_info writes a picker down, nor where names come from: they are as their owner sees them.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from gateway.comfy.files import FileType

# fmt: off
ENDINGS: Final[Mapping[str, frozenset[str]]] = {
    "image": frozenset((
        "png", "apng", "jpg", "jpeg", "jfif", "webp", "gif", "bmp", "tif", "tiff", "avif", "heic", "heif", "ico",
        "svg", "tga", "exr", "hdr", "jxl", "ppm", "pgm", "pbm", "psd",
    )),
    "audio": frozenset(("wav", "mp3", "flac", "ogg", "oga", "opus", "m4a", "aac", "aif", "aiff", "weba", "wma")),
    "video": frozenset(("mp4", "m4v", "webm", "mkv", "mov", "avi", "mpg", "mpeg", "ogv", "wmv", "flv", "3gp", "ts")),
    "model": frozenset(("gltf", "glb", "obj", "fbx", "stl", "usdz", "spz", "splat", "ply", "ksplat")),
    "latent": frozenset(("latent",)),
    "document": frozenset(("txt", "pdf")),
}
# fmt: on
"""By medium. ComfyUI asks the host's table of types, which differs from host to host; for 3D it has its own list."""

FLAGS: Final[Mapping[str, tuple[str, ...]]] = {
    "image_upload": ("image",),
    "animated_image_upload": ("image",),
    "audio_upload": ("audio", "video"),
    "video_upload": ("video",),
    "file_upload": ("model",),
}
"""What an input with this flag in object_info takes; ComfyUI reads the sound of a video too."""

BY_CLASS: Final[Mapping[str, tuple[str, ...]]] = {
    "LoadLatent": ("latent",),
    "GeminiInputFiles": ("document",),
    "OpenAIInputFiles": ("document",),
    "VHS_LoadVideo": ("video", "image"),
    "VHS_LoadVideoFFmpeg": ("video", "image"),
    "VHS_LoadAudioUpload": ("audio", "video"),
}
"""What classes take whose inputs have no flag. VHS loads animated pictures as videos."""

FOLDER_3D: Final = "3d/"
"""The 3D classes list this folder of the input folder, and all below it; the others the top of the input folder."""


@dataclass(frozen=True, slots=True)
class OwnNames:
    """A user's files: `name.png` or `folder/name.png`, those shared with all included."""

    inputs: Sequence[str] = ()
    outputs: Sequence[str] = ()

    def folders(self) -> list[str]:
        """The folders that the inputs lie in, and those around them, in order."""
        return sorted({folder for name in self.inputs for folder in _around(name)})

    def listed(self, media: tuple[str, ...], folder: FileType) -> list[str]:
        """What a picker of these media lists; of all kinds of files, when it has none."""
        if folder == "output":
            return [name for name in self.outputs if _is_of(name, media)]
        if folder == "temp":
            return []
        if media == FLAGS["file_upload"]:
            return sorted(name for name in self.inputs if name.startswith(FOLDER_3D) and _is_of(name, media))
        return sorted(name for name in self.inputs if "/" not in name and _is_of(name, media))


def media_of(class_name: str, options: Mapping[str, Any]) -> tuple[str, ...]:
    """The media that a picker takes; () when nothing says so."""
    flagged = (media for flag, media in FLAGS.items() if options.get(flag))
    return next(flagged, BY_CLASS.get(class_name, ()))


def _around(name: str) -> Iterator[str]:
    while "/" in name:
        name = name.rpartition("/")[0]
        yield name


def _is_of(name: str, media: Iterable[str]) -> bool:
    ending = name.rpartition(".")[2].lower()
    return not media or any(ending in ENDINGS[medium] for medium in media)
