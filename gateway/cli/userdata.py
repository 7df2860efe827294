"""`comfy-gateway userdata`: brings what ComfyUI kept for one user into the gateway. It does not know how it is asked
for again.
"""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Final

import orjson
import typer

from gateway.cli.place import ConfigFile, DataDir, files_counted, note, opened, settings_of, user_named
from gateway.comfy.user_data import SETTINGS, as_object, canonical, settings_file, settings_in
from gateway.config import Settings
from gateway.errors import InvalidRequest, StorageFull
from gateway.policy.limits import overridden
from gateway.store.user_data import MOST_FILE_BYTES, PathBlocked, Quota, UserFiles

_MEBIBYTE: Final = 1024 * 1024
_OF_THE_SERVER: Final = "ComfyUI-Manager"
"""A folder in which an old node pack keeps the settings of the whole server, its security level among them."""

app = typer.Typer(help="Settings, workflows and other user data.", no_args_is_help=True, rich_markup_mode=None)


@app.callback()
def group() -> None:
    """Settings, workflows and other user data."""


@app.command("import")
def import_(
    name: Annotated[str, typer.Argument(metavar="USER")],
    directory: Annotated[Path, typer.Argument(metavar="DIRECTORY", help="ComfyUI's user/default, or user/ID.")],
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace what the user has already.")] = False,
    config: ConfigFile = None,
    data_dir: DataDir = None,
) -> None:
    """Copy a user folder of ComfyUI's into a user's data; what the user has already stays."""
    _require_user_folder(directory)
    report = asyncio.run(_import(settings_of(config, data_dir), name, directory, overwrite=overwrite))
    for line in report.skipped:
        note(f"Skipped {line}.")
    note(
        f"Brought in {files_counted(report.new)} for {name}; {report.same} unchanged, {len(report.skipped)} skipped. "
        f"In all {files_counted(report.files)}, {report.size} bytes."
    )


@dataclass(slots=True)
class _Report:
    """What became of the files, and how much the user has now."""

    new: int = 0
    same: int = 0
    skipped: list[str] = field(default_factory=list)
    files: int = 0
    size: int = 0


async def _import(settings: Settings, name: str, directory: Path, *, overwrite: bool) -> _Report:
    report = _Report()
    async with opened(settings) as store:
        user = await user_named(store, name)
        role = settings.roles.get(user.role)
        if role is None:
            raise InvalidRequest(f"The settings have no role “{user.role}”, which {name} has.")
        importer = _Importer(
            store.user_files,
            user.id,
            Quota(overridden(role, orjson.loads(user.limits))[0].user_data_mb * _MEBIBYTE),
            overwrite,
        )
        for source in _found(directory):
            await _bring(importer, source, source.relative_to(directory).as_posix(), report)
        kept = await store.user_files.kept(user.id)
        report.files, report.size = kept.files, kept.size
    return report


async def _bring(importer: "_Importer", source: Path, path: str, report: _Report) -> None:
    try:
        if await importer.bring(source, path):
            report.new += 1
        else:
            report.same += 1
    except (InvalidRequest, StorageFull) as error:
        report.skipped.append(f"{path!r}: {error.message.removesuffix('.')}")
    except OSError as error:
        report.skipped.append(f"{path!r}: {error.strerror}")


@dataclass(frozen=True, slots=True)
class _Importer:
    files: UserFiles
    user_id: int
    quota: Quota
    overwrite: bool

    async def bring(self, source: Path, path: str) -> bool:
        """Copy one file; whether anything changed. Raises InvalidRequest, StorageFull or OSError for one to skip."""
        canonical(path)
        content, modified, created = _read(source)
        there = await self.files.read(self.user_id, path)
        if there is not None and self._wanted(path, content, there[1]) == there[1]:
            return False
        await self._write(path, content, modified=modified, created=created)
        return True

    async def _write(self, path: str, content: bytes, *, modified: float, created: float) -> None:
        def wanted(old: bytes | None) -> bytes:
            return self._wanted(path, content, old)

        try:
            await self.files.change(self.user_id, path, wanted, now=modified, quota=self.quota, created=created)
        except PathBlocked:
            raise InvalidRequest("A file cannot have the name of a folder.") from None

    def _wanted(self, path: str, content: bytes, old: bytes | None) -> bytes:
        if path == SETTINGS:
            return settings_file(self._settings(content, old))
        if old is not None and old != content and not self.overwrite:
            raise InvalidRequest("The user has another file of that name; --overwrite replaces it.")
        return content

    def _settings(self, content: bytes, old: bytes | None) -> dict[str, object]:
        """One by one: the editor has set some before anybody could import any."""
        try:
            new = as_object(content)
        except InvalidRequest:
            raise InvalidRequest("It does not hold settings.") from None
        there = settings_in(old)
        return {**there, **(new if self.overwrite else {key: new[key] for key in new if key not in there})}


def _require_user_folder(directory: Path) -> None:
    if not directory.is_dir():
        raise InvalidRequest(f"{directory} is not a directory.")
    if (directory / "default").is_dir() and not (directory / SETTINGS).exists():
        raise InvalidRequest(
            f"{directory} holds the folders of several users: give one of them, such as its “default”."
        )


def _found(directory: Path) -> Iterator[Path]:
    """Every file in the order of names, and whatever is no file but cannot be gone through either."""
    try:
        entries = sorted(directory.iterdir())
    except OSError:
        yield directory
        return
    for path in entries:
        if path.is_dir() and not path.is_symlink() and path.name != _OF_THE_SERVER:
            yield from _found(path)
        else:
            yield path


def _read(path: Path) -> tuple[bytes, float, float]:
    """The bytes, when they were modified, and when they were made. Raises InvalidRequest for what is not to be read."""
    if path.name == _OF_THE_SERVER:
        raise InvalidRequest("It belongs to the server, not to a user.")
    if path.is_symlink() or not path.is_file():
        raise InvalidRequest("It is not a file or directory that can be read.")
    times = path.stat()
    with path.open("rb") as file:
        content = file.read(MOST_FILE_BYTES + 1)
    if len(content) > MOST_FILE_BYTES:
        raise InvalidRequest(f"It is larger than {MOST_FILE_BYTES} bytes.")
    return content, times.st_mtime, min(times.st_mtime, times.st_ctime)
