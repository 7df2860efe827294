"""What is wrong with a workflow, by node, in the form in which ComfyUI's editor shows it.

It does not know the rules that find problems.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Problem:
    """One refusal: `type` is the type of the error that it belongs to, `input` may be ""."""

    node_id: str
    input: str
    type: str
    message: str
    details: str = ""

    def error(self) -> dict[str, Any]:
        """One entry of `errors`."""
        info = {"input_name": self.input} if self.input else {}
        return {"type": self.type, "message": self.message, "details": self.details, "extra_info": info}


def node_errors(prompt: Mapping[str, Any], problems: Sequence[Problem]) -> dict[str, Any]:
    """The `node_errors` of an answer to POST /prompt."""
    found: dict[str, Any] = {}
    for problem in problems:
        class_type = prompt[problem.node_id]["class_type"]
        node = found.setdefault(problem.node_id, {"errors": [], "dependent_outputs": [], "class_type": class_type})
        node["errors"].append(problem.error())
    return found
