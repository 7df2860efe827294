"""What holds on PostgreSQL and could not go wrong on SQLite: writers beside each other, and a server that goes away."""

import asyncio
from collections.abc import Callable

import pytest
from sqlalchemy import insert, select, text, update
from sqlalchemy.engine import Connection
from sqlalchemy.ext.asyncio import create_async_engine

from gateway.errors import StoreUnavailable
from gateway.store import Store, User, postgresql_server, reservation, tables
from gateway.store.tables import servers
from tests import postgres
from tests.postgres import Postgres
from tests.store.databases import on_postgresql, raw
from tests.store.test_ledger import new

pytestmark = on_postgresql

DECLARED = (
    "SELECT table_name, ordinal_position, column_name, data_type, is_nullable, column_default, collation_name"
    " FROM information_schema.columns WHERE table_schema = 'public' AND table_name <> 'alembic_version' ORDER BY 1, 2",
    "SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = 'public' AND tablename <> 'alembic_version'"
    " ORDER BY 1",
    "SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint WHERE connamespace = 'public'::regnamespace"
    " AND conname NOT LIKE 'alembic%' ORDER BY 1",
)


def reading_for_update(*urls: str, then: Callable[[str], object] = str) -> Callable[[Connection], None]:
    """Locks rows one after another."""

    def work(connection: Connection) -> None:
        for url in urls:
            connection.execute(select(servers).where(servers.c.url == url).with_for_update()).one()
            then(url)
            connection.execute(text("SELECT pg_sleep(0.2)"))
            connection.execute(update(servers).where(servers.c.url == url).values(client_id=servers.c.client_id + "x"))

    return work


async def test_the_migrations_make_the_tables(url: str, postgres_server: Postgres) -> None:
    """What the migrations make is what the code's tables say: columns with their orders, indexes and constraints."""
    async with await Store.open(url):
        pass
    other = postgres_server.make()
    engine = create_async_engine(other.replace("postgresql:", "postgresql+asyncpg:"))
    async with engine.begin() as connection:
        await connection.run_sync(tables.metadata.create_all)
    await engine.dispose()
    for question in DECLARED:
        migrated = await raw(url, question)
        assert migrated and migrated == await raw(other, question)
    postgres_server.drop(other)


async def test_functions_do_not_wait_for_each_other(store: Store) -> None:
    """Two functions that write different rows are in their transactions at the same time."""
    for name in ("a", "b"):
        await store.servers.client_id(name, lambda: "0")
    started = {name: asyncio.Event() for name in ("a", "b")}

    def work(connection: Connection, name: str) -> bool:
        connection.execute(update(servers).where(servers.c.url == name).values(client_id="1"))
        started[name].set()
        for _ in range(100):
            if all(event.is_set() for event in started.values()):
                return True
            connection.execute(text("SELECT pg_sleep(0.02)"))
        return False

    both = (store.transactions.run_write(lambda connection, name=name: work(connection, name)) for name in started)
    assert await asyncio.wait_for(asyncio.gather(*both), 30) == [True, True]


async def test_a_block_is_alone_in_all_processes(store: Store, url: str) -> None:
    """While a block is open no function of another gateway writes, and it finds what the block wrote."""
    async with await Store.open(url) as other:

        def work(connection: Connection) -> str | None:
            return connection.scalar(select(servers.c.client_id))

        async with store.write() as connection:
            waiting = asyncio.ensure_future(other.transactions.run_write(work))
            await connection.execute(text("SELECT pg_sleep(0.3)"))
            assert not waiting.done()
            await connection.execute(insert(servers).values(url="a", client_id="written"))
        assert await asyncio.wait_for(waiting, 10) == "written"


async def test_functions_that_wait_for_each_other_are_run_again(store: Store) -> None:
    """A deadlock ends one of its transactions; that one is run again from its beginning, and nothing is lost."""
    for name in ("a", "b"):
        await store.servers.client_id(name, lambda: "0")
    seen: list[str] = []
    crossed = (reading_for_update(*names, then=seen.append) for names in ("ab", "ba"))
    await asyncio.wait_for(asyncio.gather(*(store.transactions.run_write(work) for work in crossed)), 30)
    assert [await store.servers.known(name) for name in ("a", "b")] == ["0xx", "0xx"]
    assert len(seen) > 4


async def test_submits_of_one_user_wait_for_each_other(store: Store, url: str, ann: User) -> None:
    """The user's row is locked while a place is taken: the next submit waits, and then counts what this one wrote."""
    async with await Store.open(url) as other:
        reserved = asyncio.Event()

        def slow(connection: Connection) -> None:
            assert reservation.reserve(connection, new(ann), cap=1, joining=None, spending=None) is not None
            reserved.set()
            connection.execute(text("SELECT pg_sleep(0.5)"))

        first = asyncio.ensure_future(other.transactions.run_write(slow))
        await asyncio.wait_for(reserved.wait(), 10)
        assert await asyncio.wait_for(store.ledger.reserve(new(ann), cap=1), 10) is None
        assert first.done()
        await first


async def test_a_nul_in_a_workflow_stops_no_list(store: Store, ann: User) -> None:
    """PostgreSQL's functions refuse a JSON text with an escaped NUL anywhere; its owner's list does not."""
    pnginfo = {"workflow": {"id": "a\0b", "title": "\0"}}
    assert await store.ledger.reserve(new(ann, extra_data={"extra_pnginfo": pnginfo}), cap=1)
    (job,) = await store.ledger.visible(ann.id, states=["submitting"], limit=10)
    assert job.extra_data["extra_pnginfo"] == pnginfo


async def test_a_lock_that_somebody_keeps(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """T30: who waits too long for another process is told 503, with the reason for the log and without any value."""
    monkeypatch.setitem(postgresql_server._SETTINGS, "lock_timeout", "100ms")
    async with await Store.open(url) as store, await Store.open(url) as other:
        async with other.write():
            with pytest.raises(StoreUnavailable) as caught:
                await store.servers.client_id("secret-value", lambda: "secret-value")
            with pytest.raises(StoreUnavailable):
                await store.transactions.run_write(reading_for_update())
        assert caught.value.status == 503 and "lock timeout" in caught.value.reason
        assert "secret-value" not in str(caught.value.__cause__)
        assert await store.servers.client_id("a", lambda: "x") == "x"


async def test_who_hangs_in_a_transaction_is_put_out(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A gateway that begins to write and then hangs keeps the others waiting for so long and no longer."""
    monkeypatch.setitem(postgresql_server._SETTINGS, "idle_in_transaction_session_timeout", "200ms")
    async with await Store.open(url) as hanging, await Store.open(url) as store:
        with pytest.raises(StoreUnavailable):
            async with hanging.write() as connection:
                await connection.execute(insert(servers).values(url="a", client_id="never"))
                assert await asyncio.wait_for(store.servers.client_id("a", lambda: "x"), 10) == "x"
        assert await hanging.servers.client_id("a", lambda: "y") == "x"


async def test_a_server_that_crashes_and_comes_back(url: str, postgres_server: Postgres) -> None:
    """What is under way when the server crashes is a 503, and so is what comes while it is away; nothing half is left,
    and when it is back everything goes on by itself."""
    async with await Store.open(url) as store:

        def work(connection: Connection) -> None:
            connection.execute(insert(servers).values(url="a", client_id="never"))
            connection.execute(text("SELECT pg_sleep(20)"))

        under_way = [asyncio.ensure_future(store.transactions.run_write(work)) for _ in range(2)]
        await asyncio.sleep(0.2)
        await asyncio.to_thread(postgres_server.stop)
        try:
            outcomes = await asyncio.wait_for(asyncio.gather(*under_way, return_exceptions=True), 10)
            assert [type(outcome) for outcome in outcomes] == [StoreUnavailable] * 2
            for attempt in (store.servers.known("a"), store.transactions.run_read(lambda _connection: 1)):
                with pytest.raises(StoreUnavailable) as caught:
                    await asyncio.wait_for(attempt, 10)
                assert postgres.PASSWORD not in f"{caught.value} {caught.value.reason}"
        finally:
            postgres_server.start()
        assert await store.servers.client_id("a", lambda: "x") == "x"
        assert await store.transactions.run_write(lambda connection: connection.scalar(select(servers.c.url))) == "a"


async def test_connections_that_broke_unused_are_not_noticed(store: Store, postgres_server: Postgres) -> None:
    """A server that was started anew while nobody asked costs nobody a 503."""
    await store.servers.client_id("a", lambda: "x")
    await asyncio.to_thread(postgres_server.stop)
    postgres_server.start()
    assert await store.servers.known("a") == "x"
    assert await store.servers.client_id("a", lambda: "y") == "x"


async def test_a_server_that_keeps_silent(url: str, postgres_server: Postgres, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that neither answers nor breaks the connection is given up after a while."""
    monkeypatch.setattr(postgresql_server, "ANSWER_SECONDS", 0.5)
    async with await Store.open(url) as store:
        await store.servers.client_id("a", lambda: "x")
        with postgres_server.frozen(), pytest.raises(StoreUnavailable):
            await asyncio.wait_for(store.servers.known("a"), 20)
        assert await store.servers.known("a") == "x"


@pytest.mark.parametrize("wrong", ["password", "database", "host", "rights"])
async def test_a_database_that_cannot_be_used(kind: str, postgres_server: Postgres, wrong: str) -> None:
    """Each is one clear error with the reason for the log, and no password in it."""
    url = postgres_server.make()
    if wrong == "rights":
        postgres_server.sql("CREATE ROLE nobody LOGIN PASSWORD 'pw7'")
    address = {
        "password": postgres_server.url("postgres", password="wr0ng"),
        "database": postgres_server.url("nowhere"),
        "host": "postgresql://a:wr0ng@/a?host=/nowhere",
        "rights": url.replace(f"://{postgres.USER}:", "://nobody:").replace(url.split(":")[2].split("@")[0], "pw7"),
    }[wrong]
    with pytest.raises(StoreUnavailable) as caught:
        await Store.open(address)
    said = f"{caught.value} {caught.value.details} {caught.value.reason} {caught.value!r}"
    assert caught.value.reason and "wr0ng" not in said and "pw7" not in said and postgres.PASSWORD not in said
    assert wrong != "rights" or "permission denied" in caught.value.reason
    postgres_server.drop(url)


def test_the_text_of_a_store_shows_no_password(kind: str, postgres_server: Postgres) -> None:
    """The address is in no text of what holds it."""
    server = postgresql_server.PostgresServer.of(postgres_server.url("x"))
    assert "6Zk2hQ9w" not in repr(server)


async def test_tables_of_somebody_else_are_left_alone(url: str) -> None:
    """A database with tables of another program in it is not taken for a new one by starting; the command adds ours."""
    await raw(url, "CREATE TABLE theirs (id integer)")
    with pytest.raises(StoreUnavailable, match="db upgrade"):
        await Store.open(url)
    assert len(await raw(url, "SELECT * FROM information_schema.tables WHERE table_schema = 'public'")) == 1
