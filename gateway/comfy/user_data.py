"""User data as ComfyUI shows it: which names a file can have, and the shapes of its lists in each version.

It does not know where the files are kept, nor whose they are.

There are files and nothing else: a folder exists while a file is in it. (In ComfyUI an empty one stays behind; its
editor takes an empty list and a missing folder alike.)
"""

import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from types import MappingProxyType
from typing import Any, Final

import orjson

from gateway.errors import InvalidRequest

SETTINGS: Final = "comfy.settings.json"
"""`/settings` is this file, as in ComfyUI: it can be read, written and moved under `/userdata` too."""

MOST_PATH_BYTES: Final = 1024
MOST_NAME_BYTES: Final = 255
"""What a file system takes as one name, so that every file can also be written to a disk."""

_SECOND_ESCAPE = re.compile(r"%[0-9A-Fa-f]{2}")
_UNPRINTABLE = frozenset(("Cc", "Cs", "Zl", "Zp"))
_MILLISECONDS_SINCE: Final = (0, 4)
"""Fractional seconds in 0.3.64, whole milliseconds in 0.28.1 (recordings); no 0.3 is known to have the latter."""

_TYPES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "json": "application/json",
        "txt": "text/plain",
        "csv": "text/csv",
        # ComfyUI 0.28.1 gives it away as octets, which no browser takes for a stylesheet: the editor's own
        # `<link rel="stylesheet" href="api/userdata/user.css">` then does nothing.
        "css": "text/css",
        "png": "image/png",
        "jpg": "image/jpeg",
        "jpeg": "image/jpeg",
        "webp": "image/webp",
        "gif": "image/gif",
    }
)
"""Types that run nothing. Everything else, markup and scripts above all, is octets."""


@dataclass(frozen=True, slots=True)
class UserFile:
    """One file. `path` is canonical; `size` is in bytes, `created` and `modified` in seconds since 1970."""

    path: str
    size: int
    created: float
    modified: float


def canonical(path: str) -> str:
    """`path` itself, if it is the one spelling of a file's name below the user's folder.

    Raises InvalidRequest for every other string: empty, absolute, with empty or dot segments, backslashes, control
    characters or percent escapes, or too long.
    """
    if "\\" in path or any(unicodedata.category(character) in _UNPRINTABLE for character in path):
        raise InvalidRequest("The file name holds a control character or a backslash.")
    if _SECOND_ESCAPE.search(path):
        # ComfyUI decodes names twice, so there it is another file.
        raise InvalidRequest("The file name is percent-encoded twice.")
    if len(path.encode()) > MOST_PATH_BYTES:
        raise InvalidRequest(f"The file name is longer than {MOST_PATH_BYTES} bytes.")
    for segment in path.split("/"):
        if not segment.strip(" ."):
            raise InvalidRequest("The file name has an empty segment or a dot segment.")
        if len(segment.encode()) > MOST_NAME_BYTES:
            raise InvalidRequest(f"A part of the file name is longer than {MOST_NAME_BYTES} bytes.")
    return path


def folder(path: str) -> str:
    """The canonical path of a folder, "" for the user's own; `.` and slashes too many are passed over, as in ComfyUI.

    Raises InvalidRequest for a path that leads elsewhere.
    """
    if path.startswith("/"):
        raise InvalidRequest("The folder's path is absolute.")
    segments = [segment for segment in path.split("/") if segment not in ("", ".")]
    return canonical("/".join(segments)) if segments else ""


def folders_of(path: str) -> list[str]:
    """Every folder that a file is in, the outermost first; not the user's own."""
    return list(accumulate(path.split("/")[:-1], "{}/{}".format))


def content_type(path: str) -> str:
    """What to call a file's bytes."""
    _, dot, ending = path.rpartition("/")[2].rpartition(".")
    return _TYPES.get(ending.lower(), "application/octet-stream") if dot else "application/octet-stream"


def in_milliseconds(version: str) -> bool:
    """Whether a ComfyUI of that version gives times as whole milliseconds; one that cannot be read counts as new."""
    numbers = re.match(r"v?(\d{1,9})\.(\d{1,9})", version)
    return numbers is None or (int(numbers[1]), int(numbers[2])) >= _MILLISECONDS_SINCE


def file_info(file: UserFile, *, below: str = "", version: str) -> dict[str, Any]:
    """`full_info` of one file, its path relative to the folder `below`."""
    times: dict[str, float] = {"modified": file.modified, "created": file.created}
    if in_milliseconds(version):
        times = {name: int(value * 1000) for name, value in times.items()}
    return {"path": _relative(file.path, below), "size": file.size, **times}


@dataclass(frozen=True, slots=True)
class ListQuery:
    """What `GET /userdata` was asked for. `directory` is canonical."""

    directory: str
    recurse: bool
    full_info: bool
    split: bool

    @classmethod
    def read(cls, values: Mapping[str, str]) -> "ListQuery":
        """Raises InvalidRequest for a directory that is none of the user's."""
        directory = folder(values["dir"])
        recurse, full_info, split = (is_true(values, name) for name in ("recurse", "full_info", "split"))
        return cls(directory, recurse, full_info, split)


def is_true(values: Mapping[str, str], name: str) -> bool:
    """Whether a switch of the query is on, as ComfyUI reads it: `true` in any case, and nothing else."""
    return values.get(name, "").lower() == "true"


def listed(files: Iterable[UserFile], query: ListQuery, *, version: str) -> list[Any]:
    """The answer of `GET /userdata`, from the files below the directory.

    Names that begin with a dot are left out, as by the pattern `*` that ComfyUI looks with.
    """
    shown = [file for file in files if _is_shown(_relative(file.path, query.directory), query.recurse)]
    if query.full_info:
        return [file_info(file, below=query.directory, version=version) for file in shown]
    names = [_relative(file.path, query.directory) for file in shown]
    return [[name, *name.split("/")] for name in names] if query.split else names


def entries(files: Sequence[UserFile], below: str) -> list[dict[str, Any]]:
    """The answer of `GET /v2/userdata`: everything below a folder, folders first, then by name in any case.

    Times are fractional seconds here in both versions.
    """
    found = [*_folder_entries(files, below), *(_file_entry(file) for file in files)]
    return sorted(found, key=lambda entry: (entry["type"] != "directory", entry["name"].lower()))


def settings_in(content: bytes | None) -> dict[str, Any]:
    """The settings in their file; none in a file that is missing or is no JSON object, as in ComfyUI."""
    try:
        return as_object(content or b"{}")
    except InvalidRequest:
        return {}


def as_object(content: bytes) -> dict[str, Any]:
    """A JSON object. Raises InvalidRequest for what is none, or is nested too deeply to be written again."""
    value = as_json(content)
    if not isinstance(value, dict):
        raise InvalidRequest("The body must be a JSON object.")
    return value


def as_json(content: bytes) -> Any:
    """Any JSON value. Raises InvalidRequest as `as_object` does."""
    try:
        value = orjson.loads(content)
        orjson.dumps(value)  # takes fewer levels than `loads` does
    except (orjson.JSONDecodeError, TypeError) as error:
        raise InvalidRequest("The body is not JSON.", details=str(error)) from error
    return value


def settings_file(settings: Mapping[str, Any]) -> bytes:
    """The settings as their file."""
    return orjson.dumps(dict(settings), option=orjson.OPT_INDENT_2)


def _relative(path: str, below: str) -> str:
    return path.removeprefix(f"{below}/") if below else path


def _is_shown(name: str, recurse: bool) -> bool:
    segments = name.split("/")
    return (recurse or len(segments) == 1) and not any(segment.startswith(".") for segment in segments)


def _folder_entries(files: Sequence[UserFile], below: str) -> Iterator[dict[str, Any]]:
    inside = f"{below}/" if below else ""
    paths = {path for file in files for path in folders_of(file.path) if path.startswith(inside) and path != below}
    for path in sorted(paths):
        yield {"name": path.rpartition("/")[2], "path": path, "type": "directory"}


def _file_entry(file: UserFile) -> dict[str, Any]:
    name = file.path.rpartition("/")[2]
    return {"name": name, "path": file.path, "type": "file", "size": file.size, "modified": file.modified}
