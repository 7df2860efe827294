"""A submit: what a client may say in POST /prompt, checked whole, and the body that ComfyUI gets, written anew.

It does not know users, quotas or which nodes exist. Each rule stands for a body that ended a ComfyUI process, stopped
its only worker thread, or broke a page for everybody who looked at it.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import orjson

from gateway.comfy.chain import longest_chain
from gateway.comfy.document import Limits, read
from gateway.errors import InvalidPrompt

__all__ = ["InvalidPromptId", "Limits", "NoOutputs", "NoPrompt", "Submission", "from_execute", "outgoing", "parse"]

MAX_CLIENT_ID = 3_000
"""Characters; as long as ComfyUI was seen to take."""
MAX_NODE_ID = 256
SECRETS = ("api_key_comfy_org", "auth_token_comfy_org")

_PROMPT_ID = re.compile(r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}")
_NUMBER = re.compile(r"\s*[-+]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][-+]?[0-9]+)?\s*", re.ASCII)
_TEXT_EXTRAS = ("preview_method", "comfy_usage_source")
_OBJECT_EXTRAS = ("extra_pnginfo", "workflow_metadata")


class NoPrompt(InvalidPrompt):
    """ComfyUI's own word for a body without `prompt`."""

    type = "no_prompt"


class NoOutputs(InvalidPrompt):
    """ComfyUI's own word for a prompt, or partial targets, without an output node."""

    type = "prompt_no_outputs"


class InvalidPromptId(InvalidPrompt):
    """ComfyUI's own word for a prompt_id in another form than its own."""

    type = "invalid_prompt_id"


@dataclass(frozen=True, slots=True)
class Submission:
    """One submit, checked. `secrets` is apart from `extra_data` and not in the repr, so nothing keeps it by chance."""

    prompt: dict[str, Any]
    client_id: str | None = None
    prompt_id: str | None = None
    front: bool = False
    number: float | None = None
    extra_data: dict[str, Any] = field(default_factory=dict)
    secrets: dict[str, str] = field(default_factory=dict, repr=False)
    targets: tuple[str, ...] | None = None


def parse(body: bytes, *, limits: Limits) -> Submission:
    """Read the body of POST /prompt.

    Raises TooLarge (413) and InvalidPrompt (400), with ComfyUI's own error type where it has one.
    """
    message = read(body, limits=limits, refusal=InvalidPrompt)
    if not isinstance(message, dict):
        raise InvalidPrompt("The body must be a JSON object.", details='Send {"prompt": {…}}.')
    if "prompt" not in message:
        raise NoPrompt("No prompt provided", details="No prompt provided")
    extra_data = _object(message.get("extra_data", {}), "extra_data")
    return Submission(
        prompt=_prompt(message["prompt"], limits),
        client_id=_client_id(message, extra_data),
        prompt_id=_prompt_id(message.get("prompt_id")),
        front=bool(message.get("front")),
        number=_number(message["number"]) if "number" in message else None,
        extra_data=_kept_extra_data(extra_data),
        secrets=_secrets(extra_data),
        targets=_targets(message.get("partial_execution_targets"), limits),
    )


def from_execute(message: Any, *, client_id: str, limits: Limits) -> Submission:
    """Read the data of the websocket message `execute`: a prompt, or an object with `prompt` as POST /prompt takes it.

    The socket's own client id replaces any other, so that the events come back on that socket. Raises as `parse` does.
    """
    body = message if _is_submit(message) else {"prompt": message}
    try:
        document = orjson.dumps(body)
    except TypeError:
        raise InvalidPrompt("The workflow is nested too deeply.") from None
    return replace(parse(document, limits=limits), client_id=client_id)


def outgoing(submission: Submission, *, prompt_id: str, client_id: str, number: float, create: int) -> bytes:
    """Write the body that ComfyUI gets; `create` is the time of the submit in milliseconds, as newer servers add it."""
    if not math.isfinite(number):
        raise ValueError("a prompt number must be finite")
    body: dict[str, Any] = {
        "prompt": submission.prompt,
        "client_id": client_id,
        "prompt_id": prompt_id,
        "number": number,
        "extra_data": {**submission.extra_data, **submission.secrets, "create_time": create},
    }
    if submission.targets is not None:
        body["partial_execution_targets"] = submission.targets
    return orjson.dumps(body)


def _is_submit(message: Any) -> bool:
    """Whether `prompt` is the field of a submit, and not a node that happens to have that name."""
    return isinstance(message, dict) and "prompt" in message and "class_type" not in _as_object(message["prompt"])


def _as_object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _object(value: Any, name: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise InvalidPrompt(f"{name} must be a JSON object.", details=f"It is {_named(value)}.")
    return value


def _named(value: Any) -> str:
    names = {dict: "an object", list: "a list", str: "a text", bool: "true or false", type(None): "null"}
    return names.get(type(value), "a number")


def _prompt(value: Any, limits: Limits) -> dict[str, Any]:
    nodes = _object(value, "prompt")
    if not nodes:
        raise NoOutputs("Prompt has no outputs")
    if len(nodes) > limits.max_nodes:
        raise InvalidPrompt("The workflow has too many nodes.", extra_info={"limit": limits.max_nodes})
    prompt = {node_id: _node(node_id, node) for node_id, node in nodes.items()}
    if longest_chain(prompt) > limits.max_chain:
        raise InvalidPrompt("The workflow links too many nodes in one chain.", extra_info={"limit": limits.max_chain})
    return prompt


def _node(node_id: str, value: Any) -> dict[str, Any]:
    """Only the keys that a client has business with: ComfyUI reads others too, such as `is_changed` for its cache."""
    if len(node_id) > MAX_NODE_ID:
        raise InvalidPrompt("A node id is too long.", details=node_id[:64], extra_info={"limit": MAX_NODE_ID})
    node = _object(value, f"Node {node_id!r}")
    class_type, inputs, meta = node.get("class_type"), node.get("inputs"), node.get("_meta")
    if not isinstance(class_type, str) or not class_type:
        raise _bad_node(node_id, "class_type", "a text that names the kind of node")
    # A node that leads to no output and has no inputs stops ComfyUI's worker thread.
    if not isinstance(inputs, dict):
        raise _bad_node(node_id, "inputs", "an object, which may be empty: {}")
    kept = {"class_type": class_type, "inputs": inputs}
    return {**kept, "_meta": meta} if isinstance(meta, dict) else kept


def _bad_node(node_id: str, key: str, wanted: str) -> InvalidPrompt:
    return InvalidPrompt(
        f"Node {node_id!r} has no usable {key}.",
        details=f"`{key}` must be {wanted}. Export the workflow in API format.",
        extra_info={"node_id": node_id},
    )


def _client_id(message: Mapping[str, Any], extra_data: Mapping[str, Any]) -> str | None:
    """ComfyUI's whole process ends when this is a list or an object."""
    value = message.get("client_id")
    if value is None:
        nested = extra_data.get("client_id")
        value = nested if isinstance(nested, str) else None
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if value is not None and not isinstance(value, str):
        raise InvalidPrompt("client_id must be a text.", details=f"It is {_named(value)}.")
    if value is not None and len(value) > MAX_CLIENT_ID:
        raise InvalidPrompt("client_id is too long.", extra_info={"limit": MAX_CLIENT_ID})
    return value


def _prompt_id(value: Any) -> str | None:
    if value is None or (isinstance(value, str) and _PROMPT_ID.fullmatch(value)):
        return value
    raise InvalidPromptId(
        "prompt_id must be a valid UUID",
        details="Write it in lower case with hyphens, or leave it out: the server then makes one.",
    )


def _number(value: Any) -> float:
    """ComfyUI takes NaN here, and then shows everybody a queue that no browser can read."""
    text = value if isinstance(value, str) else repr(value) if type(value) in (int, float) else ""
    number = float(text) if _NUMBER.fullmatch(text) else math.nan
    if not math.isfinite(number):
        raise InvalidPrompt("number must be a finite number.", details="Leave it out to queue in order.")
    return number


def _targets(value: Any, limits: Limits) -> tuple[str, ...] | None:
    if value is None:
        return None
    if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
        raise InvalidPrompt("partial_execution_targets must be a list of node ids.", details='For example ["9"].')
    if not value:
        raise NoOutputs("Prompt has no outputs", details="partial_execution_targets is empty.")
    if len(value) > limits.max_nodes:
        raise InvalidPrompt("There are too many partial_execution_targets.", extra_info={"limit": limits.max_nodes})
    return tuple(value)


def _kept_extra_data(extra_data: Mapping[str, Any]) -> dict[str, Any]:
    """What ComfyUI and its editor use; the rest would be stored, echoed and read by whoever looks at the history."""
    texts = {key: extra_data[key] for key in _TEXT_EXTRAS if isinstance(extra_data.get(key), str)}
    objects = {key: dict(extra_data[key]) for key in _OBJECT_EXTRAS if isinstance(extra_data.get(key), dict)}
    pnginfo = objects.get("extra_pnginfo", {})
    # Anything but an object here makes /api/jobs fail for everybody while the job is in ComfyUI's history.
    if "workflow" in pnginfo and not isinstance(pnginfo["workflow"], dict):
        del pnginfo["workflow"]
    kept = {**texts, **objects}
    return {key: kept[key] for key in extra_data if key in kept}


def _secrets(extra_data: Mapping[str, Any]) -> dict[str, str]:
    secrets = {key: extra_data[key] for key in SECRETS if extra_data.get(key) is not None}
    for key, value in secrets.items():
        if not isinstance(value, str):
            raise InvalidPrompt(f"{key} must be a text.", details=f"It is {_named(value)}.")
    return secrets
