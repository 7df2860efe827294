"""Roles, remembered."""

import secrets

import pytest

from gateway.errors import StoreUnavailable, UserGone
from gateway.store import Store, User
from gateway.store.users import Users
from tests.house import until


async def test_a_role_is_the_one_of_now(kind: str, store: Store, url: str, ann: User) -> None:
    """A change of a role is seen at once, also one by another process; on PostgreSQL that one is soon."""
    assert await store.roles.of(ann.id) == "member"
    await store.users.set(ann.id, role="admin")
    assert await store.roles.of(ann.id) == "admin"
    version = store.changes.version()
    async with await Store.open(url) as other:
        await other.users.set(ann.id, role="guest")
    if kind == "postgresql":
        await until(lambda: store.changes.version() > version)
    assert await store.roles.of(ann.id) == "guest"


async def test_who_was_removed_has_no_role(store: Store, ann: User) -> None:
    """A removed user has no role from the moment of the removal."""
    assert await store.roles.of(ann.id) == "member"
    await store.users.remove(ann.id)
    with pytest.raises(UserGone):
        await store.roles.of(ann.id)


async def test_the_database_is_asked_once(store: Store, ann: User, monkeypatch: pytest.MonkeyPatch) -> None:
    """While nothing changes about users, the role is known without asking; other writes do not count."""
    assert await store.roles.of(ann.id) == "member"

    async def away(*_: object) -> None:
        raise StoreUnavailable("The database cannot answer now.", sent=False)

    monkeypatch.setattr(Users, "get", away)
    await store.servers.client_id("http://comfyui", lambda: "x")
    assert await store.roles.of(ann.id) == "member"


async def test_a_change_while_it_is_looked_up_is_not_missed(
    store: Store, ann: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was looked up before a change is not remembered as what holds after it."""
    real = Users.get

    async def slow(users: Users, user_id: int) -> User | None:
        found = await real(users, user_id)
        monkeypatch.setattr(Users, "get", real)
        await store.users.set(ann.id, role="admin")
        await store.users.add("Bea", role="member", now=1.5, random=secrets.token_bytes)
        await store.roles.of(ann.id)
        return found

    monkeypatch.setattr(Users, "get", slow)
    assert await store.roles.of(ann.id) == "member"
    assert await store.roles.of(ann.id) == "admin"
