"""Where a node is told to write: the prefixes and folder names of workflows, cleaned and put below a user's root.

It does not know which inputs are prefixes; `roles` does. Nothing is refused here: every text gives a place below the
root, and where ComfyUI would have written below its output folder, the file has the same name (but for a drive's).

ComfyUI first puts numbers in for its tokens (`%year%`, `%width%` and so on), then normalises the path; its last part
begins the name of the file. No token can make a separator or a dot, so cleaning before and after them is the same.
"""

import re
from enum import StrEnum

from gateway.comfy.files import UNPRINTABLE, Root, is_root

DEFAULT_NAME = "ComfyUI"
"""ComfyUI's own default, for a prefix that names no file. (It would write `._00001_.png`, which a folder before it
cannot express: `folder/.` is the file `folder` to it.)"""

_DRIVE = re.compile(r"^(.):", re.DOTALL)
"""Windows leaves the folder for such a name: `users/…/c:` would be `c:_00001_.png`, in that drive's current folder."""


class Place(StrEnum):
    """How a text says where to write."""

    PREFIX = "prefix"
    """`[folders/]name`, below the output folder."""
    FOLDER = "folder"
    """Folders only, below the input or output folder; may be empty."""
    NAME = "name"
    """A name that the node joins to a folder without making subfolders; the same for every user."""


def canonical(text: str, place: Place) -> str:
    """The text as its owner sees it: no root, no dot parts, no leading or doubled slashes, no control characters.

    A backslash is a separator, which it is on Windows. Every root in it is taken out, whoever's it is.
    """
    kept = _without_roots(_segments(text))
    if place is Place.FOLDER:
        return "/".join(kept)
    if place is Place.NAME:
        return _name(kept)
    return "/".join((*kept[:-1], _name(kept)))


def rooted(text: str, place: Place, root: Root) -> str:
    """The text that ComfyUI gets."""
    inner = canonical(text, place)
    if place is Place.NAME:
        return inner
    return f"{root.path}/{inner}" if inner else root.path


def _name(kept: list[str]) -> str:
    return _DRIVE.sub(r"\1_", kept[-1]) if kept else DEFAULT_NAME


def _segments(text: str) -> list[str]:
    """The parts that stay when the path is normalised; `..` takes one away, but never leads out."""
    kept: list[str] = []
    for raw in text.replace("\\", "/").split("/"):
        segment = UNPRINTABLE.sub("", raw)
        # Parts of dots and blanks alone are "." or ".." to some file systems.
        if segment.strip(" ."):
            kept.append(segment)
        elif segment.strip(" ") == ".." and kept:
            kept.pop()
    return kept


def _without_roots(segments: list[str]) -> list[str]:
    """Wherever a root is: in the middle of a name it would be taken out of what ComfyUI says, and nobody would find
    the file."""
    kept: list[str] = []
    for segment in segments:
        kept.append(segment)
        if is_root(kept[-2:]):
            del kept[-2:]
    return kept
