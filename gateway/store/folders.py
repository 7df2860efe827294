"""Folders opened name by name, so that no symbolic link below a top is ever followed, even one that was swapped in a
moment ago.

It does not know whose files these are. Every call opens its way down anew and holds one or two descriptors at a time,
however deep the folders are. What vanishes meanwhile is passed over.
"""

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

Folder = tuple[str, ...]
"""Names from a top downwards; () is the top itself."""

_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_ABSENT: Final = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG})
"""A name that is not there, is no folder, or is a link."""
_NO_LINKS: Final = frozenset({errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EACCES})
"""From file systems without hard links, and from Linux for files of another system user."""


@dataclass(frozen=True, slots=True)
class Found:
    """A regular file. Times are seconds since 1970; `changed` is when anything about it changed, its name too."""

    folder: Folder
    name: str
    size: int
    modified: float
    changed: float


@dataclass(frozen=True, slots=True)
class Entries:
    """What is in one folder; `others` are links, sockets and what else is neither file nor folder."""

    files: tuple[Found, ...]
    folders: tuple[str, ...]
    others: tuple[str, ...]


@contextmanager
def opened(top: Path, folder: Folder) -> Iterator[int]:
    """A descriptor of the folder. Raises FileNotFoundError when a part of the way is absent, no folder, or a link."""
    descriptor = _open(str(top), None)
    try:
        for name in folder:
            _require_name(name)
            below = _open(name, descriptor)
            os.close(descriptor)
            descriptor = below
        yield descriptor
    finally:
        os.close(descriptor)


def entries(top: Path, folder: Folder) -> Entries:
    """What is in the folder now; nothing, if there is no such folder."""
    files, folders, others = list[Found](), list[str](), list[str]()
    with suppress(FileNotFoundError), opened(top, folder) as descriptor, os.scandir(descriptor) as scanned:
        for entry in scanned:
            try:
                info = entry.stat(follow_symlinks=False)
            except FileNotFoundError:
                continue
            kind = stat.S_IFMT(info.st_mode)
            if kind == stat.S_IFREG:
                files.append(_found(folder, entry.name, info))
            else:
                (folders if kind == stat.S_IFDIR else others).append(entry.name)
    return Entries(tuple(files), tuple(folders), tuple(others))


def below(top: Path, folder: Folder) -> Iterator[tuple[Folder, Entries]]:
    """The folder and all those below it, each before what is in it."""
    waiting = [folder]
    while waiting:
        here = waiting.pop()
        inside = entries(top, here)
        yield here, inside
        waiting += [(*here, name) for name in inside.folders]


def look(top: Path, folder: Folder, name: str) -> Found | None:
    """One regular file."""
    _require_name(name)
    with _absent_is_nothing(), opened(top, folder) as descriptor:
        info = os.stat(name, dir_fd=descriptor, follow_symlinks=False)
        return _found(folder, name, info) if stat.S_ISREG(info.st_mode) else None
    return None


def unlink(top: Path, folder: Folder, name: str, *, unchanged_since: float | None = None) -> bool:
    """Delete one regular file, unless it changed at or after `unchanged_since`; whether it was there and is gone."""
    _require_name(name)
    with _absent_is_nothing(), opened(top, folder) as descriptor:
        info = os.stat(name, dir_fd=descriptor, follow_symlinks=False)
        changed = _found(folder, name, info).changed
        if not stat.S_ISREG(info.st_mode) or (unchanged_since is not None and changed >= unchanged_since):
            return False
        os.unlink(name, dir_fd=descriptor)
        return True
    return False


def remove_below(top: Path, folder: Folder) -> int:
    """Delete the folder with everything in it, links as what they are; how many files.

    A folder into which somebody writes meanwhile stays, for the next time.
    """
    folders, count = list[Folder](), 0
    for here, inside in below(top, folder):
        folders.append(here)
        count += len(inside.files)
        names = (*(file.name for file in inside.files), *inside.others)
        with suppress(FileNotFoundError), opened(top, here) as descriptor:
            for name in names:
                with _absent_is_nothing():
                    os.unlink(name, dir_fd=descriptor)
    for here in reversed(folders):
        remove_empty(top, here)
    return count


def remove_empty(top: Path, folder: Folder) -> None:
    """Delete a folder if there is nothing in it."""
    with suppress(OSError), opened(top, folder[:-1]) as descriptor:
        os.rmdir(folder[-1], dir_fd=descriptor)


def make(top: Path, folder: Folder) -> None:
    """Make the folder and those above it, open to the same people as the top. Raises FileExistsError for a file or
    link in the way."""
    for depth in range(1, len(folder) + 1):
        _make_one(top, folder[:depth])


def move(top: Path, folder: Folder, name: str, target: Folder) -> None:
    """Give a file another folder below the same top, under its name; never over anything.

    Raises FileExistsError when the name is taken there, FileNotFoundError, and OSError from another file system.
    """
    _require_name(name)
    with opened(top, folder) as source, opened(top, target) as destination:
        try:
            os.link(name, name, src_dir_fd=source, dst_dir_fd=destination, follow_symlinks=False)
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            _rename(name, source, destination)
        else:
            _unlink_first(name, source, destination)


def _rename(name: str, source: int, destination: int) -> None:
    """A name that is taken with nothing in it first: to rename over that destroys nothing."""
    os.close(os.open(name, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW, 0o600, dir_fd=destination))
    try:
        os.rename(name, name, src_dir_fd=source, dst_dir_fd=destination)
    except OSError:
        os.unlink(name, dir_fd=destination)
        raise


def _unlink_first(name: str, source: int, destination: int) -> None:
    """A file has two names until it loses the first; if it cannot, it loses the second."""
    try:
        os.unlink(name, dir_fd=source)
    except OSError:
        os.unlink(name, dir_fd=destination)
        raise


def _make_one(top: Path, folder: Folder) -> None:
    name = folder[-1]
    _require_name(name)
    with opened(top, ()) as above:
        model = os.fstat(above)
    with opened(top, folder[:-1]) as descriptor:
        try:
            os.mkdir(name, dir_fd=descriptor)
        except FileExistsError:
            if not stat.S_ISDIR(os.stat(name, dir_fd=descriptor, follow_symlinks=False).st_mode):
                raise
            return
    with opened(top, folder) as made:
        os.fchmod(made, stat.S_IMODE(model.st_mode))
        if os.geteuid() == 0:
            os.fchown(made, model.st_uid, model.st_gid)


def _open(name: str, above: int | None) -> int:
    try:
        return os.open(name, _DIRECTORY, dir_fd=above)
    except OSError as error:
        if error.errno in _ABSENT:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), name) from error
        raise


@contextmanager
def _absent_is_nothing() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno not in _ABSENT:
            raise


def _require_name(name: str) -> None:
    if name in ("", ".", "..") or "/" in name or "\0" in name:
        raise ValueError(f"{name!r} is not one name of a file or folder")


def _found(folder: Folder, name: str, info: os.stat_result) -> Found:
    return Found(folder, name, info.st_size, info.st_mtime, max(info.st_mtime, info.st_ctime))
