"""Budgets of GPU time, through the whole gateway."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.graphs import slow
from tests.e2e.test_limits import limit
from tests.house import PATIENCE, House, house


@pytest.fixture
async def one(tmp_path: Path) -> AsyncIterator[House]:
    """A gateway whose members have a second of GPU time a day."""
    async with house(tmp_path, roles={"member": {"gpu_seconds_per_day": 1, "gpu_seconds_per_month": 1000}}) as built:
        yield built


async def used_up(one: House) -> None:
    await one.history(await one.submit(slow("a", seconds=1.2), by="alice"), by="alice")


async def submit(one: House, by: str = "alice") -> Any:
    return await one.ask("POST", "/prompt", by=by, json={"prompt": slow("more", seconds=0.1)})


async def test_a_submit_says_what_is_left(one: House) -> None:
    """The answer to a submit is ComfyUI's; its headers say how the tightest budget stands, and warn when it is low."""
    await limit(one, "alice", gpu_seconds_per_day=1000)
    said = await submit(one)
    assert said.json().keys() == {"prompt_id", "number", "node_errors"}
    told = dict(part.split("=") for part in said.headers["X-Gateway-Budget"].split(", "))
    assert (told["period"], told["limit"], told["remaining"]) == ("day", "1000", "990")
    assert 0 < int(told["reset"]) <= 86400
    assert "X-Gateway-Budget-Warning" not in said.headers
    warned = await submit(one, by="bob")
    assert "of your 1 GPU seconds for this day" in warned.headers["X-Gateway-Budget-Warning"]
    assert "X-Gateway-Budget" not in (await submit(one, by="root")).headers


async def test_the_refusal_is_comfyuis_error_dialog(one: House) -> None:
    """At 100 % a submit is 429 `budget_exhausted` in ComfyUI's shape, with the limit, what was used and the reset; a
    limit of the user's own lifts it at once, and others are not held up."""
    await used_up(one)
    said = await submit(one)
    assert said.status == 429
    body = said.json()
    assert body["node_errors"] == {} and body["error"]["type"] == "budget_exhausted"
    assert body["error"]["message"].startswith("You have used up your GPU time: 2 of 1 seconds this day.")
    info = body["error"]["extra_info"]
    assert (info["period"], info["limit"]) == ("day", 1) and info["current"] >= 1.2
    assert info["resets_at"][:10] in body["error"]["message"]
    assert (said.headers["RateLimit-Limit"], said.headers["RateLimit-Remaining"]) == ("1", "0")
    assert 0 < int(said.headers["Retry-After"]) <= 86400
    assert said.headers.getall("RateLimit-Reset") == [said.headers["Retry-After"]]
    assert (await submit(one, by="bob")).status == 200
    await limit(one, "alice", gpu_seconds_per_day=None)
    assert (await submit(one)).status == 200


async def test_execute_on_a_socket_is_refused_too(one: House) -> None:
    """`execute` on a socket is held to the same budget, and its refusal is ComfyUI's own event with the same words."""
    await used_up(one)
    async with one.socket(by="alice", client_id="script") as socket:
        await socket.send_json({"type": "execute", "data": slow("b")})
        while (message := await socket.receive_json(timeout=PATIENCE))["type"] != "execution_error":
            pass
    assert message["data"]["exception_type"] == "budget_exhausted"
    assert "used up your GPU time" in message["data"]["exception_message"]
    assert "It begins anew on" in message["data"]["exception_message"]
