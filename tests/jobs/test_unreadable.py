"""What one job left at the server cannot be read."""

from typing import Any

import pytest

from gateway.demo.server import Simulator
from gateway.jobs import look
from gateway.upstream import reply
from gateway.upstream.reply import UnreadableAnswer
from tests.jobs.house import House, Person, graph


async def test_half_a_surrogate_in_the_results_ends_the_job_as_any_other(
    house: House, sim: Simulator, alice: Person
) -> None:
    """Nothing that was accepted disappears: JsonExtractString into PreviewAny leaves half a surrogate in ComfyUI's
    history, and its job ends with its results."""
    prompt_id = await house.submit(alice, graph(1, seconds=0.3))
    await house.in_state(prompt_id, "running")
    await house.kill()
    await house.until(lambda: prompt_id in sim.history, "it ends while the gateway is away")
    sim.history[prompt_id]["outputs"]["9"] = {"text": ["x\ud800y"]}
    await house.start()
    job = await house.ended(prompt_id)
    assert (job.state, job.outputs["9"]) == ("succeeded", {"text": ["x?y"]})


async def test_a_job_that_cannot_be_read_keeps_nobody_waiting(
    house: House, alice: Person, bob: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The gateway stays up and reconnects: an answer about one job that makes no sense closes the door to nobody."""
    real = look.entry
    broken = await house.submit(alice, graph(1, seconds=0.2))
    other = await house.submit(bob, graph(2))

    async def entry(desk: Any, prompt_id: str, **options: Any) -> Any:
        if prompt_id == broken:
            raise UnreadableAnswer("ComfyUI's answer is not JSON.")
        return await real(desk, prompt_id, **options)

    await house.kill()
    monkeypatch.setattr(look, "entry", entry)
    await house.start()
    assert (await house.ended(other)).state == "succeeded"
    assert (await house.ended(await house.submit(bob, graph(3)))).state == "succeeded"
    assert house.live(broken) is not None, "it was lost, though nobody said that it is absent"


@pytest.mark.parametrize("junk", [[], "text", {"ID": None}, {"ID": []}, {"ID": "text"}, {"ID": 5}, None])
async def test_junk_for_a_history_does_not_say_that_a_job_is_absent(
    house: House, alice: Person, monkeypatch: pytest.MonkeyPatch, junk: Any
) -> None:
    """Absent means absent in answered looks: an answer of another shape is none (F27)."""
    prompt_id = await house.submit(alice, graph(1, seconds=0.2))
    real = type(house.server).get_json
    answer = {prompt_id: junk["ID"]} if isinstance(junk, dict) else junk
    odd = [answer] * 3

    async def get_json(self: Any, path: str, **options: Any) -> Any:
        if path.startswith("/history/") and odd:
            return odd.pop()
        return await real(self, path, **options)

    monkeypatch.setattr(type(house.server), "get_json", get_json)
    assert (await house.ended(prompt_id)).state == "succeeded"
    assert not odd


@pytest.mark.parametrize("part", ["outputs", "status", "meta"])
async def test_a_part_of_an_entry_in_another_shape_is_left_out(
    house: House, sim: Simulator, alice: Person, part: str
) -> None:
    """ComfyUI answering in wrong shapes neither stops the gateway nor keeps a job from ending (F27)."""
    prompt_id = await house.submit(alice, graph(1, seconds=0.3))
    await house.in_state(prompt_id, "running")
    await house.kill()
    await house.until(lambda: prompt_id in sim.history, "it ends while the gateway is away")
    sim.history[prompt_id][part] = ["junk"]
    await house.start()
    assert (await house.ended(prompt_id)).state == "succeeded"


async def test_results_that_are_too_large_end_the_job(
    house: House, sim: Simulator, alice: Person, bob: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Memory is bounded whatever ComfyUI says, and a job whose results are over the bound ends and says so."""
    monkeypatch.setattr(reply, "JSON_BYTES", 20_000)
    prompt_id = await house.submit(alice, graph(1, seconds=0.3))
    await house.in_state(prompt_id, "running")
    await house.kill()
    await house.until(lambda: prompt_id in sim.history, "it ends while the gateway is away")
    sim.history[prompt_id]["outputs"]["9"] = {"text": ["x" * 20_000]}
    await house.start()
    job = await house.ended(prompt_id)
    assert (job.state, (job.error or {})["exception_type"]) == ("failed", "results_too_large")
    assert (await house.ended(await house.submit(bob, graph(2)))).state == "succeeded"
