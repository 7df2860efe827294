"""A data directory with files in it, for the tests of what works on it."""

import os
from pathlib import Path

from gateway.comfy.files import FileRef, Root

DAY = 24 * 3600


def directory(path: Path) -> Path:
    """ComfyUI's data directory, empty."""
    for name in ("input", "output", "temp"):
        (path / name).mkdir(parents=True)
    return path


def put(path: Path, root: Root, ref: FileRef, content: str = "x", *, modified: float | None = None) -> Path:
    """A user's file, by its visible name."""
    folder = path / ref.type / root.path / ref.subfolder
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / ref.filename
    file.write_text(content)
    if modified is not None:
        os.utime(file, (modified, modified))
    return file


def output(name: str, subfolder: str = "") -> FileRef:
    return FileRef.read("output", subfolder, name)


def upload(name: str, subfolder: str = "") -> FileRef:
    return FileRef.read("input", subfolder, name)
