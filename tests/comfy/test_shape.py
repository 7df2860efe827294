"""The shape of a workflow."""

from typing import Any

import pytest

from gateway.comfy.shape import shape


def graph(*, seed: int = 1, steps: Any = 20, width: Any = 512, text: str = "a cat", sign: str = "") -> dict[str, Any]:
    latent, sampler, words = (f"{number}{sign}" for number in (1, 2, 3))
    return {
        latent: {"class_type": "EmptyLatentImage", "inputs": {"width": width, "height": 512, "batch_size": 1}},
        sampler: {"class_type": "KSampler", "inputs": {"seed": seed, "steps": steps, "latent_image": [latent, 0]}},
        words: {"class_type": "CLIPTextEncode", "inputs": {"text": text}},
    }


def test_what_costs_nothing_does_not_count() -> None:
    """Another seed, prompt or node id is the same shape; so is another order of the nodes."""
    plain = shape(graph())
    assert shape(graph(seed=2, text="a dog", sign="x")) == plain
    assert shape(dict(reversed(graph().items()))) == plain
    assert len(plain) == 32


@pytest.mark.parametrize("other", [{"steps": 21}, {"width": 1024}, {"width": ["9", 0]}])
def test_what_costs_counts(other: dict[str, Any]) -> None:
    """Other steps or another size are another shape, and so is a size that another node decides."""
    assert shape(graph(**other)) != shape(graph())


@pytest.mark.parametrize("same", [20.0, "20", {"__value__": 20}])
def test_a_number_is_the_same_however_it_is_written(same: Any) -> None:
    """ComfyUI takes 20, 20.0, "20" and a wrapped 20 for the same."""
    assert shape(graph(steps=same)) == shape(graph())


@pytest.mark.parametrize("strange", [None, [], {}, "\ud7ff", "x" * 10_000, True, 1e308, 2**63])
def test_every_value_has_a_shape(strange: Any) -> None:
    """What a client may send has a shape, however strange."""
    assert len(shape(graph(width=strange))) == 32


def test_only_what_leads_to_the_targets_counts() -> None:
    """A partial execution has the shape of what ComfyUI will run of it."""
    whole = graph()
    alone = {"1": whole["1"]}
    assert shape(whole, targets=["1"]) == shape(alone)
    assert shape(whole, targets=["2"]) == shape({name: whole[name] for name in ("1", "2")})
    assert shape({**whole, "1": {"class_type": "Loop", "inputs": {"width": ["2", 0]}}}, targets=["2"])
