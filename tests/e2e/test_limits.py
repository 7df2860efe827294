"""Limits of roles and of single users, through the whole gateway."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from gateway.store import Store
from gateway.store.transactions import url_of
from tests.e2e.graphs import slow
from tests.house import PATIENCE, House, house


@pytest.fixture
async def one(tmp_path: Path) -> AsyncIterator[House]:
    async with house(tmp_path) as built:
        yield built


async def limit(one: House, name: str, **given: Any) -> None:
    """What `comfy-gateway user set NAME --limit …` does, from another process."""
    async with await Store.open(url_of(one.settings)) as store:
        user = await store.users.by_name(name)
        assert user is not None
        await store.limits.change(user.id, given=given)


async def test_a_limit_of_ones_own_counts_at_once(one: House) -> None:
    """An administrator's change of one user's limit counts from the next submit on, and for that user only; the refusal
    names the limit, what there is, and when a place is free."""
    await limit(one, "alice", max_queued=1)
    await one.submit(slow("a", seconds=3), by="alice")
    said = await one.ask("POST", "/prompt", by="alice", json={"prompt": slow("b")})
    assert (said.status, said.json()["error"]["type"]) == (429, "queue_full")
    assert said.json()["error"]["extra_info"] == {"limit": 1, "current": 1, "frees": "when one of your jobs ends"}
    assert (said.headers["Retry-After"], said.headers["RateLimit-Reset"]) == ("5", "5")
    assert (said.headers["RateLimit-Limit"], said.headers["RateLimit-Remaining"]) == ("1", "0")
    for number in range(2):
        await one.submit(slow(f"bob{number}", seconds=0.1), by="bob")
    await limit(one, "alice", max_queued=2)
    await one.submit(slow("b", seconds=0.1), by="alice")


async def test_an_open_socket_has_the_limits_of_now(one: House) -> None:
    """`execute` on a socket that was opened before a change is held to the limit after it; the socket stays open."""
    async with one.socket(by="alice", client_id="script") as socket:
        await limit(one, "alice", max_queued=1)
        await one.submit(slow("a", seconds=3), by="alice")
        await socket.send_json({"type": "execute", "data": slow("b")})
        while (message := await socket.receive_json(timeout=PATIENCE))["type"] != "execution_error":
            pass
        assert message["data"]["exception_type"] == "queue_full"
    async with one.socket(by="alice"):
        await limit(one, "alice", max_sockets=1)
        said = await one.ask(
            "GET",
            "/ws",
            by="alice",
            headers={
                "Connection": "Upgrade",
                "Upgrade": "websocket",
                "Sec-WebSocket-Version": "13",
                "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==",
            },
        )
        assert said.status == 429 and said.json()["error"]["extra_info"]["limit"] == 1


async def test_a_job_over_its_time_says_so_in_the_history(one: House) -> None:
    """A job over `max_job_seconds` ends failed, with words for its owner in the history."""
    await limit(one, "alice", max_job_seconds=1)
    entry = await one.history(await one.submit(slow("a", seconds=30, steps=300), by="alice"), by="alice")
    kind, error = entry["status"]["messages"][-1]
    assert (kind, error["exception_type"]) == ("execution_error", "time_limit")
    assert "longer than 1 seconds" in error["exception_message"]


async def test_a_workflow_that_is_too_large_is_refused_as_comfyui_would(one: House) -> None:
    """A workflow over the caps is 400 with `node_errors`, so that the editor marks the nodes; nothing of it is kept."""
    await limit(one, "alice", max_pixels=64 * 64, max_batch=1, max_steps=3)
    said = await one.ask("POST", "/prompt", by="alice", json={"prompt": slow("a", steps=4)})
    assert (said.status, said.json()["error"]["type"]) == (400, "invalid_prompt")
    assert said.json()["node_errors"]["2"]["errors"][0]["extra_info"] == {"input_name": "steps"}
    assert (await one.ask("GET", "/prompt", by="alice")).json() == {"exec_info": {"queue_remaining": 0}}
    await one.submit(slow("a", steps=3, seconds=0.1), by="alice")
    await one.submit(slow("a", steps=4, seconds=0.1), by="bob")
