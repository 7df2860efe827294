"""Files below ComfyUI's input and output folders that belong to nobody, and how one becomes a user's.

It does not know who gives them away, nor records. What lies below `users` is never touched, links are not followed,
and nothing is written over.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from gateway.comfy.files import USERS, FileRef, FileType, Root, folded
from gateway.errors import FileNotAllowed, InvalidRequest, NotFound
from gateway.store import folders
from gateway.store.data_directory import DataDirectory
from gateway.store.folders import Entries, Folder, Found


@dataclass(frozen=True, slots=True)
class Skipped:
    """What is not given away, as a path below the type's folder, and why."""

    path: str
    reason: str


class Unowned:
    """What of one type belongs to nobody."""

    def __init__(self, directory: DataDirectory, type_: FileType) -> None:
        self._top, self.type = directory.top(type_), type_

    def find(self, path: str) -> tuple[list[Found], list[Skipped]]:
        """The file at a path, or all files of the folder there and below it; "." is everything that is nobody's.

        Raises InvalidRequest for a path out of the folder or to a user's files, NotFound, OSError.
        """
        place = _place(path)
        file = folders.look(self._top, place[:-1], place[-1]) if place else None
        if file is not None:
            return [file], []
        files, skipped = list[Found](), list[Skipped]()
        for here, inside in self._below(place, path):
            files += inside.files
            skipped += [
                Skipped("/".join((*here, name)), "It is no file but a link or the like.") for name in inside.others
            ]
        return files, skipped

    def give(self, file: Found, root: Root) -> FileRef:
        """Move a file below the root, into folders of the same names; its visible name, which is the one it had.

        Raises FileNotAllowed for a name that no request can write, FileExistsError for one that is taken, OSError.
        """
        ref = self.name_of(file)
        target = (*root.path.split("/"), *file.folder)
        folders.make(self._top, target)
        folders.move(self._top, file.folder, file.name, target)
        return ref

    def name_of(self, file: Found) -> FileRef:
        """What a file is called by whoever gets it. Raises FileNotAllowed for a name that no request can write."""
        return FileRef.read(self.type, "/".join(file.folder), file.name)

    def is_taken(self, file: Found, root: Root) -> bool:
        """Whether the user has a file of that name."""
        return folders.look(self._top, (*root.path.split("/"), *file.folder), file.name) is not None

    def tidy(self, path: str) -> None:
        """Delete the folders there that are empty."""
        place = _place(path)
        found = [here for here, _ in self._below(place, path) if here] if self._is_folder(place) else []
        for here in reversed(found):
            folders.remove_empty(self._top, here)

    def _below(self, place: Folder, path: str) -> Iterator[tuple[Folder, Entries]]:
        if not self._is_folder(place):
            raise NotFound(f"There is no file or folder “{path}” in ComfyUI's {self.type} folder.")
        if place:
            yield from folders.below(self._top, place)
            return
        inside = folders.entries(self._top, ())
        yield (), inside
        for name in inside.folders:
            if folded(name) != USERS:
                yield from folders.below(self._top, (name,))

    def _is_folder(self, place: Folder) -> bool:
        try:
            with folders.opened(self._top, place):
                return True
        except FileNotFoundError:
            return False


def _place(path: str) -> Folder:
    names = tuple(name for name in path.split("/") if name not in ("", "."))
    if path.startswith("/") or not path or ".." in names or "\0" in path:
        raise InvalidRequest(f"“{path}” must be a path below the folder, without “..” in it.")
    if names and folded(names[0]) == USERS:
        raise InvalidRequest(f"“{path}” belongs to users already.")
    return names


def reason_of(error: FileNotAllowed | OSError, path: Path | str) -> Skipped:
    """Why a file could not be given."""
    if isinstance(error, FileExistsError):
        return Skipped(str(path), "The user has something of that name.")
    return Skipped(str(path), error.message if isinstance(error, FileNotAllowed) else str(error.strerror))
