"""What ComfyUI says of a workflow that is wrong or has failed, as its owner may read it.

It does not know how the words arrive nor where they go. For a member: no traceback, no path of the host, no other root,
and no list of what others have. For an administrator everything but secrets.
"""

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from gateway.comfy.files import MAX_DEPTH, Root, visible_json
from gateway.comfy.host import without_host_paths
from gateway.comfy.node_class import NodeClass
from gateway.comfy.prefix import Place

SECRET_NAMES: Final = frozenset({"api_key_comfy_org", "auth_token_comfy_org", "comfy_api_key", "auth_token"})
"""As they stand in extra_data, and as ComfyUI 0.3.64 hands them to its API nodes, whose inputs an error repeats."""
REMOVED: Final = "(removed)"
NOT_IN_LIST: Final = "value_not_in_list"
_TRACEBACK: Final = re.compile(r"\s*Traceback \(most recent call last\).*", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Reader:
    """Who reads: the owner of the job, by root, and the secrets that came with it."""

    root: Root
    admin: bool = False
    secrets: Collection[str] = field(default=(), repr=False)


def refusal(
    body: Any, reader: Reader, *, classes: Mapping[str, NodeClass], model_allowed: Callable[[str, str], bool]
) -> Any:
    """The body of an answer to POST /prompt, ComfyUI's 400 or the `node_errors` of a 200.

    `classes` are those of the workflow; what is listed for inputs of a class that is missing there is removed.
    """
    if reader.admin or not isinstance(body, dict):
        return told(body, reader)
    lists = _Lists(classes, model_allowed)
    errors = body.get("node_errors")
    nodes = {key: lists.cleaned(node) for key, node in errors.items()} if isinstance(errors, dict) else errors
    cleaned = {**body, "node_errors": nodes} if "node_errors" in body else body
    return told({**cleaned, "error": lists.summary(body["error"])} if "error" in body else cleaned, reader)


def told(value: Any, reader: Reader) -> Any:
    """Anything else that ComfyUI says of the job: the data of `execution_error`, the messages of a history entry."""
    value = _without_secrets(value, tuple(filter(None, reader.secrets)), MAX_DEPTH)
    if reader.admin:
        return value
    # Roots come first: a path of the host ends at the first blank, and half of another's file name would stay.
    return without_host_paths(visible_json(_without_tracebacks(value), reader.root))


class _Lists:
    """The errors of one answer without lists of others' files and of models that may not be seen. Remembers which
    details it changed: the summary of the whole answer repeats those of output nodes."""

    def __init__(self, classes: Mapping[str, NodeClass], model_allowed: Callable[[str, str], bool]) -> None:
        self._classes, self._model_allowed = classes, model_allowed
        self._changed: dict[str, str] = {}

    def cleaned(self, node: Any) -> Any:
        """One value of `node_errors`."""
        if not isinstance(node, dict) or not isinstance(node.get("errors"), list):
            return node
        class_ = self._classes.get(str(node.get("class_type")))
        return {**node, "errors": [self._error(error, class_) for error in node["errors"]]}

    def summary(self, error: Any) -> Any:
        """The `error` of the answer."""
        if not isinstance(error, dict) or not isinstance(error.get("details"), str):
            return error
        details = error["details"]
        for before, after in sorted(self._changed.items(), key=lambda pair: -len(pair[0])):
            # An empty text would be found between any two letters.
            details = details.replace(before, after) if before else details
        return {**error, "details": details}

    def _error(self, error: Any, class_: NodeClass | None) -> Any:
        info = error.get("extra_info") if isinstance(error, dict) else None
        if not isinstance(info, dict):
            return error
        name = str(info.get("input_name"))
        listed = self._shown(class_, name, _choices(info.get("input_config")))
        if listed is None:
            return error
        config = _with_choices(info["input_config"], listed) if listed else None
        cleaned = {**error, "extra_info": {**info, "input_config": config} if "input_config" in info else info}
        if error.get("type") != NOT_IN_LIST:
            return cleaned
        # ComfyUI itself leaves lists of more than twenty out in these words, and with them the `input_config`.
        details = f"{name}: '{info.get('received_value')}' not in {listed or '(list of what you may use)'}"
        self._changed[str(error.get("details"))] = details
        return {**cleaned, "details": details}

    def _shown(self, class_: NodeClass | None, name: str, choices: list[Any]) -> list[Any] | None:
        """The choices that may be shown; None when all may."""
        if class_ is None or class_.pack:
            return []
        if name in class_.models:
            folder = class_.models[name]
            return [choice for choice in choices if self._model_allowed(folder, str(choice))]
        files = name in class_.reads or name in class_.unclear or class_.writes.get(name) is Place.FOLDER
        return [] if files else None


def _choices(config: Any) -> list[Any]:
    first = config[0] if isinstance(config, list) and config else None
    if isinstance(first, list):
        return first
    options = config[1].get("options") if first and len(config) > 1 and isinstance(config[1], dict) else None
    return options if isinstance(options, list) else []


def _with_choices(config: list[Any], choices: list[Any]) -> list[Any]:
    first = choices if isinstance(config[0], list) else config[0]
    return [first, *({"options": choices} for _ in config[1:2] if first is not choices)]


def _without_tracebacks(value: Any) -> Any:
    """Lists of frames are emptied, not removed: the editor joins their lines."""
    if isinstance(value, str):
        return _TRACEBACK.sub("", value) if "Traceback (" in value else value
    if isinstance(value, dict):
        return {
            key: [] if key == "traceback" and isinstance(item, list) else _without_tracebacks(item)
            for key, item in value.items()
            if key != "traceback" or not isinstance(item, str)
        }
    return [_without_tracebacks(item) for item in value] if isinstance(value, list) else value


def _without_secrets(value: Any, secrets: tuple[str, ...], depth: int) -> Any:
    if isinstance(value, str):
        for secret in secrets:
            value = value.replace(secret, REMOVED)
        return value
    if isinstance(value, dict) and depth:
        return {
            key: _without_secrets(item, secrets, depth - 1) for key, item in value.items() if key not in SECRET_NAMES
        }
    if isinstance(value, list) and depth:
        return [_without_secrets(item, secrets, depth - 1) for item in value]
    return None if isinstance(value, dict | list) else value
