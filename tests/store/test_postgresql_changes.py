"""The number that says whether identities changed, renewed by PostgreSQL's notifications and by asking."""

import asyncio
import secrets

import pytest

from gateway.errors import StoreUnavailable
from gateway.store import Store, User, postgresql_changes
from gateway.store.postgresql_changes import PostgresChanges
from gateway.store.postgresql_server import PostgresServer
from tests.house import until
from tests.postgres import Postgres
from tests.store.databases import on_postgresql, raw
from tests.store.test_changes import TOKEN

pytestmark = on_postgresql

GROWN = "UPDATE identity_version SET version = version + 1"


def unknown(changes: PostgresChanges) -> bool:
    try:
        changes.version()
    except StoreUnavailable:
        return True
    return False


async def test_T12_a_revocation_of_another_process_is_heard(
    store: Store, url: str, ann: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    """T12: what another process commits is told by PostgreSQL itself: nobody has to ask."""
    await store.tokens.add(TOKEN)
    monkeypatch.setattr(postgresql_changes, "POLL_SECONDS", 60)
    async with await Store.open(url) as other:
        before = other.changes.version()
        await store.tokens.revoke(TOKEN.id, now=2.0)
        await until(lambda: other.changes.version() > before)


async def test_T12_a_lost_notification_costs_half_a_second(store: Store, url: str) -> None:
    """T12: the number is read also when nobody tells of a change."""
    before = store.changes.version()
    await raw(url, GROWN)
    await until(lambda: store.changes.version() > before)


async def test_a_number_that_comes_again_is_a_change(store: Store, url: str) -> None:
    """After a backup was restored the database counts from a number that it had, and what was remembered then is not
    true."""
    seen = {store.changes.version()}
    for statement in (GROWN, "UPDATE identity_version SET version = version - 1"):
        await raw(url, statement)
        await until(lambda: store.changes.version() not in seen)
        seen.add(store.changes.version())


async def test_an_answer_from_before_a_commit_of_our_own_says_nothing(store: Store) -> None:
    """Whoever commits is not told of an older state afterwards: the number stays until something changes."""
    changes = store.changes
    assert isinstance(changes, PostgresChanges)
    for number in range(30):
        await store.users.add(f"user{number}", role="member", now=1.0, random=secrets.token_bytes)
        version = changes.version()
        await asyncio.sleep(0.01)
        assert changes.version() == version


async def test_T30_without_an_answer_nothing_is_trusted(url: str, postgres_server: Postgres) -> None:
    """T30: while the server is away the number is no longer told, and when it is back it is."""
    async with await Store.open(url) as store:
        await asyncio.to_thread(postgres_server.stop)
        try:
            await until(lambda: unknown(store.changes))
        finally:
            postgres_server.start()
        await until(lambda: not unknown(store.changes))
        before = store.changes.version()
        await raw(url, GROWN)
        await until(lambda: store.changes.version() > before)


async def test_T30_a_server_that_keeps_silent_is_not_trusted(url: str, postgres_server: Postgres) -> None:
    """T30: a connection that is open and tells nothing is as good as none."""
    async with await Store.open(url) as store:
        with postgres_server.frozen():
            await until(lambda: unknown(store.changes))
        await until(lambda: not unknown(store.changes))


async def test_the_bound_counts_from_the_question(store: Store, url: str) -> None:
    """What is known is trusted for 3 seconds from when it was asked for, whenever the answer came."""
    now = 100.0
    changes = PostgresChanges(PostgresServer.of(url), clock=lambda: now)
    with pytest.raises(StoreUnavailable):
        changes.version()
    await changes.start()
    changes._following.cancel()
    now += postgresql_changes.FRESH_SECONDS
    changes.version()
    now += 0.001
    with pytest.raises(StoreUnavailable):
        changes.version()
    await changes.close()


async def test_after_the_end_nothing_is_told(url: str) -> None:
    """A closed store trusts nothing that it knew."""
    async with await Store.open(url) as store:
        store.changes.version()
    with pytest.raises(StoreUnavailable):
        store.changes.version()
