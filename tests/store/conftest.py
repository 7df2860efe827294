"""A store on each kind of database in turn, and what most tests put into it."""

import secrets
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from sqlalchemy import text

from gateway.store import Store, User
from gateway.store.people_tables import metadata
from tests import postgres


@pytest.fixture(params=["sqlite", "postgresql"])
def kind(request: pytest.FixtureRequest) -> str:
    """The kind of database; `databases.py` has marks for tests of one kind alone."""
    return str(request.param)


@pytest.fixture
def url(kind: str, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[str]:
    """A new database, in which nothing is; but the stores of tests share one on PostgreSQL, one after another, because
    to empty it is five times as quick as to make one."""
    if kind == "sqlite":
        yield f"sqlite+aiosqlite:///{tmp_path / 'data' / 'gateway.db'}"
        return
    server = request.getfixturevalue("postgres_server")
    if "store" in request.fixturenames:
        yield server.url(postgres.SHARED)
        return
    address = server.make()
    yield address
    server.drop(address)


@pytest.fixture
async def store(url: str) -> AsyncIterator[Store]:
    async with await Store.open(url) as opened:
        if not url.startswith("sqlite"):
            await _empty(opened)
        yield opened


async def _empty(store: Store) -> None:
    # The number of changes goes on: to set it back would be a change that nobody is told of.
    names = ", ".join(metadata.tables.keys() - {"identity_version"})
    async with store.write() as connection:
        await connection.execute(text(f"TRUNCATE {names} RESTART IDENTITY"))


@pytest.fixture
async def ann(store: Store) -> User:
    return await store.users.add("Ann", role="member", now=1.5, random=secrets.token_bytes)
