"""The node classes a simulated server lists: the recorded definitions, with the combos filled from its own folders.

It does not know how a node is executed (`classes`) nor what a prompt is (`graph`).
"""

import copy
import json
from collections.abc import Sequence
from importlib.resources import files
from typing import Any

from gateway.demo.places import Places
from gateway.demo.profile import Profile

# The combos ComfyUI fills with everybody's root-level files, by class and input: their media types, or an ending.
_INPUT_FILES: dict[tuple[str, str], tuple[str, ...]] = {
    ("LoadImage", "image"): ("image",),
    ("LoadImageMask", "image"): ("image",),
    ("LoadAudio", "audio"): ("audio", "video"),
    ("LoadVideo", "file"): ("video",),
    ("LoadLatent", "latent"): (".latent",),
}


class Catalogue:
    """What GET /object_info answers, and what validation looks types up in."""

    def __init__(
        self, *, profile: Profile, places: Places, checkpoints: Sequence[str] = (), padding_bytes: int = 0
    ) -> None:
        recorded = files("gateway.demo").joinpath("object_info", f"{profile.version}.json").read_text(encoding="utf-8")
        self._recorded: dict[str, dict[str, Any]] = json.loads(recorded)
        self._places = places
        self._padding_bytes = padding_bytes
        self._encoded: tuple[list[str], bytes] | None = None
        self.checkpoints = list(checkpoints)

    def __contains__(self, class_type: object) -> bool:
        return class_type in self._recorded

    def definition(self, class_type: str) -> dict[str, Any]:
        """One class as /object_info shows it now; raises KeyError for an unknown one."""
        shown = copy.deepcopy(self._recorded[class_type])
        for (owner, name), kinds in _INPUT_FILES.items():
            if owner == class_type:
                _fill(shown["input"]["required"][name], self._places.input_names(kinds))
        if class_type == "CheckpointLoaderSimple":
            _fill(shown["input"]["required"]["ckpt_name"], self.checkpoints)
        return shown

    def everything(self) -> dict[str, Any]:
        """All classes; grown to about `padding_bytes` with classes nothing uses, like a server with many packs."""
        shown = {class_type: self.definition(class_type) for class_type in self._recorded}
        missing = self._padding_bytes - len(json.dumps(shown)) if self._padding_bytes else 0
        number = 0
        while missing > 0:
            filler = self._filler(f"DemoFiller{number:05}")
            missing -= len(json.dumps(filler))
            shown |= filler
            number += 1
        return shown

    def encoded(self) -> bytes:
        """`everything` as JSON; kept while input/ lists the same names, so that a bench does not measure this."""
        names = self._places.input_names(("",))
        if self._encoded is None or self._encoded[0] != names:
            self._encoded = names, json.dumps(self.everything()).encode()
        return self._encoded[1]

    def _filler(self, name: str) -> dict[str, Any]:
        return {name: {**self._recorded["KSampler"], "name": name, "display_name": name}}

    def is_output(self, class_type: str) -> bool:
        """Whether the class is an output node."""
        return self._recorded[class_type]["output_node"] is True

    def outputs(self, class_type: str) -> tuple[str, ...]:
        """The types of a class's outputs, by slot."""
        return tuple(self._recorded[class_type]["output"])

    def declares(self, class_type: str, name: str) -> bool:
        """Whether a class has an input of this name, hidden ones included."""
        return any(name in inputs for inputs in self._recorded[class_type]["input"].values())

    def takes_unique_id(self, class_type: str) -> bool:
        """Whether the class asks for its node id; then the id is part of the cache key."""
        return "unique_id" in self._recorded[class_type]["input"].get("hidden", {})


def _fill(spec: list[Any], names: list[str]) -> None:
    """Put options into an input spec, in the old form `[[...], {}]` or the new one `["COMBO", {"options": [...]}]`."""
    if isinstance(spec[0], list):
        spec[0] = names
    else:
        spec[1]["options"] = names
