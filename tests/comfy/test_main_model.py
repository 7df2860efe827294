"""The one model that a job counts for."""

from typing import Any

from gateway.comfy.main_model import MOST_CHARACTERS, main_model
from gateway.comfy.node_class import NodeClass

CLASSES = {
    "Checkpoint": NodeClass("Checkpoint", models={"ckpt_name": "checkpoints"}),
    "UNET": NodeClass("UNET", models={"unet_name": "diffusion_models"}),
    "LoRA": NodeClass("LoRA", models={"lora_name": "loras"}),
    "Save": NodeClass("Save", output=True),
}


def node(class_type: str, **inputs: Any) -> dict[str, Any]:
    return {"class_type": class_type, "inputs": inputs}


def test_the_first_checkpoint_counts() -> None:
    """A checkpoint comes before a diffusion model, and that before a model of another kind; of two the first in the
    workflow counts."""
    lora, unet = node("LoRA", lora_name="l.st"), node("UNET", unet_name="u.st")
    one, two = node("Checkpoint", ckpt_name="sd/one.st"), node("Checkpoint", ckpt_name={"__value__": "two.st"})
    save = node("Save", a=["a", 0], b=["b", 0], c=["c", 0], d=["d", 0])
    assert main_model({"a": lora, "b": unet, "c": one, "d": two, "s": save}, CLASSES) == "checkpoints/sd/one.st"
    assert main_model({"a": lora, "b": unet, "c": two, "d": one, "s": save}, CLASSES) == "checkpoints/two.st"
    assert main_model({"a": lora, "b": unet, "s": save}, CLASSES) == "diffusion_models/u.st"
    assert main_model({"a": lora, "s": save}, CLASSES) == "loras/l.st"


def test_what_does_not_run_does_not_count() -> None:
    """A model that no output stands on, or none of the targets, is not loaded, so it does not count."""
    one, two = node("Checkpoint", ckpt_name="one.st"), node("Checkpoint", ckpt_name="two.st")
    prompt = {"a": one, "b": two, "s": node("Save", b=["b", 0]), "t": node("Save", a=["a", 0])}
    assert main_model({"a": one, "b": two, "s": prompt["s"]}, CLASSES) == "checkpoints/two.st"
    assert main_model(prompt, CLASSES) == "checkpoints/one.st"
    assert main_model(prompt, CLASSES, targets=["s"]) == "checkpoints/two.st"
    assert main_model({"a": one}, CLASSES) == ""


def test_what_names_no_model() -> None:
    """No model, one that another node names, and classes that nobody knows count as none; a name is cut."""
    save = node("Save", a=["a", 0])
    assert (
        main_model({"s": save}, CLASSES) == main_model({"s": save, "a": node("Unknown", ckpt_name="x")}, CLASSES) == ""
    )
    assert main_model({"s": save, "a": node("Checkpoint", ckpt_name=["s", 0])}, CLASSES) == ""
    assert len(main_model({"s": save, "a": node("Checkpoint", ckpt_name="x" * 999)}, CLASSES)) == MOST_CHARACTERS
