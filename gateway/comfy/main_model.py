"""The model that a job counts for: one, so that what is counted by model adds up to what was used.

It does not know what is counted. A workflow with several models counts for its first checkpoint, or else its first
diffusion model, or else the first model of another kind, in the order in which the workflow has its nodes.
"""

from collections.abc import Collection, Iterator, Mapping
from typing import Any, Final

from gateway.comfy.chain import leading_to
from gateway.comfy.inputs import values
from gateway.comfy.node_class import NodeClass

Prompt = Mapping[str, Any]

MOST_CHARACTERS: Final = 255
_FIRST: Final = ("checkpoints", "diffusion_models", "diffusers")


def main_model(prompt: Prompt, classes: Mapping[str, NodeClass], *, targets: Collection[str] | None = None) -> str:
    """The model as `folder/name`, "" where none is named. Only nodes that an output stands on count, or one of
    `targets`, as only these run: nobody can put the name of a model that does not exist into the books."""
    outputs = [node_id for node_id, node in prompt.items() if _is_output(node, classes)]
    needed = leading_to(prompt, outputs if targets is None else targets)
    found = [model for node_id in prompt if node_id in needed for model in _models(prompt[node_id], classes)]
    folder, name = min(found, key=lambda model: _rank(model[0]), default=("", ""))
    return f"{folder}/{name}"[:MOST_CHARACTERS] if name else ""


def _is_output(node: Mapping[str, Any], classes: Mapping[str, NodeClass]) -> bool:
    known = classes.get(node["class_type"])
    return known is not None and known.output


def _models(node: Mapping[str, Any], classes: Mapping[str, NodeClass]) -> Iterator[tuple[str, str]]:
    known = classes.get(node["class_type"])
    for name, folder in known.models.items() if known else ():
        yield from ((folder, value) for value in values(node["inputs"], name) if isinstance(value, str) and value)


def _rank(folder: str) -> int:
    return _FIRST.index(folder) if folder in _FIRST else len(_FIRST)
