"""Files that a job made: the lists that ComfyUI fills, and the names that it draws; nothing that a workflow brought."""

from typing import Any

import pytest

from gateway.comfy.files import FileRef
from gateway.comfy.made_files import listed, minted

RANDOM = "00112233445566778899aabbccddeeff"
FILE = {"filename": "a.png", "subfolder": "", "type": "temp"}


@pytest.mark.parametrize(
    "key", ["images", "input_images", "a_images", "b_images", "latents", "audio", "3d", "files", "gifs"]
)
def test_the_lists_of_comfyui_count(key: str) -> None:
    """A file in a list that a node fills with what it wrote is one that the job made."""
    assert list(listed({"9": {key: [FILE, {**FILE, "subfolder": "b\\c"}]}})) == [
        FileRef("temp", "", "a.png"),
        FileRef("temp", "b/c", "a.png"),
    ]


@pytest.mark.parametrize(
    "outputs",
    [
        {"9": {"result": ["", FILE]}},
        {"9": {"result": [FILE, {"camera": FILE}]}},
        {"9": {"input_bboxes": [FILE]}},
        {"9": {"images": [{"deeper": FILE}, [FILE], "a.png"]}},
        {"9": {"images": FILE}},
        {"9": FILE},
        {"9": {"images": [{**FILE, "filename": "../a.png"}, {**FILE, "type": "models"}, {**FILE, "subfolder": None}]}},
        {"9": None},
        [FILE],
        None,
    ],
)
def test_what_only_looks_like_a_file_does_not(outputs: Any) -> None:
    """What a node shows of a workflow's own, deeper things, and names that cannot be read are no files of the job."""
    assert list(listed(outputs)) == []
    assert list(minted(outputs)) == []


@pytest.mark.parametrize(
    ("name", "ref"),
    [
        (f"preview3d_{RANDOM}.glb", FileRef("output", "", f"preview3d_{RANDOM}.glb")),
        (f"preview3d_advanced_{RANDOM}.obj", FileRef("temp", "", f"preview3d_advanced_{RANDOM}.obj")),
        (f"preview_splat_{RANDOM}.ply", FileRef("temp", "", f"preview_splat_{RANDOM}.ply")),
        (f"preview_pointcloud_{RANDOM}.ply", FileRef("temp", "", f"preview_pointcloud_{RANDOM}.ply")),
        (f"temp/bg_{RANDOM}.png", FileRef("temp", "", f"bg_{RANDOM}.png")),
    ],
)
def test_names_that_were_drawn_count(name: str, ref: FileRef) -> None:
    """3D previews name their files by bare texts, random ones."""
    assert list(minted({"9": {"result": [name, None, []]}})) == [ref]


@pytest.mark.parametrize(
    "name",
    [
        "ComfyUI_00001_.png",
        f"bg_{RANDOM}.png",
        f"x/preview3d_{RANDOM}.glb",
        f"preview3d_{RANDOM[1:]}.glb",
        f"preview3d_{RANDOM}.glb [temp]",
        f"preview3d_{RANDOM}.glb\n",
        f"temp/../bg_{RANDOM}.png",
        "",
    ],
)
def test_names_that_anybody_can_think_up_do_not(name: str) -> None:
    """A text that a graph shows is no claim on the file of that name."""
    assert list(minted({"9": {"result": [name]}})) == []
