"""Who people are here whom somebody else knows."""

import asyncio
import secrets
from collections.abc import Sequence

import pytest
from sqlalchemy import insert, select

from gateway.errors import InvalidRequest, NotFound, StoreUnavailable
from gateway.store import Store, User
from gateway.store.identities import USE_NOTED_SECONDS, Standing
from gateway.store.people_tables import groups, memberships

ISSUER = "https://login.example"


def standing(*names: str, role: str | None = None, said_at: float = 100.0) -> Standing:
    return Standing(role, role or "member", names, said_at)


async def came(store: Store, subject: str, *names: str, said: Standing | None = None, now: float = 100.0) -> User:
    return await store.identities.create(
        ISSUER, subject, said or standing(), names=names, now=now, random=secrets.token_bytes
    )


async def used(store: Store, subject: str, said: Standing, *, now: float = 100.0) -> User | None:
    return await store.identities.used(ISSUER, subject, said, now=now)


async def make_groups(store: Store, *names: str) -> None:
    async with store.write() as connection:
        for name in names:
            await connection.execute(insert(groups).values(name=name, created_at=1.0))


async def groups_of(store: Store, user_id: int) -> set[str]:
    mine = select(groups.c.name).join(memberships).where(memberships.c.user_id == user_id)
    async with store.read() as connection:
        return {row.name for row in await connection.execute(mine)}


async def put_into(store: Store, user_id: int, name: str) -> None:
    async with store.write() as connection:
        group_id = await connection.scalar(select(groups.c.id).where(groups.c.name == name))
        await connection.execute(insert(memberships).values(group_id=group_id, user_id=user_id))


async def test_somebody_new_gets_a_free_name(store: Store) -> None:
    """A newcomer is a user without a password, under the first name that nobody has in any case."""
    local = await store.users.add("Ann", role="admin", now=1.0, random=secrets.token_bytes)
    ann = await came(store, "u-1", "ann", "ann-2")
    assert (ann.name, ann.role, ann.password_hash) == ("ann-2", "member", None)
    assert ann.id != local.id
    assert (await came(store, "u-2", "ANN", "ann-2", "x")).name == "x"
    with pytest.raises(StoreUnavailable):
        await came(store, "u-3", "ann", "ann-2", "x")
    assert await used(store, "u-1", standing()) == ann
    assert await used(store, "u-9", standing()) is None


async def test_whoever_comes_twice_at_once_is_one(store: Store) -> None:
    """Of many first logins at the same time one makes the user, and all are it."""
    users = await asyncio.gather(*(came(store, "u-1", "ann", "ann-2", "ann-3") for _ in range(8)))
    assert {user.name for user in users} == {"ann"}
    assert len(await store.users.all()) == 1
    others = await asyncio.gather(*(came(store, f"v-{number}", "bob", *_numbered("bob")) for number in range(8)))
    assert len({user.id for user in others}) == 8


def _numbered(name: str) -> Sequence[str]:
    return [f"{name}-{number}" for number in range(2, 20)]


async def test_the_same_subject_of_another_issuer_is_another(store: Store) -> None:
    """Issuer and subject together are who somebody is, each to the letter."""
    ann = await came(store, "u-1", "ann")
    assert await store.identities.used("https://other.example", "u-1", standing(), now=1.0) is None
    assert await store.identities.used(ISSUER + "/", "u-1", standing(), now=1.0) is None
    assert await used(store, "U-1", standing()) is None
    assert (await used(store, "u-1", standing())) == ann


async def test_the_newest_word_counts(store: Store) -> None:
    """A role is set by a word that is as new as the last, at once; an older one changes nothing; no role leaves it."""
    await came(store, "u-1", "ann", said=standing(role="admin"))

    async def role(said: Standing, *, now: float = 100.0) -> str:
        user = await used(store, "u-1", said, now=now)
        assert user is not None
        return user.role

    version = store.changes.version()
    assert await role(standing(role="member", said_at=99.0)) == "admin"
    assert await role(standing(role="member", said_at=99.0), now=100 + USE_NOTED_SECONDS) == "admin"
    assert store.changes.version() == version
    assert await role(standing(role="member", said_at=101.0)) == "member"
    assert store.changes.version() > version
    assert await role(standing(role="admin", said_at=100.0)) == "member"
    assert await role(standing(role=None, said_at=102.0)) == "member"
    assert await role(standing(role="admin", said_at=102.0)) == "admin"


async def test_groups_are_joined_and_left(store: Store) -> None:
    """Somebody is in the groups that the issuer names, if they are here by that name, and leaves those it names no
    more; groups into which an administrator put them stay."""
    await make_groups(store, "painters", "editors", "friends")
    ann = await came(store, "u-1", "ann", said=standing("painters", "Editors", "strangers"))
    assert await groups_of(store, ann.id) == {"painters"}
    await put_into(store, ann.id, "friends")
    await used(store, "u-1", standing("editors", said_at=101.0))
    assert await groups_of(store, ann.id) == {"editors", "friends"}
    await used(store, "u-1", standing("painters", said_at=100.5))
    assert await groups_of(store, ann.id) == {"editors", "friends"}
    await used(store, "u-1", standing(said_at=102.0))
    assert await groups_of(store, ann.id) == {"friends"}


async def test_a_group_that_is_made_later(store: Store) -> None:
    """A group that comes after the first login is joined at the next one, though the issuer says nothing new."""
    ann = await came(store, "u-1", "ann", said=standing("painters"))
    await make_groups(store, "painters")
    await used(store, "u-1", standing("painters", said_at=100.0), now=101.0)
    assert await groups_of(store, ann.id) == set()
    await used(store, "u-1", standing("painters", said_at=101.0))
    assert await groups_of(store, ann.id) == {"painters"}


async def test_use_is_noted_now_and_then(store: Store) -> None:
    """That nothing is new is noted once a minute, and is no change of anything."""
    ann = await came(store, "u-1", "ann")
    version = store.changes.version()
    for now, noted in ((100 + USE_NOTED_SECONDS - 1, 100.0), (100 + USE_NOTED_SECONDS, 100 + USE_NOTED_SECONDS)):
        await used(store, "u-1", standing(), now=now)
        assert [one.last_used_at for one in await store.identities.of_user(ann.id)] == [noted]
    assert store.changes.version() == version


async def test_a_link_is_made_and_undone(store: Store) -> None:
    """An administrator says who somebody is; nobody can be two; without the link they are nobody."""
    ann = await store.users.add("ann", role="admin", now=1.0, random=secrets.token_bytes)
    await store.identities.link(ann.id, ISSUER, "u-1", now=5.0)
    assert (await used(store, "u-1", standing())) == ann
    with pytest.raises(InvalidRequest):
        await store.identities.link(ann.id, ISSUER, "u-1", now=6.0)
    assert [one.subject for one in await store.identities.all()] == ["u-1"]
    await store.identities.unlink(ISSUER, "u-1")
    assert await used(store, "u-1", standing()) is None
    with pytest.raises(NotFound):
        await store.identities.unlink(ISSUER, "u-1")


async def test_it_goes_with_the_user(store: Store) -> None:
    """Of a removed user nobody knows any more who it was."""
    ann = await came(store, "u-1", "ann")
    await store.users.remove(ann.id)
    assert await store.identities.get(ISSUER, "u-1") is None
    assert (await came(store, "u-1", "ann")).id != ann.id
