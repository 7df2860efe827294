"""Bytes uploaded in a day."""

import asyncio

from gateway.store import Store, User

DAY = 20_000


async def test_a_day_s_bytes_are_counted(store: Store, ann: User) -> None:
    """Bytes are counted up to the limit and not beyond, and the next day begins at nothing."""
    days = store.upload_days
    taken = [await days.take(ann.id, DAY, size, limit=100) for size in (60, 40, 1, 101, 0)]
    assert taken == [True, True, False, False, True]
    assert await days.used(ann.id, DAY) == 100
    assert await days.take(ann.id, DAY + 1, 30, limit=100)
    assert (await days.used(ann.id, DAY + 1), await days.used(ann.id, DAY + 2)) == (30, 0)


async def test_what_did_not_come_is_given_back(store: Store, ann: User) -> None:
    """Bytes that were counted and did not come are free again; those of yesterday say nothing about today."""
    days = store.upload_days
    await days.take(ann.id, DAY, 100, limit=100)
    await days.give_back(ann.id, DAY, 30)
    assert await days.used(ann.id, DAY) == 70
    await days.take(ann.id, DAY + 1, 50, limit=100)
    await days.give_back(ann.id, DAY, 30)
    assert await days.used(ann.id, DAY + 1) == 50
    await days.give_back(ann.id, DAY + 1, 99)
    assert await days.used(ann.id, DAY + 1) == 0


async def test_a_clock_set_back_frees_nothing(store: Store, ann: User) -> None:
    """With yesterday's date the count of today goes on."""
    days = store.upload_days
    await days.take(ann.id, DAY, 90, limit=100)
    assert not await days.take(ann.id, DAY - 1, 20, limit=100)
    assert await days.take(ann.id, DAY - 1, 10, limit=100)
    assert await days.used(ann.id, DAY) == 100


async def test_many_at_once_take_no_more(url: str, store: Store, ann: User) -> None:
    """Uploads at the same time, in several processes, are counted exactly."""
    async with await Store.open(url) as other:
        tries = [one.upload_days.take(ann.id, DAY, 10, limit=55) for one in (store, other) for _ in range(20)]
        assert sum(await asyncio.gather(*tries)) == 5
    assert await store.upload_days.used(ann.id, DAY) == 50


async def test_users_are_apart(store: Store, ann: User) -> None:
    """One user's bytes are not another's, and go with the user."""
    bob = await store.users.add("Bob", role="member", now=1.5, random=lambda size: b"b" * size)
    assert await store.upload_days.take(ann.id, DAY, 100, limit=100)
    assert await store.upload_days.take(bob.id, DAY, 100, limit=100)
    await store.users.remove(ann.id)
    assert await store.upload_days.used(ann.id, DAY) == 0
