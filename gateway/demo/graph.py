"""Validation of a prompt: which outputs can run, and ComfyUI's errors for those that cannot.

It does not know the queue or HTTP. Prompts of impossible shape raise (TypeError, KeyError, AttributeError), which the
server answers with 500 exactly as ComfyUI does.
"""

import traceback
from dataclasses import dataclass, field
from typing import Any

from gateway.demo.inputs import Inputs, error
from gateway.demo.nodes import Catalogue
from gateway.demo.places import Places
from gateway.demo.profile import Profile

Errors = list[dict[str, Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """`refusal` is the `error` object of a 400, None when at least one output can run."""

    refusal: dict[str, Any] | None
    outputs: list[str] = field(default_factory=list)
    node_errors: dict[str, Any] = field(default_factory=dict)


def validate(prompt: Any, targets: Any, *, profile: Profile, catalogue: Catalogue, places: Places) -> Verdict:
    """Judge a prompt. Inputs of validated nodes are converted and unwrapped IN PLACE: /queue and /history show that."""
    if profile.jobs_api:
        _replace_nodes(prompt)
    for node_id in prompt:
        refusal = _class_missing(node_id, prompt[node_id], profile=profile, catalogue=catalogue)
        if refusal:
            return Verdict(refusal=refusal)
    inputs = Inputs(profile=profile, catalogue=catalogue, places=places)
    wanted = [
        node_id
        for node_id in prompt
        if catalogue.is_output(prompt[node_id]["class_type"]) and (targets is None or node_id in targets)
    ]
    if not wanted:
        return Verdict(refusal=error("prompt_no_outputs", "Prompt has no outputs", ""))
    return _Validation(prompt=prompt, inputs=inputs, profile=profile).of(wanted)


def _replace_nodes(prompt: Any) -> None:
    """The new version looks for renamed classes first; the simulation has none, but what raises there raises here."""
    for node in prompt.values():
        if "class_type" in node and "inputs" in node:
            node["inputs"].items()


def _class_missing(node_id: str, node: Any, *, profile: Profile, catalogue: Catalogue) -> dict[str, Any] | None:
    if "class_type" in node and node["class_type"] in catalogue:
        return None
    where, known = f"Node ID '#{node_id}'", "class_type" in node
    if not profile.jobs_api:
        message = f"node {node['class_type']} does not exist" if known else "a node is missing the class_type property"
        return error("invalid_prompt", f"Cannot execute because {message}.", where)
    class_type = node.get("class_type")
    title = node.get("_meta", {}).get("title", class_type)
    if not known:
        said = title or f"ID #{node_id}"
        message = f"Node '{said}' has no class_type. The workflow may be corrupted or a custom node is missing."
    else:
        message = f"Node '{title}' not found. The custom node may not be installed."
    return error("missing_node_type", message, where, node_id=node_id, class_type=class_type, node_title=title)


@dataclass(slots=True, kw_only=True)
class _Validation:
    """One walk upstream from each output."""

    prompt: dict[str, Any]
    inputs: Inputs
    profile: Profile
    found: dict[str, tuple[bool, Errors]] = field(default_factory=dict)
    path: list[str] = field(default_factory=list)

    def of(self, outputs: list[str]) -> Verdict:
        node_errors: dict[str, Any] = {}
        bad: Errors = []
        good: list[str] = []
        for output in outputs:
            valid, reasons = self._output(output)
            if valid:
                good.append(output)
                continue
            bad += reasons
            self._blame(output, node_errors)
        if good:
            return Verdict(refusal=None, outputs=good, node_errors=node_errors)
        details = "\n".join(f"{one['message']}: {one['details']}" for one in bad)
        refusal = error("prompt_outputs_failed_validation", "Prompt outputs failed validation", details)
        return Verdict(refusal=refusal, node_errors=node_errors)

    def _output(self, output: str) -> tuple[bool, Errors]:
        try:
            return self._node(output)
        except _EndlessError:
            self.found[output] = (False, [])
            return self.found[output]
        except Exception as raised:
            message = "Exception when validating node"
            reason = error("exception_during_validation", message, str(raised), **_told(raised))
            self.found[output] = (False, [reason])
            return self.found[output]

    def _blame(self, output: str, node_errors: dict[str, Any]) -> None:
        """Nodes that are only downstream of a bad one carry no errors and are not named."""
        for node_id, (valid, reasons) in self.found.items():
            if valid or not reasons:
                continue
            entry = {"errors": reasons, "dependent_outputs": [], "class_type": self.prompt[node_id]["class_type"]}
            node_errors.setdefault(node_id, entry)["dependent_outputs"].append(output)

    def _node(self, node_id: str) -> tuple[bool, Errors]:
        if node_id in self.found:
            return self.found[node_id]
        if node_id in self.path:
            return self._cycle(node_id)
        node = self.prompt[node_id]
        valid, errors = True, []
        for name, value, spec in self.inputs.declared(node):
            if isinstance(value, list):
                linked_valid, reason = self._link(node_id, name, value=value, spec=spec)
                valid = valid and linked_valid
            else:
                reason = self.inputs.checked(node, name, spec)
            errors += [reason] if reason else []
        errors += self.inputs.custom(node)
        already = self.found.get(node_id, (True, []))
        errors = already[1] + [one for one in errors if one not in already[1]]
        self.found[node_id] = (already[0] and valid and not errors, errors)
        return self.found[node_id]

    def _link(self, node_id: str, name: str, *, value: Any, spec: Any) -> tuple[bool, dict[str, Any] | None]:
        reason = self.inputs.bad_link(name, value=value, spec=spec, prompt=self.prompt)
        if reason:
            return False, reason
        self.path.append(node_id)
        try:
            return self._node(value[0])[0], None
        except _EndlessError:
            raise
        except Exception as raised:
            message, told = "Exception when validating inner node", _told(raised)
            about = {"input_name": name, "input_config": spec, "linked_node": value, "exception_message": str(raised)}
            inner = error("exception_during_inner_validation", message, str(raised), **about, **told)
            self.found[value[0]] = (False, [inner])
            return False, None
        finally:
            self.path.pop()

    def _cycle(self, node_id: str) -> tuple[bool, Errors]:
        """The new version names every node of a circle; the old one recurses until Python stops it, and names none."""
        if not self.profile.jobs_api:
            raise _EndlessError
        around = [*self.path[self.path.index(node_id) :], node_id]
        members = list(dict.fromkeys(around))
        told = " -> ".join(f"{one} ({self.prompt[one]['class_type']})" for one in around)
        for one in members:
            reason = error("dependency_cycle", "Dependency cycle detected", told, node_id=one, cycle_nodes=members)
            self.found[one] = (False, [reason])
        return self.found[node_id]


class _EndlessError(RecursionError):
    """A circle of links, where the old version has no check for one."""


def _told(raised: Exception) -> dict[str, Any]:
    return {"exception_type": type(raised).__qualname__, "traceback": traceback.format_tb(raised.__traceback__)}
