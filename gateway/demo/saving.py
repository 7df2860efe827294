"""Names of saved files: prefix, folder, counter, as every saving node of ComfyUI forms them.

It does not know what is saved.
"""

import os.path
import re
import time
from dataclasses import dataclass
from pathlib import Path

from gateway.demo.places import below


@dataclass(frozen=True, slots=True)
class Target:
    """Where the next file of a prefix goes."""

    folder: Path
    subfolder: str
    name: str
    counter: int

    def file(self, number: int, ending: str) -> str:
        """The name of the number-th file of a batch: `name_00001_.png`."""
        return f"{self.name.replace('%batch_num%', str(number))}_{self.counter + number:05}_{ending}"


def target(prefix: str, root: Path, *, size: tuple[int, int]) -> Target:
    """Where a filename_prefix leads below a root; makes the folder.

    Raises PermissionError when it leads out of the root, which is an execution_error, not a 400. An
    empty prefix gives the name ".", a trailing slash is lost.
    """
    normal = os.path.normpath(_expanded(prefix, size))
    subfolder, name = os.path.split(normal)
    folder = below(root, subfolder)
    if folder is None:
        raise PermissionError("**** ERROR: Saving image outside the output folder is not allowed.")
    folder.mkdir(parents=True, exist_ok=True)
    return Target(folder=folder, subfolder=subfolder, name=name, counter=_counter(folder, name))


def _counter(folder: Path, name: str) -> int:
    pattern = re.compile(re.escape(name) + r"_(\d*)")
    matches = (pattern.match(entry.name) for entry in folder.iterdir())
    return max((int(match[1] or 0) for match in matches if match), default=0) + 1


def _expanded(prefix: str, size: tuple[int, int]) -> str:
    values = {"width": size[0], "height": size[1]}
    for name, value in values.items():
        prefix = prefix.replace(f"%{name}%", str(value))
    moments = {"year": "%Y", "month": "%m", "day": "%d", "hour": "%H", "minute": "%M", "second": "%S"}
    for name, form in moments.items():
        prefix = prefix.replace(f"%{name}%", time.strftime(form))
    return prefix
