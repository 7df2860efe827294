"""ComfyUI's data directory, where it is mounted: the users' own files in it, and nothing else.

It does not know which of them somebody uploaded, nor how much anybody may keep. Whatever is asked for, only what lies
below `<type>/users/<key>` of the root that is named is read or changed. Every call blocks on the disk: `storage` calls
from threads.

Hidden from users, but counted, is what has a name that no request can write.
"""

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from gateway.comfy.files import FILE_TYPES, USERS, FileRef, FileType, Root
from gateway.errors import FileNotAllowed
from gateway.store import folders
from gateway.store.folders import Folder, Found


@dataclass(frozen=True, slots=True)
class KeptFile:
    """A user's file by its visible name. Sizes are bytes, times seconds since 1970; None is what is not known.

    `changed` is when anything about the file changed, being moved here included.
    """

    ref: FileRef
    size: int | None
    modified: float | None
    changed: float | None = None


class DataDirectory:
    """The three folders in it. Links at or above `input`, `output` and `temp` are the operator's, and followed once."""

    def __init__(self, path: Path) -> None:
        self._tops: Final[dict[FileType, Path]] = {type_: (path / type_).resolve() for type_ in FILE_TYPES}

    @classmethod
    def of(cls, path: Path | None) -> Self | None:
        """The one at a path that may not be set."""
        return None if path is None else cls(path)

    def top(self, type_: FileType) -> Path:
        """Where a type's folder is."""
        return self._tops[type_]

    def files(self, root: Root, types: Collection[FileType] = FILE_TYPES) -> list[KeptFile]:
        """All files of a user, in no order."""
        return [kept for type_ in types for found in self._below(root, type_) for kept in _kept(type_, root, found)]

    def files_on_top(self, root: Root, type_: FileType) -> list[KeptFile]:
        """The user's files that are in no folder, newest first."""
        here = folders.entries(self._tops[type_], _folder(root))
        found = sorted(here.files, key=lambda file: (-file.modified, file.name))
        return [kept for file in found for kept in _kept(type_, root, file)]

    def size(self, root: Root) -> int:
        """The bytes of all that the user keeps."""
        return sum(found.size for type_ in FILE_TYPES for found in self._below(root, type_))

    def remove(self, root: Root, ref: FileRef, *, unchanged_since: float | None = None) -> bool:
        """Delete one file, by its visible name, unless it changed at or after that time; whether it is gone by this."""
        rooted = root.under(ref)
        folder = tuple(rooted.subfolder.split("/"))
        return folders.unlink(self._tops[ref.type], folder, rooted.filename, unchanged_since=unchanged_since)

    def remove_all(self, root: Root) -> int:
        """Delete everything of a user, the user's own folders too; how many files."""
        return sum(folders.remove_below(self._tops[type_], _folder(root)) for type_ in FILE_TYPES)

    def exists(self, root: Root) -> bool:
        """Whether there is any folder of this user's."""
        users = (folders.entries(top, (USERS,)).folders for top in self._tops.values())
        return any(root.key in names for names in users)

    def _below(self, root: Root, type_: FileType) -> Iterator[Found]:
        for _, inside in folders.below(self._tops[type_], _folder(root)):
            yield from inside.files


def newest_first(files: Iterable[KeptFile]) -> list[KeptFile]:
    """In the order of lists; what has no time comes last."""
    return sorted(files, key=order)


def order(kept: KeptFile) -> tuple[float, str, str]:
    """Where a file stands in lists."""
    return -(kept.modified or 0.0), kept.ref.type, kept.ref.path


def _folder(root: Root) -> Folder:
    return (USERS, root.key)


def _kept(type_: FileType, root: Root, found: Found) -> Iterator[KeptFile]:
    try:
        ref = FileRef.read(type_, "/".join(found.folder[len(_folder(root)) :]), found.name)
    except FileNotAllowed:
        return
    # A name that begins with the root again means another file when it is read back.
    if root.stripped(ref) == ref:
        yield KeptFile(ref, found.size, found.modified, found.changed)
