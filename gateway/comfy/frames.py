"""Frames of ComfyUI's event socket, read.

It does not know for whom a frame is. Reading never raises, because one strange frame of a node pack must not cost the
others their events.
"""

import json
import struct
from dataclasses import dataclass
from typing import Any, Literal

import orjson

ImageType = Literal["jpeg", "png"]

PREVIEW, TEXT, PREVIEW_WITH_METADATA = 1, 3, 4
_FORMATS: dict[int, ImageType] = {1: "jpeg", 2: "png"}
_MEDIA_TYPES: dict[str, ImageType] = {"image/jpeg": "jpeg", "image/png": "png"}


@dataclass(frozen=True, slots=True)
class TextFrame:
    """A JSON frame. `data` is empty when it was no object; `node` is the current node of an `executing` frame."""

    type: str
    data: dict[str, Any]
    prompt_id: str | None
    node: str | None
    raw: str


@dataclass(frozen=True, slots=True)
class BinaryFrame:
    """A binary frame: 1 preview, 3 text of a node, 4 preview with metadata, the only one that names its job."""

    kind: int
    prompt_id: str | None
    image_type: ImageType | None
    raw: bytes


def parse(frame: str | bytes) -> TextFrame | BinaryFrame | None:
    """Read a frame from ComfyUI; None for what is not understood, which is dropped."""
    if isinstance(frame, str):
        return _text_frame(frame)
    return _binary_frame(frame)


def plain_preview(frame: BinaryFrame) -> bytes:
    """A preview as a client without `supports_preview_metadata` reads it: kind 4 as kind 1, anything else as it is."""
    if frame.kind != PREVIEW_WITH_METADATA:
        return frame.raw
    start = 8 + int.from_bytes(frame.raw[4:8], "big")
    return struct.pack(">II", PREVIEW, 2 if frame.image_type == "png" else 1) + frame.raw[start:]


def is_replaceable(frame: TextFrame | BinaryFrame) -> bool:
    """Whether a newer frame makes this one worthless: JPEG previews. PNG frames are results of SaveImageWebsocket."""
    return isinstance(frame, BinaryFrame) and frame.image_type == "jpeg"


def _text_frame(raw: str) -> TextFrame | None:
    try:
        message = orjson.loads(raw)
    except (orjson.JSONDecodeError, UnicodeEncodeError):
        return _repaired_frame(raw)
    return _frame_of(message, raw)


def _repaired_frame(raw: str) -> TextFrame | None:
    """A frame that only Python's own reader takes (NaN in an error's inputs, half a surrogate): it may end a job."""
    try:
        loose = json.loads(raw, parse_constant=lambda _: None)
        strict = json.dumps(loose, ensure_ascii=False).encode("utf-8", "replace")
        return _frame_of(orjson.loads(strict), strict.decode("utf-8"))
    except (ValueError, RecursionError):
        return None


def _frame_of(message: Any, raw: str) -> TextFrame | None:
    if not isinstance(message, dict) or not isinstance(message.get("type"), str):
        return None
    found = message.get("data")
    data = found if isinstance(found, dict) else {}
    prompt_id, node = data.get("prompt_id"), data.get("node")
    return TextFrame(
        message["type"],
        data,
        prompt_id if isinstance(prompt_id, str) else None,
        node if message["type"] == "executing" and isinstance(node, str) else None,
        raw,
    )


def _binary_frame(raw: bytes) -> BinaryFrame | None:
    if len(raw) < 8:
        return None
    kind, second = struct.unpack_from(">II", raw)
    if kind == PREVIEW:
        return BinaryFrame(PREVIEW, None, _FORMATS.get(second), raw)
    if 8 + second > len(raw):
        return None
    if kind == TEXT:
        return BinaryFrame(TEXT, None, None, raw)
    return _metadata_frame(raw, 8 + second) if kind == PREVIEW_WITH_METADATA else None


def _metadata_frame(raw: bytes, end: int) -> BinaryFrame | None:
    try:
        metadata = orjson.loads(raw[8:end])
    except orjson.JSONDecodeError:
        return None
    if not isinstance(metadata, dict) or not isinstance(metadata.get("prompt_id"), str):
        return None
    media_type = metadata.get("image_type")
    image_type = _MEDIA_TYPES.get(media_type) if isinstance(media_type, str) else None
    return BinaryFrame(PREVIEW_WITH_METADATA, metadata["prompt_id"], image_type, raw)
