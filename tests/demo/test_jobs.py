"""The queue and interrupts behave as the protocol says, beyond what the recordings show."""

import pytest

from gateway.demo.server import Simulator
from tests.demo.talking import Talk, saving, slow, until

new_only = pytest.mark.parametrize("version", ["0.28.1"], indirect=True)
old_only = pytest.mark.parametrize("version", ["0.3.64"], indirect=True)
IDS = [f"0000000{number}-0000-4000-8000-000000000000" for number in range(4)]


async def _running(talk: Talk) -> str:
    """Start a job that runs until it is interrupted."""
    prompt_id = await talk.submit(slow(), client_id="owner")
    await until(lambda: talk.server.queue_running == [prompt_id], "the start of the job")
    return prompt_id


# The queue.


async def test_ties_go_by_prompt_id(simulator: Simulator, talk: Talk) -> None:
    """Of two prompts with one number, the one with the smaller id runs first, whichever came first."""
    await _running(talk)
    for number in (3, 1, 2):
        await talk.submit(saving(number), number=1, prompt_id=IDS[number])
    assert simulator.queue_pending == IDS[1:]


async def test_front(simulator: Simulator, talk: Talk) -> None:
    """`front` takes the negative of the counter, so a later one wins; a given number leaves the counter alone."""
    await _running(talk)
    answers = [{}, {"front": True}, {"number": "1.5"}, {"front": True}]
    ids = [await talk.submit(saving(color), **body) for color, body in enumerate(answers)]
    queue = await talk.get_json("/queue")
    assert {item[1]: item[0] for item in queue["queue_pending"]} == dict(zip(ids, [1, -2, 1.5, -3], strict=True))
    assert simulator.queue_pending == [ids[3], ids[1], ids[0], ids[2]]


async def test_duplicate_overwrites_history(talk: Talk) -> None:
    """A prompt_id is accepted twice, and the history keeps the later job."""
    for color in (1, 2):
        await talk.run(saving(color), prompt_id=IDS[1])
    await until(lambda: talk.server.history[IDS[1]]["prompt"][2]["1"]["inputs"]["color"] == 2, "the later entry")


async def test_same_number_and_id(simulator: Simulator, talk: Talk) -> None:
    """The same number and id as a pending prompt's is answered 500, with the job queued all the same."""
    await _running(talk)
    await talk.submit(saving(1), number=1, prompt_id=IDS[1])
    await talk.submit(saving(2), number=1, prompt_id=IDS[1], status=500)
    assert simulator.queue_pending == [IDS[1], IDS[1]]


@new_only
@pytest.mark.parametrize("prompt_id", ["x", IDS[1].upper() + "A", "A" + IDS[1][1:], 5, ["a"]])
async def test_new_ids_are_canonical(talk: Talk, prompt_id: object) -> None:
    """The new version takes only canonical lower-case UUIDs as prompt_id."""
    await talk.submit(saving(), prompt_id=prompt_id, status=400)


@old_only
@pytest.mark.parametrize(("prompt_id", "kept"), [(None, "None"), (["a"], "['a']"), ("<b>/x", "<b>/x")])
async def test_old_ids_are_anything(talk: Talk, prompt_id: object, kept: str) -> None:
    """The old version takes anything as prompt_id, as its str()."""
    assert await talk.submit(saving(), prompt_id=prompt_id) == kept


async def test_deleting_is_told_by_status(simulator: Simulator, talk: Talk) -> None:
    """A deleted prompt leaves no history, and only `status` is sent; twice for the last one, which clears the queue."""
    await _running(talk)
    ids = [await talk.submit(saving(color)) for color in (1, 2)]
    ear = await talk.listen("a")
    assert await talk.post("/queue", {"delete": [ids[0], "unknown"]}) == (200, b"")
    await ear.hear_until_quiet(0.2)
    assert ear.kinds() == ["status"]
    await talk.post("/queue", {"delete": [ids[1]]})
    await ear.hear_until_quiet(0.2)
    assert ear.kinds() == ["status"] * 3
    assert (simulator.queue_pending, simulator.history) == ([], {})
    assert [one.prompt_id for one in simulator.log if one.kind == "deleted"] == ids


async def test_secrets(talk: Talk, version: str) -> None:
    """The old version shows the secrets of pending and running jobs; neither keeps them in the history."""
    extra = {"auth_token_comfy_org": "t", "api_key_comfy_org": "k", "other": 1}
    prompt_id = await talk.submit(slow(), extra_data=extra)
    await until(lambda: talk.server.queue_running, "the start of the job")
    shown = (await talk.get_json("/queue"))["queue_running"][0][3]
    assert ("api_key_comfy_org" in shown) == (version == "0.3.64")
    await talk.post("/interrupt")
    await until(lambda: prompt_id in talk.server.history, "the end of the job")
    assert set(talk.server.history[prompt_id]["prompt"][3]) - {"create_time"} == {"other"}


# Interrupts.


async def test_interrupt_is_global(simulator: Simulator, talk: Talk) -> None:
    """A bare interrupt stops whatever runs; the next job is not hit."""
    first, second = await _running(talk), await talk.submit(saving())
    assert await talk.post("/interrupt") == (200, b"")
    await until(lambda: second in simulator.history, "the second job's end")
    states = [simulator.history[one]["status"]["status_str"] for one in (first, second)]
    assert states == ["error", "success"]
    assert [one.prompt_id for one in simulator.log if one.kind == "interrupted"] == [first]


async def test_interrupt_of_a_waiting_job(simulator: Simulator, talk: Talk) -> None:
    """A targeted interrupt is answered 200 and does nothing when that job is not running."""
    running, waiting = await _running(talk), await talk.submit(saving())
    assert await talk.post("/interrupt", {"prompt_id": waiting}) == (200, b"")
    await talk.get("/queue")
    assert (simulator.queue_running, simulator.queue_pending) == ([running], [waiting])


async def test_idle_interrupt(talk: Talk) -> None:
    """An interrupt while idle does not hit the next job."""
    await talk.post("/interrupt", {})
    assert (await talk.run(saving()))["status"]["completed"] is True


async def test_interrupt_checks_then_acts(simulator: Simulator, talk: Talk) -> None:
    """Between the check and the act of a targeted interrupt the job may end, and then the next one is hit."""
    simulator.faults.interrupt_lag = 0.5
    first = await talk.submit(slow(0.2, 2))
    second = await talk.submit(slow(color=2))
    await until(lambda: simulator.queue_running == [first], "the first job's start")
    await talk.post("/interrupt", {"prompt_id": first})
    await until(lambda: second in simulator.history, "the second job's end")
    assert simulator.history[first]["status"]["completed"] is True
    assert simulator.history[second]["status"]["completed"] is False


@new_only
async def test_cancel(simulator: Simulator, talk: Talk) -> None:
    """Cancelling interrupts the running job and drops a waiting one; a finished one is no error."""
    running, waiting = await _running(talk), await talk.submit(saving())
    for job in (waiting, running):
        assert await talk.post(f"/api/jobs/{job}/cancel") == (200, b'{"cancelled": true}')
    await until(lambda: running in simulator.history, "the end of the job")
    assert (await talk.get_json(f"/api/jobs/{running}"))["status"] == "cancelled"
    assert await talk.post("/api/jobs/cancel", {"job_ids": [running, waiting]}) == (200, b'{"cancelled": false}')
