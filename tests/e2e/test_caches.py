"""The execution cache of one ComfyUI under two users who submit the same graphs in turn: what was computed may be
shared, a file and what is written in it may not; and a model that is loaded stays loaded."""

import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from gateway.demo.example import text_to_image
from tests.e2e.conftest import REAL, Door
from tests.e2e.graphs import Graph, picture
from tests.e2e.someone import File, Someone, embedded, files_of, png, strangers

TURNS = 3


@pytest.fixture
def two(door: Door) -> tuple[Someone, Someone]:
    """Two members who have done nothing yet."""
    return strangers(door)


def saved() -> Graph:
    """A picture that nobody drew before, saved under a prefix that everybody uses."""
    return picture(color=uuid.uuid4().int % 2**24, prefix="same")


def previewed() -> Graph:
    """The same, previewed: a node that has no prefix, in a folder that all share."""
    return {**saved(), "3": {"class_type": "PreviewImage", "inputs": {"images": ["2", 0]}}}


def both_ways() -> Graph:
    """One picture that is saved and previewed, and inverted once more in between."""
    return {**saved(), "4": {"class_type": "PreviewImage", "inputs": {"images": ["1", 0]}}}


def in_turn(two: tuple[Someone, Someone]) -> Iterator[tuple[Someone, Someone, int]]:
    """Who acts, who does not, and which turn it is: A, B, A, B, A, B."""
    for turn in range(TURNS):
        yield two[0], two[1], turn
        yield two[1], two[0], turn


@pytest.mark.parametrize("drawn", [saved, previewed, both_ways])
def test_equal_graphs_give_everyone_files_of_their_own(drawn: Any, two: tuple[Someone, Someone]) -> None:
    """Whoever submits the graph that another just ran gets a file of their own: the workflow and the only root in it
    are their own."""
    graph = drawn()
    keys: dict[str, set[str]] = {}
    for someone, _, _ in in_turn(two):
        files = files_of(someone.finished(graph))
        assert len(files) == (2 if drawn is both_ways else 1)
        for file in files:
            shown = someone.view(file)
            assert shown.status_code == 200
            by, named = embedded(shown.content)
            assert by == someone.name
            keys.setdefault(someone.name, set()).update(named)
    assert [len(named) for named in keys.values()] == [1, 1], "a picture names its owner's root, and no other"
    assert not set.intersection(*keys.values())


def test_previews_of_another_are_not_there(two: tuple[Someone, Someone]) -> None:
    """Previews of all users lie in one folder under names that can be told from one another's: each is served to the
    user whose job made it, and does not exist for anybody else, nor do its neighbours."""
    graph = previewed()
    made: dict[str, list[File]] = {someone.name: [] for someone in two}
    for someone, _, turn in in_turn(two):
        graph["1"]["inputs"]["color"] = turn  # computed anew, by the same node, under the same prefix
        made[someone.name] += files_of(someone.finished(graph))
    for someone, other, _ in in_turn(two):
        assert [someone.view(file).status_code for file in made[someone.name]] == [200] * TURNS
        assert [someone.view(file).status_code for file in made[other.name]] == [404] * TURNS
        loading = {"class_type": "LoadImage", "inputs": {"image": f"{made[other.name][0]['filename']} [temp]"}}
        refused = someone.ask("POST", "/prompt", json={"prompt": {**graph, "1": loading}})
        assert (refused.status_code, refused.json()["error"]["type"]) == (403, "file_not_allowed")
    first = made[two[0].name][0]
    start = first["filename"].rpartition("_0")[0]
    own = {file["filename"] for file in made[two[0].name]}
    guessed = {f"{start}_{number:05}_.png" for number in range(2 * TURNS + 2)} - own
    assert {two[0].view({**first, "filename": name}).status_code for name in guessed} == {404}


def test_models_stay_loaded_when_the_users_alternate(two: tuple[Someone, Someone]) -> None:
    """A model loader runs once for six jobs of alternating users; an input that differs would have it run each time."""
    models = _offered(two[0])
    if not models and two[0].door.comfy.url == REAL:
        pytest.skip("this ComfyUI has no upscale model that a job could load")
    assert _loads(two, models, tell="") == 1
    assert _loads(two, models, tell="not declared") == 2 * TURNS


def _loads(two: tuple[Someone, Someone], models: list[str], *, tell: str) -> int:
    """How often the loader ran; an input of the name `tell` makes each job's loader another one to the cache."""
    ran = 0
    for someone, _, turn in in_turn(two):
        loader, graph = _upscaled(someone, turn, models[0]) if models else _from_text(turn)
        if tell:
            graph[loader]["inputs"][tell] = f"{someone.name} {turn}"
        entry = someone.finished(graph)
        assert [embedded(someone.view(file).content)[0] for file in files_of(entry)] == [someone.name] * 2
        cached = [data["nodes"] for kind, data in entry["status"]["messages"] if kind == "execution_cached"]
        ran += not any(loader in nodes for nodes in cached)
    return ran


def _upscaled(someone: Someone, turn: int, model: str) -> tuple[str, Graph]:
    """A picture of the user's own, enlarged by a model."""
    name = someone.upload(f"{uuid.uuid4().hex}.png", png((turn, 100, 200)))
    return "2", {
        "1": {"class_type": "LoadImage", "inputs": {"image": name}},
        "2": {"class_type": "UpscaleModelLoader", "inputs": {"model_name": model}},
        "3": {"class_type": "ImageUpscaleWithModel", "inputs": {"upscale_model": ["2", 0], "image": ["1", 0]}},
        "4": {"class_type": "PreviewImage", "inputs": {"images": ["3", 0]}},
        "5": {"class_type": "SaveImage", "inputs": {"images": ["3", 0], "filename_prefix": "larger"}},
    }


def _from_text(turn: int) -> tuple[str, Graph]:
    """The guide's graph, with a preview."""
    graph = text_to_image(seed=turn, size=16)
    return "4", {**graph, "10": {"class_type": "PreviewImage", "inputs": {"images": ["8", 0]}}}


def _offered(someone: Someone) -> list[str]:
    """The upscale models that there are, in both ways in which object_info writes a list; the simulator has none."""
    classes = someone.ask("GET", "/object_info/UpscaleModelLoader").json()
    spec = classes["UpscaleModelLoader"]["input"]["required"]["model_name"] if classes else [[]]
    return list(spec[0] if isinstance(spec[0], list) else spec[1]["options"])
