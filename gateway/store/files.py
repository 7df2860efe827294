"""Which files are whose: uploads, and the outputs whose place on the server says nothing about their owner.

It does not know where files are or whether they still exist. Uploads are kept by the name that their owner sees,
recorded outputs by the name that the server gives them.

Temp names come again after a restart of a server, so records belong to one lifetime of its process, a boot. Outputs
stay on its disk: their records of former boots stay too, and count where this boot has none.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Any, Final

from sqlalchemy import ColumnElement, Table, and_, delete, func, insert, literal, not_, or_, select, tuple_, update
from sqlalchemy.engine import Connection
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.comfy.files import FileRef, FileType
from gateway.store.books import book_upload
from gateway.store.data_directory import KeptFile
from gateway.store.tables import jobs, own_files, recorded_files, server_boots
from gateway.store.transactions import Transactions
from gateway.store.upsert import upsert

EARLIER: Final = ""
"""The boot of outputs that were recorded in former boots."""
MOST_LISTED: Final = 10_000
_BATCH: Final = 1000
"""File names in one statement, of which SQLite takes 32,766 values."""

_REFERENCE: Final = ("type", "subfolder", "filename")
_RECORD_OF: Final = (recorded_files.c.server, recorded_files.c.boot, *(recorded_files.c[name] for name in _REFERENCE))


@dataclass(frozen=True, slots=True)
class Known:
    """Of the names that were asked about: those recorded for the user, and those that the user uploaded."""

    recorded: frozenset[FileRef]
    uploaded: frozenset[FileRef]


class Files:
    """The tables of uploads, of recorded files and of boots. `server` is a server's URL, times are in milliseconds."""

    def __init__(self, transactions: Transactions) -> None:
        self._transactions: Final = transactions

    async def note_upload(self, user_id: int, ref: FileRef, *, size: int, now: int, by: str | None = None) -> None:
        """Remember a file that the user put on the server, by its visible name; again, when it was replaced. `by` is
        the id of the token that it came with, "" without one; None is for files that were there, which do not count as
        uploaded."""
        row = {"user_id": user_id, **_row(ref), "size": size, "created_at": now}
        changed = {name: row[name] for name in ("size", "created_at")}
        async with self._transactions.write() as connection:
            new = upsert(connection, own_files).values(row)
            again = new.on_conflict_do_update(index_elements=own_files.primary_key.columns, set_=changed)
            await connection.execute(again)
            if by is not None:
                await connection.run_sync(partial(book_upload, user_id=user_id, size=size, now=now, token_id=by))

    async def uploads(self, user_id: int, type_: FileType) -> tuple[FileRef, ...]:
        """The user's uploads by visible name, newest first, 10,000 at the most."""
        mine = and_(own_files.c.user_id == user_id, own_files.c.type == type_)
        newest = (own_files.c.created_at.desc(), own_files.c.filename)
        query = select(*_columns(own_files)).where(mine).order_by(*newest).limit(MOST_LISTED)
        async with self._transactions.read() as connection:
            return tuple(FileRef(*row) for row in await connection.execute(query))

    async def kept_uploads(self, user_id: int) -> tuple[KeptFile, ...]:
        """The user's uploads of every type with sizes and times, 10,000 at the most."""
        query = select(*_columns(own_files), own_files.c.size, own_files.c.created_at)
        mine = query.where(own_files.c.user_id == user_id).order_by(own_files.c.created_at.desc()).limit(MOST_LISTED)
        async with self._transactions.read() as connection:
            rows = await connection.execute(mine)
            return tuple(KeptFile(FileRef(*row[:3]), row.size, row.created_at / 1000) for row in rows)

    async def upload_count(self, user_id: int, *, besides: FileRef) -> int:
        """How many files the user uploaded, without the one of this visible name."""
        mine = and_(own_files.c.user_id == user_id, not_(_is_one_of(own_files, [besides])))
        async with self._transactions.read() as connection:
            return await connection.scalar(select(func.count()).select_from(own_files).where(mine)) or 0

    async def forget_uploads(self, user_id: int, refs: Collection[FileRef]) -> None:
        """The user's files of these visible names are gone."""
        async with self._transactions.write() as connection:
            for batch in _batches(refs):
                gone = and_(own_files.c.user_id == user_id, _is_one_of(own_files, batch))
                await connection.execute(delete(own_files).where(gone))

    async def known(self, user_id: int, server: str, refs: Collection[FileRef]) -> Known:
        """What is known of these visible names, for this user and in the server's present boot."""
        return await self._transactions.run_read(partial(_known, user_id=user_id, server=server, refs=tuple(refs)))

    async def record(
        self, server: str, boot: str, *refs: FileRef, user_id: int, prompt_id: str, for_ever: bool = False
    ) -> bool:
        """Note that a job of this user made these files.

        False when this boot has recorded one of them for another user already, who then keeps it, also when removed
        since; the others are noted. Names that never come again are their first owner's `for_ever`: then records of
        former boots count as well.
        """
        job = {"server": server, "boot": boot, "user_id": user_id, "prompt_id": prompt_id}
        owners: set[int | None] = set()
        async with self._transactions.write() as connection:
            for batch in _batches(refs):
                if for_ever:
                    before = (*_in_boot(server, EARLIER), _is_one_of(recorded_files, batch))
                    earlier = set(await connection.scalars(select(recorded_files.c.user_id).where(*before)))
                    if not earlier <= {user_id}:
                        return False
                rows = [{**job, **_row(ref)} for ref in batch]
                await connection.execute(upsert(connection, recorded_files).values(rows).on_conflict_do_nothing())
                there = (*_in_boot(server, boot), _is_one_of(recorded_files, batch))
                owners.update(await connection.scalars(select(recorded_files.c.user_id).where(*there).distinct()))
        return owners <= {user_id}

    async def owner(self, server: str, boot: str, ref: FileRef) -> int | None:
        """The id of the user for whom this boot recorded a file, by the name that the server gives it."""
        query = select(recorded_files.c.user_id).where(*_in_boot(server, boot), _is_one_of(recorded_files, [ref]))
        async with self._transactions.read() as connection:
            return await connection.scalar(query)

    async def recorded_names(self, type_: FileType) -> frozenset[FileRef]:
        """The files of a type that are recorded for anybody, by the names that the servers give them."""
        query = select(*_columns(recorded_files)).where(recorded_files.c.type == type_).distinct()
        async with self._transactions.read() as connection:
            return frozenset(FileRef(*row) for row in await connection.execute(query))

    async def recorded(self, user_id: int, server: str, type_: FileType) -> tuple[FileRef, ...]:
        """The user's recorded files of the present boot, newest job first, 10,000 at the most."""
        present = select(server_boots.c.boot).where(server_boots.c.server == server).scalar_subquery()
        table = recorded_files.outerjoin(jobs, jobs.c.prompt_id == recorded_files.c.prompt_id)
        query = (
            select(*_columns(recorded_files))
            .select_from(table)
            .where(*_in_boot(server, present), recorded_files.c.user_id == user_id, recorded_files.c.type == type_)
            .order_by(jobs.c.seq.desc().nulls_last(), recorded_files.c.filename.desc())
            .limit(MOST_LISTED)
        )
        async with self._transactions.read() as connection:
            return tuple(FileRef(*row) for row in await connection.execute(query))

    async def boot(self, server: str, mint: Callable[[], str]) -> str:
        """The boot that the server was in when we last knew; the first is minted when we meet the server."""
        async with self._transactions.write() as connection:
            known = await connection.scalar(select(server_boots.c.boot).where(server_boots.c.server == server))
            if known is not None:
                return str(known)
            boot = mint()
            await connection.execute(insert(server_boots).values(server=server, boot=boot))
            return boot

    async def new_boot(self, server: str, mint: Callable[[], str]) -> str:
        """The server was started anew: its temp folder is empty, and what is recorded from here on is of a new boot."""
        boot = mint()
        row = {"server": server, "boot": boot, "last_prompt_id": None}
        async with self._transactions.write() as connection:
            await _end_boots(connection, server)
            first = upsert(connection, server_boots).values(row)
            await connection.execute(first.on_conflict_do_update(index_elements=[server_boots.c.server], set_=row))
            # The uploads of a gateway with one server: what was in temp is gone with the rest.
            await connection.execute(delete(own_files).where(own_files.c.type == "temp"))
        return boot

    async def last_prompt(self, server: str) -> str | None:
        """A prompt id that the server had in its history in this boot, as a mark to know the boot by."""
        async with self._transactions.read() as connection:
            return await connection.scalar(select(server_boots.c.last_prompt_id).where(server_boots.c.server == server))

    async def note_prompt(self, server: str, prompt_id: str) -> None:
        """Set that mark."""
        mine = server_boots.c.server == server
        async with self._transactions.write() as connection:
            await connection.execute(update(server_boots).where(mine).values(last_prompt_id=prompt_id))

    async def sweep(self) -> int:
        """Forget the records of jobs that the ledger has forgotten; how many. It keeps the table from growing for ever.

        A temp file so old is seen by nobody any more, until its server starts anew. Those of removed users stay until
        then: their jobs went with the users, and may be in the server's cache.
        """
        async with self._transactions.write() as connection:
            kept = select(jobs.c.prompt_id)
            owned = recorded_files.c.user_id.is_not(None)
            old = delete(recorded_files).where(recorded_files.c.prompt_id.not_in(kept), owned)
            return (await connection.execute(old)).rowcount


async def _end_boots(connection: AsyncConnection, server: str) -> None:
    """Outputs of the boots before keep their owner: the last one for whom the name was recorded."""
    of_server = recorded_files.c.server == server
    over = or_(recorded_files.c.type == "temp", recorded_files.c.user_id.is_(None))
    await connection.execute(delete(recorded_files).where(of_server, over))
    last = select(server_boots.c.boot).where(server_boots.c.server == server).scalar_subquery()
    ended = (
        select(recorded_files.c.boot).where(of_server, recorded_files.c.boot != EARLIER).group_by(recorded_files.c.boot)
    )
    # One by one: a job that ended late may have recorded in the boot before, and one statement moves a name once.
    for boot in await connection.scalars(ended.order_by(recorded_files.c.boot == last, recorded_files.c.boot)):
        await _move_to_earlier(connection, server, boot)
    await connection.execute(delete(recorded_files).where(of_server, recorded_files.c.boot != EARLIER))


async def _move_to_earlier(connection: AsyncConnection, server: str, boot: str) -> None:
    columns = [column for column in recorded_files.columns if column.name != "boot"]
    ended = select(*columns, literal(EARLIER).label("boot")).where(*_in_boot(server, boot))
    names = [column.name for column in (*columns, recorded_files.c.boot)]
    moved = upsert(connection, recorded_files).from_select(names, ended)
    changed = {name: moved.excluded[name] for name in ("user_id", "prompt_id")}
    await connection.execute(moved.on_conflict_do_update(index_elements=_RECORD_OF, set_=changed))


def _known(connection: Connection, *, user_id: int, server: str, refs: Sequence[FileRef]) -> Known:
    """Asked for every `/view`, so it is one function in the database's thread."""
    recorded: set[FileRef] = set()
    uploaded: set[FileRef] = set()
    for batch in _batches(refs):
        recorded.update(_recorded(connection, user_id, server, batch))
        uploaded.update(_uploaded(connection, user_id, batch))
    return Known(frozenset(recorded), frozenset(uploaded))


def _recorded(connection: Connection, user_id: int, server: str, refs: Sequence[FileRef]) -> set[FileRef]:
    """Those whose newest record names this user."""
    present = select(server_boots.c.boot).where(server_boots.c.server == server).scalar_subquery()
    boots = or_(
        recorded_files.c.boot == present,
        and_(recorded_files.c.boot == EARLIER, recorded_files.c.type == "output"),
    )
    query = select(*_columns(recorded_files), recorded_files.c.user_id).where(
        recorded_files.c.server == server, boots, _is_one_of(recorded_files, refs)
    )
    # EARLIER sorts first, so that the present boot has the last word.
    rows = connection.execute(query.order_by(recorded_files.c.boot))
    owners = {FileRef(*row[:3]): row[3] for row in rows}
    return {ref for ref, owner in owners.items() if owner == user_id}


def _uploaded(connection: Connection, user_id: int, refs: Sequence[FileRef]) -> set[FileRef]:
    query = select(*_columns(own_files)).where(own_files.c.user_id == user_id, _is_one_of(own_files, refs))
    return {FileRef(*row) for row in connection.execute(query)}


def _in_boot(server: str, boot: Any) -> tuple[ColumnElement[bool], ...]:
    return recorded_files.c.server == server, recorded_files.c.boot == boot


def _columns(table: Table) -> list[Any]:
    return [table.c[name] for name in _REFERENCE]


def _is_one_of(table: Table, refs: Iterable[FileRef]) -> ColumnElement[bool]:
    return tuple_(*_columns(table)).in_([(ref.type, ref.subfolder, ref.filename) for ref in refs])


def _row(ref: FileRef) -> dict[str, str]:
    return {"type": ref.type, "subfolder": ref.subfolder, "filename": ref.filename}


def _batches(refs: Iterable[FileRef]) -> Iterator[list[FileRef]]:
    left = iter(refs)
    while batch := list(islice(left, _BATCH)):
        yield batch
