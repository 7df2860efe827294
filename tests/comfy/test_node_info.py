"""GET /object_info as one user sees it, on both recorded versions."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.comfy.graph_policy import Policy
from gateway.comfy.node_class import NodeClass, describe, specs
from gateway.comfy.node_info import EMPTY, NodeList, for_user, read
from gateway.comfy.pickers import OwnNames

Info = dict[str, Any]
FORBIDDEN = ("zz-bob.png", "zz-bob.mp4", "zz-bob.wav", "zz-bob.latent", "3d/zz-bob.glb", "zz-bobs-folder")
OWN = OwnNames(inputs=("mine.png", "mine.mp4", "mine.mp3", "mine.latent", "3d/mine.glb", "photos/mine.png"))
LOADERS = ("LoadImage", "LoadImageMask", "LoadAudio", "LoadVideo", "LoadLatent", "Load3D")
KEY, OTHER = "0" * 32, "f" * 32


def everything(_: NodeClass) -> bool:
    return True


def any_model(folder: str, name: str) -> bool:
    return True


def shown(nodes: NodeList, own: OwnNames = OWN, **rules: Any) -> Info:
    return for_user(nodes, own, **{"allowed": everything, "model_allowed": any_model, **rules})


def strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for pair in value.items():
            yield from (text for part in pair for text in strings(part))
    elif isinstance(value, list):
        yield from (text for item in value for text in strings(item))


def choices(spec: Any) -> Any:
    return spec[0] if isinstance(spec[0], list) else spec[1]["options"]


def picker(entry: Info) -> Any:
    return next(spec for name, spec in entry["input"]["required"].items() if name in describe(entry).reads)


def at(entry: Info, path: tuple[str | int, ...]) -> Any:
    value: Any = entry
    for step in path:
        value = value[step]
    return value


def fill(spec: Any, names: list[str]) -> None:
    """Put choices into an input, in whichever of the two forms it is, and a default."""
    if isinstance(spec[0], list):
        spec[0] = names
        spec[1:] = [{**(spec[1] if len(spec) > 1 else {}), "default": names[0]}]
    elif "options" in spec[1] or spec[0] == "COMBO":
        spec[1] = {**spec[1], "options": names, "default": names[0]}


def crowded(object_info: Info) -> Info:
    """The same server when everybody has put files into its folders."""
    filled: Info = json.loads(json.dumps(object_info))
    for entry in filled.values():
        class_ = describe(entry)
        for spec in specs(entry):
            if spec.name in class_.reads or (class_.denied and spec.name in class_.writes):
                fill(at(entry, spec.path), [*FORBIDDEN])
    return filled


def test_no_name_of_anybody_else_is_left(object_info: Info) -> None:
    """I23: in no picker of files or folders, in no default and nowhere else is there a name that is not one's own."""
    told = set(strings(shown(read(crowded(object_info)))))
    assert not told & set(FORBIDDEN)
    assert {"mine.png", "mine.mp4", "mine.mp3", "mine.latent"} <= told


def test_pickers_list_ones_own(object_info: Info) -> None:
    """Each loader lists the files of its kind, in the form in which this version writes its choices."""
    crowd = crowded(object_info)
    told = shown(read(crowd))
    expected = {
        "LoadImage": ["mine.png"],
        "LoadImageMask": ["mine.png"],
        "LoadAudio": ["mine.mp3", "mine.mp4"],
        "LoadVideo": ["mine.mp4"],
        "LoadLatent": ["mine.latent"],
        "Load3D": ["3d/mine.glb"],
    }
    assert {name: choices(picker(told[name])) for name in LOADERS} == expected
    for name in LOADERS:
        assert isinstance(picker(told[name])[0], type(picker(crowd[name])[0]))


def test_a_word_that_names_no_file_stays(object_info: Info) -> None:
    """`none` in the list of 3D models is a choice, not somebody's file."""
    filled = json.loads(json.dumps(object_info))
    fill(picker(filled["Load3D"]), ["none", "3d/zz-bob.glb"])
    assert choices(picker(shown(read(filled))["Load3D"])) == ["none", "3d/mine.glb"]


def test_nothing_else_changes(object_info: Info, version: str) -> None:
    """A user with the server's own files gets the server's own answer, in its order, byte for byte."""
    folders = ("3d/nothing.txt", "pics/a.png") if version == "0.28.1" else ("pics/a.png",)
    told = shown(read(object_info), OwnNames(inputs=("red.png", *folders)))
    assert json.dumps(told) == json.dumps(object_info)


def test_the_server_s_answer_is_not_touched(object_info: Info) -> None:
    """What one user sees is made beside the shared answer, never in it."""
    filled = crowded(object_info)
    before = json.dumps(filled)
    shown(read(filled))
    assert json.dumps(filled) == before


def test_blocked_nodes_are_hidden(object_info: Info) -> None:
    """A member sees neither classes that work on whole folders, nor those of packs that nobody trusted, nor denied
    ones."""
    policy = Policy(denied=("KSampler*",))
    told = shown(read(object_info), allowed=lambda class_: not policy.refusal(class_))
    gone = set(object_info) - set(told)
    assert {"KSampler", "KSamplerAdvanced"} <= gone
    assert {name for name in object_info if "Folder" in name and name.startswith("Load")} <= gone
    packs = {name for name, entry in object_info.items() if entry["python_module"] == "custom_nodes.lab_slow"}
    assert packs and packs <= gone
    assert list(told) == [name for name in object_info if name not in gone]


def test_models_are_filtered(object_info: Info) -> None:
    """A model that the role may not load is in no list and is no default; "None" and the like stay."""
    filled = json.loads(json.dumps(object_info))
    names = ["private/a.safetensors", "b.safetensors"]
    fill(filled["CheckpointLoaderSimple"]["input"]["required"]["ckpt_name"], names)
    fill(filled["LoraLoader"]["input"]["required"]["lora_name"], ["private/l.safetensors", "None", "[None]"])
    told = shown(read(filled), model_allowed=Policy(models_denied=("*/private/*",)).permits_model)
    checkpoint = told["CheckpointLoaderSimple"]["input"]["required"]["ckpt_name"]
    assert choices(checkpoint) == ["b.safetensors"] and "default" not in checkpoint[1]
    assert choices(told["LoraLoader"]["input"]["required"]["lora_name"]) == ["None", "[None]"]
    assert "private/a.safetensors" not in set(strings(told))


def pack(options: list[str], **more: Any) -> Info:
    spec = ["COMBO", {"options": options, **more}]
    return {"input": {"required": {"what": spec}}, "name": "Pack", "python_module": "custom_nodes.pack", "output": []}


def test_packs_do_not_list_what_core_pickers_list(object_info: Info) -> None:
    """A trusted pack that looks into the input folder itself shows no file that LoadImage would show to others, and no
    root; its other choices stay."""
    listed = ["auto", "zz-bob.png", f"users/{OTHER}/x.png", "users", "b/c.png"]
    told = shown(read({**crowded(object_info), "Pack": pack(listed, default="zz-bob.png")}))
    assert told["Pack"]["input"]["required"]["what"] == ["COMBO", {"options": ["auto", "b/c.png"]}]


def test_inputs_inside_dynamic_ones() -> None:
    """A picker inside a choice of a dynamic combo is a picker."""
    inner = {"required": {"file": [["zz-bob.png"], {"image_upload": True}]}}
    outer = ["COMFY_DYNAMICCOMBO_V3", {"options": [{"key": "a", "inputs": {}}, {"key": "b", "inputs": inner}]}]
    entry = {"input": {"optional": {"kind": outer}}, "name": "New", "python_module": "nodes", "output": []}
    told = shown(read({"New": entry}))["New"]["input"]["optional"]["kind"]
    assert told[1]["options"][1]["inputs"]["required"]["file"] == [["mine.png"], {"image_upload": True}]
    assert told[1]["options"][0] == {"key": "a", "inputs": {}}


def test_one_class(object_info: Info) -> None:
    """One class alone looks as it does among the others; an unknown one is nothing."""
    nodes = read(crowded(object_info))
    assert shown(nodes.only("LoadImage")) == {"LoadImage": shown(nodes)["LoadImage"]}
    assert shown(nodes.only("Nope")) == {}


def test_what_is_known_is_not_read_again(object_info: Info) -> None:
    """An entry that has not changed keeps what was understood of it; one that has is read anew."""
    before = read(object_info)
    after = read(crowded(object_info), before=before)
    assert after.classes["KSampler"] is before.classes["KSampler"]
    assert after.listed == set(FORBIDDEN) and before.listed == {"red.png"}


PARTS = st.sampled_from(["a.png", "b.mp4", "none", "None", "users", f"users/{OTHER}/a.png", "3d/x.glb", "", "x"])
OPTIONS = st.lists(PARTS | st.integers() | st.none() | st.lists(st.text(max_size=2), max_size=2), max_size=6)
SETTINGS = st.dictionaries(
    st.sampled_from(["options", "default", "image_upload", "file_upload", "remote", "tooltip", "image_folder"]),
    OPTIONS | PARTS | st.booleans() | st.dictionaries(st.sampled_from(["route", "inputs"]), PARTS, max_size=2),
)
SPECS = st.tuples(st.sampled_from(["COMBO", "STRING", "COMFY_DYNAMICCOMBO_V3"]) | OPTIONS, SETTINGS).map(list)
NAMES = st.sampled_from(["image", "file", "ckpt_name", "video", "folder", "what"])
ENTRIES = st.fixed_dictionaries(
    {
        "input": st.fixed_dictionaries({"required": st.dictionaries(NAMES, SPECS | SPECS.map(lambda spec: spec[:1]))}),
        "name": st.sampled_from(["LoadImage", "Load3D", "Other", "VHS_LoadVideo", "LoadImageDataSetFromFolder"]),
        "python_module": st.sampled_from(["nodes", "custom_nodes.x", "?"]),
        "output": st.just([]),
    }
)


@given(ENTRIES)
@settings(max_examples=300)
def test_whatever_a_picker_looked_like(entry: Info) -> None:
    """Of a picker's choices, whatever they were, none is left but one's own and the words that name no file; nothing
    raises, and what is no picker is as it was."""
    nodes = read({"X": entry})
    told = shown(nodes, OwnNames(inputs=("mine.png",)))["X"]
    changed = {spot.path for spot in nodes.spots["X"]}
    for spec in specs(entry):
        if spec.path not in changed:
            assert at(told, spec.path) == at(entry, spec.path)
        elif spec.names_file or spec.name in nodes.classes["X"].reads:
            assert set(strings(choices(at(told, spec.path)))) <= {"mine.png", "none"}


@pytest.mark.parametrize("broken", [None, 1, "text", [], {"input": 1}, {"input": {"required": {"a": []}}}])
def test_entries_that_are_none(broken: Any) -> None:
    """What is not a class is left out; what is one, with inputs that cannot be read, has no pickers."""
    nodes = read({"X": broken})
    assert shown(nodes) == ({"X": broken} if isinstance(broken, dict) else {})
    assert not nodes.listed


def test_no_user_s_view_depends_on_another_s(object_info: Info) -> None:
    """The same shared list gives each user their own."""
    nodes = read(crowded(object_info), before=EMPTY)
    views: list[Callable[[], Info]] = [lambda: shown(nodes), lambda: shown(nodes, OwnNames(inputs=("hers.png",)))]
    assert [choices(picker(view()["LoadImage"])) for view in views] == [["mine.png"], ["hers.png"]]
