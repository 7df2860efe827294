"""What a list of jobs shows of their outputs."""

from typing import Any

import pytest

from gateway.comfy.outputs import normal, summary

IMAGE = {"filename": "a.png", "subfolder": "rec", "type": "output"}
TEMP = {"filename": "t.png", "subfolder": "", "type": "temp"}


@pytest.mark.parametrize(
    ("outputs", "count", "preview"),
    [
        ({}, 0, None),
        ({"3": {"images": [IMAGE]}}, 1, {**IMAGE, "nodeId": "3", "mediaType": "images"}),
        ({"3": {"images": [IMAGE], "animated": [True]}}, 1, {**IMAGE, "nodeId": "3", "mediaType": "images"}),
        # A saved file comes before a temporary one, wherever it stands.
        ({"2": {"images": [TEMP, TEMP]}, "3": {"images": [IMAGE]}}, 3, {**IMAGE, "nodeId": "3", "mediaType": "images"}),
        ({"2": {"images": [TEMP]}, "3": {"gifs": [IMAGE]}}, 2, {**TEMP, "nodeId": "2", "mediaType": "images"}),
        # Node packs call their videos "gifs" and say so in `format`.
        (
            {"2": {"gifs": [{**IMAGE, "format": "video/h264-mp4"}]}},
            1,
            {**IMAGE, "format": "video/h264-mp4", "nodeId": "2", "mediaType": "gifs"},
        ),
        (
            {"2": {"files": [{"filename": "n.MD", "type": "output"}]}},
            1,
            {"filename": "n.MD", "type": "output", "nodeId": "2"},
        ),
        ({"2": {"files": [{"filename": "n.bin", "type": "output"}]}}, 1, None),
        ({"2": {"latents": [{"filename": "x.latent"}]}}, 1, None),
        # The bare name of a 3D file is a file.
        (
            {"2": {"result": ["m.GLB", None, "", {}]}},
            2,
            {"filename": "m.GLB", "type": "output", "subfolder": "", "mediaType": "3d", "nodeId": "2"},
        ),
        # A text is shown when there is nothing better, and not counted.
        ({"2": {"text": ["hello", "more"]}}, 0, {"content": "hello", "nodeId": "2", "mediaType": "text"}),
        (
            {"2": {"text": ["x" * 1025]}},
            0,
            {"content": "x" * 1024, "truncated": True, "nodeId": "2", "mediaType": "text"},
        ),
        ({"2": {"text": ["hello"]}, "3": {"images": [IMAGE]}}, 1, {**IMAGE, "nodeId": "3", "mediaType": "images"}),
        (
            {"2": {"text": ["hello"]}, "3": {"images": [TEMP]}},
            1,
            {"content": "hello", "nodeId": "2", "mediaType": "text"},
        ),
        # Node packs put anything here.
        ({"2": None, "3": [IMAGE], "4": {"images": None, "x": "y", "animated": [IMAGE]}}, 0, None),
        ({"2": {"a": [{"filename": None, "format": 5}]}}, 1, None),
    ],
)
def test_summary(outputs: dict[str, Any], count: int, preview: dict[str, Any] | None) -> None:
    """Count and preview follow the rules of ComfyUI 0.28.1."""
    found, shown = summary(outputs)
    if preview is not None and "mediaType" not in preview:
        preview = {**preview, "mediaType": "files"}
    assert (found, shown) == (count, preview)


def test_normal() -> None:
    """One job shows 3D names as files and leaves nulls out, and everything else as it is."""
    outputs = {"1": {"result": ["m.glb", None, "text", IMAGE], "animated": [True, None], "x": 5}, "2": "odd"}
    file = {"filename": "m.glb", "type": "output", "subfolder": "", "mediaType": "3d"}
    assert normal(outputs) == {"1": {"result": [file, "text", IMAGE], "animated": [True, None], "x": 5}, "2": "odd"}
