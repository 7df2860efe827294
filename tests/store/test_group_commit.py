"""Group commit: together where it saves a commit, apart in everything else. What holds for functions on both kinds of
database is here too.
"""

import asyncio
import random
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import pytest
from sqlalchemy import insert, select, text, update
from sqlalchemy.engine import Connection
from sqlalchemy.exc import IntegrityError

from gateway.errors import StoreUnavailable
from gateway.store import Store, group_commit, sqlite
from gateway.store.sqlite import path_of
from gateway.store.tables import servers
from tests.store.databases import on_sqlite

COUNT = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 30000) SELECT count(*) FROM n"
"""A statement that runs for some milliseconds."""


def putting(*urls: str) -> Callable[[Connection], int]:
    def work(connection: Connection) -> int:
        for url in urls:
            connection.execute(insert(servers).values(url=url, client_id="x"))
        return len(urls)

    return work


def all_urls(connection: Connection) -> set[str]:
    return set(connection.scalars(select(servers.c.url)))


class Gate:
    """A write that stays in the database's thread until it is let go, so that others gather behind it."""

    def __init__(self) -> None:
        self._entered, self._open = threading.Event(), threading.Event()

    def work(self, _connection: Connection) -> None:
        self._entered.set()
        assert self._open.wait(10)

    @contextmanager
    def closed(self, store: Store) -> Iterator[asyncio.Task[None]]:
        task = asyncio.ensure_future(store.transactions.run_write(self.work))
        try:
            yield task
        finally:
            self._open.set()

    async def entered(self) -> None:
        assert await asyncio.to_thread(self._entered.wait, 10)


@pytest.fixture
def begun(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many writers each transaction had."""
    sizes: list[int] = []
    real = group_commit.GroupCommit._transaction

    def counting(commit: group_commit.GroupCommit, group: list[group_commit._Turn]) -> list[group_commit._Outcome]:
        sizes.append(len(group))
        return real(commit, group)

    monkeypatch.setattr(group_commit.GroupCommit, "_transaction", counting)
    return sizes


async def behind_a_gate(store: Store, *works: Callable[[Connection], object]) -> list[object]:
    """The outcomes of works that had to wait together."""
    gate = Gate()
    with gate.closed(store):
        await gate.entered()
        tasks = [asyncio.ensure_future(store.transactions.run_write(work)) for work in works]
        await asyncio.sleep(0)
    return list(await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 10))


@on_sqlite
async def test_who_waits_together_is_written_together(store: Store, begun: list[int]) -> None:
    """Several waiting writers share one transaction, and each gets its own answer."""
    outcomes = await behind_a_gate(store, *(putting(*(f"{n}-{i}" for i in range(n))) for n in range(1, 6)))
    assert outcomes == [1, 2, 3, 4, 5]
    assert begun == [1, 5]
    assert len(await store.transactions.run_read(all_urls)) == 15


@on_sqlite
async def test_a_group_is_bounded(store: Store, begun: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    """However many wait, no transaction has more writers than it may, and all are served."""
    monkeypatch.setattr(group_commit, "MOST_TOGETHER", 4)
    assert await behind_a_gate(store, *(putting(str(n)) for n in range(10))) == [1] * 10
    assert begun == [1, 4, 4, 2]


@on_sqlite
async def test_an_error_of_one_takes_back_only_its_own(store: Store) -> None:
    """What one writer of a group raises is that one's, with all that it wrote; the others are not touched."""
    outcomes = await behind_a_gate(store, putting("a", "b"), putting("c", "a"), putting("d"))
    assert outcomes[0::2] == [2, 1]
    assert isinstance(outcomes[1], IntegrityError)
    assert await store.transactions.run_read(all_urls) == {"a", "b", "d"}


async def test_an_error_of_one_alone_takes_back_its_own(store: Store) -> None:
    """The same without company."""
    with pytest.raises(IntegrityError):
        await store.transactions.run_write(putting("a", "b", "a"))
    assert await store.transactions.run_write(putting("b")) == 1
    assert await store.transactions.run_read(all_urls) == {"b"}


@on_sqlite
async def test_a_transaction_that_the_database_gave_up_is_nobodys(store: Store) -> None:
    """When a fault of one ends the whole transaction, every writer of it is told, and nothing was written: not by those
    before it, and not by those after it either, whose statements would be transactions of their own."""

    def breaking(connection: Connection) -> None:
        connection.exec_driver_sql("ROLLBACK")
        raise ZeroDivisionError

    outcomes = await behind_a_gate(store, putting("before"), breaking, putting("after"))
    assert [type(outcome) for outcome in outcomes] == [StoreUnavailable] * 3
    assert await store.transactions.run_read(all_urls) == set()
    assert await store.transactions.run_write(putting("later")) == 1


@on_sqlite
async def test_a_writer_that_leaves_before_its_turn_writes_nothing(store: Store) -> None:
    """A cancelled writer is left out of its group, which is written without it."""
    gate = Gate()
    with gate.closed(store):
        await gate.entered()
        leaving, staying = (asyncio.ensure_future(store.transactions.run_write(putting(name))) for name in ("a", "b"))
        await asyncio.sleep(0)
        leaving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await leaving
    assert await asyncio.wait_for(staying, 10) == 1
    assert await store.transactions.run_read(all_urls) == {"b"}


@on_sqlite
async def test_a_writer_that_leaves_during_its_turn_takes_it_back(store: Store) -> None:
    """A writer that is cancelled while its statements run leaves at once, and they are taken back."""
    gate = Gate()

    def work(connection: Connection) -> None:
        putting("a")(connection)
        gate.work(connection)

    writing = asyncio.ensure_future(store.transactions.run_write(work))
    await gate.entered()
    writing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(writing, 5)
    with gate.closed(store) as other:
        pass
    await asyncio.wait_for(other, 10)
    assert await store.transactions.run_read(all_urls) == set()


async def test_cancelled_at_any_moment_it_is_all_or_nothing(store: Store) -> None:
    """Whichever moment a cancellation hits, also twice: nothing half is left, and the next writer need not wait."""
    generator = random.Random(5)

    def work(connection: Connection, number: int) -> None:
        putting(f"{number}-one")(connection)
        connection.execute(text(COUNT))
        putting(f"{number}-two")(connection)

    for number in range(40):
        tasks = [
            asyncio.ensure_future(store.transactions.run_write(lambda connection, at=at: work(connection, at)))
            for at in (2 * number, 2 * number + 1)
        ]
        await asyncio.sleep(generator.random() * 0.012)
        for task in tasks:
            task.cancel()
        if number % 3 == 0:
            await asyncio.sleep(generator.random() * 0.001)
            tasks[0].cancel()
        with suppress(asyncio.CancelledError):
            await asyncio.wait_for(asyncio.gather(*tasks), 5)
        assert await asyncio.wait_for(store.servers.client_id(f"after-{number}", lambda: "x"), 5) == "x"
    left = await store.transactions.run_read(all_urls)
    assert all((f"{number}-one" in left) == (f"{number}-two" in left) for number in range(80))


async def test_both_kinds_of_writers_wait_for_each_other(store: Store) -> None:
    """A group and a transaction of the other kind never lose each other's updates."""
    await store.servers.client_id("counter", lambda: "0")

    def counting(connection: Connection) -> None:
        number = int(connection.scalar(select(servers.c.client_id).with_for_update()) or 0)
        connection.execute(update(servers).values(client_id=str(number + 1)))

    async def count() -> None:
        async with store.write() as connection:
            await connection.run_sync(counting)

    writers = (store.transactions.run_write(counting) if number % 2 else count() for number in range(40))
    await asyncio.wait_for(asyncio.gather(*writers), 30)
    assert await store.servers.client_id("counter", lambda: "none") == "40"


@on_sqlite
async def test_a_database_that_stays_locked_is_everybodys_fault(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A transaction that cannot begin is a StoreUnavailable for each of its writers, and the next one is tried anew."""
    monkeypatch.setattr(sqlite, "_BUSY_SECONDS", 0.05)
    async with await Store.open(url) as store:
        other = sqlite3.connect(path_of(url), isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        together = (store.transactions.run_write(putting(name)) for name in ("a", "b", "c"))
        outcomes = await asyncio.gather(*together, return_exceptions=True)
        other.close()
        assert [type(outcome) for outcome in outcomes] == [StoreUnavailable] * 3
        assert await store.transactions.run_write(putting("a")) == 1


async def test_what_waits_at_the_end_is_written(url: str) -> None:
    """Closing the store lets those that wait be served first."""
    async with await Store.open(url) as store:
        writing = [asyncio.ensure_future(store.transactions.run_write(putting(str(number)))) for number in range(20)]
        await asyncio.sleep(0)
    assert await asyncio.wait_for(asyncio.gather(*writing), 5) == [1] * 20
    async with await Store.open(url) as store:
        assert len(await store.transactions.run_read(all_urls)) == 20


async def test_a_closed_store_says_so(url: str) -> None:
    """Who comes after the end is told, and does not wait for a thread that is gone."""
    async with await Store.open(url) as store:
        pass
    with pytest.raises(StoreUnavailable):
        await asyncio.wait_for(store.transactions.run_write(putting("late")), 5)
    with pytest.raises(StoreUnavailable):
        await asyncio.wait_for(store.transactions.run_read(all_urls), 5)


@on_sqlite
async def test_commits_of_a_group_are_on_the_disk(store: Store) -> None:
    """The group's own connection syncs the log at each commit, and enforces keys."""

    def pragmas(connection: Connection) -> list[object]:
        return [connection.scalar(text(f"PRAGMA {name}")) for name in ("journal_mode", "synchronous", "foreign_keys")]

    assert await store.transactions.run_write(pragmas) == ["wal", 2, 1]


async def test_functions_that_read_cannot_write(store: Store) -> None:
    """A statement that writes is refused where only reading was announced."""
    with pytest.raises(StoreUnavailable):
        await store.transactions.run_read(putting("a"))
    assert await store.transactions.run_read(all_urls) == set()
