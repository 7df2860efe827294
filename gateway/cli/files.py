"""`comfy-gateway files`: gives files that belong to nobody to a user, and lists a user's. It does not know how they are
asked for.
"""

import asyncio
from dataclasses import dataclass, field
from typing import Annotated, Literal

import typer

from gateway.cli.moments import day
from gateway.cli.place import (
    ConfigFile,
    DataDir,
    files_counted,
    note,
    opened,
    settings_of,
    storage_of,
    table,
    user_named,
)
from gateway.comfy.files import FileRef
from gateway.config import Settings
from gateway.errors import FileNotAllowed, InvalidRequest
from gateway.policy.allowance import MEBIBYTE
from gateway.store import Store, User
from gateway.store.data_directory import DataDirectory, KeptFile
from gateway.store.folders import Found
from gateway.store.unowned import Skipped, Unowned, reason_of
from gateway.store.upload_room import megabytes

app = typer.Typer(help="Users' files on the ComfyUI server.", no_args_is_help=True, rich_markup_mode=None)

_NO_DIRECTORY = (
    "The gateway cannot reach ComfyUI's data directory: mount it here and set comfyui_files (GATEWAY_COMFYUI_FILES)."
)


@app.command()
def assign(
    folder: Annotated[str, typer.Argument(metavar="FOLDER", help="A folder or file; “.” is all that is nobody's.")],
    name: Annotated[str, typer.Argument(metavar="USER")],
    type_: Annotated[Literal["output", "input"], typer.Option("--type", help="Which of ComfyUI's folders.")] = "output",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be moved.")] = False,
    config: ConfigFile = None,
    data_dir: DataDir = None,
) -> None:
    """Give files that were there before the gateway to a user; they keep their names and folders."""
    settings = settings_of(config, data_dir)
    if settings.comfyui_files is None:
        raise InvalidRequest(_NO_DIRECTORY)
    unowned = Unowned(DataDirectory(settings.comfyui_files), type_)
    report = asyncio.run(_assign(settings, unowned, folder, name, dry_run=dry_run))
    for skipped in report.skipped:
        note(f"Skipped {skipped.path!r}: {skipped.reason}")
    done = "Would give" if dry_run else "Gave"
    note(f"{done} {files_counted(report.moved)} to {name}; {len(report.skipped)} skipped.{report.now}")


@app.command("list")
def list_(
    name: Annotated[str, typer.Argument(metavar="USER")], config: ConfigFile = None, data_dir: DataDir = None
) -> None:
    """List a user's files, newest first; without ComfyUI's data directory those that the database knows."""
    settings = settings_of(config, data_dir)
    files = asyncio.run(_files(settings, name))
    table(("TYPE", "BYTES", "MODIFIED", "NAME"), *(_row(kept) for kept in files))


@dataclass(slots=True)
class _Report:
    """What became of the files. `now` is a sentence about what the user keeps."""

    moved: int = 0
    skipped: list[Skipped] = field(default_factory=list)
    now: str = ""


async def _assign(settings: Settings, unowned: Unowned, folder: str, name: str, *, dry_run: bool) -> _Report:
    async with opened(settings) as store:
        user = await user_named(store, name)
        found, skipped = _found(unowned, folder)
        report = _Report(skipped=skipped)
        recorded = {ref.path for ref in await store.files.recorded_names(unowned.type)}
        for file in sorted(found, key=lambda file: (file.folder, file.name)):
            if (path := "/".join((*file.folder, file.name))) in recorded:
                report.skipped.append(Skipped(path, "It is the result of somebody's job."))
                continue
            await _give(store, unowned, file, user, report=report, dry_run=dry_run)
        if not dry_run:
            unowned.tidy(folder)
            report.now = await _kept(settings, store, user)
    return report


def _found(unowned: Unowned, folder: str) -> tuple[list[Found], list[Skipped]]:
    try:
        return unowned.find(folder)
    except OSError as error:
        raise InvalidRequest(f"“{folder}” cannot be read: {error.strerror}.") from error


async def _give(store: Store, unowned: Unowned, file: Found, user: User, *, report: _Report, dry_run: bool) -> None:
    root = await store.roots.of(user.id)
    try:
        if dry_run and unowned.is_taken(file, root):
            raise FileExistsError
        ref = unowned.name_of(file) if dry_run else unowned.give(file, root)
    except (FileNotAllowed, OSError) as error:
        report.skipped.append(reason_of(error, "/".join((*file.folder, file.name))))
        return
    if not dry_run:
        await _record(store, user, ref, file)
    report.moved += 1
    typer.echo(ref.path)


async def _record(store: Store, user: User, ref: FileRef, file: Found) -> None:
    """Pickers list the inputs that are recorded."""
    if ref.type == "input":
        await store.files.note_upload(user.id, ref, size=file.size, now=int(file.modified * 1000))


async def _kept(settings: Settings, store: Store, user: User) -> str:
    async with storage_of(settings, store) as storage:
        kept = await storage.kept(user.id)
    role = settings.roles.get(user.role)
    may = f" of {megabytes(role.storage_mb * MEBIBYTE)}" if role else ""
    return f" In all {user.name} keeps {megabytes(kept)}{may}."


async def _files(settings: Settings, name: str) -> list[KeptFile]:
    async with opened(settings) as store, storage_of(settings, store) as storage:
        user = await user_named(store, name)
        return await storage.files(user.id, newest=settings.history_newest)


def _row(kept: KeptFile) -> tuple[str, ...]:
    size = "-" if kept.size is None else str(kept.size)
    return (kept.ref.type, size, "-" if kept.modified is None else day(kept.modified), kept.ref.path)
