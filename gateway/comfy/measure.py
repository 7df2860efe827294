"""How large the work of a workflow's nodes is: pictures at once, pixels of one picture, steps of one sampler.

It does not know what is allowed. It reads the numbers as ComfyUI would; a number that another node makes is followed to
a node that only holds it, and else stays unknown: it is known when the graph runs, and not before.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from gateway.comfy.inputs import is_link, linked, unwrapped

Prompt = Mapping[str, Any]
Kind = Literal["batch", "pixels", "steps"]

_NAMES: Final[Mapping[str, Kind]] = {
    "batch_size": "batch",
    "steps": "steps",
    "megapixels": "pixels",
}
"""Inputs of ComfyUI's own nodes, and by custom of the packs', in any node."""
_REPEATS: Final = ("Repeat", "amount")
"""Classes of such names repeat a batch so many times; elsewhere an `amount` may be of anything."""
_NOT_PICTURES: Final = "CLIPTextEncode"
"""Classes of such names take a width and a height that are hints to the model, by custom larger than the picture."""
_SIDES: Final = ("width", "height")
_HOLDERS: Final = frozenset({"PrimitiveInt", "PrimitiveFloat", "PrimitiveString"})
"""ComfyUI's nodes that only hold a value, in their input `value`."""
_MEBI: Final = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Measured:
    """What one node asks for, by the input that says so; `value` is None where nobody can know yet."""

    node_id: str
    input: str
    kind: Kind
    value: int | None


def measure(prompt: Prompt) -> Iterator[Measured]:
    """Everything that is a size, node by node."""
    for node_id, node in prompt.items():
        inputs = _flat(node["inputs"])
        for name, value in inputs.items():
            kind, number = _kind(node["class_type"], _last(name)), _number(prompt, value)
            if kind is not None and not _is_nonsense(number):
                factor = _MEBI if _last(name) == "megapixels" else 1
                yield Measured(node_id, name, kind, None if number is None else _whole(number * factor))
        if not node["class_type"].startswith(_NOT_PICTURES):
            yield from _areas(prompt, node_id, inputs)


def _kind(class_name: str, name: str) -> Kind | None:
    repeats, amount = _REPEATS
    return "batch" if name == amount and class_name.startswith(repeats) else _NAMES.get(name)


def _areas(prompt: Prompt, node_id: str, inputs: Mapping[str, Any]) -> Iterator[Measured]:
    """Width times height, of each pair of inputs at the same place. Where one is 0 ComfyUI keeps the proportions: then
    the picture counts as a square."""
    for name, value in inputs.items():
        place, _, last = name.rpartition(".")
        other = f"{place}.{_SIDES[1]}" if place else _SIDES[1]
        if last != _SIDES[0] or other not in inputs:
            continue
        width, height = _number(prompt, value), _number(prompt, inputs[other])
        if _is_nonsense(width) or _is_nonsense(height):
            continue
        known = None if width is None or height is None else _whole((width or height) * (height or width))
        yield Measured(node_id, name, "pixels", known)


def _number(prompt: Prompt, value: Any) -> float | None:
    """The number that ComfyUI makes of a value: it takes 20, 20.0, true, "20" and " 2_0 ". None: not known yet. What is
    no number is NaN: ComfyUI refuses it, or it is a text that happens to have the name of a size."""
    value = _followed(prompt, value)
    if is_link(value):
        return None
    try:
        return float(value) if isinstance(value, int | float | str) else math.nan
    except (ValueError, OverflowError):
        return math.nan


def _is_nonsense(number: float | None) -> bool:
    return number is not None and math.isnan(number)


def _followed(prompt: Prompt, value: Any) -> Any:
    """What a node holds that a link leads to, or the last link on the way there."""
    value = unwrapped(value)
    for _ in range(len(prompt)):
        node = prompt.get(linked(value) or "")
        if node is None or node["class_type"] not in _HOLDERS or "value" not in node["inputs"]:
            break
        value = unwrapped(node["inputs"]["value"])
    return value


def _whole(number: float) -> int:
    """In the bounds of 64 bits: a text such as "-1e999" is an infinite number."""
    if number >= 2**63:
        return 2**63 - 1
    return -(2**63) if number <= -(2**63) else int(number)


def _flat(inputs: Mapping[str, Any], above: str = "") -> dict[str, Any]:
    """With what lies in objects under dotted names: ComfyUI's dynamic inputs come in both forms."""
    flat: dict[str, Any] = {}
    left: list[tuple[str, Mapping[str, Any]]] = [(above, inputs)]
    while left:
        place, values = left.pop()
        for name, value in values.items():
            plain = unwrapped(value)
            if isinstance(plain, Mapping):
                left.append((f"{place}{name}.", plain))
            else:
                flat[f"{place}{name}"] = plain
    return flat


def _last(name: str) -> str:
    return name.rpartition(".")[2]
