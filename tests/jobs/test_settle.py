"""A job ends."""

import asyncio
import json
from typing import Any

import pytest

from gateway.comfy import jobs as shapes
from gateway.comfy.files import visible_json
from gateway.demo.server import Simulator
from gateway.errors import StoreUnavailable, UpstreamFault
from gateway.jobs import look
from tests.jobs.conftest import BOTH
from tests.jobs.house import Ear, House, Person, failing, graph


def breaking(monkeypatch: pytest.MonkeyPatch, ledger: object, name: str, *, times: int) -> list[str]:
    """Let a move of the ledger fail so many times; the list grows with each failure."""
    real = getattr(type(ledger), name)
    failures: list[str] = []

    async def sometimes(*arguments: Any, **options: Any) -> Any:
        if len(failures) < times:
            failures.append(name)
            raise StoreUnavailable("The database cannot answer now.", sent=False)
        return await real(*arguments, **options)

    monkeypatch.setattr(type(ledger), name, sometimes)
    return failures


@pytest.mark.parametrize("version", BOTH, indirect=True)
async def test_the_history_is_there_before_the_client_is_told(
    house: House, sim: Simulator, alice: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The final entry is in the ledger before the client gets `executing` with node null."""
    sim.faults.history_lag = 0.05
    ear = house.listen(alice)
    states: list[str] = []
    real = house.works.hub.deliver

    def watched(user_id: int, client_id: str | None, frames: Any) -> None:
        told = list(frames)
        real(user_id, client_id, told)
        if any('"node": null' in frame.raw for frame in told if isinstance(frame.raw, str)):
            states.extend(committed())

    def committed() -> list[str]:
        rows = house.read("select state from jobs")
        return [str(state) for (state,) in rows]

    monkeypatch.setattr(house.works.hub, "deliver", watched)
    prompt_id = await house.submit(alice, graph(1), client_id="browser")
    await house.until(lambda: ear.is_over(prompt_id), "the client is told")
    assert states == ["succeeded"]
    (view,) = await house.works.views.history(alice.id, limit=5, offset=None)
    theirs = visible_json(sim.history[prompt_id], await house.store.roots.of(alice.id))
    assert (view.status, view.outputs, view.meta) == (theirs["status"], theirs["outputs"], theirs["meta"])


async def test_gpu_time_is_what_comfyui_measured(house: House, sim: Simulator, alice: Person) -> None:
    """GPU milliseconds are booked from ComfyUI's own timestamps, and the times shown are ComfyUI's."""
    prompt_id = await house.submit(alice, graph(1, seconds=0.2))
    row = await house.ended(prompt_id)
    told = dict(sim.history[prompt_id]["status"]["messages"])
    start, end = told["execution_start"]["timestamp"], told["execution_success"]["timestamp"]
    assert (row.started_at, row.ended_at, row.gpu_ms) == (start, end, end - start)
    assert row.gpu_ms >= 200


async def test_gpu_time_is_booked_once(house: House, sim: Simulator, alice: Person) -> None:
    """However many see a job end, it is booked once (Q10)."""
    sim.faults.history_lag = 0.1
    prompt_id = await house.submit(alice, graph(1, seconds=0.1))
    live = house.live(prompt_id)
    assert live is not None
    await house.until(lambda: prompt_id in sim.history, "it has ended")
    entry = await look.entry(house.works.desk, prompt_id)
    assert entry is not None
    await asyncio.gather(*(house.works._settler.ended(live, entry) for _ in range(5)))
    row = await house.ended(prompt_id)
    assert (await house.store.ledger.virtual_times())[alice.id] == row.gpu_ms > 0
    assert house.works.views.count(alice.id) == 0


async def test_a_failed_job_says_so(house: House, sim: Simulator, alice: Person) -> None:
    """A job whose node raises ends failed, with ComfyUI's error, without host paths."""
    ear = house.listen(alice)
    prompt_id = await house.submit(alice, failing("no /opt/secret/file here"))
    row = await house.ended(prompt_id)
    assert row.error is not None
    assert (row.state, row.error["exception_type"], row.error["node_id"]) == ("failed", "RuntimeError", "2")
    assert "/opt" not in json.dumps([row.error, row.status])
    assert row.status is not None
    assert row.status["status_str"] == "error"
    told, theirs = shapes.messages(row.status), sim.history[prompt_id]["status"]["messages"]
    assert [name for name, _ in told] == [name for name, _ in theirs]
    assert ear.types(prompt_id)[-2:] == ["execution_error", "executing"]


@pytest.mark.parametrize("version", BOTH, indirect=True)
async def test_a_job_that_was_interrupted_unasked_runs_again(house: House, sim: Simulator, alice: Person) -> None:
    """A job that was interrupted though nobody asked is queued again, which is recorded as a second run; the client
    does not hear of the interruption."""
    ear = house.listen(alice)
    prompt_id = await house.submit(alice, graph(1, seconds=0.5, steps=20), client_id="browser")
    await house.in_state(prompt_id, "running")
    await house.server.send_json("POST", "/interrupt", b"{}", timeout=5)
    row = await house.ended(prompt_id)
    assert (row.state, row.attempts, house.runs(prompt_id)) == ("succeeded", 2, 2)
    assert (await house.store.ledger.virtual_times())[alice.id] == row.gpu_ms
    types = ear.types(prompt_id)
    assert "execution_interrupted" not in types
    assert types.count("execution_success") == 1
    assert [data["node"] for data in ear.of("executing")].count(None) == 1


async def test_a_second_interruption_is_believed(house: House, alice: Person) -> None:
    """A job that is interrupted unasked in its second run, too, ends as ComfyUI says."""
    ear = house.listen(alice)
    prompt_id = await house.submit(alice, graph(1, seconds=5, steps=200), client_id="browser")
    for run in (1, 2):
        await house.until(lambda run=run: house.runs(prompt_id) == run, f"run {run} has begun")
        await house.in_state(prompt_id, "running")
        await house.server.send_json("POST", "/interrupt", b"{}", timeout=5)
        await house.until(lambda run=run: len(house.happened("interrupted")) == run, "it is stopped")
    row = await house.ended(prompt_id)
    assert (row.state, row.attempts, house.runs(prompt_id)) == ("cancelled", 2, 2)
    assert ear.types(prompt_id)[-2:] == ["execution_interrupted", "executing"]


async def test_an_old_word_about_the_first_run_does_not_end_the_second(
    house: House, sim: Simulator, alice: Person
) -> None:
    """The history entry and the last event of the interrupted run are not taken for those of the run that comes."""
    first = await house.submit(alice, graph("first", seconds=0.4, steps=10))
    prompt_id = await house.submit(alice, graph(1, seconds=0.2, steps=10))
    third = await house.submit(alice, graph("third", seconds=0.4, steps=10))
    await house.until(lambda: house.runs(prompt_id) == 1, "it runs")
    await house.server.send_json("POST", "/interrupt", b"{}", timeout=5)
    await house.until(lambda: bool(live := house.live(prompt_id)) and live.state != "running", "it is queued again")
    await house.until(lambda: prompt_id not in sim.history, "its first run is forgotten")
    assert sim._machine is not None
    for _ in range(3):
        sim._machine.events.send("executing", {"node": None, "prompt_id": prompt_id}, "minted-for-this-gateway")
        await asyncio.sleep(0.02)
    rows = [await house.ended(one) for one in (first, prompt_id, third)]
    assert [(row.state, row.attempts) for row in rows] == [("succeeded", 1), ("succeeded", 2), ("succeeded", 1)]


@pytest.mark.parametrize("move", ["finish", "start", "record_output"])
async def test_a_database_that_is_away_for_a_moment_loses_no_end(
    house: House, alice: Person, monkeypatch: pytest.MonkeyPatch, move: str
) -> None:
    """An end that could not be written down is found by the next look (Q21, F13)."""
    ear = house.listen(alice)
    failures = breaking(monkeypatch, house.store.ledger, move, times=2)
    prompt_id = await house.submit(alice, graph(1), client_id="browser")
    after = await house.submit(alice, graph(2, seconds=0.2), client_id="browser")
    rows = [await house.ended(one) for one in (prompt_id, after)]
    assert failures
    assert [(row.state, row.attempts, list(row.outputs)) for row in rows] == [("succeeded", 1, ["3"])] * 2
    assert all(row.started_at for row in rows)
    assert all(ear.is_over(one) for one in (prompt_id, after))


async def test_a_server_that_does_not_answer_has_not_lost_the_job(
    house: House, alice: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A history that could not be read for long says nothing: the end is found when it can be read."""
    real = look.entry
    silent = asyncio.Event()

    async def entry(*arguments: Any, **options: Any) -> Any:
        if not silent.is_set():
            raise UpstreamFault("ComfyUI did not answer in time.")
        return await real(*arguments, **options)

    monkeypatch.setattr(look, "entry", entry)
    prompt_id = await house.submit(alice, graph(1))
    # Another job keeps the events coming, so that silence does not help to find the end.
    await house.submit(alice, graph(2, seconds=3, steps=60))
    await house.until(lambda: len(house.happened("finished", prompt_id)) == 1, "it has ended")
    await house.until(lambda: bool(live := house.live(prompt_id)) and not live.placed, "its place is free")
    await house.until(lambda: not house.works._settler._under_way, "the settler has given up")
    assert house.state(prompt_id) == "running"
    silent.set()
    assert (await house.ended(prompt_id)).state == "succeeded"
    assert not house.happened("finished", house.order()[1]), "it was found while the other one ran"


async def test_a_free_place_is_filled_while_the_last_end_is_written_down(
    house: House, alice: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The place of a job is free from the moment its execution is over."""
    real = type(house.store.ledger).finish
    may_end = asyncio.Event()

    async def slow(*arguments: Any, **options: Any) -> bool:
        await may_end.wait()
        return await real(*arguments, **options)

    monkeypatch.setattr(type(house.store.ledger), "finish", slow)
    ids = [await house.submit(alice, graph(number)) for number in range(4)]
    await house.until(lambda: len(house.happened("finished")) == 4, "all have run")
    assert house.works.views.count(alice.id) == 4
    may_end.set()
    await house.idle()
    assert sorted(house.order()) == sorted(ids)
    assert house.most_held() <= 2


async def test_a_job_that_never_ran_leaves_no_history(house: House, sim: Simulator, alice: Person) -> None:
    """ComfyUI leaves no history of a job that was taken out of the queue, and neither do we."""
    sim.faults.stop_executing = True
    ids = [await house.submit(alice, graph(number)) for number in range(3)]
    ear: Ear = house.listen(alice)
    assert await house.works.canceller.cancel(alice.id, ids[2])
    assert await house.works.views.one(alice.id, ids[2]) is None
    assert await house.works.views.history(alice.id, limit=5, offset=None) == []
    assert {message["type"] for message in ear.messages} == {"status"}
