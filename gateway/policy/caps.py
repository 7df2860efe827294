"""How large a workflow may be: caps on nodes, pictures at once, pixels of a picture and steps, and the refusal of one
that is larger.

It does not know how the sizes are read (`comfy.measure`), nor who submits. A size that only shows when the graph runs
cannot be held to a cap, so it is refused where there is one: else any node that adds two numbers would be a way round.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from gateway.comfy.measure import Kind, Measured, measure
from gateway.comfy.problems import Problem, node_errors
from gateway.config import Role
from gateway.errors import OverCap

_WORDS: Final[Mapping[Kind, str]] = {
    "batch": "pictures at once",
    "pixels": "pixels in a picture (width times height)",
    "steps": "steps",
}
_FREES: Final = "this limit does not change with time"


@dataclass(frozen=True, slots=True)
class Caps:
    """The largest that is allowed; None is no limit. Each node is held to `batch`, `pixels` and `steps` by itself."""

    nodes: int | None = None
    batch: int | None = None
    pixels: int | None = None
    steps: int | None = None

    def of(self, kind: Kind) -> int | None:
        """The cap on one kind of size."""
        return {"batch": self.batch, "pixels": self.pixels, "steps": self.steps}[kind]


def caps(role: Role) -> Caps:
    """The caps of a role."""
    return Caps(nodes=role.max_nodes, batch=role.max_batch, pixels=role.max_pixels, steps=role.max_steps)


def check_caps(prompt: Mapping[str, Any], caps: Caps) -> None:
    """Returns if a workflow is within the caps; raises OverCap, which names every node concerned."""
    if caps.nodes is not None and len(prompt) > caps.nodes:
        raise OverCap(
            f"This workflow has {len(prompt)} nodes; you may use {caps.nodes}.",
            details="Take nodes out, or split the workflow; or ask an administrator for a higher limit.",
            extra_info={"limit": caps.nodes, "current": len(prompt), "frees": _FREES},
        )
    if caps == Caps(nodes=caps.nodes):
        return
    over = [(found, cap) for found in measure(prompt) if (cap := caps.of(found.kind)) is not None and _over(found, cap)]
    if over:
        first, cap = over[0]
        problem = _problem(first, cap)
        raise OverCap(
            problem.message,
            details=problem.details,
            extra_info={"limit": cap, "current": first.value, "frees": _FREES},
            node_errors=node_errors(prompt, [_problem(found, cap) for found, cap in over]),
        )


def _over(found: Measured, cap: int) -> bool:
    return found.value is None or found.value > cap


def _problem(found: Measured, cap: int) -> Problem:
    what = _WORDS[found.kind]
    if found.value is None:
        message = f"You may use at most {cap} {what}, and “{found.input}” comes from another node."
        return Problem(found.node_id, found.input, "value_not_known", message, "Type the number into this node itself.")
    message = f"You may use at most {cap} {what}; this node asks for {found.value}."
    details = f"Lower “{found.input}”, or ask an administrator for a higher limit."
    return Problem(found.node_id, found.input, "value_bigger_than_max", message, details)
