"""The number that says whether anything about users, tokens or sessions changed."""

import asyncio
import secrets
import sqlite3
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from gateway.errors import StoreUnavailable
from gateway.store import SessionRow, Store, TokenRow, User
from gateway.store.changes import SQLiteChanges
from tests.store.databases import on_sqlite

TOKEN = TokenRow("k3m5n7qa", 1, "laptop", b"d" * 32, None, 1.0, None)
SESSION = SessionRow("j1", 1, 1.0, 100.0)

CHANGES: dict[str, Callable[[Store], Awaitable[object]]] = {
    "a user is added": lambda store: store.users.add("bob", role="member", now=1.0, random=secrets.token_bytes),
    "a user is disabled": lambda store: store.users.set(1, disabled=True),
    "a role is lowered": lambda store: store.users.set(1, role="guest"),
    "a password is changed": lambda store: store.users.set(1, password_hash="new"),
    "a user is removed": lambda store: store.users.remove(1),
    "a token is added": lambda store: store.tokens.add(TokenRow("bbbbbbbb", 1, "", b"e" * 32, None, 1.0, None)),
    "a token is revoked": lambda store: store.tokens.revoke(TOKEN.id, now=2.0),
    "a session is added": lambda store: store.sessions.add(SessionRow("j2", 1, 1.0, 100.0)),
    "a session is revoked": lambda store: store.sessions.revoke("j1", now=2.0),
}
NO_CHANGES: dict[str, Callable[[Store], Awaitable[object]]] = {
    "a token is used": lambda store: store.tokens.touch(TOKEN.id, now=2.0),
    "a password is hashed anew": lambda store: store.users.rehash(1, old="x", new="y"),
    "expired sessions are swept": lambda store: store.sessions.sweep(1000.0),
    "an unknown session is revoked": lambda store: store.sessions.revoke("none", now=2.0),
    "a server is met": lambda store: store.servers.client_id("http://a:1", lambda: "x"),
    "somebody is looked up": lambda store: store.users.get(1),
}


@pytest.fixture
async def filled(store: Store, ann: User) -> Store:
    await store.tokens.add(TOKEN)
    await store.sessions.add(SESSION)
    assert ann.id == TOKEN.user_id == SESSION.user_id
    return store


@pytest.mark.parametrize("change", CHANGES)
async def test_T12_every_change_is_announced(filled: Store, change: str) -> None:
    """T12: whatever is changed about users, tokens or sessions, the next request hears of it."""
    before = filled.changes.version()
    await CHANGES[change](filled)
    assert filled.changes.version() > before


@pytest.mark.parametrize("event", NO_CHANGES)
async def test_other_events_are_not(filled: Store, event: str) -> None:
    """What changes nobody's rights does not make everybody be looked up again."""
    before = filled.changes.version()
    await NO_CHANGES[event](filled)
    assert filled.changes.version() == before


async def test_a_change_that_fails_is_not_announced(filled: Store) -> None:
    """The number is part of the transaction: what is taken back was never announced."""
    before = filled.changes.version()
    with pytest.raises(Exception, match="taken"):
        await filled.users.add("ANN", role="member", now=1.0, random=secrets.token_bytes)
    assert filled.changes.version() == before


@on_sqlite
async def test_commits_of_another_process_are_seen_at_the_next_call(filled: Store) -> None:
    """What the command line commits in its own process is seen by the very next question."""
    before = filled.changes.version()
    script = (
        f"import sqlite3; c = sqlite3.connect({str(filled.transactions.path)!r});"
        "c.execute('UPDATE users SET disabled = 1'); c.execute('UPDATE identity_version SET version = version + 1');"
        "c.commit(); print('committed', flush=True); input()"
    )
    pipe = subprocess.PIPE
    other = await asyncio.create_subprocess_exec(sys.executable, "-c", script, stdin=pipe, stdout=pipe)
    assert other.stdout is not None
    assert await asyncio.wait_for(other.stdout.readline(), 30) == b"committed\n"
    assert filled.changes.version() == before + 1
    await asyncio.wait_for(other.communicate(b"\n"), 30)


@on_sqlite
async def test_asking_costs_one_pragma(filled: Store) -> None:
    """While nothing was committed, a question is one `PRAGMA data_version` and reads no table."""
    changes = filled.changes
    assert isinstance(changes, SQLiteChanges)
    changes.version()
    statements: list[str] = []
    connection = changes._connection
    assert connection is not None
    connection.set_trace_callback(statements.append)
    for _ in range(3):
        changes.version()
    assert statements == ["PRAGMA data_version"] * 3
    await filled.servers.client_id("http://a:1", lambda: "x")
    changes.version()
    assert len(statements) == 5 and "identity_version" in statements[4]


@on_sqlite
async def test_asking_holds_no_transaction(filled: Store) -> None:
    """Between two questions nothing is held that would keep the write-ahead log from being emptied."""
    filled.changes.version()
    await filled.servers.client_id("http://a:1", lambda: "x")
    filled.changes.version()
    other = sqlite3.connect(filled.transactions.path)
    busy, pages, moved = other.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    other.close()
    assert busy == 0 and pages == moved


async def test_T30_without_an_answer_nothing_is_trusted(tmp_path: Path) -> None:
    """T30: if the number cannot be read, that is a 503 and not the last known number; when it can again, it is."""
    path = tmp_path / "gateway.db"
    changes = SQLiteChanges(path)
    with pytest.raises(StoreUnavailable):
        changes.version()
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("CREATE TABLE identity_version (id INTEGER PRIMARY KEY, version INTEGER)")
    with pytest.raises(StoreUnavailable):
        changes.version()
    other.execute("INSERT INTO identity_version VALUES (1, 7)")
    assert changes.version() == 7
    other.execute("DROP TABLE identity_version")
    other.close()
    with pytest.raises(StoreUnavailable):
        changes.version()
    await changes.close()
