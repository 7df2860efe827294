"""Which nodes and models a role may put into a workflow."""

import pytest

from gateway.comfy.graph_policy import MissingNode, Policy, check
from gateway.comfy.node_class import UNKNOWN_PACK, NodeClass
from gateway.errors import ModelNotAllowed, NodeNotAllowed

CLASSES = {
    "KSampler": NodeClass("KSampler"),
    "Loader": NodeClass("Loader", models={"ckpt_name": "checkpoints", "more.lora_name": "loras"}),
    "SaveImageDataSetToFolder": NodeClass("SaveImageDataSetToFolder", denied=True),
    "New": NodeClass("New", unclear=("folder",)),
    "VHS": NodeClass("VHS", pack="ComfyUI-VideoHelperSuite"),
    "Odd": NodeClass("Odd", pack=UNKNOWN_PACK),
}


def graph(class_type, **inputs):
    return {"1": {"class_type": "KSampler", "inputs": {}}, "7": {"class_type": class_type, "inputs": inputs}}


@pytest.mark.parametrize(
    ("class_type", "policy", "asks_for"),
    [
        ("SaveImageDataSetToFolder", Policy(), "SaveImageDataSetToFolder"),
        ("New", Policy(), "New"),
        ("VHS", Policy(), "ComfyUI-VideoHelperSuite"),
        ("VHS", Policy(allowed=("*",)), "ComfyUI-VideoHelperSuite"),
        ("VHS", Policy(trusted_packs=("*",), denied=("VHS*",)), "role"),
        ("Odd", Policy(trusted_packs=("odd",)), "trust"),
        ("Loader", Policy(denied=("Loa*",), allowed=("*",)), "role"),
    ],
)
def test_refused_nodes(class_type, policy, asks_for):
    """Packs nobody trusts, folder classes, unclear ones and denied ones are refused, saying what to ask for."""
    with pytest.raises(NodeNotAllowed) as caught:
        check(graph(class_type), CLASSES, policy)
    body = caught.value.body("id")
    assert caught.value.status == 403 and body["error"]["type"] == "node_not_allowed"
    assert asks_for in body["error"]["details"] and class_type in body["error"]["message"]
    assert set(body["node_errors"]) == {"7"}
    assert body["node_errors"]["7"]["errors"][0]["type"] == "node_not_allowed"


@pytest.mark.parametrize(
    ("class_type", "policy"),
    [
        ("KSampler", Policy()),
        ("SaveImageDataSetToFolder", Policy(allowed=("SaveImage*",))),
        ("New", Policy(allowed=("New",))),
        ("VHS", Policy(trusted_packs=("comfyui-videohelpersuite",))),
        ("T2IAdapterLoader", Policy()),
        *((name, Policy(everything=True, denied=("*",))) for name in (*CLASSES, "Unknown")),
    ],
)
def test_permitted_nodes(class_type, policy):
    """ComfyUI's own classes, those allowed by name and those of trusted packs pass; administrators use anything."""
    check(graph(class_type), CLASSES, policy)


def test_missing_classes():
    """A class that the server lacks is ComfyUI's own error, and never reaches it, where a pack could replace it."""
    with pytest.raises(MissingNode) as caught:
        check(graph("OldLoadImage", foo="x.png"), CLASSES, Policy())
    assert (caught.value.status, caught.value.type) == (400, "missing_node_type")


@pytest.mark.parametrize(
    ("policy", "inputs"),
    [
        (Policy(models_denied=("loras/private/*",)), {"more": {"lora_name": "private/x.safetensors"}}),
        (Policy(models_denied=("loras/private/*",)), {"more.lora_name": "private\\x.safetensors"}),
        (Policy(models_denied=("loras/private/*",)), {"more.lora_name": "a/../PRIVATE/x.safetensors"}),
        (Policy(models_allowed=("checkpoints/sdxl*",)), {"ckpt_name": "flux.safetensors"}),
        (Policy(models_allowed=("checkpoints/sdxl*",)), {"ckpt_name": {"__value__": "flux.safetensors"}}),
        (Policy(models_denied=("x",)), {"ckpt_name": ["2", 0]}),
    ],
)
def test_refused_models(policy, inputs):
    """A model is refused in every spelling of its path, nested, wrapped, or when another node names it."""
    with pytest.raises(ModelNotAllowed) as caught:
        check(graph("Loader", **inputs), CLASSES, policy)
    assert set(caught.value.body("id")["node_errors"]) == {"7"}


@pytest.mark.parametrize(
    ("policy", "inputs"),
    [
        (Policy(), {"ckpt_name": ["2", 0]}),
        (Policy(models_allowed=("checkpoints/*",)), {"ckpt_name": "a/b.safetensors"}),
        (Policy(models_allowed=("checkpoints/*",)), {"ckpt_name": "b.safetensors", "more.lora_name": "[None]"}),
        (Policy(models_denied=("loras/private/*",)), {"more.lora_name": "public/x.safetensors"}),
        (Policy(everything=True, models_denied=("*",)), {"ckpt_name": "b.safetensors"}),
    ],
)
def test_permitted_models(policy, inputs):
    """Other models pass, and where no model is limited, so does one that another node names."""
    check(graph("Loader", **inputs), CLASSES, policy)


def test_replaced_classes_keep_the_model_policy():
    """A class that the server turns into a loader of its own is judged as one."""
    with pytest.raises(ModelNotAllowed):
        check(graph("T2IAdapterLoader", t2i_adapter_name="x"), CLASSES, Policy(models_denied=("controlnet/x",)))
