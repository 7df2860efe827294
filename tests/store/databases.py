"""Both kinds of database past the store: which of them a test is for, and what somebody else does in one."""

import sqlite3
from contextlib import closing
from typing import Any

import asyncpg
import pytest

from gateway.store.sqlite import path_of

on_sqlite = pytest.mark.parametrize("kind", ["sqlite"], indirect=True)
on_postgresql = pytest.mark.parametrize("kind", ["postgresql"], indirect=True)


async def raw(url: str, *statements: str) -> list[tuple[Any, ...]]:
    """Run statements over a connection of their own; the rows of the last one. Plain values, spelt the same on both."""
    if url.startswith("sqlite"):
        with closing(sqlite3.connect(path_of(url), isolation_level=None)) as connection:
            answers = [connection.execute(statement).fetchall() for statement in statements]
        return answers[-1]
    other = await asyncpg.connect(url)
    try:
        found = [await other.fetch(statement) for statement in statements]
    finally:
        await other.close()
    return [tuple(row) for row in found[-1]]
