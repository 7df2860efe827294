"""`GET /gateway/api/v1/queue`, through the whole gateway."""

import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.graphs import slow
from tests.house import House, house, until

QUEUE = "/gateway/api/v1/queue"


@pytest.fixture
async def one(tmp_path: Path) -> AsyncIterator[House]:
    async with house(tmp_path, roles={"member": {"weight": 2.0}}) as built:
        yield built


async def queue(one: House, name: str) -> dict[str, Any]:
    said = await one.ask("GET", QUEUE, by=name)
    assert said.status == 200 and said.headers["Cache-Control"] == "no-store"
    return dict(said.json())


async def runs(one: House, name: str) -> None:
    """Wait until a job of the user runs."""

    async def running() -> bool:
        return any(job["state"] == "running" for job in (await queue(one, name))["jobs"])

    await until(running)


async def test_ones_own_jobs_in_the_order_in_which_they_will_run(one: House) -> None:
    """A user sees the position and the expected start of the own jobs, and nothing of the others but that they come
    before."""
    assert await queue(one, "alice") == {"connected": True, "jobs": [], "everybody": None}
    mine = [await one.submit(slow(f"a{number}", seconds=3), by="alice") for number in range(4)]
    other = await one.submit(slow("bob", seconds=0.1), by="bob")
    await runs(one, "alice")
    seen = await queue(one, "alice")
    assert [job["prompt_id"] for job in seen["jobs"]] == mine and seen["everybody"] is None
    assert [job["state"] for job in seen["jobs"]] == ["running", "handed", "waiting", "waiting"]
    assert [job["position"] for job in seen["jobs"]] == [0, 1, 3, 4]
    (bobs,) = (await queue(one, "bob"))["jobs"]
    assert (bobs["prompt_id"], bobs["position"], bobs["state"]) == (other, 2, "waiting")
    starts = [job["start"] for job in seen["jobs"]]
    assert starts == sorted(starts) and starts[0] <= time.time() + 1 < starts[-1]
    assert seen["jobs"][1]["start"] < bobs["start"] < seen["jobs"][2]["start"]
    assert bobs["estimate_seconds"] == 10.0


async def test_administrators_see_who_holds_what(one: House) -> None:
    """An administrator sees everybody's jobs with their owners, and where each user stands; a token without the scope
    `admin` does not."""
    await one.submit(slow("a", seconds=3), by="alice")
    waiting = [await one.submit(slow(f"b{number}", seconds=0.1), by="bob") for number in range(3)]
    await runs(one, "alice")
    seen = await queue(one, "root")
    assert seen["jobs"] == []
    jobs, shares = seen["everybody"]["jobs"], {share["name"]: share for share in seen["everybody"]["shares"]}
    assert [job["owner"] for job in jobs] == ["alice", "bob", "bob", "bob"]
    assert [job["prompt_id"] for job in jobs[1:]] == waiting
    assert shares.keys() == {"alice", "bob"}
    assert (shares["alice"]["running"], shares["bob"]["handed"], shares["bob"]["waiting"]) == (1, 1, 2)
    assert shares["alice"]["weight"] == 2.0 and shares["alice"]["virtual_seconds"] == 5.0
    await one.user("root", role="admin", scopes=frozenset({"read"}))
    assert (await queue(one, "root"))["everybody"] is None


async def test_what_cannot_start_has_no_time(one: House) -> None:
    """While ComfyUI cannot be reached, nobody is told when a job will start."""
    await one.submit(slow("a", seconds=3), by="alice")
    await one.submit(slow("b", seconds=3), by="alice")
    await one.submit(slow("c", seconds=3), by="alice")
    await one.simulator.crash()
    works = one.gateway.works
    assert works is not None
    await until(lambda: not works.connected)
    seen = await queue(one, "alice")
    assert seen["connected"] is False and seen["jobs"][-1]["start"] is None and seen["jobs"][-1]["position"]


async def test_strangers_see_nothing(one: House) -> None:
    """The queue is 401 without a credential, 403 for a token that may not read, and in the documentation."""
    assert (await one.ask("GET", QUEUE)).status == 401
    await one.user("bob", scopes=frozenset({"submit"}))
    assert (await one.ask("GET", QUEUE, by="bob")).status == 403
    document = (await one.ask("GET", "/gateway/openapi.json", by="alice")).json()
    assert "expected" in document["paths"][QUEUE]["get"]["description"]
    assert {"200", "401", "403", "503"} <= document["paths"][QUEUE]["get"]["responses"].keys()
