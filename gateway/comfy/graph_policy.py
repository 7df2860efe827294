"""Whether a workflow uses only node classes and models that a role may use.

It does not know files; `graph_files` comes after it. What is unknown is refused.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from posixpath import normpath
from typing import Any

from gateway.comfy.inputs import values
from gateway.comfy.node_class import NodeClass, replaced
from gateway.comfy.problems import Problem, node_errors
from gateway.errors import InvalidPrompt, ModelNotAllowed, NodeNotAllowed

Prompt = Mapping[str, Any]
Classes = Mapping[str, NodeClass]


class MissingNode(InvalidPrompt):
    """ComfyUI's own word for a class that the server does not have."""

    type = "missing_node_type"


@dataclass(frozen=True, slots=True)
class Policy:
    """What a role may put into a workflow. Patterns are those of file names: `*`, `?`, `[a-z]`; `*` spans slashes.

    `denied` beats `allowed`, and `allowed` lifts the gateway's own denial of a class of ComfyUI, not that of a pack.
    Models are matched as `folder/name`. `everything` is for administrators.
    """

    everything: bool = False
    denied: tuple[str, ...] = ()
    allowed: tuple[str, ...] = ()
    trusted_packs: tuple[str, ...] = ()
    models_allowed: tuple[str, ...] = ("*",)
    models_denied: tuple[str, ...] = ()

    def refusal(self, class_: NodeClass) -> str:
        """Why a class may not be used, and what to ask for; "" when it may."""
        if self.everything:
            return ""
        if _matches(class_.name, self.denied):
            return "Nodes of this class are not allowed to your role."
        if class_.pack:
            return "" if self._trusts(class_.pack) else f"Ask an administrator to trust the pack {class_.pack!r}."
        if _matches(class_.name, self.allowed):
            return ""
        if class_.denied:
            return f"It works on whole folders. Ask an administrator to allow {class_.name!r} by name."
        if class_.unclear:
            return (
                f"What {class_.unclear[0]!r} opens is not known. Ask an administrator to allow {class_.name!r} by name."
            )
        return ""

    def permits_model(self, folder: str, name: str) -> bool:
        """Whether a model of a model folder may be loaded; `name` as a picker shows it."""
        # ComfyUI resolves dots, and on Windows writes backslashes, and its file systems may not know cases.
        path = folder + normpath("/" + name.replace("\\", "/").lstrip("/"))
        denied = any(fnmatchcase(path.casefold(), pattern.casefold()) for pattern in self.models_denied)
        return self.everything or (not denied and _matches(path, self.models_allowed))

    @property
    def limits_models(self) -> bool:
        """Whether there is a model that it does not permit."""
        return not self.everything and (bool(self.models_denied) or "*" not in self.models_allowed)

    def _trusts(self, pack: str) -> bool:
        # A pack is called as its directory, whose case an administrator may not have looked at.
        return any(fnmatchcase(pack.casefold(), pattern.casefold()) for pattern in self.trusted_packs)


def check(prompt: Prompt, classes: Classes, policy: Policy) -> None:
    """Raises MissingNode (400) for a class that the server lacks, else NodeNotAllowed or ModelNotAllowed (403), which
    name every node concerned."""
    found = {node_id: _class(node_id, node["class_type"], classes, policy) for node_id, node in prompt.items()}
    nodes = [
        Problem(node_id, "", NodeNotAllowed.type, f"The node {class_.name!r} is not allowed.", reason)
        for node_id, class_ in found.items()
        if class_ and (reason := policy.refusal(class_))
    ]
    if nodes:
        raise NodeNotAllowed(nodes[0].message, details=nodes[0].details, node_errors=node_errors(prompt, nodes))
    models = [
        problem
        for node_id, class_ in found.items()
        if class_
        for problem in _models(node_id, prompt[node_id]["inputs"], class_, policy)
    ]
    if models:
        raise ModelNotAllowed(models[0].message, details=models[0].details, node_errors=node_errors(prompt, models))


def _class(node_id: str, name: str, classes: Classes, policy: Policy) -> NodeClass | None:
    class_ = classes.get(name) or replaced(name)
    if class_ is None and not policy.everything:
        raise MissingNode(
            f"The server has no node of the class {name!r}.",
            details=f"Node ID '#{node_id}'",
            extra_info={"node_id": node_id, "class_type": name},
        )
    return class_


def _models(node_id: str, inputs: Mapping[str, Any], class_: NodeClass, policy: Policy) -> Iterator[Problem]:
    for input_, folder in class_.models.items() if policy.limits_models else ():
        for value in values(inputs, input_):
            if isinstance(value, str) and value.strip().strip("[]").casefold() in ("", "none"):
                continue
            # A model that another node names cannot be checked before the graph runs.
            if not isinstance(value, str) or not policy.permits_model(folder, value):
                message = f"The model {value!r} is not allowed." if isinstance(value, str) else "Name the model itself."
                yield Problem(node_id, input_, ModelNotAllowed.type, message, f"Ask for {folder}/{value}.")


def _matches(text: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatchcase(text, pattern) for pattern in patterns)
