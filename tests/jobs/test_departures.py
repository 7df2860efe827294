"""Users who are removed or disabled while they have jobs. Another process does it, as the command line is one."""

import asyncio
import os
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from gateway.comfy.files import FileRef
from gateway.demo.server import Simulator
from gateway.errors import NoServer, PromptIdTaken, UserGone
from gateway.jobs import departures
from gateway.store import Store, User
from tests.jobs.conftest import BOTH
from tests.jobs.house import House, Person, graph


@pytest.fixture(autouse=True)
def brisk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(departures, "POLL_SECONDS", 0.02)
    monkeypatch.setattr(departures, "AGAIN_SECONDS", 0.1)


async def elsewhere(house: House, act: Callable[[Store], Awaitable[Any]]) -> Any:
    """What another process does with the database."""
    async with await Store.open(f"sqlite:///{house.database}") as store:
        return await act(store)


async def remove(house: House, person: Person) -> None:
    await elsewhere(house, lambda store: store.users.remove(person.id))


async def disable(house: House, person: Person, *, disabled: bool = True) -> None:
    await elsewhere(house, lambda store: store.users.set(person.id, disabled=disabled))


async def three(house: House, person: Person) -> list[str]:
    """One that runs, one that is next at ComfyUI, one that waits here."""
    ids = [await house.submit(person, graph(number, seconds=30, text=True, sign="a")) for number in range(3)]
    await house.in_state(ids[0], "running")
    await house.in_state(ids[1], "handed")
    await house.in_state(ids[2], "waiting")
    return ids


@pytest.mark.parametrize("version", BOTH, indirect=True)
async def test_a_removed_user_s_jobs_end(house: House, alice: Person, bob: Person) -> None:
    """The one that runs is interrupted, the next one is taken out, and the waiting ones never start; others' go on."""
    ids = await three(house, alice)
    theirs = await house.submit(bob, graph("b"))
    await remove(house, alice)
    assert (await house.ended(theirs)).state == "succeeded"
    await house.until(lambda: bool(house.happened("interrupted", ids[0])), "the running one is interrupted")
    assert [house.runs(prompt_id) for prompt_id in ids] == [1, 0, 0]
    await house.idle()
    assert house.read("select count(*) from jobs where user_id = 1") == [(0,)]


@pytest.mark.parametrize("version", BOTH, indirect=True)
async def test_a_disabled_user_s_jobs_are_cancelled(house: House, alice: Person, bob: Person) -> None:
    """They end as if the user had cancelled them, and others' go on; the history stays, and an enabled user submits
    again."""
    done = await house.submit(alice, graph("done"))
    assert (await house.ended(done)).state == "succeeded"
    ids = await three(house, alice)
    theirs = await house.submit(bob, graph("b"))
    await disable(house, alice)
    assert (await house.ended(theirs)).state == "succeeded"
    assert [(await house.ended(prompt_id)).state for prompt_id in ids] == ["cancelled"] * 3
    assert [house.runs(prompt_id) for prompt_id in ids] == [1, 0, 0]
    with pytest.raises(UserGone):
        await house.submit(alice, graph("later"))
    await disable(house, alice, disabled=False)
    assert (await house.ended(await house.submit(alice, graph("again")))).state == "succeeded"
    assert (await house.works.views.history(alice.id, limit=9, offset=None))[0].prompt_id == done


async def test_nothing_of_a_removed_user_s_jobs_is_anybody_s(house: House, alice: Person, bob: Person) -> None:
    """No frame of them reaches anybody, also not who takes the id of one; its id cannot be taken."""
    ears = [house.listen(bob, "same"), house.listen(bob)]
    prompt_id = await house.submit(alice, graph(1, seconds=30, steps=50, text=True, previews=True), client_id="same")
    await house.in_state(prompt_id, "running")
    await remove(house, alice)
    await house.until(lambda: house.live(prompt_id) is None, "it is nobody's")
    with pytest.raises(PromptIdTaken):
        await house.submit(bob, graph(2), prompt_id=prompt_id, client_id="same")
    await house.until(lambda: bool(house.happened("interrupted", prompt_id)), "it ends")
    await house.ended(await house.submit(bob, graph(3), client_id="same"))
    for ear in ears:
        assert prompt_id not in ear.ids() and not ear.binaries


async def test_files_of_a_removed_user_stay_nobody_s(house: House, alice: Person, bob: Person) -> None:
    """What a boot recorded for a user who is gone is not recorded for another in the same boot."""
    files, server = house.store.files, house.server.url
    prompt_id = await house.submit(alice, graph(1))
    await house.ended(prompt_id)
    boot, ref = await files.boot(server, lambda: "x"), FileRef("temp", "", "theirs_00001_.png")
    assert await files.record(server, boot, ref, user_id=alice.id, prompt_id=prompt_id)
    await remove(house, alice)
    await files.sweep()
    assert not await files.record(server, boot, ref, user_id=bob.id, prompt_id=prompt_id)
    assert (await files.known(bob.id, server, [ref])).recorded == frozenset()


async def test_removed_while_the_gateway_is_away(house: House, alice: Person, bob: Person) -> None:
    """A gateway that comes back ends what ComfyUI has under its client id for users who are gone, and nobody else's."""
    ids = await three(house, alice)
    await house.kill()
    await remove(house, alice)
    await house.start()
    await house.until(lambda: bool(house.happened("interrupted", ids[0])), "the running one is interrupted")
    await house.ended(await house.submit(bob, graph("b")))
    assert [house.runs(prompt_id) for prompt_id in ids] == [1, 0, 0]


async def test_disabled_while_the_gateway_is_away(house: House, alice: Person) -> None:
    """A gateway that comes back cancels the jobs of users who were disabled meanwhile."""
    ids = await three(house, alice)
    await house.kill()
    await disable(house, alice)
    await house.start()
    assert [(await house.ended(prompt_id)).state for prompt_id in ids] == ["cancelled"] * 3


async def test_removed_while_comfyui_is_silent(house: House, sim: Simulator, alice: Person, bob: Person) -> None:
    """ComfyUI does not answer at that moment: it is asked again until it has ended the job."""
    prompt_id = await house.submit(alice, graph(1, seconds=30))
    await house.in_state(prompt_id, "running")
    real, refused = type(house.server).send_json, 0

    async def fails(*arguments: Any, **options: Any) -> Any:
        nonlocal refused
        refused += 1
        raise NoServer("not now", sent=False)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(type(house.server), "send_json", fails)
        await remove(house, alice)
        await house.until(lambda: refused >= 3, "it was asked for thrice")
    assert type(house.server).send_json is real
    await house.until(lambda: bool(house.happened("interrupted", prompt_id)), "it is interrupted in the end")
    assert (await house.ended(await house.submit(bob, graph("b")))).state == "succeeded"


@pytest.mark.parametrize("gone", [remove, disable])
async def test_submits_that_race(house: House, bob: Person, gone: Callable[[House, Person], Awaitable[None]]) -> None:
    """Whoever is removed or disabled in the middle of many submits gets a job or a 401, never another error; soon none
    of the jobs is left anywhere, and none of them runs to its end."""

    def added(store: Store) -> Awaitable[User]:
        return store.users.add("carol", role="member", now=time.time(), random=os.urandom)

    for delay in (0.0, 0.005, 0.02, 0.05, 0.1):
        user = await elsewhere(house, added)
        carol = Person(user.id, user.name)

        async def late(carol: Person = carol, delay: float = delay) -> None:
            await asyncio.sleep(delay)
            await gone(house, carol)

        submits = [house.submit(carol, graph(f"{delay} {number}", seconds=30)) for number in range(8)]
        *said, _ = await asyncio.gather(*submits, late(), return_exceptions=True)
        assert [type(answer) for answer in said if not isinstance(answer, str | UserGone)] == []
        await house.idle()

        async def is_empty() -> bool:
            queue = await house.server.get_json("/queue", timeout=5)
            return not queue["queue_running"] and not queue["queue_pending"]

        await house.until(is_empty, "ComfyUI has nothing of it")
        if gone is disable:
            await remove(house, carol)
    assert house.happened("finished") == []
    assert (await house.ended(await house.submit(bob, graph("b")))).state == "succeeded"
