"""Limits of single users, remembered."""

from gateway.store import Store, User


async def test_limits_come_with_their_user(store: Store, ann: User, url: str) -> None:
    """A user comes with the limits of their own, also right after another process changed them."""
    assert ann.limits == "{}"
    await store.limits.change(ann.id, given={"max_queued": 5, "max_running": None})
    assert (await store.roles.assigned(ann.id)).limits == '{"max_queued":5,"max_running":null}'
    before = store.changes.version()
    async with await Store.open(url) as other:
        await other.limits.change(ann.id, given={"weight": 2.0}, taken=["max_queued"])
    assert store.changes.version() > before
    found = await store.users.get(ann.id)
    assert found is not None and found.limits == '{"max_running":null,"weight":2.0}'
    assert (await store.roles.assigned(ann.id)).limits == found.limits
    assert (await store.users.set(ann.id, role="admin")).limits == found.limits


async def test_the_last_limit_leaves_nothing(store: Store, ann: User) -> None:
    """A user whose limits are all the role's again is as one who never had any; a removed one leaves none behind."""
    await store.limits.change(ann.id, given={"weight": 2})
    await store.limits.change(ann.id, given={}, taken=["weight", "bogus"])
    assert (await store.users.get(ann.id)) == ann
    await store.limits.change(ann.id, given={"weight": 2})
    await store.users.remove(ann.id)
    async with store.read() as connection:
        assert (await connection.exec_driver_sql("SELECT count(*) FROM user_limits")).scalar_one() == 0
