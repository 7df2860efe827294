"""How large a workflow may be."""

from typing import Any

import pytest

from gateway.config import Role
from gateway.errors import OverCap
from gateway.policy.caps import Caps, caps, check_caps

GRAPH: dict[str, Any] = {
    "1": {"class_type": "EmptyLatentImage", "inputs": {"width": 512, "height": 512, "batch_size": 2}},
    "2": {"class_type": "KSampler", "inputs": {"steps": 20, "latent_image": ["1", 0]}},
    "3": {"class_type": "KSampler", "inputs": {"steps": 40, "latent_image": ["2", 0]}},
}


def refused(limits: Caps, graph: dict[str, Any] = GRAPH) -> OverCap:
    with pytest.raises(OverCap) as caught:
        check_caps(graph, limits)
    return caught.value


def test_what_is_within_the_caps_may_run() -> None:
    """A workflow as large as is allowed may run, and any where there are no caps."""
    check_caps(GRAPH, Caps())
    check_caps(GRAPH, Caps(nodes=3, batch=2, pixels=512 * 512, steps=40))


@pytest.mark.parametrize(
    ("limits", "node", "name", "limit", "current"),
    [
        (Caps(batch=1), "1", "batch_size", 1, 2),
        (Caps(pixels=512 * 512 - 1), "1", "width", 512 * 512 - 1, 512 * 512),
        (Caps(steps=39), "3", "steps", 39, 40),
    ],
)
def test_what_is_larger_is_refused_at_its_node(limits: Caps, node: str, name: str, limit: int, current: int) -> None:
    """The refusal is ComfyUI's own kind of error at the node and input concerned, with the limit and what was asked
    for."""
    body = refused(limits).body("r")
    assert body["error"]["type"] == "invalid_prompt"
    assert body["error"]["extra_info"]["limit"] == limit and body["error"]["extra_info"]["current"] == current
    assert str(limit) in body["error"]["message"] and str(current) in body["error"]["message"]
    (error,) = body["node_errors"][node]["errors"]
    assert (error["type"], error["extra_info"]) == ("value_bigger_than_max", {"input_name": name})
    assert list(body["node_errors"]) == [node]


def test_every_node_concerned_is_named() -> None:
    """All that is too large is said at once."""
    assert set(refused(Caps(steps=10, batch=1)).node_errors) == {"1", "2", "3"}


def test_too_many_nodes() -> None:
    """A workflow with too many nodes is refused as a whole."""
    refusal = refused(Caps(nodes=2))
    assert refusal.extra_info["limit"] == 2 and refusal.extra_info["current"] == 3 and refusal.node_errors == {}


def test_what_cannot_be_known_is_refused_where_there_is_a_cap() -> None:
    """A size that another node makes would be a way round the cap, so it must be typed in; without a cap it may be."""
    graph = {**GRAPH, "4": {"class_type": "KSampler", "inputs": {"steps": ["9", 0]}}}
    refusal = refused(Caps(steps=100), graph)
    assert refusal.node_errors["4"]["errors"][0]["type"] == "value_not_known"
    assert "Type the number" in refusal.details
    check_caps(graph, Caps(batch=2, pixels=512 * 512))


def test_the_caps_are_the_roles() -> None:
    """The caps come from the role's settings; without any there are none."""
    role = Role(permissions=frozenset(), max_nodes=1, max_batch=2, max_pixels=3, max_steps=4)
    assert caps(role) == Caps(nodes=1, batch=2, pixels=3, steps=4)
    assert caps(Role(permissions=frozenset())) == Caps()
