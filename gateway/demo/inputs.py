"""Validation of the inputs of one node: conversions, limits, combos, links.

It does not walk the graph (`graph` does), and knows types only as /object_info names them.
"""

from collections.abc import Iterator
from typing import Any

from gateway.demo.nodes import Catalogue
from gateway.demo.places import Places
from gateway.demo.profile import Profile

_CONVERSIONS = {"INT": int, "FLOAT": float, "STRING": str, "BOOLEAN": bool}
_FILE_INPUTS = {"LoadImage": "image", "LoadImageMask": "image", "LoadImageOutput": "image", "LoadLatent": "latent"}
_MODEL_3D = "model_file"
_LONGEST_LIST_SHOWN = 20


def error(kind: str, message: str, details: str, **extra_info: Any) -> dict[str, Any]:
    """An error object as ComfyUI shapes all of them."""
    return {"type": kind, "message": message, "details": details, "extra_info": extra_info}


class Inputs:
    """The checks of a node's inputs against its definition."""

    def __init__(self, *, profile: Profile, catalogue: Catalogue, places: Places) -> None:
        self._profile = profile
        self._catalogue = catalogue
        self._places = places

    def declared(self, node: dict[str, Any]) -> Iterator[tuple[str, Any, list[Any]]]:
        """(name, value, [type, options]) of every declared input that is given or required.

        A required one that is missing comes with the value `MISSING`. Undeclared inputs are ignored here, though they
        are part of the cache key.
        """
        given, class_type = node["inputs"], node["class_type"]
        kinds = self._catalogue.definition(class_type)["input"]
        for kind in ("required", "optional"):
            for name, spec in kinds.get(kind, {}).items():
                if name in given or kind == "required":
                    yield name, given.get(name, MISSING), [spec[0], spec[1] if len(spec) > 1 else {}]

    def checked(self, node: dict[str, Any], name: str, spec: list[Any]) -> dict[str, Any] | None:
        """Convert one value in place; the error when it cannot be, or breaks a limit."""
        given = node["inputs"]
        if name not in given:
            return error("required_input_missing", "Required input is missing", name, input_name=name)
        if isinstance(given[name], dict) and "__value__" in given[name]:
            given[name] = given[name]["__value__"]
        value = given[name]
        convert = _CONVERSIONS.get(spec[0]) if isinstance(spec[0], str) else None
        try:
            given[name] = convert(value) if convert else value
        except (TypeError, ValueError) as raised:
            about = {"input_name": name, "input_config": spec, "received_value": value}
            message = f"Failed to convert an input value to a {spec[0]} value"
            details = f"{name}, {value}, {raised}"
            return error("invalid_input_type", message, details, **about, exception_message=str(raised))
        if name == self._file_input(node["class_type"]):
            return None  # Classes with a validation function of their own for an input skip the general one.
        return _outside_limits(name, given[name], spec) or self._not_listed(name, given[name], spec)

    def _not_listed(self, name: str, value: Any, spec: list[Any]) -> dict[str, Any] | None:
        if not isinstance(spec[0], list) and spec[0] != "COMBO":
            return None
        options = spec[0] if isinstance(spec[0], list) else spec[1].get("options", [])
        if value in options:
            return None
        short = len(options) <= _LONGEST_LIST_SHOWN
        listed = str(options) if short else f"(list of length {len(options)})"
        quoted = repr(value) if self._profile.jobs_api else f"'{value}'"
        about = {"input_name": name, "input_config": spec if short else None, "received_value": value}
        return error("value_not_in_list", "Value not in list", f"{name}: {quoted} not in {listed}", **about)

    def custom(self, node: dict[str, Any]) -> list[dict[str, Any]]:
        """What the class's own validation says: loaders want their file to exist. Raises as theirs does."""
        class_type = node["class_type"]
        name = self._file_input(class_type)
        if name is None:
            return []
        if name not in node["inputs"]:
            raise TypeError(f"{class_type}.VALIDATE_INPUTS() missing 1 required positional argument: '{name}'")
        value = node["inputs"][name]
        if name == _MODEL_3D and value in ("", "none"):
            return []
        # A link has no value yet, so its check raises like that of a number: the mismatch of types is never told.
        path = self._places.resolve(None if isinstance(value, list) else value)
        if path is not None and path.exists():
            return []
        details = f"{name} - Invalid {'3D model' if name == _MODEL_3D else name} file: {value}"
        return [error("custom_validation_failed", "Custom validation failed for node", details, input_name=name)]

    def _file_input(self, class_type: str) -> str | None:
        """The input that a class's own validation looks at. The old Load3D has none, and takes only what it lists."""
        if class_type == "Load3D" and self._profile.jobs_api:
            return _MODEL_3D
        return _FILE_INPUTS.get(class_type)

    def bad_link(self, name: str, *, value: Any, spec: list[Any], prompt: dict[str, Any]) -> dict[str, Any] | None:
        """The error of a link of wrong length or type; raises KeyError, IndexError for one that leads nowhere."""
        about = {"input_name": name, "input_config": spec}
        if len(value) != 2:
            message = "Bad linked input, must be a length-2 list of [node_id, slot_index]"
            return error("bad_linked_input", message, name, **about, received_value=value)
        received = self._catalogue.outputs(prompt[value[0]]["class_type"])[value[1]]
        if _fits(received, spec[0]):
            return None
        details = f"{name}, received_type({received}) mismatch input_type({spec[0]})"
        about |= {"received_type": received, "linked_node": value}
        return error("return_type_mismatch", "Return type mismatch between linked nodes", details, **about)


class _Missing:
    """The type of the value an absent required input is given."""


MISSING = _Missing()


def _fits(received: str, wanted: Any) -> bool:
    if received == wanted or "*" in (received, wanted):
        return True
    return isinstance(wanted, str) and bool(set(received.split(",")) & set(wanted.split(",")))


def _outside_limits(name: str, value: Any, spec: list[Any]) -> dict[str, Any] | None:
    about = {"input_name": name, "input_config": spec, "received_value": value}
    low, high = spec[1].get("min"), spec[1].get("max")
    if low is not None and value < low:
        return error("value_smaller_than_min", f"Value {value} smaller than min of {low}", name, **about)
    if high is not None and value > high:
        return error("value_bigger_than_max", f"Value {value} bigger than max of {high}", name, **about)
    return None
