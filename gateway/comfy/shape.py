"""The shape of a workflow: what decides how long it takes, without what does not, as a short text to compare.

It does not know how long anything takes, nor users. Two workflows of one shape have the same node classes with the same
sizes, steps, numbers of pictures and models, whatever their prompts, seeds, names and node ids.
"""

import hashlib
from collections.abc import Collection, Mapping
from typing import Any, Final

import orjson

from gateway.comfy.chain import leading_to
from gateway.comfy.inputs import is_link, unwrapped

Prompt = Mapping[str, Any]

_HOW_LARGE: Final = "width height resolution megapixels scale scale_by upscale_by tile_size tile_width tile_height"
_HOW_MANY: Final = (
    "batch_size amount length frames num_frames frame_count video_frames frame_load_cap fps seconds duration multiplier"
)
_HOW_OFTEN: Final = "steps start_at_step end_at_step cycles iterations repeats denoise sampler_name scheduler"
_WITH_WHAT: Final = (
    "ckpt_name unet_name vae_name clip_name clip_name1 clip_name2 model_name control_net_name lora_name weight_dtype"
)

COSTLY: Final = frozenset(f"{_HOW_LARGE} {_HOW_MANY} {_HOW_OFTEN} {_WITH_WHAT}".split())
"""Names of inputs that decide the cost, in ComfyUI's own nodes (`object_info` of 0.3.64 and 0.28.1) and in common
packs."""

_LINKED: Final = "→"


def shape(prompt: Prompt, *, targets: Collection[str] | None = None) -> str:
    """32 characters that are the same for workflows of the same shape. With `targets` only these nodes, and what they
    stand on, count: ComfyUI runs no others."""
    counted = prompt if targets is None else leading_to(prompt, targets)
    nodes = sorted(orjson.dumps(_node(prompt[node_id])) for node_id in counted)
    return hashlib.sha256(b"\n".join(nodes)).hexdigest()[:32]


def _node(node: Mapping[str, Any]) -> list[Any]:
    costly = {name: _value(value) for name, value in node["inputs"].items() if name.rpartition(".")[2] in COSTLY}
    return [node["class_type"], *sorted(costly.items())]


def _value(value: Any) -> str:
    """A number is the same however it is written: ComfyUI takes 20, 20.0 and "20"."""
    if is_link(value):
        return _LINKED
    plain = unwrapped(value)
    try:
        return repr(float(plain))
    except (TypeError, ValueError, OverflowError):
        return str(plain)[:256] if isinstance(plain, str) else type(plain).__name__
