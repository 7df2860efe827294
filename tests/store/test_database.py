"""Opening, making and upgrading the database."""

import asyncio
import sqlite3
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import Connection, create_engine

from gateway.config import Settings
from gateway.errors import StoreUnavailable
from gateway.store import Store, schema, tables
from gateway.store.database import upgrade
from gateway.store.sqlite import path_of
from gateway.store.transactions import url_of
from tests.store.databases import on_sqlite, raw

TABLES = "SELECT table_name FROM information_schema.tables WHERE table_schema = 'public'"


def schema_of(path: Path) -> list[tuple[str, ...]]:
    with sqlite3.connect(path) as connection:
        rows = connection.execute("SELECT type, name, tbl_name, sql FROM sqlite_master ORDER BY name").fetchall()
    connection.close()
    return [row for row in rows if row[2] != "alembic_version"]


@on_sqlite
async def test_a_new_database_is_made_for_its_owner_only(url: str) -> None:
    """Opening where nothing is makes the directory (0700) and the database (0600), its log files too."""
    path = path_of(url)
    async with await Store.open(url) as store:
        await store.servers.client_id("http://a:1", lambda: "x")
        assert await store.is_current()
        modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()}
    assert modes == {"gateway.db": 0o600, "gateway.db-wal": 0o600, "gateway.db-shm": 0o600}
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


async def test_what_was_written_is_there_after_a_restart(url: str) -> None:
    """Closing gives everything back, and a store that is opened again has what was written."""
    async with await Store.open(url) as store:
        await store.servers.client_id("http://a:1", lambda: "x")
    async with await Store.open(url, create=False) as store:
        assert await store.servers.client_id("http://a:1", lambda: "y") == "x"


@on_sqlite
async def test_a_closed_database_is_one_file(url: str) -> None:
    """Closing folds the write-ahead log into the file, which can then be copied."""
    async with await Store.open(url) as store:
        await store.servers.client_id("http://a:1", lambda: "x")
    assert [file.name for file in path_of(url).parent.iterdir()] == ["gateway.db"]


async def test_without_create_nothing_is_made(kind: str, url: str) -> None:
    """A command that only reads does not leave an empty database behind, nor makes tables in one that is empty."""
    words = "There is no database" if kind == "sqlite" else "db upgrade"
    with pytest.raises(StoreUnavailable, match=words):
        await Store.open(url, create=False)
    if kind == "sqlite":
        assert not path_of(url).parent.exists()
    else:
        assert await raw(url, TABLES) == []


@on_sqlite
async def test_the_migrations_make_the_tables(url: str, tmp_path: Path) -> None:
    """What the migrations make is, word for word, what the code's tables say."""
    async with await Store.open(url):
        pass
    other = tmp_path / "tables.db"
    engine = create_engine(f"sqlite:///{other}")
    tables.metadata.create_all(engine)
    engine.dispose()
    migrated, declared = schema_of(path_of(url)), schema_of(other)
    assert [(row[0], row[1], (row[3] or "").split()) for row in migrated] == [
        (row[0], row[1], (row[3] or "").split()) for row in declared
    ]


async def test_missing_migrations_are_not_run_by_opening(url: str) -> None:
    """A database with missing migrations is refused with what to do; the command runs them, and all is there again."""
    async with await Store.open(url) as store:
        await store.servers.client_id("http://a:1", lambda: "x")
    await raw(url, "DELETE FROM alembic_version")
    for create in (True, False):
        with pytest.raises(StoreUnavailable, match="db upgrade"):
            await Store.open(url, create=create)


async def test_upgrade_runs_what_is_missing(url: str) -> None:
    """`db upgrade` makes a new database, and says so; a second time there is nothing to do."""
    assert await upgrade(url) is True
    assert await upgrade(url) is False
    async with await Store.open(url, create=False) as store:
        assert await store.is_current()


async def test_a_failed_migration_leaves_nothing(kind: str, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A migration that fails half-way is undone whole: the next start begins at the same place."""
    migrate = schema.migrate

    def failing(connection: Connection) -> None:
        migrate(connection)
        raise RuntimeError("power cut")

    monkeypatch.setattr(schema, "migrate", failing)
    with pytest.raises(RuntimeError):
        await Store.open(url)
    assert (schema_of(path_of(url)) if kind == "sqlite" else await raw(url, TABLES)) == []
    monkeypatch.undo()
    async with await Store.open(url) as store:
        assert await store.is_current()


async def test_a_newer_database_is_refused(url: str) -> None:
    """A database that a newer gateway made is refused, by opening and by the command, and left as it is."""
    async with await Store.open(url):
        pass
    await raw(url, "UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(StoreUnavailable, match="newer gateway"):
        await Store.open(url)
    with pytest.raises(StoreUnavailable, match="newer gateway"):
        await upgrade(url)


@on_sqlite
async def test_a_file_that_is_no_database_is_refused(url: str) -> None:
    """Something else under the database's name is an error in words, and is not written to."""
    path = path_of(url)
    path.parent.mkdir()
    path.write_text("no database" * 1000)
    with pytest.raises(StoreUnavailable) as caught:
        await Store.open(url)
    assert caught.value.status == 503 and "not a database" in caught.value.reason
    assert path.read_text() == "no database" * 1000


async def test_a_place_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    """A data directory that cannot be made is an error that names it."""
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreUnavailable, match="cannot be made"):
        await Store.open(f"sqlite:///{tmp_path / 'file' / 'gateway.db'}")


@pytest.mark.parametrize(
    "address", ["sqlite://", "sqlite:///:memory:", "nonsense", "", "mysql://a:pw@b/c", "postgresql://a:1pw/@b:x/c"]
)
async def test_other_databases_are_refused(address: str) -> None:
    """Only SQLite files and PostgreSQL are supported; an address that is refused is not repeated, for it may hold a
    password."""
    with pytest.raises(StoreUnavailable) as caught:
        await Store.open(address)
    assert "pw" not in str(caught.value)


def test_the_database_is_in_the_data_directory(tmp_path: Path) -> None:
    """Without a setting the database is gateway.db in the data directory; with one it is where that says."""
    assert path_of(url_of(Settings(data_dir=tmp_path))) == tmp_path / "gateway.db"
    settings = Settings(data_dir=tmp_path, database_url="sqlite:////srv/other.db")
    assert path_of(url_of(settings)) == Path("/srv/other.db")


async def test_processes_that_start_at_once_share_one_database(url: str) -> None:
    """Several processes that find nothing and make the database at the same moment all end with the same, whole one."""
    script = f"""
import asyncio
from gateway.store import Store
async def main():
    async with await Store.open({url!r}) as store:
        print(await store.servers.client_id("http://a:1", lambda: str(id(store))))
asyncio.run(main())
"""
    start = [sys.executable, "-c", script]
    running = [await asyncio.create_subprocess_exec(*start, stdout=subprocess.PIPE) for _ in range(3)]
    answers = [await asyncio.wait_for(process.communicate(), 60) for process in running]
    assert [process.returncode for process in running] == [0, 0, 0]
    assert len({out for out, _ in answers}) == 1


@on_sqlite
async def test_opening_again_drops_no_locks(url: str) -> None:
    """A process that opens its database a second time keeps its locks, so that another process, as a command is one,
    does not take the log away when it leaves."""
    path = path_of(url)
    look = f"import sqlite3; c = sqlite3.connect({str(path)!r}); c.execute('SELECT * FROM users').fetchall(); c.close()"
    async with await Store.open(url) as store:
        await store.servers.client_id("http://a:1", lambda: "x")
        again = await Store.open(url)
        process = await asyncio.create_subprocess_exec(sys.executable, "-c", look)
        assert await asyncio.wait_for(process.wait(), 30) == 0
        assert path.with_name(f"{path.name}-wal").exists()
        await again.close()
        assert await store.servers.client_id("http://a:1", lambda: "y") == "x"
