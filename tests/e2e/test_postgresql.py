"""The whole gateway on PostgreSQL: what two users do with it, and what an administrator takes away."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.store import Store
from gateway.store.transactions import url_of
from tests.e2e.graphs import picture, slow
from tests.house import PATIENCE, House, house, until
from tests.postgres import Postgres


@pytest.fixture
async def one(tmp_path: Path, postgres_server: Postgres) -> AsyncIterator[House]:
    """A gateway that starts for the first time on an empty database."""
    url = postgres_server.make()
    async with house(tmp_path, database_url=url, mounted=True) as built:
        yield built
    postgres_server.drop(url)


async def test_two_users(one: House) -> None:
    """Submit, events, history, files: each user has their own, as on SQLite."""
    async with one.socket(by="alice", client_id="c1") as socket:
        hers = await one.submit(slow("hers"), by="alice", client_id="c1")
        seen: list[str] = []
        async with asyncio.timeout(PATIENCE):
            while seen[-1:] != ["end"]:
                message = await socket.receive()
                if isinstance(message.data, str):
                    said = json.loads(message.data)
                    ended = said["type"] == "executing" and said["data"]["node"] is None
                    seen.append("end" if ended else said["type"])
    assert "execution_start" in seen and "executed" in seen
    his = await one.submit(picture(2), by="bob")
    await one.history(his, by="bob")
    assert set((await one.ask("GET", "/history", by="bob")).json()) == {his}
    assert set((await one.ask("GET", "/history", by="alice")).json()) == {hers}
    (image,) = next(iter((await one.history(hers, by="alice"))["outputs"].values()))["images"]
    query = f"filename={image['filename']}&subfolder={image['subfolder']}&type=output"
    assert (await one.ask("GET", f"/view?{query}", by="alice")).body[:4] == b"\x89PNG"
    files = [(await one.ask("GET", "/gateway/api/v1/files?type=output", by=name)).json() for name in ("alice", "bob")]
    assert all(len(listed["files"]) == 1 for listed in files)
    assert (await one.ask("POST", "/userdata/workflows%2Fa.json", by="alice", data=b"{}")).status == 200
    assert (await one.ask("GET", "/userdata/workflows%2Fa.json", by="bob")).status == 404
    assert (await one.ask("GET", "/api/jobs", by="alice")).json()["jobs"][0]["id"] == hers


async def test_a_revocation_by_another_process(one: House) -> None:
    """What a command revokes ends the token and its open sockets."""
    async with one.socket(by="alice") as socket:
        async with await Store.open(url_of(one.settings)) as store:
            alice = await store.users.by_name("alice")
            assert alice is not None
            for token in await store.tokens.of_user(alice.id):
                await store.tokens.revoke(token.id, now=time.time())

        async def refused() -> bool:
            return (await one.ask("GET", "/queue", by="alice")).status == 401

        await until(refused)
        async with asyncio.timeout(PATIENCE):
            while not socket.closed:
                await socket.receive()
    assert (await one.ask("GET", "/queue", by="bob")).status == 200


async def test_T30_while_the_database_is_away(one: House, postgres_server: Postgres) -> None:
    """T30: without its database nobody is let in, and it goes on by itself when the server is back."""

    async def answers(status: int) -> bool:
        return (await one.ask("GET", "/queue", by="alice")).status == status

    await asyncio.to_thread(postgres_server.stop)
    try:
        await until(lambda: answers(503))
    finally:
        postgres_server.start()
    await until(lambda: answers(200))
    await one.history(await one.submit(picture(3), by="alice"), by="alice")
