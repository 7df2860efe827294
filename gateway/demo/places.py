"""The folders of one simulated server, and which paths ComfyUI accepts in them.

It does not know HTTP. That the old version lets paths escape is deliberate: it does.
"""

import mimetypes
import shutil
from dataclasses import dataclass
from os.path import commonpath, normpath
from pathlib import Path
from typing import Any

KINDS = ("input", "output", "temp")


@dataclass(frozen=True, slots=True)
class Places:
    """input/, output/, temp/, user/ and models/ below one root."""

    root: Path
    guarded: bool

    def make(self) -> None:
        """Create what is missing, and empty temp/ as every start of ComfyUI does."""
        shutil.rmtree(self.root / "temp", ignore_errors=True)
        for name in (*KINDS, "models"):
            (self.root / name).mkdir(parents=True, exist_ok=True)

    def of(self, kind: str) -> Path | None:
        """The folder of a `type`, None for an unknown type."""
        return self.root / kind if kind in KINDS else None

    @property
    def user(self) -> Path:
        """The user data of the single user, `default`."""
        return self.root / "user" / "default"

    def annotated(self, name: Any) -> tuple[str, Path | None]:
        """Split `a.png [output]` into name and folder; the folder is None without a suffix."""
        for kind in ("output", "input", "temp"):
            suffix = f"[{kind}]"
            if name.endswith(suffix):
                return name[: -len(suffix) - 1], self.root / kind
        return name, None

    def resolve(self, name: Any) -> Path | None:
        """The file an annotated path of a prompt means (default input); None when the version refuses it.

        Raises AttributeError for what is no string.
        """
        rest, folder = self.annotated(name)
        folder = folder or self.root / "input"
        path = textual(folder / rest)
        return None if self.guarded and not is_within(folder.resolve(), path.resolve()) else path

    def input_names(self, kinds: tuple[str, ...]) -> list[str]:
        """Sorted names of files in the root of input/ of one of the kinds: "image", "audio", "video", or an ending."""
        names = (entry.name for entry in (self.root / "input").iterdir() if entry.is_file())
        return sorted(name for name in names if name.endswith(kinds) or media_type(name).startswith(kinds))


def media_type(name: str) -> str:
    """The content type of a file by its name."""
    return mimetypes.guess_type(name)[0] or "application/octet-stream"


def textual(path: Path) -> Path:
    """An absolute path without `.` and `..`, by its text alone: symbolic links are not looked at."""
    return Path(normpath(path))


def is_within(folder: Path, path: Path) -> bool:
    """Whether a path lies in a folder, by its text."""
    return commonpath((folder, textual(path))) == str(folder)


def below(folder: Path, subfolder: str) -> Path | None:
    """folder/subfolder, where an absolute subfolder replaces the folder; None when the result escapes it."""
    path = folder / subfolder
    return path if is_within(folder, path) else None
