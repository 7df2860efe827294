"""What ComfyUI tells about its host and its models, without the host and without models that are not for the reader.

It does not know who reads, nor the rules for models: a function says which may be seen.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

from gateway.comfy.host import without_host_paths

SHOWN_FLAGS: Final = ("--enable-manager", "--enable-manager-legacy-ui", "--disable-api-nodes")
"""What the editor (1.45, 1.58) looks for in the command line; none of them takes a value."""
PROGRAM: Final = "main.py"


def reduced_stats(stats: Any) -> Any:
    """GET /system_stats with the editor's flags as its whole command line."""
    cleaned = without_host_paths(stats)
    system = cleaned.get("system") if isinstance(cleaned, dict) else None
    if not isinstance(system, dict) or "argv" not in system:
        return cleaned
    given = system["argv"] if isinstance(system["argv"], list) else []
    return {**cleaned, "system": {**system, "argv": [PROGRAM, *(flag for flag in SHOWN_FLAGS if flag in given)]}}


def without_folders(models: Any) -> Any:
    """GET /experiment/models without the folders of the host; the editor reads the names alone."""
    if not isinstance(models, list):
        return []
    return [{**kind, "folders": []} if "folders" in kind else kind for kind in models if isinstance(kind, Mapping)]


def permitted_models(models: Any, allowed: Callable[[str], bool]) -> list[Any]:
    """A list of models, names or objects with a `name`, with those alone that may be seen."""
    return [model for model in models if allowed(_name(model))] if isinstance(models, list) else []


def _name(model: Any) -> str:
    return str(model.get("name", "")) if isinstance(model, Mapping) else str(model)
