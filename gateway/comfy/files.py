"""Files as ComfyUI names them, in one canonical form, and a user's root below which they lie on the server.

It does not know which files exist, who uploaded what, or what a workflow is. Names that can be read in two ways are
refused, never repaired: only what is written anew from a `FileRef` is sent to ComfyUI.
"""

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, Literal, Self, cast, get_args

from gateway.errors import FileNotAllowed, InvalidRequest, NotFound

FileType = Literal["input", "output", "temp"]
FILE_TYPES: Final = get_args(FileType)
USERS: Final = "users"
"""The folder of ComfyUI's input and output folders that holds every user's root."""

MAX_NAME = 255
"""Bytes of one segment, as file systems have it."""
MAX_PATH = 1024
"""Characters of a whole subfolder."""
MAX_DEPTH = 100
"""Levels of JSON; nothing that ComfyUI says about outputs is as deep. What is deeper is left out."""

UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_KEY = re.compile(r"[0-9a-f]{32}")
_ANNOTATION = re.compile(r"\[(input|output|temp)\]\Z")
_SLASH = r"(?:/|\\{1,2})"
# An error text may quote a name, blanks included, or list several; what follows another's root goes with it.
_ANY_ROOT = re.compile(rf"users{_SLASH}[0-9a-f]{{32}}(?![0-9a-f])(?:{_SLASH}[^'\"\r\n,\])]*)?", re.IGNORECASE)


class NotOurs(NotFound):
    """A file on the server that is not below this user's root; looks like one that does not exist."""

    def __init__(self, ref: "FileRef") -> None:
        super().__init__("There is no such file.", reason=f"{ref.text()} is not below the caller's root")


@dataclass(frozen=True, slots=True)
class FileRef:
    """One file of ComfyUI's input, output or temp folder. Make it with `read`, `annotated` or `from_view`.

    `subfolder` is "" or "a/b"; no segment is empty, a dot segment, or holds a backslash or a control character.
    """

    type: FileType
    subfolder: str
    filename: str

    @classmethod
    def read(cls, type_: str, subfolder: str, filename: str) -> Self:
        """Take the three values as they are. Raises FileNotAllowed for anything that is not canonical."""
        if type_ not in FILE_TYPES:
            raise FileNotAllowed("There is no such kind of folder.", details="It is input, output or temp.")
        if len(subfolder) > MAX_PATH:
            raise FileNotAllowed("A folder name is too long.", extra_info={"limit": MAX_PATH})
        for segment in (*(subfolder.split("/") if subfolder else ()), filename):
            _require_segment(segment)
        # `a.png [output] [input]` is read twice by nodes that resolve a name and hand the result to LoadImage.
        # `blake3:…` names any asset of anybody by the hash of its content.
        if _ANNOTATION.search(filename) or filename.casefold().startswith("blake3:"):
            raise FileNotAllowed("This file name means something else to ComfyUI.", details=filename[:MAX_NAME])
        return cls(cast(FileType, type_), subfolder, filename)

    @property
    def path(self) -> str:
        """`subfolder/filename`."""
        return f"{self.subfolder}/{self.filename}" if self.subfolder else self.filename

    def text(self, default: FileType = "input") -> str:
        """The annotated name, which `annotated` with the same default reads back; the type is written unless it is
        the default."""
        return self.path if self.type == default else f"{self.path} [{self.type}]"


def annotated(text: str, *, default: FileType = "input") -> FileRef:
    """Read `[subfolder/]name.ext[ [input|output|temp]]`. Raises FileNotAllowed for what is not canonical.

    As ComfyUI does, the suffix takes one character before it away, whatever it is.
    """
    match = _ANNOTATION.search(text)
    path = text[: max(0, match.start() - 1)] if match else text
    subfolder, slash, filename = path.rpartition("/")
    # Without this, "/name" would be taken for "name".
    if slash and not subfolder:
        raise _outside(text)
    return FileRef.read(match[1] if match else default, subfolder, filename)


def from_view(values: Mapping[str, str]) -> FileRef:
    """Read the query of GET /view as ComfyUI does: a suffix of the name beats `type`, whose default is output, and
    the directory part of the name is dropped.

    Raises InvalidRequest without a name, FileNotAllowed for what could leave the folder.
    """
    filename = values.get("filename", "")
    if not filename:
        raise InvalidRequest("The query has no filename.")
    match = _ANNOTATION.search(filename)
    name = filename[: max(0, match.start() - 1)] if match else filename
    # ComfyUI refuses the same: two dots anywhere in the name, and names from the root.
    if name.startswith("/") or ".." in name:
        raise _outside(filename)
    subfolder = values.get("subfolder", "")
    if subfolder.startswith("/"):
        raise _outside(subfolder)
    folders = [segment for segment in subfolder.split("/") if segment not in ("", ".")]
    type_ = match[1] if match else values.get("type", "output")
    return FileRef.read(type_, "/".join(folders), name.rpartition("/")[2])


@dataclass(frozen=True, slots=True)
class Root:
    """A user's place on the server: `users/<key>` in input, in output and, for what is uploaded there, in temp.

    ComfyUI itself writes previews to the top of temp under random names; those cannot be moved and are recorded.
    """

    key: str

    def __post_init__(self) -> None:
        if not _KEY.fullmatch(self.key):
            raise ValueError("the key of a root must be 32 lower-case hexadecimal digits")

    @property
    def path(self) -> str:
        """The subfolder that is this user's."""
        return f"{USERS}/{self.key}"

    def owns(self, ref: FileRef) -> bool:
        """Whether a file, as the server names it, lies below this root."""
        return ref.subfolder == self.path or ref.subfolder.startswith(f"{self.path}/")

    def stripped(self, ref: FileRef) -> FileRef:
        """The same file without this root, however often it was put before the name."""
        while self.owns(ref):
            ref = replace(ref, subfolder=ref.subfolder[len(self.path) + 1 :])
        return ref

    def under(self, ref: FileRef) -> FileRef:
        """A file, as its owner names it, below this root, of whatever type; a root already there is not doubled."""
        inner = self.stripped(ref).subfolder
        return replace(ref, subfolder=f"{self.path}/{inner}" if inner else self.path)

    def rooted(self, ref: FileRef) -> FileRef:
        """As the owner names it → as the server does. A temp file keeps its name."""
        return ref if ref.type == "temp" else self.under(ref)

    def visible(self, ref: FileRef) -> FileRef:
        """As the server names it → as the owner does. Raises NotOurs for an input or output outside this root."""
        if ref.type != "temp" and not self.owns(ref):
            raise NotOurs(ref)
        return self.stripped(ref)

    def names_another(self, ref: FileRef) -> bool:
        """Whether a name, this root taken off, begins with a root: another's, or one's own in a spelling that some
        file systems take for it."""
        return is_root(self.stripped(ref).subfolder.split("/")[:2])


def is_confined(ref: FileRef, root: Root) -> bool:
    """Whether the folder alone, as the server names it, proves whose file it is."""
    return root.owns(ref)


def folded(segment: str) -> str:
    """A segment as file systems compare it that ignore case and Unicode composition."""
    return unicodedata.normalize("NFKC", segment).casefold()


def is_root(segments: list[str]) -> bool:
    """Whether two segments are some user's root."""
    return len(segments) == 2 and folded(segments[0]) == USERS and bool(_KEY.fullmatch(folded(segments[1])))


def visible_json(value: Any, root: Root) -> Any:
    """Give outputs (of `executed`, history, jobs) as their owner sees them: no root in any file, text or key."""
    return _visible(value, root, MAX_DEPTH)


def without_roots(text: str, root: Root) -> str:
    """Give a text of ComfyUI, such as an error, without the own root, and without other roots and what they hold."""

    if USERS not in text and USERS not in text.casefold():
        return text
    own = rf"(?:{USERS}{_SLASH}{root.key}(?:{_SLASH}|(?![0-9A-Za-z])))+"
    return _ANY_ROOT.sub("(another file)", re.sub(own, "", text))


def _visible(value: Any, root: Root, depth: int) -> Any:
    if isinstance(value, str):
        return without_roots(value, root)
    if depth == 0 and isinstance(value, dict | list):
        return None
    if isinstance(value, dict):
        visible = {without_roots(key, root): _visible(item, root, depth - 1) for key, item in value.items()}
        return {**visible, "subfolder": visible["subfolder"].replace("\\", "/")} if _is_file(visible) else visible
    if isinstance(value, list):
        return [_visible(item, root, depth - 1) for item in value]
    return value


def _is_file(value: Mapping[str, Any]) -> bool:
    """Whether this is how ComfyUI says which file it wrote; on Windows with backslashes."""
    return all(isinstance(value.get(name), str) for name in ("filename", "subfolder", "type"))


def _require_segment(segment: str) -> None:
    """To some file systems names of dots and blanks alone are "." or "..", and a backslash parts segments."""
    if not segment.strip(" ."):
        raise FileNotAllowed("A file name has an empty part or a dot part.")
    if "/" in segment or "\\" in segment or UNPRINTABLE.search(segment):
        raise FileNotAllowed("A file name holds a slash, a backslash or a control character.")
    if len(segment.encode()) > MAX_NAME:
        raise FileNotAllowed("A part of a file name is too long.", extra_info={"limit": MAX_NAME})


def _outside(text: str) -> FileNotAllowed:
    return FileNotAllowed("This file name leads out of its folder.", details=text[:MAX_NAME])
