"""The tag that keeps ComfyUI's execution cache from giving one user another's result: an input that no node declares.

It does not know files. Two users who submit equal graphs must not get one output file, because it carries the first
one's workflow. Where a node writes below the user's root, the prefix makes the graphs differ; where not, the tag does.

Why an undeclared input is harmless, as both versions do it:
- validation walks the inputs that the class declares, and hands VALIDATE_INPUTS only those, so it never sees the tag;
- a constant for an input that the class does not declare is left out of what the node is called with, for V1 classes
  even if the function takes `**kwargs`; a V3 class gets it only with `accept_all_inputs`;
- the key of the cache is made of every input in the graph, sorted by name, of the node and of all its ancestors.
A V1 class of a custom pack may declare any name there is (an INPUT_TYPES whose `in` always says yes); it would be
called with the tag and fail. object_info does not show that, so classes of packs are never tagged themselves: an
ancestor of ComfyUI's own is, and through it the key of everything below.
"""

from collections import deque
from collections.abc import Mapping
from typing import Any

from gateway.comfy.files import Root
from gateway.comfy.inputs import Inputs, linked
from gateway.comfy.node_class import NodeClass

TAG = "comfy_gateway_owner"


def without_tag(inputs: Inputs) -> Inputs:
    """The inputs without a tag, whoever put it there."""
    return {name: value for name, value in inputs.items() if name != TAG} if TAG in inputs else inputs


def tagged(prompt: Mapping[str, Any], classes: Mapping[str, NodeClass], root: Root) -> dict[str, Any]:
    """The workflow with every output that no prefix sets apart tagged, itself or through its nearest ancestor.

    Weights are never tagged, nor anything above them: they would be loaded again whenever the user changes. An output
    of a pack that has no other ancestor stays as it is.
    """
    marked = {
        owner
        for node_id, node in prompt.items()
        if (class_ := classes.get(node["class_type"])) and class_.output and not class_.confined
        if (owner := _nearest(node_id, prompt, classes)) is not None
    }
    return {node_id: _with_tag(node, root) if node_id in marked else node for node_id, node in prompt.items()}


def _with_tag(node: Mapping[str, Any], root: Root) -> dict[str, Any]:
    return {**node, "inputs": {**node["inputs"], TAG: root.key}}


def _nearest(node_id: str, prompt: Mapping[str, Any], classes: Mapping[str, NodeClass]) -> str | None:
    """The node itself or the nearest ancestor that can be tagged, by breadth first in the order of the inputs."""
    waiting, seen = deque([node_id]), {node_id}
    while waiting:
        current = waiting.popleft()
        class_ = classes.get(prompt[current]["class_type"])
        if class_ is not None and class_.taggable:
            return current
        if class_ is not None and class_.loader:
            continue
        parents = (linked(value) for value in prompt[current]["inputs"].values())
        for parent in parents:
            if parent is not None and parent in prompt and parent not in seen:
                seen.add(parent)
                waiting.append(parent)
    return None
