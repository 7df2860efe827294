"""Node classes by what object_info says of them, and the table of roles against both recorded versions."""

import re

import pytest

from gateway.comfy import roles
from gateway.comfy.node_class import UNKNOWN_PACK, describe, replaced
from gateway.comfy.prefix import Place
from gateway.comfy.roles import Read

FILE_NAMES = {"filename_prefix", "folder_name", "folder", "prefix"}
NO_PREFIX = {"PreviewImage", "MaskPreview", "PreviewAudio", "Preview3D", "PreviewAny", "SaveImageWebsocket"}


def declared(entry):
    for section in ("required", "optional"):
        yield from entry["input"].get(section, {}).items()


def nested(value):
    """Every `name: [type, options]` anywhere in a class's inputs."""
    if isinstance(value, dict):
        for name, item in value.items():
            if isinstance(item, list) and item and isinstance(item[-1], dict) and isinstance(item[0], str | list):
                yield name, item[-1]
            yield from nested(item)
    for item in value if isinstance(value, list) else ():
        yield from nested(item)


def is_core(entry):
    return not entry["python_module"].startswith("custom_nodes.") or "websocket_image_save" in entry["python_module"]


def test_every_prefix_and_folder_of_comfyui_is_in_the_table(object_info):
    """Every input of ComfyUI's own classes that is called as a prefix or a folder is in the table, by class."""
    missing = [
        (name, input_)
        for name, entry in object_info.items()
        if is_core(entry)
        for input_, _ in nested(entry["input"])
        if input_ in FILE_NAMES
        if input_ not in roles.WRITES.get(name, {}) and (name, input_) not in roles.NOT_FILES
    ]
    assert not missing


def test_every_upload_of_comfyui_is_in_the_table(object_info):
    """Every input of ComfyUI's own classes with an upload flag, a folder or a file list is in the table, by class."""
    missing = [
        (name, input_)
        for name, entry in object_info.items()
        if is_core(entry)
        for input_, options in nested(entry["input"])
        if any(key.endswith("_upload") or key in ("image_folder", "remote") for key in options)
        if input_ not in roles.READS.get(name, {})
    ]
    assert not missing


def test_nothing_of_comfyui_is_unclear(object_info):
    """No class of the recorded versions is denied because the table does not know its inputs."""
    assert not [name for name, entry in object_info.items() if describe(entry).unclear]


def test_every_name_in_the_table_is_real(object_info):
    """What the table says of a class that a version has is about inputs that it has."""
    for name, entry in object_info.items():
        inputs = {input_ for input_, _ in declared(entry)}
        for input_ in (*roles.READS.get(name, {}), *roles.WRITES.get(name, {}), *roles.CLASS_MODELS.get(name, {})):
            assert input_.partition(".")[0] in inputs, (name, input_)


def test_every_model_of_comfyui_is_known(object_info):
    """Every picker of ComfyUI's loaders that a server without models shows empty is a model, a file or a folder."""
    for name, entry in object_info.items():
        class_ = describe(entry)
        known = class_.models.keys() | class_.reads.keys() | class_.writes.keys()
        for input_, spec in declared(entry):
            empty = spec[0] == [] or (spec[0] == "COMBO" and spec[1].get("options") == [])
            named = re.search(r"(ckpt|lora|vae|unet|clip|control_net|model)_name\d?$", input_)
            assert input_ in known or name in roles.TAKES_ANYTHING or not (empty or named), (name, input_)


def test_outputs_without_a_prefix(object_info):
    """Every output of ComfyUI either writes below the root or can be tagged."""
    outputs = {name: describe(entry) for name, entry in object_info.items() if is_core(entry)}
    outputs = {name: class_ for name, class_ in outputs.items() if class_.output}
    assert all(class_.confined or class_.taggable for class_ in outputs.values())
    assert {name for name, class_ in outputs.items() if not class_.confined} >= NO_PREFIX
    assert outputs["SaveImage"].confined and not outputs["LossGraphNode"].confined


def test_intermediate_outputs(object_info):
    """A class that shows pictures without being an output node counts as one that can put files into the answer."""
    shown = [name for name, entry in object_info.items() if entry.get("has_intermediate_output")]
    assert all(describe(object_info[name]).output for name in shown)


def test_packs(object_info):
    """ComfyUI's own modules are no pack, and neither is the one that it ships; the rest are packs by directory."""
    assert describe(object_info["LoadImage"]).pack == ""
    assert describe(object_info["CheckpointSave"]).pack == ""
    assert describe(object_info["SaveImageWebsocket"]).pack == ""
    assert describe(object_info["LabSlow"]).pack == "lab_slow"
    for module in (None, 5, "", "custom_nodes", "nodes2.x", "my_pack"):
        assert describe({"name": "X", "python_module": module}).pack == UNKNOWN_PACK
    assert describe({"name": "LoadImage", "python_module": "custom_nodes.evil-1.2"}).pack == "evil-1.2"


def test_loaders(object_info):
    """Loaders know the model folder, and classes that give out weights are loaders."""
    assert describe(object_info["CheckpointLoaderSimple"]).models == {"ckpt_name": "checkpoints"}
    assert describe(object_info["CLIPVisionLoader"]).models == {"clip_name": "clip_vision"}
    assert describe(object_info["CLIPLoader"]).models == {"clip_name": "text_encoders"}
    assert describe(object_info["ModelMergeSimple"]).loader and not describe(object_info["KSampler"]).loader


def entry(inputs, *, module="custom_nodes.pack", name="X"):
    return {"name": name, "python_module": module, "input": inputs, "output": [], "output_node": True}


def test_flags():
    """A class that the table lacks says itself which inputs are files, inside dynamic choices too."""
    choice = {"key": "file", "inputs": {"required": {"clip": [["a.mp4"], {"video_upload": True}]}}}
    class_ = describe(
        entry(
            {
                "required": {
                    "picture": [["a.png"], {"image_upload": True}],
                    "made": ["COMBO", {"image_upload": True, "image_folder": "output"}],
                    "far": ["COMBO", {"remote": {"route": "/internal/files/temp"}}],
                    "not": [["a"], {"image_upload": False}],
                    "source": ["COMFY_DYNAMICCOMBO_V3", {"options": [choice]}],
                    "filename_prefix": ["STRING", {"default": "x"}],
                },
            }
        )
    )
    reads = {"picture": Read(), "made": Read(default="output"), "far": Read(default="temp"), "source.clip": Read()}
    assert class_.reads == reads
    assert class_.writes == {"filename_prefix": Place.PREFIX} and class_.defaults == {}


def test_optional_prefixes():
    """An optional prefix has the default that the node would write to."""
    optional = {"filename_prefix": ["STRING", {"default": "vid"}]}
    assert describe(entry({"optional": optional})).defaults == {"filename_prefix": "vid"}
    assert describe(entry({"optional": {"filename_prefix": ["STRING"]}})).defaults == {"filename_prefix": "ComfyUI"}


@pytest.mark.parametrize(
    "inputs",
    [
        {"required": {"folder": ["STRING", {}]}},
        {"required": {"scene": ["LOAD_3D", {}]}},
        {"optional": {"many": ["COMFY_AUTOGROW_V3", {"template": {"input": {"required": {"file": ["STRING", {}]}}}}]}},
        {
            "optional": {
                "m": ["COMFY_AUTOGROW_V3", {"template": {"input": {"required": {"p": [[], {"image_upload": 1}]}}}}]
            }
        },
    ],
)
def test_unclear(inputs):
    """A class of ComfyUI that is newer than the table and may name files is unclear; a pack's is judged as a pack's."""
    assert describe(entry(inputs, module="comfy_extras.nodes_new")).unclear
    assert not describe(entry(inputs)).unclear


@pytest.mark.parametrize(
    "broken", [{}, {"input": 5}, {"input": {"required": [1]}}, {"input": {"required": {"a": [], "b": 1}}}]
)
def test_broken_entries(broken):
    """An entry that is not understood is a class of an unknown pack."""
    assert describe(broken).pack == UNKNOWN_PACK


def test_replaced():
    """Only the classes that ComfyUI itself replaces are known without an entry."""
    assert replaced("T2IAdapterLoader").models["t2i_adapter_name"] == "controlnet"
    assert replaced("OldPackNode") is None
