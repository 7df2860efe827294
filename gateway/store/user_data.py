"""The users' own files: workflows, settings, stylesheets, as rows. It does not know what is in them, nor ComfyUI.

Every method takes the user, and every statement names the user: there is no other way to a row.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import ColumnElement, and_, delete, func, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.comfy.user_data import MOST_PATH_BYTES, UserFile, folders_of
from gateway.errors import StorageFull
from gateway.store.tables import user_data
from gateway.store.transactions import Transactions
from gateway.store.upsert import upsert

MOST_FILES: Final = 10_000
MOST_FILE_BYTES: Final = 8 * 1024 * 1024
"""A file is held in memory while it is read or written; workflows are a small part of this."""

_INFO: Final = (user_data.c.path, user_data.c.size, user_data.c.created, user_data.c.modified)


class PathTaken(Exception):
    """There is something of that name already, and it was not to be replaced."""


class PathBlocked(Exception):
    """A file cannot be there: a folder has its name, or a file has the name of one of its folders."""


@dataclass(frozen=True, slots=True)
class Quota:
    """How much one user may keep. What makes a full folder smaller is always allowed."""

    most_bytes: int
    most_files: int = MOST_FILES


@dataclass(frozen=True, slots=True)
class Kept:
    """How much one user keeps."""

    files: int
    size: int


class UserFiles:
    """The files, by user and canonical path. Times are seconds since 1970."""

    def __init__(self, transactions: Transactions) -> None:
        self._transactions: Final = transactions

    async def below(self, user_id: int, folder: str) -> tuple[UserFile, ...]:
        """Everything in a folder and in those below it, by path; "" is the user's own folder."""
        wanted = and_(user_data.c.user_id == user_id, _is_below(folder)) if folder else user_data.c.user_id == user_id
        async with self._transactions.read() as connection:
            rows = await connection.execute(select(*_INFO).where(wanted).order_by(user_data.c.path))
            return tuple(_file(row) for row in rows)

    async def is_file(self, user_id: int, path: str) -> bool:
        async with self._transactions.read() as connection:
            return await _info(connection, user_id, path) is not None

    async def read(self, user_id: int, path: str) -> tuple[UserFile, bytes] | None:
        """A file with its bytes."""
        async with self._transactions.read() as connection:
            query = select(*_INFO, user_data.c.content).where(_is(user_id, path))
            row = (await connection.execute(query)).one_or_none()
        return None if row is None else (UserFile(*row[:-1]), bytes(row.content))

    async def kept(self, user_id: int) -> Kept:
        """How much there is."""
        async with self._transactions.read() as connection:
            return await _kept(connection, user_id)

    async def write(
        self, user_id: int, path: str, content: bytes, *, now: float, quota: Quota, overwrite: bool = True
    ) -> UserFile:
        """Make or replace a file.

        Raises:
            PathTaken: there is one, and `overwrite` is not set.
            PathBlocked: no file can be there.
            StorageFull: it would be too much.
        """

        def new(old: bytes | None) -> bytes:
            if old is not None and not overwrite:
                raise PathTaken
            return content

        return await self.change(user_id, path, new, now=now, quota=quota)

    async def change(
        self,
        user_id: int,
        path: str,
        new: Callable[[bytes | None], bytes],
        *,
        now: float,
        quota: Quota,
        created: float | None = None,
    ) -> UserFile:
        """Replace a file by what `new` makes of it (None: there is none yet), in one transaction.

        `now` is the time that it was modified; a new file was `created` then too, unless that is given. Raises as
        `write` does, and whatever `new` raises; then nothing was changed.
        """
        async with self._transactions.write() as connection:
            query = select(user_data.c.content).where(_is(user_id, path))
            old = await connection.scalar(query)
            content = new(old)
            if old is None:
                await _require_place(connection, user_id, path)
            await _require_room(connection, user_id, content, old=old, quota=quota)
            times = {"created": now if created is None else created, "modified": now}
            row = {"user_id": user_id, "path": path, "content": content, "size": len(content), **times}
            changed = {name: row[name] for name in ("content", "size", "modified")}
            statement = upsert(connection, user_data).values(row)
            replacing = statement.on_conflict_do_update(index_elements=user_data.primary_key.columns, set_=changed)
            return _file((await connection.execute(replacing.returning(*_INFO))).one())

    async def remove(self, user_id: int, path: str) -> bool:
        """Whether there was a file.

        Raises:
            PathBlocked: it is a folder.
        """
        async with self._transactions.write() as connection:
            gone = await connection.execute(delete(user_data).where(_is(user_id, path)))
            if gone.rowcount == 0 and await _is_folder(connection, user_id, path):
                raise PathBlocked
            return gone.rowcount > 0

    async def move(self, user_id: int, source: str, target: str, *, overwrite: bool) -> UserFile | None:
        """Rename a file, or a folder with all that is in it; None if there is none. The times stay.

        Of a folder the answer tells the size and the times of everything in it together.

        Raises:
            PathTaken: there is a file or folder at the target, and `overwrite` is not set.
            PathBlocked: nothing can be there; a folder never replaces anything, and is not moved into itself.
        """
        async with self._transactions.write() as connection:
            file = await _info(connection, user_id, source)
            if file is None and not await _is_folder(connection, user_id, source):
                return None
            there = await _info(connection, user_id, target)
            if not overwrite and (there or await _is_folder(connection, user_id, target)):
                raise PathTaken
            if file is None:
                return await _move_folder(connection, user_id, source, target)
            if source != target:
                await connection.execute(delete(user_data).where(_is(user_id, target)))
                await _rename(connection, user_id, source, target)
                await _require_place(connection, user_id, target)
            return UserFile(target, file.size, file.created, file.modified)


async def _move_folder(connection: AsyncConnection, user_id: int, source: str, target: str) -> UserFile:
    if f"{target}/".startswith(f"{source}/") or await _info(connection, user_id, target):
        raise PathBlocked
    await _require_place(connection, user_id, target)
    everything = and_(user_data.c.user_id == user_id, _is_below(source))
    path = target + func.substr(user_data.c.path, len(source) + 1)
    moved = update(user_data).where(everything).values(path=path).returning(*_INFO)
    files = [_file(row) for row in await connection.execute(moved)]
    if any(len(file.path.encode()) > MOST_PATH_BYTES for file in files):
        raise PathBlocked
    created, modified = min(file.created for file in files), max(file.modified for file in files)
    return UserFile(target, sum(file.size for file in files), created, modified)


async def _rename(connection: AsyncConnection, user_id: int, source: str, target: str) -> None:
    await connection.execute(update(user_data).where(_is(user_id, source)).values(path=target))


async def _require_place(connection: AsyncConnection, user_id: int, path: str) -> None:
    """A name is a file or a folder, never both."""
    above = folders_of(path)
    query = select(user_data.c.path).where(
        user_data.c.user_id == user_id, or_(user_data.c.path.in_(above), _is_below(path))
    )
    if (await connection.execute(query.limit(1))).first() is not None:
        raise PathBlocked


async def _require_room(
    connection: AsyncConnection, user_id: int, content: bytes, *, old: bytes | None, quota: Quota
) -> None:
    """Counted in the transaction that writes, so that two writes at once cannot both take the last of it."""
    kept = await _kept(connection, user_id)
    growth = len(content) - len(old or b"")
    if growth > 0 and kept.size + growth > quota.most_bytes:
        raise StorageFull(
            f"Your user data would take more than {quota.most_bytes} bytes.",
            details="Delete workflows that you do not need, or ask an administrator for more room.",
            extra_info={"limit": quota.most_bytes},
        )
    if old is None and kept.files >= quota.most_files:
        raise StorageFull(
            f"You have {kept.files} files in your user data, which is as many as you may have.",
            details="Delete files that you do not need.",
            extra_info={"limit": quota.most_files},
        )


async def _kept(connection: AsyncConnection, user_id: int) -> Kept:
    size = func.coalesce(func.sum(user_data.c.size), 0)
    row = (await connection.execute(select(func.count(), size).where(user_data.c.user_id == user_id))).one()
    # A sum of 64-bit numbers is a decimal on PostgreSQL.
    return Kept(row[0], int(row[1]))


async def _info(connection: AsyncConnection, user_id: int, path: str) -> UserFile | None:
    row = (await connection.execute(select(*_INFO).where(_is(user_id, path)))).one_or_none()
    return None if row is None else _file(row)


async def _is_folder(connection: AsyncConnection, user_id: int, path: str) -> bool:
    query = select(user_data.c.path).where(user_data.c.user_id == user_id, _is_below(path))
    return (await connection.execute(query.limit(1))).first() is not None


def _is(user_id: int, path: str) -> ColumnElement[bool]:
    return and_(user_data.c.user_id == user_id, user_data.c.path == path)


def _is_below(folder: str) -> ColumnElement[bool]:
    """As a range, which the primary key finds at once; `0` is the character after `/`. LIKE would take `_` for any."""
    return and_(user_data.c.path > f"{folder}/", user_data.c.path < f"{folder}0")


def _file(row: Sequence[Any]) -> UserFile:
    return UserFile(*row)
