"""3D scenes: what a workflow says of a camera may look like a file, and is none; the files of previews, which ComfyUI
names by bare texts, are their maker's."""

from typing import Any

import pytest

from tests.e2e.conftest import Door
from tests.e2e.graphs import Graph, picture
from tests.e2e.someone import Someone, files_of, png, strangers

MODEL = b"glTF\x02\x00\x00\x00"


@pytest.fixture
def two(door: Door) -> tuple[Someone, Someone]:
    """Two members who have done nothing yet."""
    return strangers(door)


def scene(someone: Someone, *, model: str, camera: dict[str, Any]) -> tuple[Graph, list[str]]:
    """A scene of the user's own pictures with a preview of it, and the types of what the scene gives out."""
    gives = list(someone.ask("GET", "/object_info/Load3D").json()["Load3D"]["output"])
    name = someone.upload("view.png", png((1, 2, 3)))
    views = dict.fromkeys(("image", "mask", "normal", "lineart"), name)
    whole = {**views, "recording": "", "camera_info": camera}
    graph: Graph = {
        "11": {"class_type": "Load3D", "inputs": {"model_file": model, "image": whole, "width": 64, "height": 64}},
        "12": {
            "class_type": "Preview3D",
            "inputs": {"model_file": "", "camera_info": ["11", gives.index("LOAD3D_CAMERA")]},
        },
    }
    return graph, gives


def previewed(color: int) -> Graph:
    """A picture in the folder that all share, under a name that can be told from the one before."""
    return {**picture(color), "3": {"class_type": "PreviewImage", "inputs": {"images": ["2", 0]}}}


def test_a_camera_that_looks_like_a_file_claims_none(two: tuple[Someone, Someone]) -> None:
    """Whoever names another's next preview as a result of their own job does not get it, nor takes it away."""
    alice, bob = two
    (first,) = files_of(alice.finished(previewed(1)))
    start, counted = first["filename"].removesuffix("_.png").rsplit("_", 1)
    # Bob's own preview takes the number between.
    wanted = [{**first, "filename": f"{start}_{int(counted) + ahead:05}_.png"} for ahead in range(2, 8)]
    forged, _ = scene(bob, model="none", camera={**wanted[0], "more": wanted})
    graph = {**previewed(2), **forged}
    bob.finished(graph)
    (second,) = files_of(alice.finished(previewed(3)))
    assert alice.view(second).status_code == 200
    assert {bob.view(file).status_code for file in (first, second, *wanted)} == {404}


def test_a_3d_preview_is_its_makers(two: tuple[Someone, Someone]) -> None:
    """The files of a 3D preview are served to whose job made them, and to nobody who shows their names."""
    alice, bob = two
    graph, gives = scene(alice, model=alice.upload("own.glb", MODEL, folder="3d"), camera={})
    if "FILE_3D" not in gives:  # an old server makes no files of it, and takes no model that it does not list
        refused = alice.ask("POST", "/prompt", json={"prompt": graph})
        assert [error["type"] for error in refused.json()["node_errors"]["11"]["errors"]] == ["value_not_in_list"]
        return
    graph["12"]["inputs"] = {"model_file": ["11", gives.index("FILE_3D")], "bg_image": ["11", 0]}
    result = alice.finished(graph)["outputs"]["12"]["result"]
    model = {"filename": result[0], "subfolder": "", "type": "output"}
    background = {"filename": result[2].removeprefix("temp/"), "subfolder": "", "type": "temp"}
    assert alice.view(model).content == MODEL
    assert alice.view(background).status_code == 200
    shown = {
        "1": {"class_type": "PrimitiveString", "inputs": {"value": result[0]}},
        "2": {"class_type": "Preview3D", "inputs": {"model_file": ["1", 0]}},
    }
    assert bob.finished(shown)["status"]["status_str"] == "error"
    assert [bob.view(file).status_code for file in (model, background)] == [404, 404]
    assert alice.view(model).status_code == 200
