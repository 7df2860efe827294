"""A store in a directory of its own, and what most tests put into it."""

import secrets
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.store import Store, User


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite+aiosqlite:///{tmp_path / 'data' / 'gateway.db'}"


@pytest.fixture
async def store(url: str) -> AsyncIterator[Store]:
    async with await Store.open(url) as opened:
        yield opened


@pytest.fixture
async def ann(store: Store) -> User:
    return await store.users.add("Ann", role="member", now=1.5, random=secrets.token_bytes)
