"""Graphs that a ComfyUI without any model can run, real or simulated."""

from typing import Any

Graph = dict[str, dict[str, Any]]


def picture(color: int = 1, prefix: str = "picture") -> Graph:
    """A small picture, saved."""
    return {
        "1": {"class_type": "EmptyImage", "inputs": {"width": 64, "height": 64, "batch_size": 1, "color": color}},
        "2": {"class_type": "ImageInvert", "inputs": {"image": ["1", 0]}},
        "3": {"class_type": "SaveImage", "inputs": {"images": ["2", 0], "filename_prefix": prefix}},
    }


def slow(
    nonce: str, *, seconds: float = 1.0, steps: int = 4, previews: bool = True, prefix: str = "slow", color: int = 5
) -> Graph:
    """A picture that takes its time, with progress, previews and text (the lab's node pack, or the simulator's)."""
    wait = {"seconds": seconds, "steps": steps, "previews": previews, "text": previews, "nonce": nonce}
    return {
        "1": {"class_type": "EmptyImage", "inputs": {"width": 64, "height": 64, "batch_size": 1, "color": color}},
        "2": {"class_type": "LabSlow", "inputs": {"image": ["1", 0], **wait}},
        "3": {"class_type": "SaveImage", "inputs": {"images": ["2", 0], "filename_prefix": prefix}},
    }


def loaded(prefix: str) -> Graph:
    """A picture that is still to be chosen, inverted and saved."""
    return {
        "1": {"class_type": "LoadImage", "inputs": {"image": ""}},
        "2": {"class_type": "ImageInvert", "inputs": {"image": ["1", 0]}},
        "3": {"class_type": "SaveImage", "inputs": {"images": ["2", 0], "filename_prefix": prefix}},
    }
