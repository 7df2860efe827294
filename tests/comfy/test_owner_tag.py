"""The tag that keeps users' results apart in ComfyUI's execution cache."""

from gateway.comfy.files import Root
from gateway.comfy.node_class import NodeClass
from gateway.comfy.owner_tag import TAG, tagged
from gateway.comfy.prefix import Place
from tests.comfy.opening import KEY, OTHER

CLASSES = {
    class_.name: class_
    for class_ in (
        NodeClass("Loader", loader=True),
        NodeClass("Sampler"),
        NodeClass("CustomCombo"),
        NodeClass("PreviewImage", output=True),
        NodeClass("SaveImage", output=True, writes={"filename_prefix": Place.PREFIX}),
        NodeClass("PackShow", pack="pack", output=True),
        NodeClass("PackSave", pack="pack", output=True, writes={"filename_prefix": Place.PREFIX}),
        NodeClass("PackStep", pack="pack"),
        NodeClass("PackLoader", pack="pack", loader=True),
    )
}


def node(class_type, *parents):
    return {"class_type": class_type, "inputs": {f"in{index}": parent for index, parent in enumerate(parents)}}


def marked(prompt):
    result = tagged(prompt, CLASSES, Root(KEY))
    return {node_id for node_id, node in result.items() if node["inputs"].get(TAG) == KEY}


def test_outputs_without_a_prefix():
    """An output of ComfyUI without a prefix is tagged itself, and nothing else is."""
    prompt = {
        "1": node("Loader"),
        "2": node("Sampler", ["1", 0]),
        "3": node("PreviewImage", ["2", 0]),
        "4": node("SaveImage", ["2", 0]),
        "5": node("PackSave", ["2", 0]),
    }
    assert marked(prompt) == {"3"}


def test_outputs_of_packs():
    """An output of a pack is reached through its nearest ancestor of ComfyUI that is no loader."""
    prompt = {
        "1": node("Loader"),
        "2": node("Sampler", ["1", 0]),
        "3": node("Sampler", ["2", 0]),
        "4": node("PackStep", ["1", 0], {"__value__": ["3", 0]}),
        "5": node("PackShow", 7, ["missing", 0], ["4", 0]),
    }
    assert marked(prompt) == {"3"}


def test_loaders_are_never_tagged():
    """Weights are not loaded again when the user changes: neither a loader nor what is above one is tagged."""
    prompt = {
        "0": node("Sampler"),
        "1": node("Loader", ["0", 0]),
        "2": node("PackLoader", ["0", 0]),
        "3": node("PackShow", ["1", 0], ["2", 0]),
    }
    assert marked(prompt) == set()


def test_classes_that_take_anything():
    """A class that is handed undeclared inputs is not tagged, but what is above it."""
    prompt = {"1": node("Sampler"), "2": node("CustomCombo", ["1", 0]), "3": node("PackShow", ["2", 0])}
    assert marked(prompt) == {"1"}


def test_cycles_end():
    """A graph that runs in a circle, which ComfyUI refuses, is walked once."""
    assert marked({"1": node("PackShow", ["2", 0]), "2": node("PackStep", ["1", 0])}) == set()


def test_users_differ():
    """The same graph of two users is never the same to the cache, and of one user always is."""
    prompt = {"1": node("PreviewImage")}
    assert tagged(prompt, CLASSES, Root(KEY)) != tagged(prompt, CLASSES, Root(OTHER))
    assert tagged(prompt, CLASSES, Root(KEY)) == tagged(prompt, CLASSES, Root(KEY))
    assert prompt == {"1": node("PreviewImage")}
