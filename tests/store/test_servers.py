"""Our client ids at the ComfyUI servers."""

import asyncio
from itertools import count

from gateway.store import Store


async def test_a_client_id_is_minted_once(url: str) -> None:
    """The id at a server is the same after a restart, because the events of running jobs go to it."""
    async with await Store.open(url) as store:
        assert await store.servers.client_id("http://a:1", lambda: "one") == "one"
        assert await store.servers.client_id("http://b:1", lambda: "two") == "two"
    async with await Store.open(url) as store:
        assert await store.servers.client_id("http://a:1", lambda: "three") == "one"


async def test_two_at_once_get_the_same(store: Store) -> None:
    """Two that ask at the same moment for a new server get one id."""
    numbers = count()
    ids = await asyncio.gather(*(store.servers.client_id("http://a:1", lambda: str(next(numbers))) for _ in range(10)))
    assert ids == ["0"] * 10


async def test_inputs_are_decided_once(url: str) -> None:
    """What was decided of a server's inputs stays, also over a restart; each server has its own, a new one none."""
    async with await Store.open(url) as store:
        for server in ("http://a:1", "http://b:1"):
            await store.servers.client_id(server, lambda: "x")
            assert await store.servers.shares_inputs(server) is None
        assert await store.servers.decide_inputs("http://a:1", shared=False) is False
        assert await store.servers.decide_inputs("http://a:1", shared=True) is False
    async with await Store.open(url) as store:
        assert await store.servers.shares_inputs("http://a:1") is False
        assert await store.servers.shares_inputs("http://b:1") is None
        assert await store.servers.decide_inputs("http://b:1", shared=True) is True
        assert await store.servers.decide_inputs("http://new:1", shared=True) is False
