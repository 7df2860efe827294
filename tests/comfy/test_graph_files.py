"""The files that a workflow names."""

import copy
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.comfy import roles
from gateway.comfy.files import FileRef, Root
from gateway.comfy.graph_files import Source, read_files, rooted, visible
from gateway.comfy.inputs import unwrapped
from gateway.comfy.node_class import NodeClass
from gateway.comfy.owner_tag import TAG
from gateway.comfy.prefix import Place
from gateway.comfy.roles import Read
from gateway.errors import FileNotAllowed
from tests.comfy.opening import (
    BASES,
    KEY,
    NAMES,
    OTHER,
    VALUES,
    read_path,
    saved_path,
    strings,
    windows_read_path,
    windows_saved_path,
)

ROOT = Root(KEY)
MINE = f"users/{KEY}"
CORE = {
    name: NodeClass(
        name, output=name in roles.WRITES, reads=roles.READS.get(name, {}), writes=roles.WRITES.get(name, {})
    )
    for name in (*roles.READS, *roles.WRITES)
}
CLASSES = {
    **CORE,
    "PreviewImage": NodeClass("PreviewImage", output=True),
    "PrimitiveString": NodeClass("PrimitiveString"),
    "Pack": NodeClass("Pack", pack="pack", reads={"picture": Read()}, writes={"filename_prefix": Place.PREFIX}),
    "Optional": NodeClass("Optional", writes={"filename_prefix": Place.PREFIX}, defaults={"filename_prefix": "vid"}),
}
READ_INPUTS = [(name, input_, read) for name, reads in roles.READS.items() for input_, read in reads.items()]
WRITE_INPUTS = [(name, input_, place) for name, places in roles.WRITES.items() for input_, place in places.items()]


def absent(ref):
    return Source.ABSENT


def own(ref):
    return Source.OWN


def graph(class_type, input_, value):
    """A workflow of one node; `a.b` makes the object `a`."""
    head, _, rest = input_.partition(".")
    return {"1": {"class_type": class_type, "inputs": {head: {rest: value} if rest else value}}}


def input_of(prompt, input_):
    value = prompt["1"]["inputs"]
    for key in input_.split("."):
        value = value[key]
    return value


def send(class_type, input_, value, **more):
    return rooted(graph(class_type, input_, value), CLASSES, ROOT, **{"exists": absent, **more})


@pytest.mark.parametrize(
    ("class_type", "input_", "value", "sent"),
    [
        ("LoadImage", "image", "a.png", f"{MINE}/a.png"),
        ("LoadImage", "image", "clipspace/m.png [input]", f"{MINE}/clipspace/m.png"),
        ("LoadImage", "image", "a.png [output]", f"{MINE}/a.png [output]"),
        ("LoadImage", "image", f"{MINE}/{MINE}/a.png", f"{MINE}/a.png"),
        ("LoadImage", "image", {"__value__": {"__value__": "a.png"}}, f"{MINE}/a.png"),
        ("LoadImage", "image", "", ""),
        ("LoadImage", "image", "none", f"{MINE}/none"),
        ("LoadImageOutput", "image", "a.png", f"{MINE}/a.png [output]"),
        ("LoadImageOutput", "image", "a.png [input]", f"{MINE}/a.png"),
        ("Load3D", "image.mask", "m.png", f"{MINE}/m.png"),
        ("Load3D", "image.recording", "", ""),
        ("Load3D", "model_file", "none", "none"),
        ("Load3D", "model_file", "3d/x.glb", f"{MINE}/3d/x.glb"),
        ("Painter", "mask", "painter/p.png [input]", f"{MINE}/painter/p.png"),
        ("Preview3D", "model_file", "x.glb", f"{MINE}/x.glb"),
        ("Preview3D", "model_file", ["2", 0], ["2", 0]),
        ("SaveImage", "filename_prefix", "", f"{MINE}/ComfyUI"),
        ("SaveImage", "filename_prefix", f"users/{OTHER}/a", f"{MINE}/a"),
        ("SaveImage", "filename_prefix", {"__value__": "../x/y"}, f"{MINE}/x/y"),
        ("SaveImage", "filename_prefix", 5, f"{MINE}/5"),
        ("SaveImage", "filename_prefix", 1e22, f"{MINE}/1e+22"),
        ("SaveImage", "filename_prefix", True, f"{MINE}/True"),
        ("SaveLoRA", "prefix", "loras/x", f"{MINE}/loras/x"),
        ("LossGraphNode", "filename_prefix", "../../output/x", "x"),
        ("SaveImageDataSetToFolder", "folder_name", "/srv/x", f"{MINE}/srv/x"),
        ("LoadTrainingDataset", "folder_name", "", MINE),
        ("Optional", "other", 1, 1),
    ],
)
def test_rooted(class_type, input_, value, sent):
    """Names go below the root once, whatever wraps them; prefixes are cleaned; words that name no file stay."""
    assert input_of(send(class_type, input_, value), input_) == sent


@pytest.mark.parametrize(
    ("class_type", "input_", "value"),
    [
        ("LoadImage", "image", f"users/{OTHER}/x.png"),
        ("LoadImage", "image", f"Users/{OTHER}/x.png [output]"),
        ("LoadImage", "image", f"{MINE}/users/{OTHER}/x.png"),
        ("LoadImage", "image", f"users/{KEY.upper()}/x.png"),
        ("LoadImage", "image", {"__value__": f"users/{OTHER}/x.png"}),
        ("LoadImage", "image", "../x.png"),
        ("LoadImage", "image", "/etc/passwd"),
        ("LoadImage", "image", "C:\\x.png"),
        ("LoadImage", "image", "x.png [temp]"),
        ("LoadImage", "image", ["2", 0]),
        ("LoadImage", "image", {"__value__": ["2", 0]}),
        ("LoadImage", "image", ["a.png", "b.png"]),
        ("LoadImage", "image", None),
        ("Painter", "mask", 5),
        ("Load3D", "image.normal", "/etc/x.png"),
        ("Load3D", "image", ["2", 0]),
        ("WebcamCapture", "image", "../x.png"),
        ("Preview3D", "model_file", "../x.glb"),
        ("SaveImage", "filename_prefix", ["2", 0]),
        ("SaveImage", "filename_prefix", {"__value__": ["2", 0]}),
        ("SaveImage", "filename_prefix", {"a": 1}),
        ("SaveImage", "filename_prefix", None),
        ("Pack", "picture", f"users/{OTHER}/x.png"),
        ("Pack", "filename_prefix", ["2", 0]),
        ("Pack", "anything", {"deep": [["../x"]]}),
        ("Pack", "anything", {"__value__": "/etc/passwd"}),
        ("Pack", "anything", f"x users/{OTHER}/y"),
    ],
)
def test_refused(class_type, input_, value):
    """Another's root, a way out, a file that is gone, a name from another node or in another form: refused, by node."""
    with pytest.raises(FileNotAllowed) as caught:
        send(class_type, input_, value)
    errors = caught.value.body("id")["node_errors"]["1"]
    assert errors["class_type"] == class_type and errors["dependent_outputs"] == []
    assert {error["type"] for error in errors["errors"]} == {"file_not_allowed"}
    assert OTHER not in json.dumps(errors)


def test_every_problem_is_named():
    """A refusal names every node and input concerned."""
    prompt = {
        "1": {"class_type": "LoadImage", "inputs": {"image": "../x"}},
        "2": {"class_type": "SaveImage", "inputs": {"filename_prefix": ["9", 0]}},
        "3": {"class_type": "LoadImage", "inputs": {"image": "a.png"}},
    }
    with pytest.raises(FileNotAllowed) as caught:
        rooted(prompt, CLASSES, ROOT, exists=absent)
    assert set(caught.value.node_errors) == {"1", "2"}
    assert caught.value.node_errors["2"]["errors"][0]["extra_info"] == {"input_name": "filename_prefix"}


@pytest.mark.parametrize(
    ("source", "value", "sent"),
    [
        (Source.SHARED, "logo.png", "logo.png"),
        (Source.RECORDED, "ComfyUI_temp_x_00001_.png [temp]", "ComfyUI_temp_x_00001_.png [temp]"),
        (Source.OWN, "threed/scene.png [temp]", f"{MINE}/threed/scene.png [temp]"),
    ],
)
def test_sources(source, value, sent):
    """What is shared or recorded keeps its name, and what is one's own goes below the root, temp files too."""
    prompt = send("LoadImage", "image", value, exists=lambda ref: source)
    assert input_of(prompt, "image") == sent
    assert input_of(visible(prompt, CLASSES, ROOT), "image") == value


@pytest.mark.parametrize("name", [f"Users/{'g' * 32}/x.png", "users/bob/x.png", "\uff55\u017fers/x.png"])
def test_nothing_below_the_roots_is_shared(name):
    """Whatever a lookup says, a file in the folder of the roots is not reached without one's own root."""
    for source in (Source.SHARED, Source.RECORDED):
        with pytest.raises(FileNotAllowed):
            send("LoadImage", "image", name, exists=lambda ref, source=source: source)


def test_read_files():
    """All files that a workflow reads are known beforehand, by their visible names."""
    prompt = {
        "1": {"class_type": "LoadImage", "inputs": {"image": f"{MINE}/a.png"}},
        "2": {"class_type": "Load3D", "inputs": {"model_file": "none", "image": {"image": "i.png [temp]", "mask": ""}}},
        "3": {"class_type": "Pack", "inputs": {"anything": ["b.png [output]"]}},
        "4": {"class_type": "LoadImage", "inputs": {"image": "../x"}},
    }
    assert read_files(prompt, CLASSES, ROOT) == {
        FileRef("input", "", "a.png"),
        FileRef("temp", "", "i.png"),
        FileRef("output", "", "b.png"),
    }


def test_an_optional_prefix_is_never_left_out():
    """A node whose optional prefix is absent writes below the root too."""
    assert send("Optional", "other", 1)["1"]["inputs"] == {"other": 1, "filename_prefix": f"{MINE}/vid"}


def test_tags():
    """Outputs without a prefix are tagged with the root's key, and the tag is never shown or taken from a client."""
    prompt = send("PreviewImage", TAG, "forged")
    assert prompt["1"]["inputs"] == {TAG: KEY}
    assert visible(prompt, CLASSES, ROOT)["1"]["inputs"] == {}
    assert TAG not in send("SaveImage", TAG, "forged")["1"]["inputs"]
    assert TAG in send("LossGraphNode", "filename_prefix", "x")["1"]["inputs"]


def test_administrators():
    """Without strictness wired names and the paths of packs stay; ComfyUI's own names are confined all the same."""
    assert input_of(send("SaveImage", "filename_prefix", ["2", 0], strict=False), "filename_prefix") == ["2", 0]
    assert input_of(send("Pack", "path", "/data/x.mp4", strict=False), "path") == "/data/x.mp4"
    assert input_of(send("Pack", "path", "x.png [output]", strict=False), "path") == f"{MINE}/x.png [output]"
    with pytest.raises(FileNotAllowed):
        send("LoadImage", "image", "/etc/passwd", strict=False)


def test_unknown_classes_stay():
    """A class that is not described is left alone, but for the tag."""
    prompt = {"1": {"class_type": "New", "inputs": {"image": "../x", TAG: "forged"}, "_meta": {"title": "t"}}}
    expected = {"1": {"class_type": "New", "inputs": {"image": "../x"}, "_meta": {"title": "t"}}}
    assert rooted(prompt, CLASSES, ROOT, exists=absent) == visible(prompt, CLASSES, ROOT) == expected


@given(st.sampled_from(READ_INPUTS), VALUES, st.sampled_from([absent, own]))
@settings(max_examples=500)
def test_reads_stay_below_the_root(role, value, exists):
    """For any value of any input that names a file, both versions open a file below the root, or it is refused."""
    class_type, input_, read = role
    try:
        prompt = send(class_type, input_, value, exists=exists)
    except FileNotAllowed:
        return
    sent = input_of(prompt, input_)
    if (read.wired and isinstance(unwrapped(sent), list)) or sent in ("", *read.words):
        return
    assert isinstance(sent, str)
    for version in ("0.3.64", "0.28.1"):
        opened = str(read_path(sent, version=version, default=read.bare))
        assert any(opened.startswith(f"{base}/{MINE}/") for base in BASES.values())
        # Nodes for 3D scenes in 0.3.64, and for webcams, resolve the result a second time.
        assert version == "0.28.1" or read_path(opened, version=version) == opened
    assert windows_read_path(sent).startswith(f"C:\\srv\\users\\{KEY}\\")


@given(st.sampled_from(WRITE_INPUTS), VALUES)
@settings(max_examples=500)
def test_writes_stay_below_the_root(role, value):
    """For any value of any input that says where to write, the server writes below the root, or it is refused."""
    class_type, input_, place = role
    try:
        sent = input_of(send(class_type, input_, value), input_)
    except FileNotAllowed:
        return
    assert isinstance(sent, str)
    if place is Place.NAME:
        assert not set(sent) & set("/\\\0") and sent.strip(" .")
        return
    whole = f"{sent}/x" if place is Place.FOLDER else sent
    assert str(saved_path(whole)).startswith(f"{BASES['output']}/{MINE}/")
    assert windows_saved_path(whole).startswith(f"C:\\srv\\users\\{KEY}\\")


@given(VALUES)
@settings(max_examples=500)
def test_packs_strings(value):
    """No string for a trusted pack names another's root, is absolute, goes up, or is annotated and not ours."""
    try:
        sent = send("Pack", "anything", value)["1"]["inputs"]["anything"]
    except FileNotAllowed:
        return
    for text in strings(sent):
        assert f"users/{OTHER}" not in text.replace("\\", "/").casefold()
        assert ".." not in text.replace("\\", "/").split("/")
        assert not text.startswith(("/", "\\", "~/", "C:/", "C:\\")) or len(text.splitlines()) > 1
        assert not text.endswith(("[input]", "[output]", "[temp]")) or text.startswith(f"{MINE}/")


NODES = st.one_of(
    st.builds(graph, st.just("LoadImage"), st.just("image"), VALUES),
    st.sampled_from(READ_INPUTS).flatmap(lambda role: st.builds(graph, st.just(role[0]), st.just(role[1]), VALUES)),
    st.sampled_from(WRITE_INPUTS).flatmap(lambda role: st.builds(graph, st.just(role[0]), st.just(role[1]), VALUES)),
    st.builds(graph, st.sampled_from(["Pack", "Optional", "New", "PreviewImage"]), st.sampled_from(["x", TAG]), VALUES),
    st.builds(graph, st.just("Pack"), st.sampled_from(["picture", "filename_prefix"]), NAMES),
)
GRAPHS = st.lists(NODES, min_size=1, max_size=4).map(
    lambda graphs: {str(index + 1): one["1"] for index, one in enumerate(graphs)}
)


def looked_up(ref):
    """A lookup that knows some files; the same name is always the same thing."""
    if ref.type == "temp":
        return Source.RECORDED if not ref.subfolder else Source.OWN
    return Source.SHARED if ref == FileRef("input", "", "b.png") else Source.OWN


@given(GRAPHS)
@settings(max_examples=500)
def test_laws(prompt):
    """Rooting the visible form of a rooted graph gives the same graph; what is read back is the visible form of what
    was sent; and the client's own objects are never changed."""
    before = copy.deepcopy(prompt)
    seen = visible(prompt, CLASSES, ROOT)
    assert visible(seen, CLASSES, ROOT) == seen
    try:
        sent = rooted(prompt, CLASSES, ROOT, exists=looked_up)
    except FileNotAllowed:
        return
    finally:
        assert prompt == before
    assert visible(sent, CLASSES, ROOT) == seen
    assert rooted(seen, CLASSES, ROOT, exists=looked_up) == sent
    assert rooted(sent, CLASSES, ROOT, exists=looked_up) == sent
