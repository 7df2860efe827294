"""Comparison of an answer with the recorded one: same keys, types and order, same values where they can be the same.

It does not know which differences are to be excused; the tests name those.
"""

import re
from typing import Any

# Values that belong to one run or one host. Their type is compared, and for texts that there is one.
_OWN_VALUES = {
    "timestamp", "create_time", "execution_start_time", "execution_end_time", "modified", "created", "seconds",
    "ram_total", "ram_free", "vram_total", "vram_free", "torch_vram_total", "torch_vram_free",
    "python_version", "pytorch_version", "argv", "traceback", "current_inputs",
}  # fmt: skip
_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_TEMPORARY = re.compile(r"ComfyUI_temp_[a-z]{5}_")
# Sets in ComfyUI, so their order differs from run to run there too.
_UNORDERED = {"current_outputs", "executed"}


def differences(recorded: Any, ours: Any, where: str = "$") -> list[str]:
    """Where the two differ, as readable lines; empty when they agree."""
    if type(recorded) is not type(ours):
        return [f"{where}: {type(recorded).__name__} recorded, {type(ours).__name__} here ({recorded!r} / {ours!r})"]
    if isinstance(recorded, dict):
        return _of_objects(recorded, ours, where)
    if isinstance(recorded, list):
        return _of_lists(recorded, ours, where)
    if isinstance(recorded, str):
        recorded, ours = _plain(recorded), _plain(ours)
    return [] if recorded == ours else [f"{where}: {recorded!r} recorded, {ours!r} here"]


def _of_objects(recorded: dict[str, Any], ours: dict[str, Any], where: str) -> list[str]:
    theirs, mine = ([_plain(key) for key in one] for one in (recorded, ours))
    if theirs != mine:
        return [f"{where}: keys {theirs} recorded, {mine} here"]
    found: list[str] = []
    for key, one, other in zip(recorded, recorded.values(), ours.values(), strict=True):
        if key in _OWN_VALUES:
            found += _of_types(one, other, f"{where}.{key}")
        elif key in _UNORDERED:
            found += differences(sorted(one), sorted(other), f"{where}.{key}")
        else:
            found += differences(one, other, f"{where}.{key}")
    return found


def _of_types(recorded: Any, ours: Any, where: str) -> list[str]:
    """Type for type; of lists and objects the elements' types and the keys."""
    if isinstance(recorded, dict) and isinstance(ours, dict):
        same = list(recorded) == list(ours) and all(type(one) is type(ours[key]) for key, one in recorded.items())
    elif isinstance(recorded, list) and isinstance(ours, list):
        same = {type(one) for one in recorded} == {type(one) for one in ours}
    else:
        same = type(recorded) is type(ours)
    return [] if same else [f"{where}: {recorded!r:.200} recorded, {ours!r:.200} here"]


def _of_lists(recorded: list[Any], ours: list[Any], where: str) -> list[str]:
    if len(recorded) != len(ours):
        return [f"{where}: {len(recorded)} elements recorded, {len(ours)} here"]
    pairs = enumerate(zip(recorded, ours, strict=True))
    return [line for place, pair in pairs for line in differences(*pair, f"{where}[{place}]")]


def _plain(text: str) -> str:
    return _TEMPORARY.sub("ComfyUI_temp_xxxxx_", _UUID.sub("UUID", text))
