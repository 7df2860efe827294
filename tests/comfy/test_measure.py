"""How large the work of a workflow is."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.comfy.measure import Measured, measure


def one(class_type: str = "EmptyLatentImage", **inputs: Any) -> dict[str, Any]:
    return {"5": {"class_type": class_type, "inputs": inputs}}


def values(prompt: dict[str, Any]) -> dict[str, int | None]:
    return {found.kind: found.value for found in measure(prompt)}


def test_each_size_is_found() -> None:
    """Pictures at once, pixels of a picture and steps are found by the names of the inputs, in any node."""
    found = list(measure(one(width=512, height=256, batch_size=4, steps=20, seed=9)))
    assert set(found) == {
        Measured("5", "width", "pixels", 512 * 256),
        Measured("5", "batch_size", "batch", 4),
        Measured("5", "steps", "steps", 20),
    }
    assert values(one("ImageScaleToTotalPixels", megapixels=2.0)) == {"pixels": 2 * 1024 * 1024}
    assert values(one("RepeatLatentBatch", amount=64)) == {"batch": 64}
    assert values(one("ImageSharpen", amount=64)) == {}
    assert values(one("CLIPTextEncodeSDXL", width=4096, height=4096)) == {}


@pytest.mark.parametrize("value", [20, 20.0, "20", " 2_0 ", {"__value__": 20}, {"__value__": {"__value__": "20"}}])
def test_a_number_is_read_as_comfyui_reads_it(value: Any) -> None:
    """A number as a text, with blanks or wrapped, is that number."""
    assert values(one(steps=value)) == {"steps": 20}


def test_where_one_side_follows_the_other_it_is_a_square() -> None:
    """A side of 0 keeps the proportions of the picture: it counts like the other one."""
    assert values(one("ImageScale", width=0, height=100)) == {"pixels": 10_000}
    assert values(one("ImageScale", width=100, height=0)) == {"pixels": 10_000}


def test_a_held_number_is_followed() -> None:
    """A link to a node that only holds a number is that number; any other link is not known before the graph runs."""
    holder = {"7": {"class_type": "PrimitiveInt", "inputs": {"value": 31}}}
    assert values({**one(steps=["7", 0]), **holder}) == {"steps": 31}
    assert values({**one(steps={"__value__": ["7", 0]}), **holder}) == {"steps": 31}
    adder = {"7": {"class_type": "Add", "inputs": {"value": 31}}}
    assert values({**one(width=["7", 0], height=1), **adder}) == {"pixels": None}
    assert values(one(steps=["gone", 0])) == {"steps": None}
    loop = {"7": {"class_type": "PrimitiveInt", "inputs": {"value": ["7", 0]}}}
    assert values({**one(steps=["7", 0]), **loop}) == {"steps": None}


def test_dynamic_inputs_are_found_in_both_forms() -> None:
    """An input inside a dynamic one counts, written with a dot or as an object."""
    assert values(one(**{"size.width": 10, "size.height": 20})) == {"pixels": 200}
    assert values(one(size={"width": 10, "height": 20, "steps": 3})) == {"pixels": 200, "steps": 3}


def test_what_is_no_number_is_left_to_comfyui() -> None:
    """A text, a list or nothing under the name of a size is no size; too large a number is the largest."""
    assert values(one(steps="many", batch_size=None, width=[1], height=2)) == {}
    assert values(one(steps="nan")) == {}
    assert values(one(steps="1e999")) == {"steps": 2**63 - 1}
    assert values(one(steps="-1e999")) == {"steps": -(2**63)}


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["width", "__value__"]), inner),
    )
)
def test_nothing_that_can_be_sent_breaks_it(value: Any) -> None:
    """Whatever stands where a size is expected, measuring comes to an end."""
    for found in measure(one(width=value, height=value, steps=value, size=value)):
        assert found.value is None or isinstance(found.value, int)
