"""A whole gateway whose clock is set while it runs."""

import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from gateway.edge import validity
from gateway.identity.passwords import Passwords
from gateway.store import Store
from gateway.store.transactions import url_of
from tests.e2e.graphs import picture
from tests.house import PATIENCE, House, house

PASSWORD = "alice's own password"
HOUR, DAY = 3600.0, 86400.0
STEPS = (30.0, -30.0, HOUR, -HOUR, -DAY, 0.0)
_real = time.time


class Stepping:
    """The time of day, as an administrator or a time server has set it; a monotonic clock does not notice."""

    def __init__(self) -> None:
        self.offset = 0.0

    def __call__(self) -> float:
        return _real() + self.offset


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Stepping:
    """For everything in the process, the libraries too."""
    made = Stepping()
    monkeypatch.setattr(time, "time", made)
    return made


@pytest.fixture
async def one(tmp_path: Path, clock: Stepping) -> AsyncIterator[House]:
    """A gateway under that clock; alice has a password too, and two jobs at the most."""
    async with house(tmp_path, clock=clock, roles={"member": {"max_queued": 2}}) as built:
        async with await Store.open(url_of(built.settings)) as store:
            alice = await store.users.by_name("alice")
            assert alice is not None
            await store.users.set(alice.id, password_hash=Passwords().hash(PASSWORD))
        yield built


async def session_of(one: House) -> dict[str, str]:
    form = {"name": "alice", "password": PASSWORD}
    said = await one.ask("POST", "/gateway/login", data=form, headers={"Origin": one.url})
    assert said.status == 303, said.body
    return {"Cookie": said.headers["Set-Cookie"].split(";")[0]}


async def bought(one: House, password: str = PASSWORD) -> Any:
    form = {"grant_type": "password", "username": "alice", "password": password}
    return await one.ask("POST", "/gateway/api/v1/auth/token", data=form)


async def status(one: House, headers: dict[str, str]) -> int:
    return (await one.ask("GET", "/queue", headers=headers)).status


async def test_T19_credentials_outlive_a_clock_that_steps(one: House, clock: Stepping) -> None:
    """Steps of half a minute are nothing to any credential, and no step is anything to a token; a session or an access
    token is over while it is past its time, or far before it, and good again when the clock is right."""
    session = await session_of(one)
    access = {"Authorization": f"Bearer {(await bought(one)).json()['access_token']}"}
    token = {"X-API-Key": one.tokens["alice"]}
    for clock.offset in STEPS:
        assert await status(one, token) == 200
        if abs(clock.offset) < HOUR:
            assert (await status(one, session), await status(one, access)) == (200, 200), clock.offset
        else:
            assert {await status(one, session), await status(one, access)} <= {200, 401}
        if clock.offset == HOUR:
            assert await status(one, session) == 200
            said = await one.ask("GET", "/queue", headers=access)
            assert (said.status, said.json()["error"]["type"]) == (401, "token_expired")
        assert await status(one, await session_of(one)) == 200, "who logs in now is in"


async def test_T19_a_wrong_clock_ends_no_session_for_good(one: House, clock: Stepping) -> None:
    """A clock that is a day beyond every session's end, for a moment in which somebody logs in, ends none of them."""
    session = await session_of(one)
    clock.offset = 8 * DAY
    assert await status(one, session) == 401
    await session_of(one)
    clock.offset = 0.0
    assert await status(one, session) == 200


async def test_T19_sockets_follow_the_clock(one: House, clock: Stepping, monkeypatch: pytest.MonkeyPatch) -> None:
    """An open socket stays over every step that its credential outlives, and is closed when the clock is set to where
    it does not."""
    monkeypatch.setattr(validity, "_LONGEST", 0.05)
    cookie = {**await session_of(one), "Origin": one.url}
    async with one.socket(by="alice") as forever, one.http.ws_connect(one.url + "/ws", headers=cookie) as socket:
        for kept in (forever, socket):
            assert (await kept.receive_json(timeout=PATIENCE))["type"] == "status"
        for clock.offset in (-DAY, -HOUR, HOUR, 0.0):
            await one.history(await one.submit(picture(int(abs(clock.offset))), by="alice"), by="alice")
        clock.offset = 8 * DAY
        while (message := await socket.receive(timeout=PATIENCE)).type is aiohttp.WSMsgType.TEXT:
            pass
        assert (message.type, message.data) == (aiohttp.WSMsgType.CLOSE, 4401)
        clock.offset = 0.0
        await one.history(await one.submit(picture(9), by="alice"), by="alice")
        assert not forever.closed


async def test_T19_no_quota_is_reset(one: House, clock: Stepping) -> None:
    """The number of unfinished jobs holds under every clock, and wrong passwords that were counted still count after
    the clock was set back; the right one gets in all the while."""
    wait = {"seconds": 30.0, "steps": 1, "previews": False, "text": False}
    graphs = [
        {
            "1": {"class_type": "EmptyImage", "inputs": {"width": 16, "height": 16, "batch_size": 1, "color": 5}},
            "2": {"class_type": "LabSlow", "inputs": {"image": ["1", 0], **wait, "nonce": str(number)}},
            "3": {"class_type": "SaveImage", "inputs": {"images": ["2", 0], "filename_prefix": "slow"}},
        }
        for number in range(3)
    ]
    for graph in graphs[:2]:
        await one.submit(graph, by="alice")
    # First, and only set back: `limits` forgets what is over, in a thread that a clock set on would make forget all.
    assert [(await bought(one, f"guess {number}")).status for number in range(6)][-1] == 429
    for clock.offset in (-HOUR, -DAY):
        assert (await bought(one, "guess again")).status == 429
    assert (await bought(one)).status == 200
    for clock.offset in STEPS:
        said = await one.ask("POST", "/prompt", by="alice", json={"prompt": graphs[2]})
        assert (said.status, said.json()["error"]["type"]) == (429, "queue_full"), clock.offset


async def test_T19_no_budget_is_reset_or_booked_twice(one: House, clock: Stepping) -> None:
    """A budget that is used up stays so however the clock is set back, and the job that used it is booked once, for as
    long as it took."""
    async with await Store.open(url_of(one.settings)) as store:
        alice = await store.users.by_name("alice")
        assert alice is not None
        await store.limits.change(alice.id, given={"gpu_seconds_per_day": 1, "gpu_seconds_per_month": 1})
    wait = {"seconds": 1.2, "steps": 1, "previews": False, "text": False, "nonce": "a"}
    graph = {
        "1": {"class_type": "EmptyImage", "inputs": {"width": 16, "height": 16, "batch_size": 1, "color": 5}},
        "2": {"class_type": "LabSlow", "inputs": {"image": ["1", 0], **wait}},
        "3": {"class_type": "SaveImage", "inputs": {"images": ["2", 0], "filename_prefix": "slow"}},
    }
    prompt_id = await one.submit(graph, by="alice")
    await one.history(prompt_id, by="alice")
    for clock.offset in (30.0, -30.0, -HOUR, -DAY, -7 * DAY, 0.0):
        said = await one.ask("POST", "/prompt", by="alice", json={"prompt": picture()})
        assert (said.status, said.json()["error"]["type"]) == (429, "budget_exhausted"), clock.offset
    async with await Store.open(url_of(one.settings)) as store:
        rows = await store.books.used(first=0, last=10**6, user_id=alice.id, most=10)
        assert [row.jobs for row in rows] == [1]
        assert 1200 <= rows[0].gpu_ms < 20_000
