"""The inputs of one node."""

import pytest

from gateway.comfy.inputs import changed, is_link, linked, unwrapped


def test_unwrapped():
    """Every wrapper goes, because a server may take off one or none."""
    assert unwrapped({"__value__": {"__value__": "a", "x": 1}}) == "a"
    assert unwrapped({"a": {"__value__": 1}}) == {"a": {"__value__": 1}}


@pytest.mark.parametrize("value", [["4", 0], ["4", 1.0], ["4", True], {"__value__": ["4", 0]}])
def test_links(value):
    """A link is a list of a node id and a number, also inside a wrapper."""
    assert is_link(value) and linked(value) == "4"


@pytest.mark.parametrize("value", [["4"], [4, 0], ["4", "0"], ["4", 0, 0], "4", None, {"4": 0}])
def test_no_links(value):
    """Other values are constants."""
    assert not is_link(value) and linked(value) is None


def test_changed():
    """An input is changed under its own name and inside an object, and the client's object is left alone."""
    inputs = {"a.b": 1, "a": {"__value__": {"b": 2, "c": 3}}, "d": [1]}
    result = changed(inputs, "a.b", lambda value: value * 10)
    assert result == {"a.b": 10, "a": {"b": 20, "c": 3}, "d": [1]}
    assert inputs == {"a.b": 1, "a": {"__value__": {"b": 2, "c": 3}}, "d": [1]}
    assert changed(inputs, "x", str) == inputs
    assert changed({"a": ["4", 0]}, "a.b", lambda value: "seen") == {"a": "seen"}
    assert changed({"a": 5}, "a.b", lambda value: "seen") == {"a": 5}
