"""Chains of links in a prompt."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.comfy.chain import links, longest_chain


def _prompt(wires: dict[str, list[str]]) -> dict[str, dict[str, Any]]:
    return {
        node_id: {"class_type": "X", "inputs": {f"in{number}": [name, 0] for number, name in enumerate(names)}}
        for node_id, names in wires.items()
    }


def test_links() -> None:
    """A link is a list of a string and a number at the top level of the inputs, as ComfyUI recognises it."""
    inputs = {
        "a": ["1", 0],
        "b": ["2", 1.5],
        "c": [1, 0],
        "d": ["3"],
        "e": ["4", "0"],
        "f": [["5", 0]],
        "g": {"x": ["6", 0]},
        "h": ["7", True],
        "i": "8",
    }
    assert list(links(inputs)) == ["1", "2", "7"]


@pytest.mark.parametrize(
    ("wires", "length"),
    [
        ({}, 0),
        ({"1": []}, 1),
        ({"1": [], "2": ["1"], "3": ["2", "1"]}, 3),
        ({"1": [], "2": [], "3": ["1", "2"]}, 2),
        ({"1": ["404"]}, 1),
        ({"1": ["1"]}, 2),
    ],
)
def test_longest_chain(wires: dict[str, list[str]], length: int) -> None:
    """The longest way along links, in nodes; links to nodes that are not there lead nowhere."""
    assert longest_chain(_prompt(wires)) == length


def test_long_chain_needs_no_recursion() -> None:
    """A chain of 100,000 nodes is measured, not climbed."""
    wires = {str(number): [str(number - 1)] if number else [] for number in range(100_000)}
    assert longest_chain(_prompt(wires)) == 100_000


NODES = [str(number) for number in range(6)]


@given(st.dictionaries(st.sampled_from(NODES), st.lists(st.sampled_from(NODES), max_size=3), max_size=6))
def test_no_walk_is_longer(wires: dict[str, list[str]]) -> None:
    """However the links run, in circles too, no walk that meets no node twice is longer than the bound."""

    def walk(node_id: str, seen: frozenset[str]) -> int:
        if node_id not in wires or node_id in seen:
            return 0
        return 1 + max((walk(name, seen | {node_id}) for name in wires[node_id]), default=0)

    longest = max((walk(node_id, frozenset()) for node_id in wires), default=0)
    assert longest_chain(_prompt(wires)) >= longest


def test_wrapped_links_are_links() -> None:
    """A chain whose links are wrapped in `{"__value__": …}` is as long: ComfyUI takes the wrapper off."""
    prompt = {"0": {"inputs": {}}}
    for number in range(1, 50):
        prompt[str(number)] = {"inputs": {"source": {"__value__": [str(number - 1), 0]}}}
    assert longest_chain(prompt) == 50
