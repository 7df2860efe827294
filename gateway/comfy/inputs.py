"""The inputs of one node in a workflow, and a way to change some of them that never touches what a client sent.

It does not know what an input means.
"""

from collections.abc import Callable, Mapping
from typing import Any, TypeGuard

Inputs = Mapping[str, Any]
Change = Callable[[Any], Any]

_WRAPPER = "__value__"


def unwrapped(value: Any) -> Any:
    """The value that a node gets for `{"__value__": value}`, with which an editor sends lists that are no links.

    ComfyUI takes one wrapper off, and only from a node that leads to an output; here all go, so that what is checked
    is what is used whatever it does.
    """
    while isinstance(value, Mapping) and _WRAPPER in value:
        value = value[_WRAPPER]
    return value


def is_link(value: Any) -> TypeGuard[list[Any]]:
    """Whether ComfyUI takes a value for `[node id, output index]`, also after it took a wrapper off."""
    value = unwrapped(value)
    return (
        isinstance(value, list) and len(value) == 2 and isinstance(value[0], str) and isinstance(value[1], int | float)
    )


def linked(value: Any) -> str | None:
    """The id of the node that a link comes from."""
    return str(unwrapped(value)[0]) if is_link(value) else None


def changed(inputs: Inputs, name: str, change: Change) -> Inputs:
    """The inputs with one of them changed; as they are when it is absent.

    `a.b` is the input of that name, and the key `b` of the object in the input `a`; both, when both are there. When `a`
    is a list, which may be a link, `change` sees the list.
    """
    if name in inputs:
        inputs = {**inputs, name: change(inputs[name])}
    head, _, rest = name.partition(".")
    if not rest or head not in inputs:
        return inputs
    inner = unwrapped(inputs[head])
    if isinstance(inner, list):
        return {**inputs, head: change(inputs[head])}
    return {**inputs, head: changed(inner, rest, change)} if isinstance(inner, Mapping) else inputs


def values(inputs: Inputs, name: str) -> list[Any]:
    """What the input holds, unwrapped: under `a.b` there may be two values (see `changed`), and of an absent one there
    is none."""
    found: list[Any] = []
    note: Change = found.append
    changed(inputs, name, note)
    return [unwrapped(value) for value in found]
