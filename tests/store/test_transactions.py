"""Transactions: alone, whole or not at all, and never in the way of the next one."""

import asyncio
import random
import sqlite3
from collections.abc import Iterator
from contextlib import suppress

import pytest
from sqlalchemy import insert, select, text, update
from sqlalchemy.exc import IntegrityError, ProgrammingError
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.errors import StoreUnavailable
from gateway.store import Store, sqlite
from gateway.store.sqlite import path_of
from gateway.store.tables import servers
from tests.store.databases import on_sqlite

COUNT = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 30000) SELECT count(*) FROM n"
"""A statement that runs for some milliseconds."""


async def put(connection: AsyncConnection, url: str, client_id: str = "x") -> None:
    await connection.execute(insert(servers).values(url=url, client_id=client_id))


async def urls(store: Store) -> set[str]:
    async with store.read() as connection:
        return set((await connection.scalars(select(servers.c.url))).all())


async def test_a_transaction_is_whole(store: Store) -> None:
    """At the end of the block everything is there; after an error in it, nothing."""
    async with store.write() as connection:
        await put(connection, "a")
        await put(connection, "b")
    with pytest.raises(ZeroDivisionError):
        async with store.write() as connection:
            await put(connection, "c")
            raise ZeroDivisionError
    assert await urls(store) == {"a", "b"}


async def test_readers_do_not_see_what_is_unfinished(store: Store) -> None:
    """A reader neither waits for a writer nor sees half of what it does, and keeps one view to its end."""
    async with store.write() as writing:
        await put(writing, "a")
        assert await urls(store) == set()
    async with store.read() as reading:
        before = (await reading.scalars(select(servers.c.url))).all()
        async with store.write() as writing:
            await put(writing, "b")
        assert (await reading.scalars(select(servers.c.url))).all() == before == ["a"]


async def test_writers_wait_for_each_other(store: Store) -> None:
    """Of many that read, think and write at once none loses an update."""
    async with store.write() as connection:
        await put(connection, "counter", "0")

    async def count() -> None:
        async with store.write() as connection:
            number = int(await connection.scalar(select(servers.c.client_id)) or 0)
            await asyncio.sleep(0)
            await connection.execute(update(servers).values(client_id=str(number + 1)))

    await asyncio.wait_for(asyncio.gather(*(count() for _ in range(30))), 30)
    assert await store.servers.client_id("counter", lambda: "none") == "30"


async def test_readers_cannot_write(store: Store) -> None:
    """A statement that writes is refused where only reading was announced."""
    with pytest.raises(StoreUnavailable):
        async with store.read() as connection:
            await put(connection, "a")
    assert await urls(store) == set()


async def test_a_cancelled_writer_leaves_nothing(store: Store) -> None:
    """A task that is cancelled inside its transaction takes everything back, and the next one need not wait."""

    async def write() -> None:
        async with store.write() as connection:
            await put(connection, "a")
            await asyncio.sleep(60)

    task = asyncio.create_task(write())
    await asyncio.sleep(0.05)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await asyncio.wait_for(store.servers.client_id("a", lambda: "new"), 5) == "new"


async def test_cancellation_inside_any_statement_leaves_nothing(store: Store) -> None:
    """Whichever await a cancellation hits, also twice: nothing half is left, and the write lock is free at once.

    (With the driver's own handling the lock stayed until the next garbage collection.)
    """
    generator = random.Random(5)

    async def write(number: int) -> None:
        async with store.write() as connection:
            await put(connection, f"{number}-one")
            await connection.execute(text(COUNT))
            await put(connection, f"{number}-two")

    for number in range(60):
        task = asyncio.create_task(write(number))
        await asyncio.sleep(generator.random() * 0.006)
        task.cancel()
        if number % 3 == 0:
            await asyncio.sleep(generator.random() * 0.001)
            task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        assert await asyncio.wait_for(store.servers.client_id(f"after-{number}", lambda: "x"), 5) == "x"
    left = await urls(store)
    for number in range(60):
        assert (f"{number}-one" in left) == (f"{number}-two" in left)


async def test_a_cancelled_reader_gives_its_connection_back(store: Store) -> None:
    """More readers than there are connections can be cancelled, and still somebody can read."""

    async def read() -> None:
        async with store.read() as connection:
            await connection.execute(text(COUNT))
            await asyncio.sleep(60)

    tasks = [asyncio.create_task(read()) for _ in range(20)]
    await asyncio.sleep(0.02)
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks, timeout=10)
    assert await asyncio.wait_for(urls(store), 5) == set()


async def test_a_refused_statement_is_the_callers_business(store: Store) -> None:
    """A broken constraint or statement is not called a fault of the database, and ends the transaction."""
    with pytest.raises(IntegrityError):
        async with store.write() as connection:
            await put(connection, "a")
            await put(connection, "a")
    with pytest.raises(ProgrammingError):
        async with store.write() as connection:
            await put(connection, "b")
            broken = "SELECT ?" if connection.dialect.name == "sqlite" else "SELECT nothing"
            await connection.exec_driver_sql(broken, (1, 2))
    assert await urls(store) == set()


@pytest.fixture
def other_writer(store: Store) -> Iterator[sqlite3.Connection]:
    """Somebody else who has begun to write and does not end."""
    connection = sqlite3.connect(store.transactions.path, isolation_level=None)
    connection.execute("BEGIN IMMEDIATE")
    yield connection
    connection.close()


@on_sqlite
async def test_another_process_is_waited_for(store: Store, other_writer: sqlite3.Connection) -> None:
    """While another process writes, ours waits, and goes on when that one is ready."""
    waiting = asyncio.create_task(store.servers.client_id("a", lambda: "x"))
    await asyncio.sleep(0.1)
    assert not waiting.done()
    other_writer.execute("INSERT INTO servers (url, client_id) VALUES ('a', 'theirs')")
    other_writer.execute("COMMIT")
    assert await asyncio.wait_for(waiting, 15) == "theirs"


@on_sqlite
async def test_T30_a_database_that_stays_locked_is_unavailable(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """T30: when the database cannot answer, that is a 503 with the reason for the log, and without any value in it."""
    monkeypatch.setattr(sqlite, "_BUSY_SECONDS", 0.05)
    async with await Store.open(url) as store:
        other = sqlite3.connect(path_of(url), isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreUnavailable) as caught:
            await store.servers.client_id("secret-value", lambda: "secret-value")
        other.close()
        assert caught.value.status == 503 and caught.value.reason == "database is locked"
        assert "secret-value" not in str(caught.value.__cause__)
        assert await store.servers.client_id("a", lambda: "x") == "x"


@on_sqlite
async def test_nothing_accepted_is_lost_by_a_power_cut(store: Store) -> None:
    """Commits are on the disk when they return: the write-ahead log is synced at each (FULL), and keys are enforced."""
    async with store.write() as connection:
        pragmas = [
            await connection.scalar(text(f"PRAGMA {name}")) for name in ("journal_mode", "synchronous", "foreign_keys")
        ]
    assert pragmas == ["wal", 2, 1]
