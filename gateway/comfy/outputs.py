"""What a job produced, as a list of jobs shows it: how many things, and the one to show first.

It does not know who owns a file or whether it still exists. The rules are those of `/api/jobs` of ComfyUI 0.28.1.
"""

from collections.abc import Iterator, Mapping
from typing import Any

_PREVIEWABLE = frozenset({"images", "video", "audio", "3d", "text"})
_3D_EXTENSIONS = (".obj", ".fbx", ".gltf", ".glb", ".usdz")
_EXTENSIONS = (*_3D_EXTENSIONS, ".txt", ".md", ".json")
_MAX_TEXT = 1024
"""Characters of a text output that a list of jobs carries."""


def summary(outputs: Mapping[str, Any]) -> tuple[int, dict[str, Any] | None]:
    """Count the outputs and choose the preview.

    A file of type "output" comes before any other; within each kind the first one wins. A bare text is not counted,
    but is shown when there is nothing better.
    """
    count = 0
    best: dict[str, Any] | None = None
    second: dict[str, Any] | None = None
    for node_id, media_type, item in _items(outputs):
        thing = _as_file(item)
        if thing is None:
            if media_type == "text" and best is None and second is None:
                second = {**_text_preview(str(item)), "nodeId": node_id, "mediaType": media_type}
            continue
        count += 1
        if best is not None or not _is_previewable(media_type, thing):
            continue
        shown = {**thing, "nodeId": node_id, "mediaType": thing.get("mediaType", media_type)}
        if thing.get("type") == "output":
            best = shown
        elif second is None:
            second = shown
    return count, best or second


def normal(outputs: Mapping[str, Any]) -> dict[str, Any]:
    """The outputs as one job shows them: 3D file names as files, nulls left out."""
    return {node_id: _normal_node(node) if isinstance(node, dict) else node for node_id, node in outputs.items()}


def _normal_node(node: Mapping[str, Any]) -> dict[str, Any]:
    return {
        media_type: [_as_file(item) or item for item in items if item is not None]
        if isinstance(items, list) and media_type != "animated"
        else items
        for media_type, items in node.items()
    }


def _items(outputs: Mapping[str, Any]) -> Iterator[tuple[str, str, Any]]:
    for node_id, node in outputs.items():
        for media_type, items in node.items() if isinstance(node, dict) else ():
            # "animated" is a flag beside the images.
            if media_type != "animated" and isinstance(items, list):
                for item in items:
                    yield node_id, media_type, item


def _as_file(item: Any) -> dict[str, Any] | None:
    """A file record, or the record that ComfyUI makes of the bare name of a 3D file."""
    if isinstance(item, str) and item.lower().endswith(_3D_EXTENSIONS):
        return {"filename": item, "type": "output", "subfolder": "", "mediaType": "3d"}
    return item if isinstance(item, dict) else None


def _is_previewable(media_type: str, item: Mapping[str, Any]) -> bool:
    form, filename = item.get("format"), item.get("filename")
    return (
        media_type in _PREVIEWABLE
        or (isinstance(form, str) and form.startswith(("video/", "audio/")))
        or (isinstance(filename, str) and filename.lower().endswith(_EXTENSIONS))
    )


def _text_preview(text: str) -> dict[str, Any]:
    if len(text) <= _MAX_TEXT:
        return {"content": text}
    return {"content": text[:_MAX_TEXT], "truncated": True}
